//! Defining, changing, renaming and removing VMs.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{Draft, check_revision};
use super::{advance, nic, volume};
use crate::Revision;
use crate::change::{Changes, Collection};
use crate::context::Context;
use crate::name::Name;
use crate::plan;
use crate::rejection::{Rejection, RejectionKind};
use crate::task::{Subject, TaskKind};
use crate::vm::{Mac, MigrationMethod, Nic, NicChange, Power, Vm, VmSpec};
use crate::volume::VolumeSpec;
use crate::world::World;

/// What `modify` changes: only what is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpecPatch {
    /// The whole spec anew; the fields below are applied to it.
    pub spec: Option<VmSpec>,
    pub vcpus: Option<u32>,
    pub memory_mib: Option<u64>,
    pub add_tags: BTreeSet<Name>,
    pub remove_tags: BTreeSet<Name>,
    pub set_notes: BTreeMap<String, String>,
    pub remove_notes: BTreeSet<String>,
    pub migration_method: Option<MigrationMethod>,
    pub migration_max_downtime_ms: Option<u32>,
    pub node_limit: Option<BTreeSet<Name>>,
    pub recover: Option<bool>,
    pub priority: Option<u32>,
    pub add_nics: Vec<Nic>,
    pub change_nics: Vec<NicChange>,
    pub remove_nics: BTreeSet<Mac>,
}

/// Tags of a VM at most.
pub const TAGS_MAX: usize = 64;
/// Notes of a VM at most.
pub const NOTES_MAX: usize = 64;

pub(super) fn create(
    world: &World,
    name: &Name,
    spec: &VmSpec,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let subject = format!("vm/{name}");
    if world.vms.contains_key(name) {
        return Err(name_taken(&subject));
    }
    let mut draft = Draft::new(world, format!("define {subject}"), context);
    let meta = draft.new_meta(name.clone());
    let mut vm = Vm::new(meta, spec.clone(), world.incarnation());
    check_spec(&draft.world, &vm)?;
    nic::complete_macs(&mut draft, &mut vm);
    make_missing_volumes(&mut draft, &vm)?;
    let subject = vm.subject();
    draft.put_vm(vm);
    super::rule::refuse_contradiction(&draft.world, &subject)?;
    Ok(draft.finish_replying(Collection::Vms, name))
}

pub(super) fn update(
    world: &World,
    name: &Name,
    patch: &SpecPatch,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.vm(name)?;
    let subject = old.subject();
    check_revision(&subject, expected, old.meta.revision)?;
    refuse_deleting(old)?;
    let mut vm = Vm::clone(old);
    vm.spec = patched(old, patch)?;
    check_spec(world, &vm)?;

    let needs_restart = hardware(&vm.spec) != hardware(&old.spec) || nic::models_differ(&old.spec, &vm.spec);
    // A running guest still writes to a disk that its spec no longer names, and another VM could take it.
    if vm.spec.disks != old.spec.disks && !old.is_proven_off() {
        let detail = "its disks can be changed only while it is off";
        return Err(Rejection::precondition("vm-must-be-off", subject, detail)
            .help(format!("pvc vm shutdown {name}")));
    }
    if needs_restart {
        // No new intent: its node has nothing to do before the next start, which brings one.
        vm.spec_generation += 1;
    }
    let mut draft = Draft::new(world, format!("modify {subject}"), context);
    nic::complete_macs(&mut draft, &mut vm);
    make_missing_volumes(&mut draft, &vm)?;
    if vm != **old {
        let ruled = vm.spec.tags != old.spec.tags || vm.spec.node_limit != old.spec.node_limit;
        draft.put_vm(vm);
        if ruled {
            super::rule::refuse_contradiction(&draft.world, &old.subject())?;
        }
    }
    Ok(draft.finish_replying(Collection::Vms, name))
}

