//! The document made from a typed spec.

use pvc_model::nic::NICS_MAX;
use pvc_model::vm::{DiskBus, Machine};
use quick_xml::Writer;

use super::nic::interface;
use super::tree::Element;
use super::{METADATA_NAMESPACE, METADATA_PREFIX, RenderError, domain_type};
use crate::hypervisor::{GuestSpec, ResolvedDisk, Stamp, VirtType};
use crate::storage::DiskSource;

pub(super) fn render(guest: &GuestSpec) -> Result<String, RenderError> {
    let spec = &guest.spec;
    let memory = |name| Element::new(name).with("unit", "MiB").text(&spec.memory_mib.to_string());
    let domain = Element::new("domain")
        .with("type", domain_type(guest.virt_type))
        .child(Element::new("name").text(guest.name.as_str()))
        .child(Element::new("uuid").text(&guest.uid.to_string()))
        .child(Element::new("metadata").child(stamp(guest.stamp)))
        .child(memory("memory"))
        .child(memory("currentMemory"))
        .child(Element::new("vcpu").text(&spec.vcpus.to_string()))
        .child(os(guest))
        .child(Element::new("features").child(Element::new("acpi")).child(Element::new("apic")))
        .child(cpu(guest))
        .child(Element::new("clock").with("offset", "utc"))
        .child(Element::new("on_poweroff").text("destroy"))
        .child(Element::new("on_reboot").text("restart"))
        .child(Element::new("on_crash").text("destroy"))
        .child(devices(guest));
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    domain.write(&mut writer)?;
    Ok(String::from_utf8_lossy(&writer.into_inner()).into_owned())
}

pub(super) fn stamp(stamp: Stamp) -> Element {
    Element::new(&format!("{METADATA_PREFIX}:vm"))
        .with(&format!("xmlns:{METADATA_PREFIX}"), METADATA_NAMESPACE)
        .with("epoch", stamp.epoch.to_string())
        .with("boot", stamp.boot_generation.to_string())
        .with("spec", stamp.spec_generation.to_string())
}

fn os(guest: &GuestSpec) -> Element {
    let machine = match guest.spec.machine {
        Machine::Pc => "pc",
        Machine::Q35 => "q35",
    };
    let kind = Element::new("type").with("arch", "x86_64").with("machine", machine).text("hvm");
    let os = Element::new("os").child(kind);
    match &guest.spec.boot {
        None => os.child(Element::new("boot").with("dev", "hd")),
        Some(boot) => os
            .child(Element::new("kernel").text(&boot.kernel))
            .child(Element::new("initrd").text(&boot.initrd))
            .child(Element::new("cmdline").text(&boot.cmdline)),
    }
}

fn cpu(guest: &GuestSpec) -> Element {
    let named = |model: &str, fallback| {
        let model = Element::new("model").with("fallback", fallback).text(model);
        Element::new("cpu").with("mode", "custom").with("match", "exact").child(model)
    };
    match (guest.spec.cpu_model.as_str(), guest.virt_type) {
        ("", VirtType::Kvm) => Element::new("cpu").with("mode", "host-model"),
        // Emulation has no host processor to copy.
        ("", VirtType::Qemu) => named("qemu64", "allow"),
        (model, VirtType::Kvm | VirtType::Qemu) => named(model, "forbid"),
    }
}

