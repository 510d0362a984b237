//! Moving a VM to another node: for a while (`migrate`, `unmigrate`) or for good (`move`).

use super::advance;
use super::draft::Draft;
use super::vm::{refuse_busy, refuse_deleting};
use crate::change::{Changes, Collection};
use crate::context::Context;
use crate::name::Name;
use crate::plan;
use crate::rejection::Rejection;
use crate::task::{Subject, TaskKind, TaskState};
use crate::vm::{Migration, MigrationMethod, MigrationPhase, ObservedPhase, Placement, Power, Vm};
use crate::world::World;

pub(super) fn migrate(
    world: &World,
    name: &Name,
    node: Option<&Name>,
    method: Option<MigrationMethod>,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let vm = world.vm(name)?;
    if vm.desired != Power::On {
        let detail = "only a running VM is migrated for a while";
        return Err(Rejection::precondition("vm-must-run", vm.subject(), detail)
            .help(format!("pvc vm start {name}, or pvc vm move {name} -t NODE")));
    }
    let here = vm.placement.as_ref().map(|p| &p.node);
    let to = match node {
        Some(node) => node.clone(),
        None => plan::place(world, vm, here)?,
    };
    let method = method.unwrap_or(vm.spec.migration_method);
    let kind = TaskKind::VmMigrate { to: to.clone(), method };
    relocate(world, name, &to, method, false, kind, context)
}

pub(super) fn unmigrate(
    world: &World,
    name: &Name,
    method: Option<MigrationMethod>,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let vm = world.vm(name)?;
    let Some(home) = vm.migrated_from.clone() else {
        return Err(Rejection::precondition("vm-must-be-away", vm.subject(), "it is at home")
            .help(format!("pvc vm info {name}")));
    };
    let method = method.unwrap_or(vm.spec.migration_method);
    let kind = TaskKind::VmUnmigrate { to: home.clone(), method };
    relocate(world, name, &home, method, false, kind, context)
}

pub(super) fn move_vm(
    world: &World,
    name: &Name,
    node: &Name,
    method: Option<MigrationMethod>,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let vm = world.vm(name)?;
    let method = method.unwrap_or(vm.spec.migration_method);
    let kind = TaskKind::VmMove { to: node.clone(), method };
    relocate(world, name, node, method, true, kind, context)
}

fn relocate(
    world: &World,
    name: &Name,
    to: &Name,
    method: MigrationMethod,
    permanent: bool,
    kind: TaskKind,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.vm(name)?;
    refuse_deleting(old)?;
    refuse_busy(old)?;
    world.node(to)?;
    let mut draft = Draft::new(world, format!("{} {} to node/{to}", verb(&kind), old.subject()), context);
    let subject = Subject::Vm { uid: old.uid(), name: name.clone() };
    if old.placed_on(to) {
        return already_there(draft, old, to, permanent, kind, subject);
    }
    let task = begin(&mut draft, old, to, method, permanent, kind)?;
    Ok(draft.finish_replying(Collection::Tasks, &task))
}

/// Begins to move a VM that is elsewhere to `to`, within another decision; its task.
pub(super) fn begin(
    draft: &mut Draft<'_>,
    old: &Vm,
    to: &Name,
    method: MigrationMethod,
    permanent: bool,
    kind: TaskKind,
) -> Result<Name, Rejection> {
    let name = &old.meta.name;
    super::adopt::refuse_unconfirmed(&draft.world, name)?;
    refuse_deleting(old)?;
    refuse_busy(old)?;
    plan::check_target(&draft.world, old, to)?;
    let subject = Subject::Vm { uid: old.uid(), name: name.clone() };
    let mut vm = Vm::clone(old);
    if vm.desired != Power::On {
        return move_stopped(draft, vm, to, kind, subject);
    }
    let Some(from) = vm.placement.as_ref().map(|p| p.node.clone()) else {
        let detail = "it has not been placed yet";
        return Err(Rejection::precondition("vm-must-run", vm.subject(), detail));
    };
    refuse_silent_source(&draft.world, &vm, &from)?;
    match method {
        MigrationMethod::Live => {
            let running = old.current_observation().is_some_and(|o| o.phase == ObservedPhase::Running);
            if !running {
                let detail = "only a running guest can be moved live";
                return Err(Rejection::precondition("vm-must-run", old.subject(), detail)
                    .help(format!("pvc vm info {name}, or choose --method shutdown")));
            }
            let task = draft.start_task(kind, subject);
            vm.migration = Some(Migration {
                from,
                to: to.clone(),
                phase: MigrationPhase::Preparing,
                permanent,
                cancel: false,
                task: task.clone(),
                target_address: String::new(),
                source_absent: false,
            });
            Ok(put_with_task(draft, vm, task))
        }
        MigrationMethod::Shutdown => {
            let task = draft.start_task(kind, subject);
            vm.release = true;
            vm.off_grace_seconds = vm.spec.shutdown_grace_seconds;
            Ok(put_with_task(draft, vm, task))
        }
    }
}

