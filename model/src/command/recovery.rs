//! What becomes of the VMs of fenced nodes: each is given up there, and placed anew where it fits. Level-triggered: it
//! follows from the objects as they are, so it may run at any time, by any leader, any number of times.
//!
//! A fenced node writes nothing, so a VM that is placed there is off, whatever was last reported of it. The new epoch makes it
//! so for good: a guest of the old one that turns up after all is ended by its node.

use super::advance;
use super::draft::Draft;
use super::migration::end_at_source;
use super::relocate::{place_on, remember_home, settle_home};
use crate::change::Changes;
use crate::context::Context;
use crate::name::Name;
use crate::plan;
use crate::task::{TaskKind, TaskState};
use crate::vm::{MigrationPhase, Observed, ObservedPhase, Power, Vm, Waiting};
use crate::world::World;

/// VMs that one decision gives up and places: an entry of the log has room for so many.
const STEP: usize = 300;
const DISARMED: &str = "automatic recovery is disarmed (pvc cluster arm)";

/// The leader's look: empty changes when nothing is to be done.
pub(super) fn recover(world: &World, context: &mut Context) -> Changes {
    let mut draft = Draft::new(world, "", context);
    go_on(&mut draft);
    draft.finish()
}

/// Gives up what is placed on fenced nodes, then places what waits.
pub(super) fn go_on(draft: &mut Draft<'_>) {
    let given_up = give_up(draft);
    let (placed, waiting) = place_waiting(draft);
    if given_up + placed + waiting > 0 {
        advance::all(draft);
    }
    if draft.changes.summary.is_empty() && given_up + placed > 0 {
        draft.changes.summary =
            format!("recover VMs of fenced nodes: {placed} placed, {given_up} given up there");
    }
}

fn is_fenced(world: &World, node: &Name) -> bool {
    world.nodes.get(node).is_some_and(|node| node.is_fenced())
}

/// How many were given up.
fn give_up(draft: &mut Draft<'_>) -> usize {
    if !draft.world.nodes.values().any(|node| node.is_fenced()) {
        return 0;
    }
    let world = draft.world.clone();
    let mut count = 0;
    for vm in world.vms.values().filter(|vm| world.is_confirmed(vm)) {
        if count == STEP {
            break;
        }
        settle_migration(draft, vm);
        let Some(now) = draft.world.vm_by_uid(vm.uid()).cloned() else { continue };
        let there = now.placement.as_ref().is_some_and(|p| is_fenced(&world, &p.node));
        // What was shut down until its node is back would wait for a dead one.
        let to_strand = !now.is_proven_off() || plan::is_released(&now);
        if there && now.migration.is_none() && to_strand {
            strand(draft, &now);
            count += 1;
        }
    }
    count
}

/// A migration that a fenced node takes part in.
fn settle_migration(draft: &mut Draft<'_>, vm: &Vm) {
    let Some(migration) = &vm.migration else { return };
    let from_gone = is_fenced(&draft.world, &migration.from);
    let to_gone = is_fenced(&draft.world, &migration.to);
    if !from_gone && !to_gone {
        return;
    }
    let gone = if from_gone { &migration.from } else { &migration.to };
    let why = format!("node {gone} was fenced meanwhile");
    match migration.phase {
        MigrationPhase::Preparing => end_at_source(draft, vm, TaskState::Failed, &why),
        // Neither can have it: it is started anew where it was, or elsewhere.
        MigrationPhase::Transferring if to_gone && (from_gone || migration.source_absent) => {
            end_at_source(draft, vm, TaskState::Failed, &why);
        }
        // The guest may have arrived with the source's last breath: the target is asked.
        MigrationPhase::Transferring if from_gone && !migration.source_absent => {
            let mut vm = vm.clone();
            if let Some(migration) = vm.migration.as_mut() {
                migration.source_absent = true;
            }
            draft.put_vm(vm);
        }
        // The one that lives will say what became of it.
        MigrationPhase::Transferring => {}
    }
}

