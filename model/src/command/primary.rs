//! Who is the primary: elected by the leader, handed over by people, and reported by the two nodes of a hand-over.
//! What was meant for another epoch than the present one has no effect.

use super::cluster::{put_cluster, the_cluster};
use super::draft::Draft;
use crate::change::{Changes, Collection};
use crate::context::Context;
use crate::name::Name;
use crate::primary::{Primary, PrimaryPhase, obstacle};
use crate::rejection::Rejection;
use crate::world::World;

/// What a node says of the role. Each is about the epoch that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrimaryReport {
    /// The target of a hand-over: it could carry the services.
    Ready,
    /// The last holder: it carries nothing any more, and will not at this epoch.
    Released,
    /// The holder: its host goes down.
    Leaving,
}

/// How a holder's time ends with an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The leader is certain that its lease has lapsed: it carries nothing.
    Lapsed,
    /// It may live, and must let go first.
    Alive,
}

/// The leader's choice. `epoch` is the one that ends; 0: there was no primary.
pub(super) fn elect(
    world: &World,
    node: &Name,
    epoch: u64,
    ending: Ending,
    reason: &str,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.primary();
    let mut draft = Draft::new(world, format!("make node/{node} the primary: {reason}"), context);
    if old.map_or(0, |old| old.epoch) != epoch {
        return Ok(draft.finish());
    }
    let chosen = world.node(node)?;
    if let Some(rejection) = obstacle(world, chosen) {
        return Err(rejection);
    }
    // Who may carry the services until it has let go. In the midst of a hand-over that is not the holder,
    // which has begun nothing yet.
    let carries = match old.map(|old| (&old.phase, &old.node)) {
        Some((PrimaryPhase::TakingOver { from }, _)) => Some(from),
        Some((_, holder)) if ending == Ending::Alive => Some(holder),
        _ => None,
    };
    let phase = match carries.filter(|carries| *carries != node) {
        Some(from) => PrimaryPhase::TakingOver { from: from.clone() },
        None => PrimaryPhase::Holding,
    };
    put(&mut draft, node.clone(), epoch + 1, phase, reason.to_owned());
    Ok(draft.finish())
}

/// Asked by people, and by the leader where the holder is worked on. `from`: only if it is the primary; `to`: none is any other.
pub(super) fn hand_over(
    world: &World,
    from: Option<&Name>,
    to: Option<&Name>,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let refuse = |rule, subject: String, detail: String, help: &str| {
        Err(Rejection::precondition(rule, subject, detail).help(help))
    };
    for named in [from, to].into_iter().flatten() {
        world.node(named)?;
    }
    let Some(old) = world.primary() else {
        let detail = "there is no primary yet: no voting coordinator is heard".to_owned();
        return refuse("primary-needed", "cluster".to_owned(), detail, "pvc node list");
    };
    if let Some(from) = from.filter(|from| **from != old.node) {
        let detail = format!("it is not the primary: {} is", old.node);
        return refuse("must-be-primary", format!("node/{from}"), detail, "pvc cluster status");
    }
    if let PrimaryPhase::TakingOver { from } = &old.phase {
        let detail = format!("{} takes over from {from} just now", old.node);
        return refuse("hand-over-under-way", "cluster".to_owned(), detail, "ask again in a few seconds");
    }
    let to = match to {
        Some(to) if *to == old.node => {
            let detail = format!("it is the primary already, since epoch {}", old.epoch);
            return refuse("already-primary", format!("node/{to}"), detail, "pvc cluster status");
        }
        Some(to) => to.clone(),
        None => any_other(world, old)?,
    };
    if let Some(rejection) = obstacle(world, world.node(&to)?) {
        return Err(rejection);
    }
    let summary = format!("hand the primary's role over from node/{} to node/{to}", old.node);
    let mut draft = Draft::new(world, summary, context);
    let reason = match world.nodes.get(&old.node) {
        // The cluster's own deed.
        Some(holder) if holder.spec.maintenance && draft.context.actor == "pvc" => {
            format!("{} is in maintenance", old.node)
        }
        Some(holder) if holder.status.leaving.is_some() => format!("the host of {} goes down", old.node),
        _ => format!("asked by {}", draft.context.actor),
    };
    change(&mut draft, old, PrimaryPhase::HandingOver { to }, Some(reason));
    Ok(draft.finish_replying(Collection::Cluster, &super::cluster::name()))
}

