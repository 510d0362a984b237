//! Volumes: asked for by people, made by one worker node, reported when done.

use super::draft::{Draft, check_revision};
use super::{VolumeReport, advance};
use crate::Revision;
use crate::change::{Changes, Collection};
use crate::context::Context;
use crate::name::Name;
use crate::rejection::{Rejection, RejectionKind};
use crate::task::{Subject, TaskKind};
use crate::volume::{Volume, VolumePhase, VolumeSnapshot, VolumeSpec, VolumeStatus};
use crate::world::World;

/// Smallest volume, bytes: 1 MiB.
pub const SIZE_MIN: u64 = 1 << 20;
/// Largest volume, bytes: 64 TiB.
pub const SIZE_MAX: u64 = 64 << 40;
/// Snapshots of a volume, at most.
pub const SNAPSHOTS_MAX: usize = 64;

pub(super) fn create(
    world: &World,
    name: &Name,
    spec: &VolumeSpec,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let mut draft = Draft::new(world, format!("create volume/{name}"), context);
    make(&mut draft, name, spec)?;
    Ok(with_task(draft, name, TaskKind::VolumeCreate))
}

/// Puts a new volume that is yet to be made.
pub(super) fn make(draft: &mut Draft<'_>, name: &Name, spec: &VolumeSpec) -> Result<(), Rejection> {
    let subject = format!("volume/{name}");
    if draft.world.volumes.contains_key(name) {
        return Err(Rejection::new(
            RejectionKind::AlreadyExists,
            "name-taken",
            subject,
            "a volume of that name exists",
        )
        .help("see `pvc storage volume list`"));
    }
    let mut spec = spec.clone();
    if let Some(source) = &spec.clone_of {
        let volume = draft.world.volume(&source.volume)?;
        require_ready(volume)?;
        let source_bytes = match &source.snapshot {
            Some(wanted) => {
                let found =
                    volume.status.snapshots.iter().find(|s| s.name == *wanted && s.ready && !s.deleting);
                found.ok_or_else(|| snapshot_not_found(volume, wanted))?.size_bytes
            }
            None => {
                require_quiet(&draft.world, volume)?;
                volume.status.size_bytes
            }
        };
        spec.size_bytes = spec.size_bytes.max(source_bytes);
    }
    check_size(&subject, spec.size_bytes)?;
    let mut volume = Volume {
        meta: draft.new_meta(name.clone()),
        spec,
        status: VolumeStatus {
            phase: VolumePhase::Creating,
            reason: String::new(),
            size_bytes: 0,
            snapshots: Vec::new(),
            worker: None,
            task: None,
        },
    };
    give_worker(&draft.world, &mut volume);
    draft.put_volume(volume);
    Ok(())
}

fn check_size(subject: &str, size_bytes: u64) -> Result<(), Rejection> {
    if !(SIZE_MIN..=SIZE_MAX).contains(&size_bytes) || !size_bytes.is_multiple_of(512) {
        let detail =
            format!("a volume has 1 MiB to 64 TiB, in whole sectors of 512 bytes, not {size_bytes} bytes");
        return Err(Rejection::invalid("volume-size", subject, detail));
    }
    Ok(())
}

pub(super) fn resize(
    world: &World,
    name: &Name,
    size_bytes: u64,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.volume(name)?;
    let subject = old.subject();
    check_revision(&subject, expected, old.meta.revision)?;
    require_ready(old)?;
    refuse_busy(old)?;
    check_size(&subject, size_bytes)?;
    if size_bytes <= old.spec.size_bytes {
        let detail = format!("it has {} bytes; a volume only grows", old.spec.size_bytes);
        return Err(Rejection::invalid("volume-grows", subject, detail));
    }
    require_quiet(world, old)?;
    let mut volume = Volume::clone(old);
    volume.spec.size_bytes = size_bytes;
    Ok(with_work(world, volume, format!("resize {subject}"), TaskKind::VolumeResize, context))
}

