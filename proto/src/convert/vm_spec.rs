//! What people want of a VM. Defaults are filled in here, on arrival, so that what is stored says all.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use pvc_model::Rejection;
use pvc_model::command::SpecPatch;
use pvc_model::vm::{DirectBoot, Disk, DiskBus, Machine, MigrationMethod, PRIORITY_DEFAULT, VmSpec};

use super::nic::{nic, nic_change, nic_mac};
use super::refuse::{At, WireEnum, wire_enum, wire_name};
use super::volume::POOL_DEFAULT;
use crate::v1;

wire_enum!(v1::DiskBus, DiskBus, { Virtio, Scsi, Sata });
wire_enum!(v1::MigrationMethod, MigrationMethod, { Live, Shutdown });

const VCPUS: RangeInclusive<u32> = 1..=512;
const MEMORY_MIB: RangeInclusive<u64> = 16..=16_777_216;
const MIGRATION_MAX_DOWNTIME_MS: RangeInclusive<u32> = 1..=60_000;
const MIGRATION_MAX_DOWNTIME_MS_DEFAULT: u32 = 100;
const SHUTDOWN_GRACE_SECONDS_DEFAULT: u32 = 180;
const MAX_RESTARTS_DEFAULT: u32 = 5;
const PRIORITY: RangeInclusive<u32> = 0..=1000;
const TAGS_MAX: usize = 64;
const NOTES_MAX: usize = 64;
const NOTE_KEY_CHARS_MAX: usize = 63;
const NOTE_CHARS_MAX: usize = 1024;
/// Below the store's limit of 256 KiB for a value, with room for the rest of the VM.
const RAW_XML_BYTES_MAX: usize = 192 * 1024;

/// Unset: LIVE.
pub fn migration_method(at: &At<'_>, number: i32) -> Result<MigrationMethod, Rejection> {
    MigrationMethod::from_wire_or(number, MigrationMethod::Live, at)
}

/// Unset: the VM's own.
pub fn optional_migration_method(at: &At<'_>, number: i32) -> Result<Option<MigrationMethod>, Rejection> {
    if number == 0 { Ok(None) } else { MigrationMethod::from_wire(number, at).map(Some) }
}

impl From<&VmSpec> for v1::VmSpec {
    fn from(spec: &VmSpec) -> Self {
        v1::VmSpec {
            vcpus: spec.vcpus,
            memory_mib: spec.memory_mib,
            disks: spec.disks.iter().map(Into::into).collect(),
            nics: spec.nics.iter().map(Into::into).collect(),
            tags: spec.tags.iter().map(ToString::to_string).collect(),
            meta: spec.notes.clone(),
            boot: spec.boot.as_ref().map(|boot| v1::DirectBoot {
                kernel: boot.kernel.clone(),
                initrd: boot.initrd.clone(),
                cmdline: boot.cmdline.clone(),
            }),
            migration_method: v1::MigrationMethod::from(spec.migration_method).into(),
            migration_max_downtime_ms: spec.migration_max_downtime_ms,
            node_limit: spec.node_limit.iter().map(ToString::to_string).collect(),
            home: wire_name(spec.home.as_ref()),
            restart: Some(v1::RestartPolicy { max_restarts: Some(spec.max_restarts) }),
            raw_xml: spec.raw_xml.clone(),
            cpu_model: spec.cpu_model.clone(),
            machine: match spec.machine {
                Machine::Pc => "pc".to_string(),
                Machine::Q35 => "q35".to_string(),
            },
            shutdown_grace_seconds: spec.shutdown_grace_seconds,
            recover: Some(spec.recover),
            priority: Some(spec.priority),
        }
    }
}

impl From<&Disk> for v1::Disk {
    fn from(disk: &Disk) -> Self {
        v1::Disk {
            volume: disk.volume.to_string(),
            bus: v1::DiskBus::from(disk.bus).into(),
            read_only: disk.read_only,
            create_bytes: disk.create_bytes,
            pool: disk.pool.to_string(),
        }
    }
}

/// `at` is the spec itself: `At::new("vm/web1").field("spec")`.
pub fn vm_spec(at: &At<'_>, wire: &v1::VmSpec) -> Result<VmSpec, Rejection> {
    let or_default = |value, default| if value == 0 { default } else { value };
    let downtime = or_default(wire.migration_max_downtime_ms, MIGRATION_MAX_DOWNTIME_MS_DEFAULT);
    let grace = or_default(wire.shutdown_grace_seconds, SHUTDOWN_GRACE_SECONDS_DEFAULT);
    let max_restarts = wire.restart.as_ref().and_then(|r| r.max_restarts).unwrap_or(MAX_RESTARTS_DEFAULT);
    at.field("tags").at_most(wire.tags.len(), TAGS_MAX, "tags")?;
    at.field("raw_xml").at_most(wire.raw_xml.len(), RAW_XML_BYTES_MAX, "bytes")?;
    Ok(VmSpec {
        vcpus: at.field("vcpus").within(wire.vcpus, VCPUS)?,
        memory_mib: at.field("memory_mib").within(wire.memory_mib, MEMORY_MIB)?,
        disks: each(&wire.disks, |i, d| disk(&at.item("disks", i), d))?,
        nics: each(&wire.nics, |i, n| nic(&at.item("nics", i), n))?,
        tags: at.names("tags", &wire.tags)?,
        notes: notes(&at.field("meta"), &wire.meta)?,
        boot: wire.boot.as_ref().map(|boot| direct_boot(&at.field("boot"), boot)).transpose()?,
        migration_method: migration_method(&at.field("migration_method"), wire.migration_method)?,
        migration_max_downtime_ms: at
            .field("migration_max_downtime_ms")
            .within(downtime, MIGRATION_MAX_DOWNTIME_MS)?,
        node_limit: at.names("node_limit", &wire.node_limit)?,
        home: at.field("home").optional_name(&wire.home)?,
        max_restarts: at.field("restart").field("max_restarts").within(max_restarts, 0..=100)?,
        raw_xml: wire.raw_xml.clone(),
        cpu_model: cpu_model(&at.field("cpu_model"), &wire.cpu_model)?,
        machine: match wire.machine.as_str() {
            "" | "pc" => Machine::Pc,
            "q35" => Machine::Q35,
            other => {
                let detail = format!("must be \"pc\" or \"q35\", not {other:?}");
                return Err(at.field("machine").refuse("unknown-value", detail));
            }
        },
        shutdown_grace_seconds: at.field("shutdown_grace_seconds").within(grace, 1..=3600)?,
        recover: wire.recover.unwrap_or(true),
        priority: at.field("priority").within(wire.priority.unwrap_or(PRIORITY_DEFAULT), PRIORITY)?,
    })
}

