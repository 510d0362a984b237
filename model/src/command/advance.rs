//! Going on with tasks as far as the world lets them. Level-triggered: a task's next step follows from
//! the objects as they are, so it may be called at any time, by any leader, any number of times.

use super::draft::Draft;
use super::migration::end_at_source;
use super::relocate::{place_on, remember_home, settle_home};
use super::{balance, drain, leave};
use crate::change::Collection;
use crate::name::Name;
use crate::node::Node;
use crate::phase::{VmPhase, vm_phase};
use crate::task::{Subject, Task, TaskKind, TaskState};
use crate::vm::{MigrationMethod, MigrationPhase, ObservedPhase, Power, Vm};
use crate::volume::{Volume, VolumePhase};

/// Seconds that a migration's target may take to get ready.
pub const PREPARE_SECONDS_MAX: u64 = 60;

/// Goes on with every running task.
pub(super) fn all(draft: &mut Draft<'_>) {
    let running: Vec<Name> = draft.world.running_tasks().map(|t| t.meta.name.clone()).collect();
    for name in running {
        task(draft, &name);
    }
}

pub(super) fn task(draft: &mut Draft<'_>, name: &Name) {
    let Some(task) = draft.world.tasks.get(name).filter(|t| !t.is_over()).cloned() else {
        return;
    };
    match &task.subject {
        Subject::Vm { uid, .. } => match draft.world.vm_by_uid(*uid).cloned() {
            Some(vm) => vm_task(draft, &task, &vm),
            None => draft.end_task(name, TaskState::Failed, "the VM is gone"),
        },
        Subject::Volume { uid, name: volume } => {
            let found = draft.world.volumes.get(volume).filter(|v| v.meta.uid == *uid).cloned();
            volume_task(draft, &task, found.as_deref());
        }
        Subject::Node { uid, name: node } => {
            match draft.world.nodes.get(node).filter(|n| n.meta.uid == *uid).cloned() {
                Some(node) => node_task(draft, &task, &node),
                None => draft.end_task(name, TaskState::Failed, "the node is gone"),
            }
        }
        Subject::Cluster { .. } => balance::go_on(draft, &task),
    }
}

fn node_task(draft: &mut Draft<'_>, task: &Task, node: &Node) {
    match task.kind {
        TaskKind::NodeFlush { vms, stop_unmovable } => {
            drain::go_on_flushing(draft, task, node, vms, stop_unmovable);
        }
        TaskKind::NodeShutdown { vms } => leave::go_on(draft, task, node, vms),
        TaskKind::NodeReady { vms } => drain::go_on_returning(draft, task, node, vms),
        _ => draft.end_task(&task.meta.name, TaskState::Failed, "no node's task on a node: a defect"),
    }
}

fn vm_task(draft: &mut Draft<'_>, task: &Task, vm: &Vm) {
    match &task.kind {
        TaskKind::VmStart => start(draft, task, vm),
        TaskKind::VmShutdown | TaskKind::VmStop | TaskKind::VmDisable => go_off(draft, task, vm),
        TaskKind::VmRestart => restart(draft, task, vm),
        TaskKind::VmMigrate { to, method } | TaskKind::VmUnmigrate { to, method } => {
            relocate(draft, task, vm, to, *method, false);
        }
        TaskKind::VmMove { to, method } => relocate(draft, task, vm, to, *method, true),
        TaskKind::VmRebalance { to, method } => relocate(draft, task, vm, to, *method, false),
        TaskKind::VmDelete => remove(draft, task, vm),
        TaskKind::VolumeCreate
        | TaskKind::VolumeResize
        | TaskKind::VolumeDelete
        | TaskKind::VolumeSnapshotCreate { .. }
        | TaskKind::VolumeSnapshotDelete { .. }
        | TaskKind::NodeFlush { .. }
        | TaskKind::NodeShutdown { .. }
        | TaskKind::NodeReady { .. }
        | TaskKind::ClusterBalance => {
            draft.end_task(&task.meta.name, TaskState::Failed, "no VM's task on a VM: a defect");
        }
    }
}

/// How the guest's start at the present boot generation stands.
enum Boot {
    Running,
    Failed(String),
    Waiting(String),
}

