//! What PVC wrote into a guest, read back from its live description.

use super::tree;
use super::{METADATA_NAMESPACE, METADATA_PREFIX};
use crate::hypervisor::Stamp;

/// The stamp in a domain's metadata, given the domain's document or the metadata element alone.
/// None: the guest is not one of PVC's.
pub fn read_stamp(text: &str) -> Option<Stamp> {
    let root = tree::parse(text).ok()?;
    // libvirt keeps the prefix when it gives the whole document, and may drop it with the element alone.
    let ours = format!("{METADATA_PREFIX}:vm");
    let declared = |e: &&tree::Element| e.attribute("xmlns") == Some(METADATA_NAMESPACE) || e.name() == ours;
    let element =
        if root.name() == "domain" { root.find("metadata")?.elements().find(declared)? } else { &root };
    let number = |key: &str| element.attribute(key)?.parse().ok();
    Some(Stamp {
        epoch: number("epoch")?,
        boot_generation: number("boot")?,
        spec_generation: number("spec")?,
    })
}

/// Whether the guest has a disk in a file, which libvirt never believes to be shared.
pub fn has_file_disk(text: &str) -> bool {
    let Ok(root) = tree::parse(text) else { return false };
    root.find("devices").is_some_and(|devices| {
        devices.elements().any(|e| e.name() == "disk" && e.attribute("type") == Some("file"))
    })
}
