//! Cancelling, advancing and forgetting tasks.

use super::draft::Draft;
use super::{advance, network};
use crate::change::{Changes, Collection, Object};
use crate::context::Context;
use crate::name::Name;
use crate::rejection::Rejection;
use crate::task::{Task, TaskKind};
use crate::token::TokenKind;
use crate::world::World;

/// Ended tasks that are kept, at most.
pub const ENDED_TASKS_MAX: usize = 5_000;
/// Seconds that an ended task is kept: 30 days.
pub const ENDED_TASK_SECONDS_MAX: u64 = 30 * 24 * 3600;
/// Seconds that a spent or expired token is still listed: a day.
pub const DEAD_TOKEN_SECONDS_MAX: u64 = 24 * 3600;

pub(super) fn cancel(world: &World, name: &Name, context: &mut Context) -> Result<Changes, Rejection> {
    let old = world.task(name)?;
    let subject = format!("task/{name}");
    if old.is_over() {
        return Err(Rejection::precondition("task-must-run", subject, "it is over")
            .help(format!("pvc task info {name}")));
    }
    let cancellable = match &old.kind {
        TaskKind::VmStart
        | TaskKind::VmShutdown
        | TaskKind::VmStop
        | TaskKind::VmDisable
        | TaskKind::VmMigrate { .. }
        | TaskKind::VmUnmigrate { .. }
        | TaskKind::VmMove { .. }
        | TaskKind::VmRebalance { .. }
        | TaskKind::NodeFlush { .. }
        | TaskKind::NodeShutdown { .. }
        | TaskKind::NodeReady { .. }
        | TaskKind::ClusterBalance => true,
        TaskKind::VmRestart
        | TaskKind::VmDelete
        | TaskKind::VolumeCreate
        | TaskKind::VolumeResize
        | TaskKind::VolumeDelete
        | TaskKind::VolumeSnapshotCreate { .. }
        | TaskKind::VolumeSnapshotDelete { .. } => false,
    };
    if !cancellable {
        let detail = format!("a {} can't be called back", old.kind.as_str());
        return Err(Rejection::precondition("task-cancellable", subject, detail)
            .help(format!("pvc task watch {name}")));
    }
    let mut draft = Draft::new(world, format!("cancel {subject}"), context);
    let mut task = Task::clone(old);
    task.cancel_requested = true;
    draft.put_task(task);
    advance::task(&mut draft, name);
    Ok(draft.finish_replying(Collection::Tasks, name))
}

pub(super) fn advance(world: &World, name: &Name, context: &mut Context) -> Result<Changes, Rejection> {
    let task = world.task(name)?;
    let mut draft = Draft::new(world, format!("go on with {}", task.kind.as_str()), context);
    advance::task(&mut draft, name);
    Ok(draft.finish())
}

/// Forgets what nobody will ask for any more.
pub(super) fn prune(world: &World, context: &mut Context) -> Changes {
    let now = context.now;
    let mut draft = Draft::new(world, "forget old tasks, tokens and leases", context);
    let mut ended: Vec<_> =
        world.tasks.values().filter_map(|task| task.ended.map(|at| (at, task.meta.name.clone()))).collect();
    ended.sort();
    let too_many = ended.len().saturating_sub(ENDED_TASKS_MAX);
    for (index, (at, name)) in ended.iter().enumerate() {
        if index < too_many || now.millis_since(*at) > ENDED_TASK_SECONDS_MAX * 1000 {
            draft.delete(Collection::Tasks, name);
        }
    }
    for token in world.tokens.values() {
        let spent = matches!(token.kind, TokenKind::Join { spent: Some(_), .. });
        let dead_since = if spent { token.meta.updated.min(token.expires) } else { token.expires };
        if now.millis_since(dead_since) > DEAD_TOKEN_SECONDS_MAX * 1000 {
            draft.delete(Collection::Tokens, &token.meta.name);
        }
    }
    network::prune_leases(&mut draft);
    debug_assert!(
        draft.changes.puts().iter().all(|o| !matches!(o, Object::Vm(_))),
        "pruning never changes a VM"
    );
    draft.finish()
}