fn boot(draft: &Draft<'_>, vm: &Vm) -> Boot {
    if let Some(seen) = vm.current_observation().filter(|o| o.boot_generation >= vm.boot_generation) {
        match seen.phase {
            ObservedPhase::Running => return Boot::Running,
            ObservedPhase::Failed => return Boot::Failed(seen.reason.clone()),
            ObservedPhase::Stopped
            | ObservedPhase::Pending
            | ObservedPhase::Starting
            | ObservedPhase::ShuttingDown
            | ObservedPhase::Backoff => {}
        }
    }
    let (phase, reason) = vm_phase(&draft.world, vm);
    let worth_telling = matches!(phase, VmPhase::Pending | VmPhase::Backoff | VmPhase::Unknown);
    Boot::Waiting(if worth_telling { reason } else { String::new() })
}

fn start(draft: &mut Draft<'_>, task: &Task, vm: &Vm) {
    let name = &task.meta.name;
    if task.cancel_requested {
        let mut vm = vm.clone();
        vm.desired = Power::Off;
        vm.off_grace_seconds = 0;
        vm.intent += 1;
        draft.put_vm(vm);
        return draft.end_task(name, TaskState::Cancelled, "it is switched off");
    }
    match boot(draft, vm) {
        Boot::Running => draft.end_task(name, TaskState::Succeeded, ""),
        Boot::Failed(reason) => draft.end_task(name, TaskState::Failed, reason),
        Boot::Waiting(why) => draft.set_stage(name, 1, &why),
    }
}

fn restart(draft: &mut Draft<'_>, task: &Task, vm: &Vm) {
    let name = &task.meta.name;
    match boot(draft, vm) {
        Boot::Running => draft.end_task(name, TaskState::Succeeded, ""),
        Boot::Failed(reason) => draft.end_task(name, TaskState::Failed, reason),
        Boot::Waiting(why) => {
            let old_guest_on = vm.current_observation().is_some_and(|o| {
                o.boot_generation < vm.boot_generation
                    && matches!(o.phase, ObservedPhase::Running | ObservedPhase::ShuttingDown)
            });
            draft.set_stage(name, u32::from(!old_guest_on), &why);
        }
    }
}

fn go_off(draft: &mut Draft<'_>, task: &Task, vm: &Vm) {
    let name = &task.meta.name;
    if vm.is_proven_off() {
        return draft.end_task(name, TaskState::Succeeded, "");
    }
    if task.cancel_requested {
        let mut vm = vm.clone();
        vm.desired = Power::On;
        vm.intent += 1;
        draft.put_vm(vm);
        return draft.end_task(name, TaskState::Cancelled, "it stays on");
    }
    let (phase, reason) = vm_phase(&draft.world, vm);
    let why = if phase == VmPhase::Unknown { reason } else { String::new() };
    draft.set_stage(name, 0, &why);
}

fn relocate(
    draft: &mut Draft<'_>,
    task: &Task,
    vm: &Vm,
    to: &Name,
    method: MigrationMethod,
    permanent: bool,
) {
    match method {
        MigrationMethod::Live => live(draft, task, vm),
        MigrationMethod::Shutdown => by_shutdown(draft, task, vm, to, permanent),
    }
}

/// The reports of the two nodes carry a live migration; here only time and cancelling act.
fn live(draft: &mut Draft<'_>, task: &Task, vm: &Vm) {
    let name = &task.meta.name;
    let Some(migration) = vm.migration.as_ref().filter(|m| m.task == *name) else {
        return draft.end_task(name, TaskState::Failed, "the migration is gone");
    };
    match migration.phase {
        MigrationPhase::Preparing if task.cancel_requested => {
            end_at_source(draft, vm, TaskState::Cancelled, "before anything was moved");
        }
        MigrationPhase::Preparing => {
            let waited_ms = draft.context.now.millis_since(task.stage_since);
            if waited_ms > PREPARE_SECONDS_MAX * 1000 {
                let why = format!("node {} was not ready within {PREPARE_SECONDS_MAX} s", migration.to);
                end_at_source(draft, vm, TaskState::Failed, &why);
            }
        }
        MigrationPhase::Transferring if task.cancel_requested && !migration.cancel => {
            let mut vm = vm.clone();
            if let Some(migration) = vm.migration.as_mut() {
                migration.cancel = true;
            }
            vm.intent += 1;
            draft.put_vm(vm);
        }
        MigrationPhase::Transferring => {}
    }
}