/// It is off there: proven by the fence, and kept so by the new epoch.
fn strand(draft: &mut Draft<'_>, vm: &Vm) {
    let now = draft.context.now;
    let mut vm = vm.clone();
    let before = vm.current_observation().map_or(0, |seen| seen.boot_generation);
    let Some(placement) = vm.placement.as_mut() else { return };
    placement.epoch += 1;
    let (node, epoch) = (placement.node.clone(), placement.epoch);
    vm.intent += 1;
    vm.off_grace_seconds = 0;
    vm.release = vm.desired == Power::On && !vm.deleting;
    let reason = format!("its node {node} was fenced");
    vm.observed = Some(Observed {
        node,
        epoch,
        phase: ObservedPhase::Stopped,
        reason: reason.clone(),
        seen_intent: vm.intent,
        boot_generation: before,
        spec_generation: 0,
        restarts: 0,
        since: now,
    });
    vm.waits = vm.release.then_some(Waiting { reason, since: now });
    let moving = vm.task.clone().filter(|task| {
        draft.world.tasks.get(task).is_some_and(|task| {
            matches!(
                task.kind,
                TaskKind::VmMigrate { .. } | TaskKind::VmUnmigrate { .. } | TaskKind::VmMove { .. }
            )
        })
    });
    draft.put_vm(vm);
    if let Some(task) = moving {
        draft.end_task(&task, TaskState::Failed, "its node was fenced meanwhile; it is recovered elsewhere");
    }
}

/// How many were placed, and of how many the reason to wait has changed.
fn place_waiting(draft: &mut Draft<'_>) -> (usize, usize) {
    let world = draft.world.clone();
    let mut waiting = Vec::new();
    for vm in world.waiting_vms() {
        if vm.desired == Power::On && vm.release && !vm.deleting && vm.is_proven_off() {
            waiting.push(&**vm);
        } else if !vm.release || vm.desired != Power::On || vm.deleting {
            // A person has decided about it meanwhile.
            draft.put_vm(Vm { waits: None, ..Vm::clone(vm) });
        }
    }
    if waiting.is_empty() {
        return (0, 0);
    }
    if !world.is_armed() {
        let told = waiting.into_iter().filter(|vm| wait(draft, vm, DISARMED)).count();
        return (0, told);
    }
    let plan = plan::recover(&world, waiting.into_iter());
    for (vm, node) in plan.moves.iter().take(STEP) {
        if let Some(vm) = draft.world.vms.get(vm).cloned() {
            place(draft, &vm, node);
        }
    }
    let mut told = 0;
    for (vm, reason) in &plan.waiting {
        if let Some(vm) = draft.world.vms.get(vm).cloned() {
            told += usize::from(wait(draft, &vm, reason));
        }
    }
    (plan.moves.len().min(STEP), told)
}

fn place(draft: &mut Draft<'_>, vm: &Vm, node: &Name) {
    let mut vm = vm.clone();
    let from = vm.placement.as_ref().map(|placement| placement.node.clone());
    vm.release = false;
    vm.waits = None;
    vm.boot_generation += 1;
    vm.intent += 1;
    if let Some(from) = from.filter(|from| from != node) {
        place_on(&mut vm, node);
        if vm.migrated_from.as_ref() != Some(node) {
            remember_home(&mut vm, &from);
        }
        settle_home(&mut vm, node, false);
    }
    draft.put_vm(vm);
}

/// Whether there was something new to say.
fn wait(draft: &mut Draft<'_>, vm: &Vm, reason: &str) -> bool {
    let Some(waits) = vm.waits.as_ref().filter(|waits| waits.reason != reason) else { return false };
    let waits = Waiting { reason: reason.to_owned(), since: waits.since };
    draft.put_vm(Vm { waits: Some(waits), ..vm.clone() });
    true
}