fn patched(vm: &Vm, patch: &SpecPatch) -> Result<VmSpec, Rejection> {
    let old = &vm.spec;
    let mut spec = patch.spec.clone().unwrap_or_else(|| old.clone());
    if let Some(new) = &patch.spec {
        // The whole spec anew, but a NIC whose address was not given keeps the one it has.
        for (nic, old_nic) in spec.nics.iter_mut().zip(&old.nics) {
            nic.mac = nic.mac.or(old_nic.mac);
        }
        spec.home = new.home.clone().or_else(|| old.home.clone());
    }
    spec.vcpus = patch.vcpus.unwrap_or(spec.vcpus);
    spec.memory_mib = patch.memory_mib.unwrap_or(spec.memory_mib);
    spec.tags.extend(patch.add_tags.iter().cloned());
    spec.tags.retain(|tag| !patch.remove_tags.contains(tag));
    spec.notes.extend(patch.set_notes.clone());
    spec.notes.retain(|key, _| !patch.remove_notes.contains(key));
    spec.migration_method = patch.migration_method.unwrap_or(spec.migration_method);
    spec.migration_max_downtime_ms =
        patch.migration_max_downtime_ms.unwrap_or(spec.migration_max_downtime_ms);
    spec.recover = patch.recover.unwrap_or(spec.recover);
    spec.priority = patch.priority.unwrap_or(spec.priority);
    if let Some(limit) = &patch.node_limit {
        spec.node_limit = limit.clone();
    }
    nic::patch(vm, &mut spec, patch)?;
    Ok(spec)
}

/// What a running guest is made of and can't change: a change of it needs a restart.
fn hardware(spec: &VmSpec) -> impl PartialEq + use<'_> {
    ((spec.vcpus, spec.memory_mib, &spec.disks), (&spec.boot, &spec.raw_xml, &spec.cpu_model, spec.machine))
}

pub(super) fn rename(
    world: &World,
    name: &Name,
    new_name: &Name,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.vm(name)?;
    check_revision(&old.subject(), expected, old.meta.revision)?;
    refuse_deleting(old)?;
    if name == new_name {
        return Ok(
            Changes::new("").replying(crate::ObjectKey { collection: Collection::Vms, name: name.clone() })
        );
    }
    let new_subject = format!("vm/{new_name}");
    if world.vms.contains_key(new_name) {
        return Err(name_taken(&new_subject));
    }
    require_off(old, "renamed")?;
    refuse_busy(old)?;
    let mut vm = Vm::clone(old);
    vm.meta.name = new_name.clone();
    let mut draft = Draft::new(world, format!("rename {} to {new_subject}", old.subject()), context);
    draft.delete(Collection::Vms, name);
    draft.put_vm(vm);
    super::rule::rename_vm(&mut draft, name, new_name);
    Ok(draft.finish_replying(Collection::Vms, new_name))
}

pub(super) fn delete(
    world: &World,
    name: &Name,
    delete_volumes: bool,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.vm(name)?;
    check_revision(&old.subject(), expected, old.meta.revision)?;
    refuse_deleting(old)?;
    refuse_busy(old)?;
    require_off(old, "removed")?;
    let verb = if delete_volumes { "remove" } else { "undefine" };
    let mut draft = Draft::new(world, format!("{verb} {}", old.subject()), context);
    let subject = Subject::Vm { uid: old.uid(), name: name.clone() };
    let task = draft.start_task(TaskKind::VmDelete, subject);
    let mut vm = Vm::clone(old);
    vm.deleting = true;
    vm.delete_volumes = delete_volumes;
    vm.task = Some(task.clone());
    draft.put_vm(vm);
    advance::task(&mut draft, &task);
    Ok(draft.finish_replying(Collection::Tasks, &task))
}

