//! Emptying a node for maintenance, and making it ready again. Both are tasks that look at the world anew each
//! time it changes: what is to be moved next follows from where things are, so any leader can go on with them.

use super::draft::Draft;
use super::pacing::{Slots, Tries};
use super::relocate::{begin, place_on, remember_home, settle_home};
use super::{advance, fence, recovery};
use crate::change::{Changes, Collection, Object};
use crate::context::Context;
use crate::name::Name;
use crate::node::Node;
use crate::plan::{self, Drain};
use crate::rejection::{Rejection, RejectionKind};
use crate::task::{Subject, Task, TaskKind, TaskState};
use crate::vm::{MigrationMethod, ObservedPhase, Power, Vm};
use crate::world::World;

/// VMs that a refusal or a message names one by one.
const NAMED_MAX: usize = 5;
/// Failures after which `--stop-unmovable` shuts a VM down.
const FAILURES_MAX: usize = 3;

pub(super) fn flush(
    world: &World,
    name: &Name,
    stop_unmovable: bool,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let node = world.node(name)?;
    let subject = format!("node/{name}");
    if let Some(running) = running_task(world, node) {
        if matches!(running.kind, TaskKind::NodeFlush { .. }) {
            // Somebody has asked already: both follow one task.
            let task = running.meta.name.clone();
            return Ok(
                Changes::new("").replying(crate::ObjectKey { collection: Collection::Tasks, name: task })
            );
        }
        return Err(busy(&subject, running));
    }
    if !node.is_reachable() {
        let detail = "it is not reachable, so nothing can be moved away from it";
        return Err(Rejection::precondition("node-reachable", subject, detail)
            .help(format!("pvc node fence {name} makes sure that it is off; its VMs start elsewhere then")));
    }
    let takes = |node: &Node| {
        node.is_reachable()
            && node.spec.schedulable
            && !node.spec.maintenance
            && node.status.leaving.is_none()
    };
    if !world.nodes.values().any(|other| other.meta.name != *name && takes(other)) {
        let detail = "it is the last node that takes VMs";
        return Err(Rejection::precondition("last-node", subject, detail).help("see `pvc node list`"));
    }
    let drain = plan::drain(world, name);
    if !drain.stuck.is_empty() && !stop_unmovable {
        let count = drain.stuck.len();
        let detail = format!("{count} of its VMs fit nowhere else: {}", told(&drain.stuck));
        return Err(Rejection::new(RejectionKind::Exhausted, "drain-fits", subject, detail).help(format!(
            "pvc node flush {name} --dry-run shows the plan; --stop-unmovable shuts them down until {name} is ready"
        )));
    }
    let mut draft = Draft::new(world, format!("flush {subject}"), context);
    let mut node = Node::clone(node);
    let of = Subject::Node { uid: node.meta.uid, name: name.clone() };
    node.spec.maintenance = true;
    node.meta.updated = draft.context.now;
    draft.put(Object::Node(node));
    let vms = u32::try_from(drain.moves.len() + drain.stuck.len()).unwrap_or(u32::MAX);
    let task = draft.start_task(TaskKind::NodeFlush { vms, stop_unmovable }, of);
    advance::task(&mut draft, &task);
    Ok(draft.finish_replying(Collection::Tasks, &task))
}

pub(super) fn ready(
    world: &World,
    name: &Name,
    no_return: bool,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let node = world.node(name)?;
    let subject = format!("node/{name}");
    if let Some(running) = running_task(world, node) {
        if matches!(running.kind, TaskKind::NodeReady { .. }) && !no_return {
            let task = running.meta.name.clone();
            return Ok(
                Changes::new("").replying(crate::ObjectKey { collection: Collection::Tasks, name: task })
            );
        }
        return Err(busy(&subject, running));
    }
    fence::refuse_fenced(node)?;
    let mut draft = Draft::new(world, format!("make {subject} ready"), context);
    let mut node = Node::clone(node);
    let of = Subject::Node { uid: node.meta.uid, name: name.clone() };
    if node.spec.maintenance || node.status.fence.is_some() {
        node.spec.maintenance = false;
        node.status.fence = None;
        node.meta.updated = draft.context.now;
        draft.put(Object::Node(node));
        recovery::go_on(&mut draft);
    }
    if no_return {
        start_released(&mut draft, name);
        let task = draft.start_task(TaskKind::NodeReady { vms: 0 }, of);
        draft.end_task(
            &task,
            TaskState::Succeeded,
            "it takes VMs again; those that left it stay where they are",
        );
        return Ok(draft.finish_replying(Collection::Tasks, &task));
    }
    let task = begin_return(&mut draft, name, of);
    Ok(draft.finish_replying(Collection::Tasks, &task))
}