/// What `modify` changes. A whole spec is refused beside single changes: it would be unclear which holds.
pub fn spec_patch(at: &At<'_>, wire: &v1::UpdateVmRequest) -> Result<SpecPatch, Rejection> {
    let spec = wire.spec.as_ref().map(|spec| vm_spec(&at.field("spec"), spec)).transpose()?;
    let vcpus = wire.vcpus.map(|n| at.field("vcpus").within(n, VCPUS)).transpose()?;
    let memory_mib = wire.memory_mib.map(|n| at.field("memory_mib").within(n, MEMORY_MIB)).transpose()?;
    let downtime = wire
        .migration_max_downtime_ms
        .map(|ms| at.field("migration_max_downtime_ms").within(ms, MIGRATION_MAX_DOWNTIME_MS));
    let method = wire.migration_method.map(|m| migration_method(&at.field("migration_method"), m));
    if !wire.set_node_limit && !wire.node_limit.is_empty() {
        return Err(at.field("set_node_limit").refuse("must-be-set", "must be set with node_limit"));
    }
    let node_limit = wire.set_node_limit.then(|| at.names("node_limit", &wire.node_limit)).transpose()?;
    let patch = SpecPatch {
        spec: None,
        vcpus,
        memory_mib,
        add_tags: at.names("add_tags", &wire.add_tags)?,
        remove_tags: at.names("remove_tags", &wire.remove_tags)?,
        set_notes: notes(&at.field("set_meta"), &wire.set_meta)?,
        remove_notes: wire.remove_meta.iter().cloned().collect(),
        migration_method: method.transpose()?,
        migration_max_downtime_ms: downtime.transpose()?,
        node_limit,
        recover: wire.recover,
        priority: wire.priority.map(|n| at.field("priority").within(n, PRIORITY)).transpose()?,
        add_nics: each(&wire.add_nics, |i, n| nic(&at.item("add_nics", i), n))?,
        change_nics: each(&wire.change_nics, |i, c| nic_change(&at.item("change_nics", i), c))?,
        remove_nics: each(&wire.remove_nics, |i, mac| nic_mac(&at.item("remove_nics", i), mac))?,
    };
    if spec.is_some() && patch != SpecPatch::default() {
        let detail = "stands for the whole spec, and can't be given with single changes";
        return Err(at.field("spec").refuse("one-way-to-change", detail));
    }
    Ok(SpecPatch { spec, ..patch })
}

/// Reads all values of a repeated field, each with its place in it.
fn each<W, T, C: FromIterator<T>>(
    values: &[W],
    read: impl Fn(usize, &W) -> Result<T, Rejection>,
) -> Result<C, Rejection> {
    values.iter().enumerate().map(|(index, value)| read(index, value)).collect()
}

fn disk(at: &At<'_>, wire: &v1::Disk) -> Result<Disk, Rejection> {
    let pool = if wire.pool.is_empty() { POOL_DEFAULT } else { &wire.pool };
    Ok(Disk {
        volume: at.field("volume").name(&wire.volume)?,
        bus: DiskBus::from_wire_or(wire.bus, DiskBus::Virtio, &at.field("bus"))?,
        read_only: wire.read_only,
        create_bytes: wire.create_bytes,
        pool: at.field("pool").name(pool)?,
    })
}

fn notes(at: &At<'_>, wire: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Rejection> {
    at.at_most(wire.len(), NOTES_MAX, "notes")?;
    for (key, value) in wire {
        check_note(at, key, value)?;
    }
    Ok(wire.clone())
}

/// One of the user's own notes.
fn check_note(at: &At<'_>, key: &str, value: &str) -> Result<(), Rejection> {
    if key.is_empty() {
        return Err(at.refuse("must-be-set", "a key must not be empty"));
    }
    at.at_most(key.chars().count(), NOTE_KEY_CHARS_MAX, "characters in a key")?;
    at.field(key).at_most(value.chars().count(), NOTE_CHARS_MAX, "characters")
}

fn direct_boot(at: &At<'_>, wire: &v1::DirectBoot) -> Result<DirectBoot, Rejection> {
    if wire.kernel.is_empty() {
        return Err(at.field("kernel").refuse("must-be-set", "must be the path of a kernel on the host"));
    }
    Ok(DirectBoot { kernel: wire.kernel.clone(), initrd: wire.initrd.clone(), cmdline: wire.cmdline.clone() })
}

/// libvirt's names are like "Skylake-Server-IBRS", "EPYC_v4", "486".
fn cpu_model(at: &At<'_>, text: &str) -> Result<String, Rejection> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    if text.len() > 63 || !text.chars().all(allowed) {
        let detail = format!("must be libvirt's name of a CPU model, not {text:?}");
        return Err(at.refuse("bad-name", detail));
    }
    Ok(text.to_string())
}
