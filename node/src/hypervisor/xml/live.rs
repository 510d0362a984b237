//! What PVC wrote into a guest, read back from its live description.

use quick_xml::Writer;

use super::tree::{self, Element};
use super::{METADATA_NAMESPACE, METADATA_PREFIX, RenderError, typed};
use crate::hypervisor::Stamp;

/// The stamp in a domain's metadata, given the domain's document or the metadata element alone.
/// None: the guest is not one of PVC's.
pub fn read_stamp(text: &str) -> Option<Stamp> {
    let root = tree::parse(text).ok()?;
    let element = match root.name() {
        "domain" => root.find("metadata")?.elements().find(|e| is_stamp(e))?,
        _ => &root,
    };
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

/// The domain's document with another stamp, all else as it was.
pub fn with_stamp(text: &str, stamp: Stamp) -> Result<String, RenderError> {
    let mut root = parse(text)?;
    let metadata = root.find_or_add("metadata");
    metadata.drop_elements(is_stamp);
    *metadata = metadata.clone().child(typed::stamp(stamp));
    write(&root)
}

/// The domain's document with another `type`, all else as it was.
pub fn with_domain_type(text: &str, domain_type: &str) -> Result<String, RenderError> {
    write(&parse(text)?.with("type", domain_type))
}

/// libvirt keeps our prefix when it gives the whole document, and may drop it with the element alone.
fn is_stamp(element: &Element) -> bool {
    element.attribute("xmlns") == Some(METADATA_NAMESPACE)
        || element.name().strip_prefix(METADATA_PREFIX) == Some(":vm")
}

pub(super) fn parse(text: &str) -> Result<Element, RenderError> {
    Ok(tree::parse(text).map_err(|e| std::io::Error::other(e.to_string()))?)
}

pub(super) fn write(root: &Element) -> Result<String, RenderError> {
    let mut writer = Writer::new(Vec::new());
    root.write(&mut writer)?;
    Ok(String::from_utf8_lossy(&writer.into_inner()).into_owned())
}
