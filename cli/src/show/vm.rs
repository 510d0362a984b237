//! VMs.

use pvc_proto::v1::{DiskBus, MigrationMethod, MigrationPhase, Power, Vm, VmPhase, VmSpec, VmStatus};

use super::nic;
use super::words::{choice, name, some, time, yes_no};
use crate::output::Tone;
use crate::output::page::Page;
use crate::output::table::{Cell, Column, figures, optional, render, text};
use crate::spec::nic::attachment;
use crate::spec::size::{show_bytes, show_mib};

const COLUMNS: &[Column] = &[
    text("NAME"),
    text("STATE"),
    text("NODE"),
    optional("MIGRATED"),
    figures("VCPUS"),
    figures("MEMORY"),
    text("DISKS"),
    text("NETWORKS"),
    text("TAGS"),
    optional("NOTE"),
];

/// The state in one word. A VM that is off on purpose is `disabled`.
pub fn state(vm: &Vm) -> String {
    let phase = phase(vm);
    if phase == VmPhase::Stopped && vm.desired() == Power::Disabled {
        return "disabled".to_owned();
    }
    phase_word(phase)
}

pub fn phase(vm: &Vm) -> VmPhase {
    vm.status.as_ref().map_or(VmPhase::Unspecified, VmStatus::phase)
}

fn phase_word(phase: VmPhase) -> String {
    choice(phase.as_str_name(), "VM_PHASE_")
}

pub fn tone(phase: VmPhase) -> Tone {
    match phase {
        VmPhase::Running => Tone::Good,
        VmPhase::Pending
        | VmPhase::Starting
        | VmPhase::ShuttingDown
        | VmPhase::Migrating
        | VmPhase::Backoff
        | VmPhase::Deleting => Tone::Busy,
        VmPhase::Failed | VmPhase::Unknown => Tone::Bad,
        VmPhase::Stopped | VmPhase::Unspecified => Tone::Dim,
    }
}

pub fn table(vms: &[&Vm], colour: bool) -> String {
    render(COLUMNS, vms.iter().map(|one| row(one)).collect(), colour)
}

fn row(vm: &Vm) -> Vec<Cell> {
    let none = VmSpec::default();
    let spec = vm.spec.as_ref().unwrap_or(&none);
    let status = vm.status.clone().unwrap_or_default();
    let join = |parts: Vec<&str>| Cell::from(parts.join(","));
    vec![
        name(vm.meta.as_ref()).into(),
        Cell::toned(state(vm), tone(phase(vm))),
        node(vm).into(),
        if status.migrated_from.is_empty() {
            "".into()
        } else {
            Cell::toned(format!("from {}", status.migrated_from), Tone::Busy)
        },
        spec.vcpus.to_string().into(),
        show_mib(spec.memory_mib).into(),
        join(spec.disks.iter().map(|disk| disk.volume.as_str()).collect()),
        join(spec.nics.iter().map(attachment).collect()),
        join(spec.tags.iter().map(String::as_str).collect()),
        note(vm).into(),
    ]
}

/// The node that it is placed on; empty before it is first started.
pub fn node(vm: &Vm) -> &str {
    let placement = vm.status.as_ref().and_then(|status| status.placement.as_ref());
    placement.map_or("", |placement| placement.node.as_str())
}

/// Why it is not simply as people want it.
fn note(vm: &Vm) -> String {
    let Some(status) = &vm.status else { return String::new() };
    let mut notes = Vec::new();
    if let Some(migration) = &status.migration {
        notes.push(format!("to {}", migration.to));
    }
    if !status.reason.is_empty() && status.phase() != VmPhase::Stopped {
        notes.push(status.reason.clone());
    }
    if status.restart_pending {
        notes.push("restart pending".to_owned());
    }
    notes.join("; ")
}

