//! What a guest is in libvirt's words. Pure: a [`GuestSpec`] in, a document out; and back, the few
//! facts that PVC wrote into it.
//!
//! A guest is described from its typed spec, or from its user's own document of which PVC owns only
//! what it must (see `raw`). Never is libvirt's whole schema modelled here.

mod live;
mod nic;
mod raw;
#[cfg(test)]
mod tests;
mod tree;
mod typed;

use pvc_model::Name;

use super::{GuestSpec, Stamp, VirtType};

pub use live::{has_file_disk, read_stamp, with_domain_type, with_stamp};
pub use nic::{nic, nic_as_it_is, nic_with_port, nics};

/// Namespace of PVC's element in a domain's metadata.
pub const METADATA_NAMESPACE: &str = "urn:parallelvirtualcluster:vm:1";
/// Its prefix, as written.
pub const METADATA_PREFIX: &str = "pvc";

#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("its own XML: {0}")]
    RawXml(#[from] pvc_proto::domain_xml::RawXmlError),
    #[error(
        "its own XML names volume {volume:?} in a <disk type='volume'>, which is not among the VM's disks; \
         add it to the spec's disks with `pvc vm modify`"
    )]
    UnknownVolume { volume: String },
    #[error("disk {volume} is found nowhere: the VM has {want} disks, {have} of them are attached")]
    MissingDisk { volume: Name, want: usize, have: usize },
    #[error("could not write the document: {0}")]
    Write(#[from] std::io::Error),
}

/// The domain XML that starts this guest.
pub fn render(spec: &GuestSpec) -> Result<String, RenderError> {
    for (index, disk) in spec.spec.disks.iter().enumerate() {
        let attached = spec.disks.get(index).is_some_and(|d| d.volume == disk.volume);
        if !attached {
            let (volume, want, have) = (disk.volume.clone(), spec.spec.disks.len(), spec.disks.len());
            return Err(RenderError::MissingDisk { volume, want, have });
        }
    }
    if spec.spec.raw_xml.is_empty() { typed::render(spec) } else { raw::render(spec) }
}

/// The element that carries a stamp, as libvirt's set-metadata call wants it: it adds the prefix itself.
pub fn stamp_element(stamp: Stamp) -> String {
    let Stamp { epoch, boot_generation, spec_generation } = stamp;
    format!(
        "<vm xmlns=\"{METADATA_NAMESPACE}\" epoch=\"{epoch}\" boot=\"{boot_generation}\" \
         spec=\"{spec_generation}\"/>"
    )
}

fn domain_type(virt_type: VirtType) -> &'static str {
    match virt_type {
        VirtType::Kvm => "kvm",
        VirtType::Qemu => "qemu",
    }
}