fn verb(kind: &TaskKind) -> &'static str {
    match kind {
        TaskKind::VmMove { .. } => "move",
        TaskKind::VmUnmigrate { .. } => "unmigrate",
        _ => "migrate",
    }
}

fn put_with_task(draft: &mut Draft<'_>, mut vm: Vm, task: Name) -> Name {
    vm.task = Some(task.clone());
    vm.intent += 1;
    draft.put_vm(vm);
    advance::task(draft, &task);
    task
}

/// A permanent move to where it is makes that its home; anything else is refused.
fn already_there(
    mut draft: Draft<'_>,
    old: &Vm,
    to: &Name,
    permanent: bool,
    kind: TaskKind,
    subject: Subject,
) -> Result<Changes, Rejection> {
    if !permanent || (old.migrated_from.is_none() && old.spec.home.as_ref() == Some(to)) {
        let detail = format!("it is on node {to} already");
        return Err(Rejection::precondition("target-differs", old.subject(), detail)
            .help(format!("pvc vm info {}", old.meta.name)));
    }
    let task = draft.start_task(kind, subject);
    let mut vm = Vm::clone(old);
    vm.spec.home = Some(to.clone());
    vm.migrated_from = None;
    draft.put_vm(vm);
    draft.end_task(&task, TaskState::Succeeded, "it was there already; it is its home now");
    Ok(draft.finish_replying(Collection::Tasks, &task))
}

/// A VM that is off moves by word alone, once its node has confirmed that it is off.
fn move_stopped(
    draft: &mut Draft<'_>,
    mut vm: Vm,
    to: &Name,
    kind: TaskKind,
    subject: Subject,
) -> Result<Name, Rejection> {
    super::vm::require_off(&vm, "moved")?;
    let task = draft.start_task(kind, subject);
    place_on(&mut vm, to);
    settle_home(&mut vm, to, true);
    draft.put_vm(vm);
    draft.end_task(&task, TaskState::Succeeded, "");
    Ok(task)
}

fn refuse_silent_source(world: &World, vm: &Vm, from: &Name) -> Result<(), Rejection> {
    let heard = world.nodes.get(from).is_some_and(|n| n.is_reachable());
    if heard {
        return Ok(());
    }
    let detail = format!("its node {from} is not reachable, so it can't let go of it");
    Err(Rejection::precondition("source-reachable", vm.subject(), detail)
        .help(format!("pvc node info {from}")))
}

/// Gives the VM a new placement. Only for a VM whose old node is proven not to run it, or which has
/// just arrived at the new one.
pub(super) fn place_on(vm: &mut Vm, to: &Name) {
    let epoch = vm.placement.as_ref().map_or(0, |p| p.epoch) + 1;
    vm.placement = Some(Placement { node: to.clone(), epoch });
    vm.intent += 1;
}

/// Home and the memory of it, after the VM went to `to`. Called after `place_on`'s caller knows where it was.
pub(super) fn settle_home(vm: &mut Vm, to: &Name, permanent: bool) {
    if permanent {
        vm.spec.home = Some(to.clone());
        vm.migrated_from = None;
    } else if vm.migrated_from.as_ref() == Some(to) {
        vm.migrated_from = None;
    }
}

/// Remembers where a VM that goes away for a while came from, unless it is away already.
pub(super) fn remember_home(vm: &mut Vm, from: &Name) {
    if vm.migrated_from.is_none() {
        vm.migrated_from = Some(from.clone());
    }
}
