//! A node whose host is being shut down in order: its VMs leave it by its policy, and it is no dead node when it falls
//! silent afterwards. Like all tasks it is looked at anew each time the world changes.
//!
//! Never happens here: a node that is called empty while a guest runs there or may.

use super::draft::Draft;
use super::drain::{
    begin_return, empty, guests_on, keep, release, running_task, start_moves, told, with_time_left,
};
use super::pacing::Slots;
use super::{advance, report};
use crate::change::{Changes, Collection, Object};
use crate::context::Context;
use crate::leaving::{Leaving, OnShutdown};
use crate::name::Name;
use crate::node::Node;
use crate::plan;
use crate::rejection::Rejection;
use crate::task::{Subject, Task, TaskKind, TaskState};
use crate::world::World;

/// The node says that its host is being shut down. Said again, it changes nothing.
pub(super) fn leave(
    world: &World,
    name: &Name,
    session: u64,
    within_seconds: u32,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let node = world.node(name)?;
    report::refuse_stale(node, session)?;
    if session != node.status.session {
        let detail = format!("session {session} has not begun");
        return Err(Rejection::precondition("session-begins-with-facts", format!("node/{name}"), detail));
    }
    let policy = node.spec.on_shutdown;
    let summary = format!("the host of node/{name} shuts down; its VMs: {}", policy.as_str());
    let mut draft = Draft::new(world, summary, context);
    if node.status.leaving.is_some() {
        return Ok(draft.finish_replying(Collection::Nodes, name));
    }
    // What was asked of the node before goes on as this: a maintenance stays one, and returns can't.
    if let Some(before) = running_task(world, node).map(|task| task.meta.name.clone()) {
        draft.end_task(&before, TaskState::Cancelled, "its host is being shut down");
    }
    let left = guests_on(&draft.world, name);
    let mut node = Node::clone(node);
    let of = Subject::Node { uid: node.meta.uid, name: name.clone() };
    let empty = left == 0 && !world.awaits(name);
    node.status.leaving = Some(Leaving { since: draft.context.now, policy, session, within_seconds, empty });
    put(&mut draft, node);
    if policy != OnShutdown::Keep {
        let task = draft.start_task(TaskKind::NodeShutdown { vms: left }, of);
        advance::task(&mut draft, &task);
    }
    Ok(draft.finish_replying(Collection::Nodes, name))
}

/// Goes on with emptying a node whose host is being shut down.
pub(super) fn go_on(draft: &mut Draft<'_>, task: &Task, node: &Node, total: u32) {
    let (name, of) = (&task.meta.name, &node.meta.name);
    let Some(leaving) = node.status.leaving.clone() else {
        return draft.end_task(name, TaskState::Cancelled, "its host is up again");
    };
    if task.cancel_requested {
        set(draft, node, Leaving { policy: OnShutdown::Keep, ..leaving });
        return draft.end_task(name, TaskState::Cancelled, "what is left there ends with its host");
    }
    let late = leaving.is_late(draft.context.now);
    let mut held = Vec::new();
    let slots = Slots::of(&draft.world);
    let moving = slots.from(of);
    let mut begun = 0;
    if leaving.policy == OnShutdown::Move {
        let drain = plan::drain(&draft.world, of);
        for (vm, to) in &drain.off {
            keep(draft, vm, of, to);
        }
        if node.is_reachable() && !late {
            begun = start_moves(draft, task, &drain, slots, &mut held);
            for (vm, why) in &drain.stuck {
                if !release(draft, task, vm, true) {
                    held.push((vm.clone(), why.clone()));
                }
            }
            held.retain(|(vm, _)| !release(draft, task, vm, false));
        }
    }
    if node.is_reachable() && (late || leaving.policy == OnShutdown::Stop) {
        let here: Vec<Name> = draft
            .world
            .vms_placed_on(of)
            .filter(|vm| vm.should_run())
            .map(|vm| vm.meta.name.clone())
            .collect();
        for vm in here {
            release(draft, task, &vm, true);
        }
    }
    let left = guests_on(&draft.world, of);
    if left > 0 {
        let mut message = match leaving.policy {
            OnShutdown::Stop => format!("{left} of {} VMs left", total.max(left)),
            _ => format!("{left} of {} VMs left, {} on their way", total.max(left), moving + begun),
        };
        if !node.is_reachable() {
            message.push_str("; the node is not reachable");
        } else if late {
            message.push_str("; time is short: what is left is shut down");
        }
        if !held.is_empty() {
            message.push_str(&format!("; waiting: {}", told(&held)));
        }
        return draft.set_stage(name, 0, &with_time_left(draft, task, message, total, left));
    }
    if draft.world.awaits(of) {
        return draft.set_stage(name, 0, "its guests are still to be counted, after a restore or a recovery");
    }
    let worked = draft.world.volumes.values().filter(|v| v.status.worker.as_ref() == Some(of)).count();
    if worked > 0 && node.is_reachable() && !late {
        return draft.set_stage(name, 1, &format!("it works on {worked} volumes"));
    }
    set(draft, node, Leaving { empty: true, ..leaving });
    draft.end_task(name, TaskState::Succeeded, empty(&draft.world, of));
}

/// Where its daemon has started again and is heard, the host is up, and takes VMs again unless something else speaks against
/// it. Not before it is heard: until then its silence is the one that it announced.
pub(super) fn settle(draft: &mut Draft<'_>, name: &Name) {
    let Some(node) = draft.world.nodes.get(name).filter(|node| node.is_reachable()).cloned() else { return };
    if node.status.leaving.as_ref().is_none_or(|leaving| leaving.session >= node.status.session) {
        return;
    }
    let mut node = Node::clone(&node);
    node.status.leaving = None;
    put(draft, node.clone());
    let running = running_task(&draft.world, &node);
    let shutdown = running.filter(|task| matches!(task.kind, TaskKind::NodeShutdown { .. }));
    if let Some(task) = shutdown.map(|task| task.meta.name.clone()) {
        draft.end_task(&task, TaskState::Cancelled, "its host is up again");
    }
    if node.spec.maintenance || node.status.fence.is_some() {
        return;
    }
    let of = Subject::Node { uid: node.meta.uid, name: name.clone() };
    begin_return(draft, name, of);
}

fn set(draft: &mut Draft<'_>, node: &Node, leaving: Leaving) {
    let mut node = node.clone();
    node.status.leaving = Some(leaving);
    put(draft, node);
}

fn put(draft: &mut Draft<'_>, mut node: Node) {
    node.meta.updated = draft.context.now;
    draft.put(Object::Node(node));
}
