//! The two nodes of a live migration report; here their words become one truth.
//!
//! ```text
//!            target READY                 source or target ARRIVED
//! Preparing ──────────────▶ Transferring ──────────────────────────▶ placed at the target
//!     │ target FAILED            │ source FAILED (guest runs on there)
//!     │ cancel, 60 s             │ both ABSENT (guest lost)
//!     ▼                          ▼
//!  placed at the source       placed at the source
//! ```
//! The placement changes only on ARRIVED. While Transferring neither side may start the guest.

use super::draft::Draft;
use super::relocate::{place_on, remember_home, settle_home};
use super::report::{MigrationEvent, MigrationReport};
use crate::name::Name;
use crate::task::{TaskKind, TaskState};
use crate::vm::{MigrationPhase, Observed, ObservedPhase, Vm};

/// Takes one side's report. A report about another migration than the present one says nothing.
pub(super) fn report(draft: &mut Draft<'_>, vm: &Vm, node: &Name, report: &MigrationReport) {
    let Some(migration) = vm.migration.as_ref().filter(|m| m.task == report.task) else {
        return;
    };
    let (from_source, from_target) = (migration.from == *node, migration.to == *node);
    match (migration.phase, report.event) {
        (MigrationPhase::Preparing, MigrationEvent::Ready) if from_target => {
            let mut vm = vm.clone();
            let migration = vm.migration.as_mut().expect("checked above");
            migration.phase = MigrationPhase::Transferring;
            migration.target_address = report.address.clone();
            let task = migration.task.clone();
            vm.intent += 1;
            draft.put_vm(vm);
            draft.set_stage(&task, 1, "");
        }
        (MigrationPhase::Preparing, MigrationEvent::Failed) if from_target => {
            end_at_source(
                draft,
                vm,
                TaskState::Failed,
                &format!("node {node} can't take it: {}", report.error),
            );
        }
        (MigrationPhase::Transferring, MigrationEvent::Arrived) if from_source || from_target => {
            end_at_target(draft, vm, &report.cost);
        }
        (MigrationPhase::Transferring, MigrationEvent::Failed) if from_source => {
            let state = if migration.cancel { TaskState::Cancelled } else { TaskState::Failed };
            end_at_source(draft, vm, state, &report.error);
        }
        (MigrationPhase::Transferring, MigrationEvent::Absent) if from_source && !migration.source_absent => {
            let mut vm = vm.clone();
            vm.migration.as_mut().expect("checked above").source_absent = true;
            draft.put_vm(vm);
        }
        // The target is believed only after the source: before the source's guest is gone, one that is
        // not at the target yet may still arrive there.
        (MigrationPhase::Transferring, MigrationEvent::Absent) if from_target && migration.source_absent => {
            let why = "the guest was lost on its way; it is started again";
            end_at_source(draft, vm, TaskState::Failed, why);
        }
        // A word out of turn: late, or from a node that has no say in it.
        (
            MigrationPhase::Preparing | MigrationPhase::Transferring,
            MigrationEvent::Ready | MigrationEvent::Arrived | MigrationEvent::Failed | MigrationEvent::Absent,
        ) => {}
    }
}

fn end_at_target(draft: &mut Draft<'_>, vm: &Vm, cost: &str) {
    let mut vm = vm.clone();
    let Some(migration) = vm.migration.take() else {
        return;
    };
    let before = vm.current_observation().cloned();
    place_on(&mut vm, &migration.to);
    let task = draft.world.tasks.get(&migration.task);
    let rebalanced = task.is_some_and(|task| matches!(task.kind, TaskKind::VmRebalance { .. }));
    if !migration.permanent && !rebalanced && vm.migrated_from.as_ref() != Some(&migration.to) {
        remember_home(&mut vm, &migration.from);
    }
    settle_home(&mut vm, &migration.to, migration.permanent);
    let epoch = vm.placement.as_ref().map_or(0, |p| p.epoch);
    vm.observed = Some(Observed {
        node: migration.to.clone(),
        epoch,
        phase: ObservedPhase::Running,
        reason: String::new(),
        // The target has not seen this intent yet: nothing is proven by this line.
        seen_intent: 0,
        boot_generation: before.as_ref().map_or(vm.boot_generation, |o| o.boot_generation),
        spec_generation: before.as_ref().map_or(vm.spec_generation, |o| o.spec_generation),
        restarts: 0,
        since: draft.context.now,
    });
    draft.put_vm(vm);
    draft.end_task(&migration.task, TaskState::Succeeded, cost);
}

/// The migration is over and the guest belongs to the source as before.
pub(super) fn end_at_source(draft: &mut Draft<'_>, vm: &Vm, state: TaskState, message: &str) {
    let mut vm = vm.clone();
    let Some(migration) = vm.migration.take() else {
        return;
    };
    vm.intent += 1;
    draft.put_vm(vm);
    draft.end_task(&migration.task, state, message);
}