fn devices(guest: &GuestSpec) -> Element {
    let mut devices = Element::new("devices");
    let mut names = TargetNames::default();
    for resolved in &guest.disks {
        let target = names.next(resolved.bus, |_| false);
        devices = devices.child(disk(resolved, &target));
    }
    if guest.disks.iter().any(|d| d.bus == DiskBus::Scsi) {
        devices = devices.child(Element::new("controller").with("type", "scsi").with("model", "virtio-scsi"));
    }
    devices = devices.child(Element::new("controller").with("type", "usb").with("model", "none"));
    if guest.spec.machine == Machine::Q35 {
        devices = root_ports(devices, guest);
    }
    for nic in &guest.nics {
        devices = devices.child(interface(nic));
    }
    let agent = Element::new("target").with("type", "virtio").with("name", "org.qemu.guest_agent.0");
    let entropy = Element::new("backend").with("model", "random").text("/dev/urandom");
    devices
        .child(serial(guest))
        .child(console())
        .child(Element::new("channel").with("type", "unix").child(agent))
        .child(Element::new("video").child(Element::new("model").with("type", "vga")))
        .child(Element::new("memballoon").with("model", "virtio"))
        .child(Element::new("rng").with("model", "virtio").child(entropy))
        .child(Element::new("panic").with("model", "isa"))
}

/// A q35 machine takes devices while it runs only in root ports that it began with: one for each NIC that it may have, and
/// for each of its other devices.
fn root_ports(mut devices: Element, guest: &GuestSpec) -> Element {
    // Of serial ports, the balloon and the entropy.
    const ALWAYS: usize = 3;
    let pci = |model| Element::new("controller").with("type", "pci").with("model", model);
    let disks = guest.disks.iter().filter(|d| d.bus == DiskBus::Virtio).count();
    let scsi = usize::from(guest.disks.iter().any(|d| d.bus == DiskBus::Scsi));
    devices = devices.child(pci("pcie-root").with("index", "0"));
    for _ in 0..ALWAYS + disks + scsi + NICS_MAX {
        devices = devices.child(pci("pcie-root-port"));
    }
    devices
}

pub(super) fn serial(guest: &GuestSpec) -> Element {
    let log = guest.console_log.to_string_lossy().into_owned();
    Element::new("serial")
        .with("type", "pty")
        .child(Element::new("log").with("file", log).with("append", "on"))
        .child(Element::new("target").with("port", "0"))
}

pub(super) fn console() -> Element {
    let target = Element::new("target").with("type", "serial").with("port", "0");
    Element::new("console").with("type", "pty").child(target)
}

pub(super) fn disk(resolved: &ResolvedDisk, target: &str) -> Element {
    let bus = match resolved.bus {
        DiskBus::Virtio => "virtio",
        DiskBus::Scsi => "scsi",
        DiskBus::Sata => "sata",
    };
    let mut disk = Element::new("disk").with("device", "disk");
    locate(&mut disk, &resolved.source);
    disk = disk.child(Element::new("target").with("dev", target).with("bus", bus));
    if resolved.read_only { disk.child(Element::new("readonly")) } else { disk }
}

/// Says in a disk element where its image is.
pub(super) fn locate(disk: &mut Element, source: &DiskSource) {
    match source {
        DiskSource::RawFile { path } => {
            disk.set("type", "file");
            let driver = disk.find_or_add("driver");
            driver.set("name", "qemu");
            driver.set("type", "raw");
            if driver.attribute("cache").is_none() {
                driver.set("cache", "none");
                driver.set("io", "native");
            }
            disk.replace(Element::new("source").with("file", path.to_string_lossy()));
        }
    }
}

/// Hands out `vda`, `vdb`, … and `sda`, `sdb`, ….
#[derive(Default)]
pub(super) struct TargetNames {
    virtio: u32,
    other: u32,
}

impl TargetNames {
    pub fn next(&mut self, bus: DiskBus, taken: impl Fn(&str) -> bool) -> String {
        loop {
            let (prefix, count) = match bus {
                DiskBus::Virtio => ("vd", &mut self.virtio),
                DiskBus::Scsi | DiskBus::Sata => ("sd", &mut self.other),
            };
            let name = format!("{prefix}{}", letters(*count));
            *count += 1;
            if !taken(&name) {
                return name;
            }
        }
    }
}

/// a, b, … z, aa, ab, …
fn letters(mut index: u32) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(b'a' + (index % 26) as u8);
        if index < 26 {
            break;
        }
        index = index / 26 - 1;
    }
    letters.iter().rev().map(|b| char::from(*b)).collect()
}