pub(super) fn delete(
    world: &World,
    name: &Name,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.volume(name)?;
    let subject = old.subject();
    check_revision(&subject, expected, old.meta.revision)?;
    if old.status.phase == VolumePhase::Deleting {
        return Err(Rejection::precondition("volume-not-deleting", subject, "it is being deleted already"));
    }
    if let Some(user) = world.volume_user(name) {
        let detail = format!("it is a disk of vm/{user}");
        return Err(Rejection::precondition("volume-unused", subject, detail)
            .help(format!("pvc vm remove {user} removes the VM with its volumes")));
    }
    if let Some(clone) = pending_clone(world, name) {
        let detail = format!("volume {clone} is being made from it");
        return Err(Rejection::precondition("volume-unused", subject, detail));
    }
    refuse_busy(old)?;
    let mut volume = Volume::clone(old);
    volume.status.phase = VolumePhase::Deleting;
    volume.status.reason.clear();
    Ok(with_work(world, volume, format!("delete {subject}"), TaskKind::VolumeDelete, context))
}

fn pending_clone<'a>(world: &'a World, name: &Name) -> Option<&'a Name> {
    let of_it = |v: &Volume| v.spec.clone_of.as_ref().is_some_and(|c| c.volume == *name);
    world.volumes.values().find(|v| v.status.phase == VolumePhase::Creating && of_it(v)).map(|v| &v.meta.name)
}

pub(super) fn create_snapshot(
    world: &World,
    name: &Name,
    snapshot: &Name,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.volume(name)?;
    require_ready(old)?;
    refuse_busy(old)?;
    require_quiet(world, old)?;
    let subject = format!("{}@{snapshot}", old.subject());
    if old.status.snapshots.iter().any(|s| s.name == *snapshot) {
        let detail = "a snapshot of that name exists";
        return Err(Rejection::new(RejectionKind::AlreadyExists, "name-taken", subject, detail));
    }
    if old.status.snapshots.len() >= SNAPSHOTS_MAX {
        let detail = format!("a volume has at most {SNAPSHOTS_MAX} snapshots");
        return Err(Rejection::new(RejectionKind::Exhausted, "snapshots-at-most", subject, detail)
            .help("remove one: pvc storage volume snapshot remove"));
    }
    let mut volume = Volume::clone(old);
    volume.status.snapshots.push(VolumeSnapshot {
        name: snapshot.clone(),
        size_bytes: volume.status.size_bytes,
        ready: false,
        deleting: false,
    });
    let kind = TaskKind::VolumeSnapshotCreate { snapshot: snapshot.clone() };
    Ok(with_work(world, volume, format!("snapshot {subject}"), kind, context))
}

pub(super) fn delete_snapshot(
    world: &World,
    name: &Name,
    snapshot: &Name,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.volume(name)?;
    refuse_busy(old)?;
    let mut volume = Volume::clone(old);
    let found = volume.status.snapshots.iter_mut().find(|s| s.name == *snapshot);
    found.ok_or_else(|| snapshot_not_found(old, snapshot))?.deleting = true;
    let kind = TaskKind::VolumeSnapshotDelete { snapshot: snapshot.clone() };
    Ok(with_work(world, volume, format!("delete snapshot {}@{snapshot}", old.subject()), kind, context))
}

fn snapshot_not_found(volume: &Volume, snapshot: &Name) -> Rejection {
    let subject = format!("{}@{snapshot}", volume.subject());
    Rejection::new(RejectionKind::NotFound, "must-exist", subject, "there is no such snapshot")
        .help(format!("pvc storage volume info {}", volume.meta.name))
}

fn require_ready(volume: &Volume) -> Result<(), Rejection> {
    let why = match volume.status.phase {
        VolumePhase::Ready => return Ok(()),
        VolumePhase::Creating => "it is still being made".to_string(),
        VolumePhase::Deleting => "it is being deleted".to_string(),
        VolumePhase::Failed => format!("it could not be made: {}", volume.status.reason),
    };
    Err(Rejection::precondition("volume-ready", volume.subject(), why)
        .help(format!("pvc storage volume info {}", volume.meta.name)))
}

fn refuse_busy(volume: &Volume) -> Result<(), Rejection> {
    let Some(task) = &volume.status.task else {
        return Ok(());
    };
    Err(Rejection::precondition("volume-busy", volume.subject(), format!("task {task} is changing it"))
        .help(format!("pvc task watch {task}")))
}