/// Rules of a spec against the rest of the world. `vm` is as it will be.
fn check_spec(world: &World, vm: &Vm) -> Result<(), Rejection> {
    let (subject, spec) = (vm.subject(), &vm.spec);
    if spec.tags.len() > TAGS_MAX {
        return Err(Rejection::invalid("tags-at-most", subject, format!("a VM has at most {TAGS_MAX} tags")));
    }
    if spec.notes.len() > NOTES_MAX {
        return Err(Rejection::invalid(
            "meta-at-most",
            subject,
            format!("a VM has at most {NOTES_MAX} meta entries"),
        ));
    }
    for node in spec.node_limit.iter().chain(&spec.home) {
        if !world.nodes.contains_key(node) {
            let detail = format!("node {node} does not exist");
            return Err(
                Rejection::precondition("node-must-exist", subject, detail).help("see `pvc node list`")
            );
        }
    }
    if let Some(home) =
        spec.home.as_ref().filter(|h| !spec.node_limit.is_empty() && !spec.node_limit.contains(*h))
    {
        let detail = format!("its home {home} is not among the nodes that it may run on");
        return Err(Rejection::invalid("home-in-node-limit", subject, detail));
    }
    let mut volumes = BTreeSet::new();
    for disk in &spec.disks {
        if !volumes.insert(&disk.volume) {
            let detail = format!("volume {} is a disk of it twice", disk.volume);
            return Err(Rejection::invalid("disk-once", subject, detail));
        }
        check_disk(world, vm, disk)?;
    }
    nic::check(world, vm)?;
    plan::check_fits_some_node(world, &subject, spec)
}

fn check_disk(world: &World, vm: &Vm, disk: &crate::vm::Disk) -> Result<(), Rejection> {
    let subject = vm.subject();
    let Some(volume) = world.volumes.get(&disk.volume) else {
        if disk.create_bytes > 0 {
            return Ok(());
        }
        let detail = format!("volume {} does not exist", disk.volume);
        return Err(Rejection::precondition("volume-must-exist", subject, detail)
            .help(format!("pvc storage volume add {} SIZE, or give the disk a size", disk.volume)));
    };
    if volume.status.phase == crate::volume::VolumePhase::Deleting {
        let detail = format!("volume {} is being deleted", disk.volume);
        return Err(Rejection::precondition("volume-must-exist", subject, detail));
    }
    match world.volume_user(&disk.volume) {
        Some(user) if world.vms.get(user).is_some_and(|u| u.uid() != vm.uid()) => {
            let detail = format!("volume {} is a disk of vm/{user}", disk.volume);
            Err(Rejection::precondition("volume-one-user", subject, detail)
                .help("clone it: pvc storage volume clone"))
        }
        _ => Ok(()),
    }
}

fn make_missing_volumes(draft: &mut Draft<'_>, vm: &Vm) -> Result<(), Rejection> {
    for disk in &vm.spec.disks {
        if !draft.world.volumes.contains_key(&disk.volume) {
            let spec = VolumeSpec { pool: disk.pool.clone(), size_bytes: disk.create_bytes, clone_of: None };
            volume::make(draft, &disk.volume, &spec)?;
        }
    }
    Ok(())
}

fn name_taken(subject: &str) -> Rejection {
    Rejection::new(RejectionKind::AlreadyExists, "name-taken", subject, "a VM of that name exists")
        .help("choose another name, or see `pvc vm list`")
}

pub(super) fn refuse_deleting(vm: &Vm) -> Result<(), Rejection> {
    if vm.deleting {
        return Err(Rejection::precondition("vm-being-removed", vm.subject(), "it is being removed"));
    }
    Ok(())
}

pub(super) fn refuse_busy(vm: &Vm) -> Result<(), Rejection> {
    let Some(task) = &vm.task else { return Ok(()) };
    let detail = format!("task {task} is changing it");
    Err(Rejection::precondition("vm-busy", vm.subject(), detail)
        .help(format!("pvc task watch {task}, or pvc task cancel {task}")))
}

/// Off, and proven so.
pub(super) fn require_off(vm: &Vm, participle: &str) -> Result<(), Rejection> {
    let name = &vm.meta.name;
    if vm.desired == Power::On {
        let detail = format!("only a VM that is off can be {participle}");
        return Err(Rejection::precondition("vm-must-be-off", vm.subject(), detail)
            .help(format!("pvc vm shutdown {name}, or pvc vm stop {name}")));
    }
    if !vm.is_proven_off() {
        let place = vm.placement.as_ref().map(|p| p.node.to_string()).unwrap_or_default();
        let detail = format!("node {place} has not confirmed yet that it is off");
        return Err(Rejection::precondition("vm-must-be-off", vm.subject(), detail)
            .help(format!("pvc vm info {name}")));
    }
    Ok(())
}
