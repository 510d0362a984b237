//! Balancing the cluster: a task that moves VMs to better places until no step is worth it.

use std::collections::BTreeSet;

use super::advance;
use super::draft::Draft;
use super::pacing::{Slots, failed_since};
use super::relocate::begin;
use crate::change::{Changes, Collection};
use crate::context::Context;
use crate::name::Uid;
use crate::plan;
use crate::rejection::Rejection;
use crate::task::{Subject, Task, TaskKind, TaskState};
use crate::world::World;

pub(super) fn balance(world: &World, context: &mut Context) -> Result<Changes, Rejection> {
    let running = world.running_tasks().find(|task| task.kind == TaskKind::ClusterBalance);
    if let Some(running) = running {
        // Somebody has asked already: both follow one task.
        let task = running.meta.name.clone();
        return Ok(Changes::new("").replying(crate::ObjectKey { collection: Collection::Tasks, name: task }));
    }
    if let Some(running) = world.running_tasks().find(|task| matches!(task.subject, Subject::Node { .. })) {
        let (task, kind) = (&running.meta.name, running.kind.as_str());
        let detail =
            format!("task {task} ({kind} of {}) is under way; maintenance comes first", running.subject);
        return Err(Rejection::precondition("maintenance-first", "cluster", detail)
            .help(format!("pvc task watch {task}")));
    }
    let mut draft = Draft::new(world, "balance the cluster", context);
    let uid = world.cluster.as_ref().map_or(Uid::from_random(0), |cluster| cluster.meta.uid);
    let task = draft.start_task(TaskKind::ClusterBalance, Subject::Cluster { uid });
    advance::task(&mut draft, &task);
    Ok(draft.finish_replying(Collection::Tasks, &task))
}

/// Goes on with it. Each step is taken only where it is allowed as things are; what is under way counts where
/// it goes. A VM of which a move has failed is left alone.
pub(super) fn go_on(draft: &mut Draft<'_>, task: &Task) {
    let name = &task.meta.name;
    let under_way = |world: &World| {
        let moves = world.running_tasks().filter(|task| matches!(task.kind, TaskKind::VmRebalance { .. }));
        u32::try_from(moves.count()).unwrap_or(u32::MAX)
    };
    let moving = under_way(&draft.world);
    if task.cancel_requested {
        let message = format!("{moving} moves that are under way go on to their end");
        return draft.end_task(name, TaskState::Cancelled, message);
    }
    if draft.world.running_tasks().any(|task| matches!(task.subject, Subject::Node { .. })) {
        return draft.set_stage(name, 0, "waits: maintenance comes first");
    }
    let tired = failed_since(&draft.world, task);
    let steps = plan::balance(&draft.world, &tired);
    let mut slots = Slots::of(&draft.world);
    let mut refused = Vec::new();
    let mut begun = 0;
    let mut touched = BTreeSet::new();
    for step in &steps {
        // The second step of a VM comes after its first.
        if !touched.insert(step.vm.clone()) || !slots.free(&step.from, &step.to) {
            continue;
        }
        let Some(vm) = draft.world.vms.get(&step.vm).cloned() else { continue };
        let method = vm.spec.migration_method;
        let kind = TaskKind::VmRebalance { to: step.to.clone(), method };
        match begin(draft, &vm, &step.to, method, false, kind) {
            Ok(_) => {
                slots.take(&step.from, &step.to);
                begun += 1;
            }
            Err(why) => refused.push(format!("vm/{}: {}", step.vm, why.detail)),
        }
    }
    let moving = moving + begun;
    let left = steps.len() - begun as usize;
    if moving > 0 {
        return draft.set_stage(name, 0, &format!("{moving} on their way, {left} steps to come"));
    }
    if refused.is_empty() {
        let message = match tired.len() {
            0 => "no step is worth it any more".to_string(),
            count => format!("{count} VMs could not be moved; no other step is worth it"),
        };
        return draft.end_task(name, TaskState::Succeeded, message);
    }
    draft.end_task(
        name,
        TaskState::Failed,
        format!("the steps that are left are not allowed: {}", refused[0]),
    );
}
