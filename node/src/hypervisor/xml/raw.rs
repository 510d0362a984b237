//! The document made from the user's own domain XML. All of it is kept but what PVC must own: name,
//! uuid, memory, vCPUs, what happens at the guest's end, PVC's metadata, the disks that name volumes
//! (`<disk type='volume'><source volume='NAME'/>`), the NICs of its spec, and the first serial port with its console.

use quick_xml::Writer;

use super::nic::{has_mac, interface};
use super::tree::{self, Element};
use super::{RenderError, typed};
use crate::hypervisor::GuestSpec;

pub(super) fn render(guest: &GuestSpec) -> Result<String, RenderError> {
    pvc_proto::domain_xml::check_raw_xml(&guest.spec.raw_xml)?;
    let mut domain = tree::parse(&guest.spec.raw_xml).map_err(|e| std::io::Error::other(e.to_string()))?;
    let spec = &guest.spec;
    let text = |name: &str, text: &str| Element::new(name).text(text);
    domain.replace(text("name", guest.name.as_str()));
    domain.replace(text("uuid", &guest.uid.to_string()));
    domain.replace(text("memory", &spec.memory_mib.to_string()).with("unit", "MiB"));
    domain.replace(text("currentMemory", &spec.memory_mib.to_string()).with("unit", "MiB"));
    domain.replace(text("vcpu", &spec.vcpus.to_string()));
    domain.replace(text("on_poweroff", "destroy"));
    domain.replace(text("on_reboot", "restart"));
    domain.replace(text("on_crash", "destroy"));
    let stamp = typed::stamp(guest.stamp);
    let metadata = domain.find_or_add("metadata");
    metadata.drop_elements(|e| e.name() == stamp.name());
    *metadata = metadata.clone().child(stamp);
    let devices = domain.find_or_add("devices");
    disks(guest, devices)?;
    devices.drop_elements(|e| guest.nics.iter().any(|nic| has_mac(e, nic.port.mac)));
    for nic in &guest.nics {
        *devices = devices.clone().child(interface(nic));
    }
    devices.drop_elements(|e| e.name() == "console");
    devices.replace(typed::serial(guest));
    *devices = devices.clone().child(typed::console());
    let mut writer = Writer::new(Vec::new());
    domain.write(&mut writer)?;
    Ok(String::from_utf8_lossy(&writer.into_inner()).into_owned())
}

fn disks(guest: &GuestSpec, devices: &mut Element) -> Result<(), RenderError> {
    let mut named = Vec::new();
    for disk in devices.elements_mut().filter(|e| e.name() == "disk" && e.attribute("type") == Some("volume"))
    {
        let volume = disk.find("source").and_then(|s| s.attribute("volume")).unwrap_or("").to_owned();
        let resolved = guest.disks.iter().find(|d| d.volume == *volume.as_str());
        let resolved = resolved.ok_or(RenderError::UnknownVolume { volume })?;
        typed::locate(disk, &resolved.source);
        named.push(resolved.volume.clone());
    }
    let target = |e: &Element| Some(e.find("target")?.attribute("dev")?.to_owned());
    let taken: Vec<String> = devices.elements().filter_map(target).collect();
    let mut names = typed::TargetNames::default();
    for resolved in guest.disks.iter().filter(|d| !named.contains(&d.volume)) {
        let target = names.next(resolved.bus, |name| taken.iter().any(|t| t == name));
        *devices = devices.clone().child(typed::disk(resolved, &target));
    }
    Ok(())
}
