//! Starting, shutting down, stopping, restarting and disabling.

use super::advance;
use super::draft::Draft;
use super::vm::{refuse_busy, refuse_deleting};
use crate::change::{Changes, Collection, Object};
use crate::cluster::Admission;
use crate::context::Context;
use crate::name::Name;
use crate::plan;
use crate::rejection::{Rejection, RejectionKind};
use crate::task::{Subject, Task, TaskKind, TaskState};
use crate::vm::{ObservedPhase, Placement, Power, Vm};
use crate::world::World;

pub(super) fn start(
    world: &World,
    name: &Name,
    node: Option<&Name>,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.vm(name)?;
    refuse_deleting(old)?;
    refuse_busy(old)?;
    let given_up = old.current_observation().is_some_and(|o| o.phase == ObservedPhase::Failed);
    if old.desired == Power::On && !given_up && old.waits.is_none() && !plan::is_released(old) {
        let place = old.placement.as_ref().map(|p| format!(" on {}", p.node)).unwrap_or_default();
        let detail = format!("it is started already{place}");
        return Err(Rejection::precondition("vm-must-be-off", old.subject(), detail)
            .help(format!("pvc vm info {name}, or pvc vm restart {name}")));
    }
    let placement = choose_placement(world, old, node)?;
    let mut vm = Vm::clone(old);
    vm.placement = Some(placement);
    vm.desired = Power::On;
    vm.release = false;
    vm.waits = None;
    vm.boot_generation += 1;
    vm.intent += 1;
    refuse_shortage(world, &vm)?;
    run_task(world, vm, TaskKind::VmStart, "start", context)
}

/// Where it starts: the node asked for, else where it was, else its home or the scheduler's choice.
/// It leaves its node only when that is proven not to run it.
fn choose_placement(world: &World, vm: &Vm, wanted: Option<&Name>) -> Result<Placement, Rejection> {
    if let Some(node) = wanted {
        plan::check_target(world, vm, node)?;
    }
    let Some(now) = &vm.placement else {
        let node = wanted.cloned().map_or_else(|| plan::place(world, vm, None), Ok)?;
        return Ok(Placement { node, epoch: 1 });
    };
    if wanted.is_none_or(|w| *w == now.node) && plan::check_target(world, vm, &now.node).is_ok() {
        return Ok(now.clone());
    }
    if !vm.is_proven_off() {
        let detail =
            format!("node {} has not confirmed that it is off, so it may start nowhere else", now.node);
        return Err(Rejection::precondition("vm-must-be-off", vm.subject(), detail)
            .help(format!("pvc node info {}", now.node)));
    }
    let node = wanted.cloned().map_or_else(|| plan::place(world, vm, None), Ok)?;
    if node == now.node {
        return Ok(now.clone());
    }
    Ok(Placement { node, epoch: now.epoch + 1 })
}

/// Where people have said so: no VM is started after whose start the death of a node could not be borne.
fn refuse_shortage(world: &World, vm: &Vm) -> Result<(), Rejection> {
    if world.settings().admission != Admission::Refuse {
        return Ok(());
    }
    let mut then = world.clone();
    then.put(Object::Vm(vm.clone()));
    let Some(short) = plan::shortage(&then) else { return Ok(()) };
    Err(Rejection::new(RejectionKind::Exhausted, "one-node-may-die", vm.subject(), short.to_string()).help(
        "add memory or a node, stop another VM, or let some wait: pvc vm meta VM --recover false; \
         `pvc cluster set --admission warn` starts it all the same",
    ))
}

pub(super) fn shutdown(
    world: &World,
    name: &Name,
    grace_seconds: u32,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.vm(name)?;
    refuse_deleting(old)?;
    refuse_off(old)?;
    refuse_busy(old)?;
    let vm = off(old, Power::Off, grace(old, grace_seconds)?);
    run_task(world, vm, TaskKind::VmShutdown, "shut down", context)
}

/// At once; whatever else was under way with its power is over.
pub(super) fn stop(world: &World, name: &Name, context: &mut Context) -> Result<Changes, Rejection> {
    let old = world.vm(name)?;
    refuse_deleting(old)?;
    if old.desired != Power::On && old.is_proven_off() {
        refuse_off(old)?;
    }
    refuse_moving(old)?;
    let vm = off(old, if old.desired == Power::Disabled { Power::Disabled } else { Power::Off }, 0);
    run_task(world, vm, TaskKind::VmStop, "stop", context)
}