/// Everything that is known of it.
pub fn page(vm: &Vm, colour: bool) -> String {
    let meta = vm.meta.clone().unwrap_or_default();
    let spec = vm.spec.clone().unwrap_or_default();
    let status = vm.status.clone().unwrap_or_default();
    let observed = status.observed.clone().unwrap_or_default();
    let placement = status.placement.clone().unwrap_or_default();
    let (priority, recovery) = recovery(&spec);
    let page = Page::new(colour)
        .row("Name", &meta.name)
        .row("UID", &meta.uid)
        .toned("State", state(vm), tone(phase(vm)))
        .row("Reason", &status.reason)
        .row("Since", time(status.since.as_ref()))
        .row("Wanted", choice(vm.desired().as_str_name(), "POWER_"))
        .row("Node", if placement.node.is_empty() { "none yet" } else { &placement.node })
        .row("Placement epoch", some(placement.epoch))
        .row("Home", &spec.home)
        .row("Migrated from", &status.migrated_from)
        .row("Migration", migration(&status))
        .row("Task", &vm.task)
        .row(
            "Restart pending",
            if status.restart_pending { "yes: the spec has changed since it was started" } else { "" },
        )
        .row("Being removed", removal(vm));
    let page = page
        .row("vCPUs", spec.vcpus.to_string())
        .row("Memory", show_mib(spec.memory_mib))
        .row("CPU model", if spec.cpu_model.is_empty() { "the host's" } else { &spec.cpu_model })
        .row("Machine", if spec.machine.is_empty() { "pc" } else { &spec.machine })
        .section("Disks", &disks(&spec))
        .section("Networks", &nic::lines(&spec))
        .section("Direct boot", &boot(&spec))
        .row("Raw XML", if spec.raw_xml.is_empty() { "" } else { "yes; see pvc vm dump" })
        .row("Tags", spec.tags.join(", "))
        .section("Notes", &spec.meta.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>())
        .row("Node limit", spec.node_limit.join(", "))
        .row("Migration method", method(spec.migration_method()))
        .row("Max downtime", format!("{} ms", default_to(spec.migration_max_downtime_ms, 100)))
        .row("Shutdown grace", format!("{} s", default_to(spec.shutdown_grace_seconds, 180)))
        .row(
            "Max restarts",
            format!("{} in ten minutes", spec.restart.and_then(|restart| restart.max_restarts).unwrap_or(5)),
        )
        .row("Priority", priority.to_string())
        .row("When its node is dead", recovery);
    page.section("Seen by its node", &seen(&observed))
        .row("Revision", meta.revision.to_string())
        .row("Created", time(meta.create_time.as_ref()))
        .row("Changed", time(meta.update_time.as_ref()))
        .finish()
}

/// Its priority, and what becomes of it when its node is dead.
fn recovery(spec: &VmSpec) -> (u32, &'static str) {
    let word = if spec.recover.unwrap_or(true) { "started elsewhere" } else { "left to a person" };
    (spec.priority.unwrap_or(100), word)
}

/// Zero in a spec means the default.
fn default_to(given: u32, default: u32) -> u32 {
    if given == 0 { default } else { given }
}

pub fn method(method: MigrationMethod) -> String {
    match method {
        MigrationMethod::Unspecified => "live".to_owned(),
        other => choice(other.as_str_name(), "MIGRATION_METHOD_"),
    }
}

fn migration(status: &VmStatus) -> String {
    let Some(migration) = &status.migration else { return String::new() };
    let phase = match migration.phase() {
        MigrationPhase::Preparing => "the target gets ready",
        MigrationPhase::Transferring => "memory is on its way",
        MigrationPhase::Unspecified => "begins",
    };
    let kind = if migration.permanent { "for good" } else { "for a while" };
    let cancel = if migration.cancel { ", being cancelled" } else { "" };
    format!("{} to {}, {kind}: {phase}{cancel}", migration.from, migration.to)
}

fn removal(vm: &Vm) -> &'static str {
    match (vm.deleting, vm.delete_volumes) {
        (false, _) => "",
        (true, false) => "yes; its volumes stay",
        (true, true) => "yes, with its volumes",
    }
}

fn disks(spec: &VmSpec) -> Vec<String> {
    let disk = |disk: &pvc_proto::v1::Disk| {
        let bus = match disk.bus() {
            DiskBus::Unspecified => "virtio".to_owned(),
            other => choice(other.as_str_name(), "DISK_BUS_"),
        };
        let mut line = format!("{} ({bus}", disk.volume);
        if disk.create_bytes > 0 {
            line.push_str(&format!(", made with {}", show_bytes(disk.create_bytes)));
        }
        if disk.read_only {
            line.push_str(", read-only");
        }
        line + ")"
    };
    spec.disks.iter().map(disk).collect()
}

fn boot(spec: &VmSpec) -> Vec<String> {
    let Some(boot) = &spec.boot else { return Vec::new() };
    let parts = [("kernel", &boot.kernel), ("initrd", &boot.initrd), ("cmdline", &boot.cmdline)];
    parts
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name} {value}"))
        .collect()
}

fn seen(observed: &pvc_proto::v1::Observed) -> Vec<String> {
    if observed.node.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![format!(
        "{} on {} since {}",
        phase_word(observed.phase()),
        observed.node,
        time(observed.since.as_ref())
    )];
    if !observed.reason.is_empty() {
        lines.push(observed.reason.clone());
    }
    if observed.restarts > 0 {
        lines.push(format!("restarted by itself: {} times", observed.restarts));
    }
    lines
}

/// What `vm meta` shows.
pub fn settings(vm: &Vm, colour: bool) -> String {
    let spec = vm.spec.clone().unwrap_or_default();
    let limit = spec.node_limit.join(", ");
    let (priority, recovery) = recovery(&spec);
    Page::new(colour)
        .row("Node limit", if limit.is_empty() { "any node" } else { &limit })
        .row("Migration method", method(spec.migration_method()))
        .row("Max downtime", format!("{} ms", default_to(spec.migration_max_downtime_ms, 100)))
        .row("Priority", priority.to_string())
        .row("When its node is dead", recovery)
        .row("Disabled", yes_no(vm.desired() == Power::Disabled))
        .section("Notes", &spec.meta.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>())
        .finish()
}
