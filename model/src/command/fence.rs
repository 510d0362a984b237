//! A node's fence, from its beginning to its end; the storm brake; switching automatic recovery off and on.
//!
//! Never happens here: a VM that leaves a node before a proof for the node's present fence was accepted, or a fence that is
//! called off after that.

use std::collections::BTreeSet;

use super::cluster::{name as cluster_name, put_cluster, the_cluster};
use super::draft::Draft;
use super::{drain, recovery};
use crate::change::{Changes, Collection, Object};
use crate::context::Context;
use crate::fence::{Brake, Disarmed, Fence, FencePhase, OnReturn, Proof, ProofKind};
use crate::name::Name;
use crate::node::Node;
use crate::rejection::Rejection;
use crate::world::World;

/// The leader begins to fence a node that it does not hear. One that is being fenced already stays as it is.
pub(super) fn begin(
    world: &World,
    name: &Name,
    reason: &str,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let node = world.node(name)?;
    let refuse = |rule, detail: &str| Err(Rejection::precondition(rule, subject(name), detail));
    if node.is_reachable() {
        return refuse("fence-silent", "it is reachable: a node that is heard is not fenced");
    }
    if node.spec.maintenance {
        return refuse("fence-not-maintained", "it is in maintenance");
    }
    if !world.is_armed() {
        return refuse("recovery-armed", "automatic recovery is disarmed");
    }
    let mut draft = Draft::new(world, format!("fence node/{name}: {reason}"), context);
    if node.status.fence.as_ref().is_none_or(|fence| fence.phase == FencePhase::Returned) {
        begin_in(&mut draft, node, reason, false);
    }
    Ok(draft.finish_replying(Collection::Nodes, name))
}

fn begin_in(draft: &mut Draft<'_>, node: &Node, reason: &str, by_person: bool) -> Node {
    let mut node = node.clone();
    node.status.fences += 1;
    node.status.fence = Some(Fence {
        epoch: node.status.fences,
        phase: FencePhase::Fencing,
        since: draft.context.now,
        reason: reason.to_owned(),
        by_person,
        proof: None,
    });
    put(draft, node.clone());
    node
}

/// A person fences a node: the cluster looks for a proof (`confirmed_off` unset), or has the person's word for one.
pub(super) fn by_person(
    world: &World,
    name: &Name,
    confirmed_off: bool,
    force: bool,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let node = world.node(name)?;
    if node.is_fenced() {
        return Err(Rejection::precondition("not-fenced-yet", subject(name), "it is fenced already")
            .help(format!("pvc node info {name}")));
    }
    if node.is_reachable() && confirmed_off {
        let detail = "it is reachable, so it is not off: its guests may write";
        return Err(Rejection::precondition("fence-silent", subject(name), detail)
            .help(format!("switch it off first; or `pvc node fence {name} --force`, which cuts its power")));
    }
    if node.is_reachable() && !force {
        let detail = "it is reachable: fencing it cuts its guests off";
        return Err(Rejection::precondition("fence-silent", subject(name), detail)
            .help(format!("pvc node flush {name} moves its VMs away; --force fences it all the same")));
    }
    let how = if confirmed_off { "confirm that it is off, and fence" } else { "fence" };
    let mut draft = Draft::new(world, format!("{how} node/{name}"), context);
    let actor = draft.context.actor.clone();
    let fencing = node.status.fence.as_ref().is_some_and(|fence| fence.phase == FencePhase::Fencing);
    let node = if fencing && !force {
        Node::clone(node)
    } else {
        begin_in(&mut draft, node, &format!("{actor} asked for it"), force)
    };
    if confirmed_off {
        prove(&mut draft, node, ProofKind::Operator, actor);
    }
    Ok(draft.finish_replying(Collection::Nodes, name))
}

/// It is heard again, and no proof was accepted: its guests run on where they are.
pub(super) fn call_off(world: &World, name: &Name, context: &mut Context) -> Result<Changes, Rejection> {
    let node = world.node(name)?;
    let mut draft = Draft::new(world, format!("call the fence of node/{name} off: it is heard"), context);
    let fencing = node.status.fence.as_ref();
    let fencing = fencing.is_some_and(|fence| fence.phase == FencePhase::Fencing && !fence.by_person);
    if fencing && node.is_reachable() {
        let mut node = Node::clone(node);
        node.status.fence = None;
        let in_maintenance = node.spec.maintenance;
        put(&mut draft, node);
        if !in_maintenance {
            drain::start_released(&mut draft, name);
        }
    }
    Ok(draft.finish())
}

/// The first proof that is accepted makes the fence: all VMs of the node are planned anew in the same decision.
pub(super) fn accept(
    world: &World,
    name: &Name,
    epoch: u64,
    kind: ProofKind,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let node = world.node(name)?;
    let mut draft = Draft::new(world, format!("node/{name} is fenced ({} proof)", kind.as_str()), context);
    match &node.status.fence {
        Some(fence) if fence.epoch == epoch && fence.phase == FencePhase::Fencing => {
            if kind == ProofKind::Lease && node.relied_guard().is_none() {
                let detail = "no armed guard of it is known: that its lease has lapsed proves nothing";
                return Err(Rejection::precondition("guard-armed", subject(name), detail));
            }
            let by = draft.context.actor.clone();
            prove(&mut draft, Node::clone(node), kind, by);
            Ok(draft.finish())
        }
        // Proven already, by this proof or another.
        Some(fence) if fence.epoch == epoch => Ok(draft.finish()),
        _ => {
            let detail = format!("its fence {epoch} is over");
            Err(Rejection::precondition("fence-under-way", subject(name), detail))
        }
    }
}