pub(super) fn restart(
    world: &World,
    name: &Name,
    grace_seconds: u32,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.vm(name)?;
    refuse_deleting(old)?;
    refuse_busy(old)?;
    if old.desired != Power::On {
        return Err(Rejection::precondition("vm-must-run", old.subject(), "it is off")
            .help(format!("pvc vm start {name}")));
    }
    if plan::is_released(old) {
        let detail = "it was shut down to empty its node, and waits for it";
        return Err(Rejection::precondition("vm-must-run", old.subject(), detail)
            .help(format!("pvc vm start {name}")));
    }
    let mut vm = Vm::clone(old);
    vm.off_grace_seconds = grace(old, grace_seconds)?;
    vm.boot_generation += 1;
    vm.intent += 1;
    run_task(world, vm, TaskKind::VmRestart, "restart", context)
}

pub(super) fn disable(
    world: &World,
    name: &Name,
    grace_seconds: u32,
    force: bool,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.vm(name)?;
    refuse_deleting(old)?;
    if old.desired == Power::Disabled {
        return Err(Rejection::precondition("vm-not-disabled", old.subject(), "it is disabled already")
            .help(format!("pvc vm start {name}")));
    }
    if force {
        refuse_moving(old)?;
    } else {
        refuse_busy(old)?;
    }
    let grace = if force { 0 } else { grace(old, grace_seconds)? };
    let vm = off(old, Power::Disabled, grace);
    run_task(world, vm, TaskKind::VmDisable, "disable", context)
}

fn off(old: &Vm, desired: Power, grace_seconds: u32) -> Vm {
    let mut vm = Vm::clone(old);
    vm.desired = desired;
    vm.off_grace_seconds = grace_seconds;
    vm.release = false;
    vm.waits = None;
    vm.intent += 1;
    vm
}

/// 0 means the VM's own.
fn grace(vm: &Vm, asked: u32) -> Result<u32, Rejection> {
    match asked {
        0 => Ok(vm.spec.shutdown_grace_seconds),
        1..=3600 => Ok(asked),
        _ => Err(Rejection::invalid("grace-range", vm.subject(), "the grace is 1 to 3600 seconds")
            .help(format!("pvc vm stop {} switches it off at once", vm.meta.name))),
    }
}

fn refuse_off(vm: &Vm) -> Result<(), Rejection> {
    if vm.desired == Power::On {
        return Ok(());
    }
    let word = if vm.is_proven_off() { "it is off already" } else { "it is on its way off already" };
    Err(Rejection::precondition("vm-must-run", vm.subject(), word)
        .help(format!("pvc vm stop {} switches it off at once", vm.meta.name)))
}

/// A guest in mid-migration is on two hosts: it is brought to one before its power is touched.
fn refuse_moving(vm: &Vm) -> Result<(), Rejection> {
    if vm.migration.is_some() { refuse_busy(vm) } else { Ok(()) }
}

/// Puts the VM with its new task; a task that it had is superseded.
fn run_task(
    world: &World,
    mut vm: Vm,
    kind: TaskKind,
    verb: &str,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let mut draft = Draft::new(world, format!("{verb} {}", vm.subject()), context);
    let subject = Subject::Vm { uid: vm.uid(), name: vm.meta.name.clone() };
    let task = draft.start_task(kind, subject);
    if let Some(superseded) = vm.task.take() {
        supersede(&mut draft, &superseded, &task);
    }
    vm.task = Some(task.clone());
    draft.put_vm(vm);
    advance::task(&mut draft, &task);
    Ok(draft.finish_replying(Collection::Tasks, &task))
}

fn supersede(draft: &mut Draft<'_>, old: &Name, by: &Name) {
    let running = draft.world.tasks.get(old).filter(|t| !t.is_over());
    if let Some(mut task) = running.map(|t| Task::clone(t)) {
        task.state = TaskState::Cancelled;
        task.message = format!("superseded by task {by}");
        task.ended = Some(draft.context.now);
        draft.put_task(task);
    }
}