/// A hand-over that does not come about: the holder stays.
pub(super) fn call_off(world: &World, epoch: u64, reason: &str, context: &mut Context) -> Changes {
    let mut draft = Draft::new(world, format!("the primary is not handed over: {reason}"), context);
    if let Some(old) = at(world, epoch).filter(|old| matches!(old.phase, PrimaryPhase::HandingOver { .. })) {
        change(&mut draft, old, PrimaryPhase::Holding, Some(reason.to_owned()));
    }
    draft.finish()
}

/// A node's own word.
pub(super) fn reported(
    world: &World,
    node: &Name,
    epoch: u64,
    report: PrimaryReport,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let Some(old) = at(world, epoch) else { return Ok(Changes::default()) };
    match (report, &old.phase) {
        (PrimaryReport::Ready, PrimaryPhase::HandingOver { to }) if to == node => {
            if let Some(obstacle) = obstacle(world, world.node(node)?) {
                return Ok(call_off(world, epoch, &obstacle.to_string(), context));
            }
            let mut draft = Draft::new(world, format!("node/{node} becomes the primary"), context);
            let phase = PrimaryPhase::TakingOver { from: old.node.clone() };
            put(&mut draft, node.clone(), epoch + 1, phase, old.reason.clone());
            Ok(draft.finish())
        }
        (PrimaryReport::Released, PrimaryPhase::TakingOver { from }) if from == node => {
            Ok(released(world, epoch, context))
        }
        (PrimaryReport::Leaving, PrimaryPhase::Holding) if old.node == *node => {
            // Nobody else: it is the primary as long as it is there.
            let Ok(to) = any_other(world, old) else { return Ok(Changes::default()) };
            let mut draft = Draft::new(world, format!("the primary node/{node} goes down"), context);
            let reason = format!("the host of {node} goes down");
            change(&mut draft, old, PrimaryPhase::HandingOver { to }, Some(reason));
            Ok(draft.finish())
        }
        _ => Ok(Changes::default()),
    }
}

/// The last holder carries nothing any more: the new one may begin.
pub(super) fn released(world: &World, epoch: u64, context: &mut Context) -> Changes {
    let Some(old) = at(world, epoch) else { return Changes::default() };
    let PrimaryPhase::TakingOver { from } = &old.phase else { return Changes::default() };
    let mut draft = Draft::new(world, format!("node/{from} has let the primary's role go"), context);
    change(&mut draft, old, PrimaryPhase::Holding, None);
    draft.finish()
}

fn at(world: &World, epoch: u64) -> Option<&Primary> {
    world.primary().filter(|primary| primary.epoch == epoch)
}

/// Any other node that can be the primary, the first by name.
fn any_other(world: &World, old: &Primary) -> Result<Name, Rejection> {
    let mut others = world.nodes.values().filter(|node| node.meta.name != old.node);
    let fit = others.find(|node| obstacle(world, node).is_none());
    fit.map(|node| node.meta.name.clone()).ok_or_else(|| {
        let detail = "no other voting coordinator is reachable";
        let help = "join one, or bring one back: pvc node list";
        Rejection::precondition("other-coordinator-needed", format!("node/{}", old.node), detail).help(help)
    })
}

/// Another phase of the same epoch.
fn change(draft: &mut Draft<'_>, old: &Primary, phase: PrimaryPhase, reason: Option<String>) {
    let mut cluster = the_cluster(draft);
    let reason = reason.unwrap_or_else(|| old.reason.clone());
    cluster.status.primary = Some(Primary { phase, reason, ..old.clone() });
    put_cluster(draft, cluster);
}

/// A new epoch.
fn put(draft: &mut Draft<'_>, node: Name, epoch: u64, phase: PrimaryPhase, reason: String) {
    let mut cluster = the_cluster(draft);
    let since = draft.context.now;
    cluster.status.primary = Some(Primary { node, epoch, since, phase, reason });
    put_cluster(draft, cluster);
}