/// Starts what was shut down for this node, and begins to bring back what has left it; the task.
pub(super) fn begin_return(draft: &mut Draft<'_>, node: &Name, of: Subject) -> Name {
    start_released(draft, node);
    let vms = u32::try_from(plan::returning(&draft.world, node).len()).unwrap_or(u32::MAX);
    let task = draft.start_task(TaskKind::NodeReady { vms }, of);
    advance::task(draft, &task);
    task
}

pub(super) fn running_task<'w>(world: &'w World, node: &Node) -> Option<&'w Task> {
    let of_node = |task: &&Task| matches!(&task.subject, Subject::Node { uid, .. } if *uid == node.meta.uid);
    world.running_tasks().map(AsRef::as_ref).find(of_node)
}

fn busy(subject: &str, running: &Task) -> Rejection {
    let (task, kind, who) = (&running.meta.name, running.kind.as_str(), &running.actor);
    Rejection::precondition(
        "node-busy",
        subject,
        format!("task {task} ({kind}, asked by {who}) is under way"),
    )
    .help(format!("pvc task watch {task}, or pvc task cancel {task}"))
}

/// "vm/a: no node takes it: …; vm/b: …".
pub(super) fn told(vms: &[(Name, String)]) -> String {
    let named: Vec<_> = vms.iter().take(NAMED_MAX).map(|(vm, why)| format!("vm/{vm}: {why}")).collect();
    let more = vms.len() - named.len();
    if more == 0 { named.join("; ") } else { format!("{}; and {more} more", named.join("; ")) }
}