fn prove(draft: &mut Draft<'_>, mut node: Node, kind: ProofKind, by: String) {
    let now = draft.context.now;
    let Some(fence) = node.status.fence.as_mut() else { return };
    fence.phase = FencePhase::Fenced;
    fence.since = now;
    fence.proof = Some(Proof { kind, by, at: now });
    put(draft, node);
    recovery::go_on(draft);
}

/// A fenced node is back: it is heard, and no guest runs on it. It may have a lease again, and takes no VM yet.
pub(super) fn returned(world: &World, name: &Name, context: &mut Context) -> Result<Changes, Rejection> {
    let node = world.node(name)?;
    let mut draft = Draft::new(world, format!("node/{name} is back from its fence, and empty"), context);
    if node.is_fenced() && node.is_reachable() {
        let mut node = Node::clone(node);
        if let Some(fence) = node.status.fence.as_mut() {
            fence.phase = FencePhase::Returned;
            fence.since = draft.context.now;
        }
        put(&mut draft, node);
    }
    Ok(draft.finish())
}

/// A node whose fence is not over can't be made ready.
pub(super) fn refuse_fenced(node: &Node) -> Result<(), Rejection> {
    let name = &node.meta.name;
    let over = |fence: &Fence| match fence.phase {
        // Nothing has happened to it yet, and it is well.
        FencePhase::Fencing => node.is_reachable(),
        FencePhase::Fenced => false,
        FencePhase::Returned => true,
    };
    if node.status.fence.as_ref().is_none_or(over) {
        return Ok(());
    }
    let detail = "it is fenced, and has not come back empty yet";
    Err(Rejection::precondition("fence-returned", subject(name), detail)
        .help(format!("bring it up; see `pvc node info {name}`")))
}

/// It takes VMs again, because it has been well for long enough. (A person makes it ready: `drain::ready`.)
pub(super) fn end(world: &World, name: &Name, context: &mut Context) -> Result<Changes, Rejection> {
    let node = world.node(name)?;
    refuse_fenced(node)?;
    if node.status.fence.is_none() {
        let detail = "it has no fence";
        return Err(Rejection::precondition("fence-to-end", subject(name), detail));
    }
    if node.spec.on_return == OnReturn::Home {
        return drain::ready(world, name, false, context);
    }
    let mut draft = Draft::new(world, format!("node/{name} takes VMs again"), context);
    let mut node = Node::clone(node);
    node.status.fence = None;
    put(&mut draft, node);
    recovery::go_on(&mut draft);
    Ok(draft.finish_replying(Collection::Nodes, name))
}

/// Nodes that fell silent together: nobody's power is touched until they are heard or a person releases the brake.
/// `nodes` empty: it is over.
pub(super) fn set_brake(
    world: &World,
    nodes: &BTreeSet<Name>,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let mut draft = Draft::new(world, "", context);
    let mut cluster = the_cluster(&mut draft);
    cluster.status.brake = match cluster.status.brake {
        _ if nodes.is_empty() => None,
        Some(mut brake) => {
            // What a person has released stays so for those nodes; others are new.
            if !nodes.is_subset(&brake.nodes) {
                brake.released_by = None;
            }
            Some(Brake { nodes: nodes.clone(), ..brake })
        }
        None => Some(Brake { since: draft.context.now, nodes: nodes.clone(), released_by: None }),
    };
    put_cluster(&mut draft, cluster);
    Ok(draft.finish())
}

/// A person says that the silent nodes are dead, and not the network.
pub(super) fn release_brake(world: &World, context: &mut Context) -> Result<Changes, Rejection> {
    let mut draft = Draft::new(world, "release the storm brake", context);
    let mut cluster = the_cluster(&mut draft);
    match cluster.status.brake.as_mut().filter(|brake| brake.holds()) {
        Some(brake) => brake.released_by = Some(draft.context.actor.clone()),
        None => {
            let detail = "no storm brake holds";
            return Err(Rejection::precondition("brake-holds", "cluster", detail).help("pvc cluster status"));
        }
    }
    put_cluster(&mut draft, cluster);
    Ok(draft.finish_replying(Collection::Cluster, &cluster_name()))
}

pub(super) fn disarm(world: &World, reason: &str, context: &mut Context) -> Result<Changes, Rejection> {
    let mut draft = Draft::new(world, "disarm automatic recovery", context);
    let mut cluster = the_cluster(&mut draft);
    if cluster.status.disarmed.is_some() {
        let detail = "automatic recovery is disarmed already";
        return Err(Rejection::precondition("recovery-armed", "cluster", detail).help("pvc cluster arm"));
    }
    let (by, since) = (draft.context.actor.clone(), draft.context.now);
    cluster.status.disarmed = Some(Disarmed { by, since, reason: reason.chars().take(256).collect() });
    put_cluster(&mut draft, cluster);
    Ok(draft.finish_replying(Collection::Cluster, &cluster_name()))
}

pub(super) fn arm(world: &World, context: &mut Context) -> Result<Changes, Rejection> {
    let mut draft = Draft::new(world, "arm automatic recovery", context);
    let mut cluster = the_cluster(&mut draft);
    if cluster.status.disarmed.take().is_none() {
        let detail = "automatic recovery is armed";
        return Err(Rejection::precondition("recovery-disarmed", "cluster", detail));
    }
    put_cluster(&mut draft, cluster);
    recovery::go_on(&mut draft);
    Ok(draft.finish_replying(Collection::Cluster, &cluster_name()))
}

fn subject(node: &Name) -> String {
    format!("node/{node}")
}

fn put(draft: &mut Draft<'_>, mut node: Node) {
    node.meta.updated = draft.context.now;
    draft.put(Object::Node(node));
}