/// Nobody writes to it: its VM is proven off.
fn require_quiet(world: &World, volume: &Volume) -> Result<(), Rejection> {
    let user = world.volume_user(&volume.meta.name).and_then(|name| world.vms.get(name));
    match user {
        Some(vm) if vm.desired == crate::vm::Power::On || !vm.is_proven_off() => {
            let name = &vm.meta.name;
            let detail = format!("vm/{name}, whose disk it is, must be off for that");
            Err(Rejection::precondition("vm-must-be-off", volume.subject(), detail)
                .help(format!("pvc vm shutdown {name}")))
        }
        _ => Ok(()),
    }
}

/// The node that is to do the volume's work: one that can, the same for as long as it is heard.
pub(super) fn give_worker(world: &World, volume: &mut Volume) {
    // Who has begun keeps it for as long as it is heard, whatever else is wrong with it: only a silent
    // node is certain to have stopped.
    let heard = |name: &Name| world.nodes.get(name).is_some_and(|n| n.is_reachable());
    let able = |name: &Name| {
        let node = world
            .nodes
            .get(name)
            .filter(|n| n.is_reachable() && !n.spec.maintenance && n.status.leaving.is_none());
        node.is_some_and(|n| n.status.facts.problem.is_empty())
    };
    if !volume.has_work() {
        volume.status.worker = None;
    } else if !volume.status.worker.as_ref().is_some_and(heard) {
        let names: Vec<&Name> = world.nodes.keys().filter(|name| able(name)).collect();
        // Spread: the volume's uid picks, so that no node does all the work.
        let pick = (volume.meta.uid.as_u128() % names.len().max(1) as u128) as usize;
        volume.status.worker = names.get(pick).map(|name| Name::clone(name));
    }
}

fn with_work(
    world: &World,
    volume: Volume,
    summary: String,
    kind: TaskKind,
    context: &mut Context,
) -> Changes {
    let mut draft = Draft::new(world, summary, context);
    let name = volume.meta.name.clone();
    draft.put_volume(volume);
    with_task(draft, &name, kind)
}

fn with_task(mut draft: Draft<'_>, name: &Name, kind: TaskKind) -> Changes {
    let volume = draft.world.volumes.get(name).cloned().expect("the caller has just put it");
    let task = draft.start_task(kind, Subject::Volume { uid: volume.meta.uid, name: name.clone() });
    let mut volume = Volume::clone(&volume);
    volume.status.task = Some(task.clone());
    give_worker(&draft.world, &mut volume);
    draft.put_volume(volume);
    advance::task(&mut draft, &task);
    draft.finish_replying(Collection::Tasks, &task)
}

pub(super) fn assign_worker(world: &World, name: &Name, context: &mut Context) -> Result<Changes, Rejection> {
    let old = world.volume(name)?;
    let mut draft = Draft::new(world, format!("give volume/{name} a worker"), context);
    let mut volume = Volume::clone(old);
    give_worker(world, &mut volume);
    if volume != **old {
        draft.put_volume(volume);
        advance::all(&mut draft);
    }
    Ok(draft.finish())
}

/// What the worker did. What was asked for meanwhile stays asked for.
pub(super) fn report(draft: &mut Draft<'_>, node: &Name, report: &VolumeReport) {
    let Some(old) = draft.world.volumes.get(&report.name).cloned() else {
        return;
    };
    if old.meta.uid != report.uid || old.status.worker.as_ref() != Some(node) {
        return;
    }
    if report.deleted {
        if old.status.phase == VolumePhase::Deleting {
            let task = old.status.task.clone();
            draft.delete(Collection::Volumes, &report.name);
            if let Some(task) = task {
                advance::task(draft, &task);
            }
        }
        return;
    }
    let mut volume = Volume::clone(&old);
    let status = &mut volume.status;
    status.reason = report.status.reason.clone();
    status.size_bytes = report.status.size_bytes;
    if status.phase == VolumePhase::Creating {
        status.phase = report.status.phase;
    }
    let done = |name: &Name| report.status.snapshots.iter().find(|s| s.name == *name);
    status.snapshots.retain_mut(|snapshot| match done(&snapshot.name) {
        Some(seen) => {
            snapshot.ready |= seen.ready;
            snapshot.size_bytes = seen.size_bytes;
            true
        }
        // Not on the disk: deleted as asked, or given up.
        None => !snapshot.deleting && (snapshot.ready || report.status.reason.is_empty()),
    });
    give_worker(&draft.world, &mut volume);
    if volume != *old {
        draft.put_volume(volume);
    }
}