/// Goes on with emptying a node.
pub(super) fn go_on_flushing(
    draft: &mut Draft<'_>,
    task: &Task,
    node: &Node,
    total: u32,
    stop_unmovable: bool,
) {
    let (name, of) = (&task.meta.name, &node.meta.name);
    if task.cancel_requested {
        let mut node = node.clone();
        node.spec.maintenance = false;
        node.meta.updated = draft.context.now;
        draft.put(Object::Node(node));
        start_released(draft, of);
        let message = format!("it takes VMs again; pvc node ready {of} brings back those that have left");
        return draft.end_task(name, TaskState::Cancelled, message);
    }
    let drain = plan::drain(&draft.world, of);
    for (vm, to) in &drain.off {
        keep(draft, vm, of, to);
    }
    let mut held = Vec::new();
    let slots = Slots::of(&draft.world);
    let moving = slots.from(of);
    let mut begun = 0;
    if node.is_reachable() {
        begun = start_moves(draft, task, &drain, slots, &mut held);
        for (vm, why) in &drain.stuck {
            held.push((vm.clone(), why.clone()));
        }
        if stop_unmovable {
            held.retain(|(vm, _)| {
                !release(draft, task, vm, drain.stuck.iter().any(|(stuck, _)| stuck == vm))
            });
        }
    }
    let left = guests_on(&draft.world, of);
    if left > 0 {
        let mut message = format!("{left} of {} VMs left, {} on their way", total.max(left), moving + begun);
        if !node.is_reachable() {
            message.push_str("; the node is not reachable");
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
    if worked > 0 {
        return draft.set_stage(name, 1, &format!("it works on {worked} volumes"));
    }
    draft.end_task(name, TaskState::Succeeded, empty(&draft.world, of));
}

/// What an empty node is: no guest of the cluster runs there or may.
pub(super) fn empty(world: &World, node: &Name) -> String {
    let stopped = world.vms_placed_on(node).filter(|vm| plan::is_released(vm));
    let stopped: Vec<_> = stopped.map(|vm| format!("vm/{}", vm.meta.name)).collect();
    let stays = world.vms_placed_on(node).filter(|vm| !plan::is_released(vm)).count();
    let mut message = "it is empty".to_string();
    if !stopped.is_empty() {
        message.push_str(&format!("; shut down until it is ready: {}", stopped.join(", ")));
    }
    if stays > 0 {
        message.push_str(&format!("; {stays} VMs that are off may be nowhere else"));
    }
    message
}

/// Guests that run here or may, and those that are on their way here.
pub(super) fn guests_on(world: &World, node: &Name) -> u32 {
    let here = |vm: &Vm| vm.placed_on(node) && !(vm.is_proven_off() && world.is_confirmed(vm));
    let coming = |vm: &Vm| vm.migration.as_ref().is_some_and(|m| m.to == *node);
    u32::try_from(world.vms.values().filter(|vm| here(vm) || coming(vm)).count()).unwrap_or(u32::MAX)
}

/// Begins as many moves as may be under way at once; how many. What can't be moved now goes to `held`.
pub(super) fn start_moves(
    draft: &mut Draft<'_>,
    task: &Task,
    drain: &Drain,
    mut slots: Slots,
    held: &mut Vec<(Name, String)>,
) -> u32 {
    let mut begun = 0;
    for (vm_name, to) in &drain.moves {
        let Some(vm) = draft.world.vms.get(vm_name).cloned() else { continue };
        let Some(from) = vm.placement.as_ref().map(|p| p.node.clone()) else { continue };
        if vm.task.is_some() || !slots.free(&from, to) {
            continue;
        }
        let Some(method) = method_now(&vm) else { continue };
        let tries = Tries::of(&draft.world, &vm, task);
        if let Some(why) = tries.rest(draft.context.now.0) {
            held.push((vm_name.clone(), why));
            continue;
        }
        let kind = TaskKind::VmMigrate { to: to.clone(), method };
        match begin(draft, &vm, to, method, false, kind) {
            Ok(_) => {
                slots.take(&from, to);
                begun += 1;
            }
            Err(refused) => held.push((vm_name.clone(), refused.detail)),
        }
    }
    begun
}

/// How a VM can be moved as it is now; None: in a moment, perhaps.
fn method_now(vm: &Vm) -> Option<MigrationMethod> {
    match vm.current_observation()?.phase {
        ObservedPhase::Running if vm.desired == Power::On => Some(vm.spec.migration_method),
        ObservedPhase::Pending | ObservedPhase::Backoff if vm.desired == Power::On => {
            Some(MigrationMethod::Shutdown)
        }
        ObservedPhase::Running
        | ObservedPhase::Pending
        | ObservedPhase::Backoff
        | ObservedPhase::Stopped
        | ObservedPhase::Starting
        | ObservedPhase::ShuttingDown
        | ObservedPhase::Failed => None,
    }
}

/// Shuts a VM down that fits nowhere else (`at_once`) or can't be moved; whether it did.
pub(super) fn release(draft: &mut Draft<'_>, task: &Task, vm: &Name, at_once: bool) -> bool {
    let Some(vm) = draft.world.vms.get(vm).cloned() else { return false };
    if vm.task.is_some() || vm.migration.is_some() || !draft.world.is_confirmed(&vm) {
        return false;
    }
    if !at_once && Tries::of(&draft.world, &vm, task).failed() < FAILURES_MAX {
        return false;
    }
    let mut vm = Vm::clone(&vm);
    vm.release = true;
    vm.off_grace_seconds = vm.spec.shutdown_grace_seconds;
    vm.intent += 1;
    draft.put_vm(vm);
    true
}

/// What was shut down because it fits nowhere else is started again.
pub(super) fn start_released(draft: &mut Draft<'_>, node: &Name) {
    let world = &draft.world;
    let released = world.vms_placed_on(node).filter(|vm| plan::is_released(vm) && world.is_confirmed(vm));
    for vm in released.cloned().collect::<Vec<_>>() {
        let mut vm = Vm::clone(&vm);
        vm.release = false;
        vm.boot_generation += 1;
        vm.intent += 1;
        draft.put_vm(vm);
    }
}

/// Keeps a VM that is off on another node for a while; or back on its own.
pub(super) fn keep(draft: &mut Draft<'_>, vm: &Name, from: &Name, to: &Name) {
    let Some(vm) = draft.world.vms.get(vm).cloned() else { return };
    let mut vm = Vm::clone(&vm);
    place_on(&mut vm, to);
    if vm.migrated_from.as_ref() != Some(to) {
        remember_home(&mut vm, from);
    }
    settle_home(&mut vm, to, false);
    draft.put_vm(vm);
}

/// Goes on with bringing the VMs of a node home.
pub(super) fn go_on_returning(draft: &mut Draft<'_>, task: &Task, node: &Node, total: u32) {
    let (name, of) = (&task.meta.name, &node.meta.name);
    if task.cancel_requested {
        let message = format!("those that are away stay there; pvc node ready {of} brings them back");
        return draft.end_task(name, TaskState::Cancelled, message);
    }
    let mut slots = Slots::of(&draft.world);
    let mut stay: Vec<(Name, String)> = Vec::new();
    let mut under_way = 0;
    for (vm_name, obstacle) in plan::returning(&draft.world, of) {
        let Some(vm) = draft.world.vms.get(&vm_name).cloned() else { continue };
        if vm.task.is_some() || vm.migration.is_some() {
            under_way += 1;
            continue;
        }
        if let Some(why) = obstacle {
            stay.push((vm_name, why));
            continue;
        }
        if vm.desired != Power::On && vm.is_proven_off() {
            keep(draft, &vm_name, of, of);
            continue;
        }
        let Some(from) = vm.placement.as_ref().map(|p| p.node.clone()) else { continue };
        let tries = Tries::of(&draft.world, &vm, task);
        if tries.failed() >= FAILURES_MAX {
            stay.push((vm_name, format!("could not be moved: {}", tries.why())));
            continue;
        }
        under_way += 1;
        let method = method_now(&vm).filter(|_| slots.free(&from, of));
        if let Some(method) = method.filter(|_| tries.rest(draft.context.now.0).is_none()) {
            let kind = TaskKind::VmUnmigrate { to: of.clone(), method };
            match begin(draft, &vm, of, method, false, kind) {
                Ok(_) => slots.take(&from, of),
                Err(refused) => {
                    under_way -= 1;
                    stay.push((vm_name, refused.detail));
                }
            }
        }
    }
    if !node.is_reachable() && !stay.is_empty() {
        return draft.set_stage(name, 0, "waits for the node to be reachable");
    }
    // As a host that has just booted is for a moment.
    if !node.status.facts.problem.is_empty() && !stay.is_empty() {
        return draft.set_stage(name, 0, "waits for the node to be able to run VMs");
    }
    if under_way == 0 {
        let message = match stay.len() {
            0 => format!("it takes VMs again; {total} are back"),
            count => format!("it takes VMs again; {count} stay where they are: {}", told(&stay)),
        };
        return draft.end_task(name, TaskState::Succeeded, message);
    }
    let message = format!("{under_way} of {} VMs to come", total.max(under_way));
    let message = with_time_left(draft, task, message, total, under_way);
    draft.set_stage(name, 0, &message);
}

/// Adds how long it will take, by how long it took so far. A message that says the same stays as it is: time
/// alone writes nothing.
pub(super) fn with_time_left(
    draft: &Draft<'_>,
    task: &Task,
    message: String,
    total: u32,
    left: u32,
) -> String {
    let now = draft.world.tasks.get(&task.meta.name);
    let old = now.map_or("", |task| task.message.as_str());
    if old == message || old.strip_prefix(message.as_str()).is_some_and(|rest| rest.starts_with("; about ")) {
        return old.to_string();
    }
    let done = total.saturating_sub(left);
    if done == 0 || left == 0 {
        return message;
    }
    let seconds = draft.context.now.millis_since(task.started) / 1000 * u64::from(left) / u64::from(done);
    match seconds {
        0..60 => format!("{message}; about {} s to go", seconds.max(1)),
        _ => format!("{message}; about {} min to go", seconds.div_ceil(60)),
    }
}