fn by_shutdown(draft: &mut Draft<'_>, task: &Task, vm: &Vm, to: &Name, permanent: bool) {
    let name = &task.meta.name;
    if vm.release {
        if task.cancel_requested {
            let mut vm = vm.clone();
            vm.release = false;
            vm.intent += 1;
            draft.put_vm(vm);
            return draft.end_task(name, TaskState::Cancelled, "it stays where it is");
        }
        if !vm.is_proven_off() {
            return draft.set_stage(name, 0, "");
        }
        let mut vm = vm.clone();
        let from = vm.placement.as_ref().map(|p| p.node.clone());
        vm.release = false;
        vm.boot_generation += 1;
        place_on(&mut vm, to);
        let for_a_while = !permanent && !matches!(task.kind, TaskKind::VmRebalance { .. });
        if let Some(from) = from.filter(|_| for_a_while && vm.migrated_from.as_ref() != Some(to)) {
            remember_home(&mut vm, &from);
        }
        settle_home(&mut vm, to, permanent);
        draft.put_vm(vm);
        return draft.set_stage(name, 1, "");
    }
    match boot(draft, vm) {
        Boot::Running => draft.end_task(name, TaskState::Succeeded, ""),
        Boot::Failed(reason) => draft.end_task(name, TaskState::Failed, reason),
        Boot::Waiting(why) => draft.set_stage(name, 1, &why),
    }
}

/// Volumes first, then the VM: while one of its volumes is left, its name is too.
fn remove(draft: &mut Draft<'_>, task: &Task, vm: &Vm) {
    let name = &task.meta.name;
    let mut left = 0;
    if vm.delete_volumes {
        for disk in &vm.spec.disks {
            let Some(volume) = draft.world.volumes.get(&disk.volume).cloned() else {
                continue;
            };
            left += 1;
            if volume.status.phase != VolumePhase::Deleting {
                let mut volume = Volume::clone(&volume);
                volume.status.phase = VolumePhase::Deleting;
                volume.status.reason.clear();
                super::volume::give_worker(&draft.world, &mut volume);
                draft.put_volume(volume);
            }
        }
    }
    if left > 0 {
        return draft.set_stage(name, 1, &format!("{left} of {} volumes left", vm.spec.disks.len()));
    }
    draft.end_task(name, TaskState::Succeeded, "");
    draft.delete(Collection::Vms, &vm.meta.name);
    super::rule::forget_vm(draft, &vm.meta.name);
}

fn volume_task(draft: &mut Draft<'_>, task: &Task, volume: Option<&Volume>) {
    let name = &task.meta.name;
    let Some(volume) = volume else {
        let (state, why) = match task.kind {
            TaskKind::VolumeDelete => (TaskState::Succeeded, ""),
            _ => (TaskState::Failed, "the volume is gone"),
        };
        return draft.end_task(name, state, why);
    };
    let status = &volume.status;
    if status.phase == VolumePhase::Failed {
        return draft.end_task(name, TaskState::Failed, status.reason.clone());
    }
    let done = match &task.kind {
        TaskKind::VolumeCreate => status.phase == VolumePhase::Ready,
        TaskKind::VolumeResize => status.size_bytes >= volume.spec.size_bytes,
        TaskKind::VolumeSnapshotCreate { snapshot } => {
            let found = status.snapshots.iter().find(|s| s.name == *snapshot);
            if found.is_none() {
                return draft.end_task(name, TaskState::Failed, status.reason.clone());
            }
            found.is_some_and(|s| s.ready)
        }
        TaskKind::VolumeSnapshotDelete { snapshot } => !status.snapshots.iter().any(|s| s.name == *snapshot),
        _ => false,
    };
    if done {
        return draft.end_task(name, TaskState::Succeeded, "");
    }
    let why = match &status.worker {
        Some(_) => status.reason.clone(),
        None => "waits for a node that can do it".to_string(),
    };
    draft.set_stage(name, 0, &why);
}
