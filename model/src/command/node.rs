//! Enrolling, changing and removing nodes, and whether they are heard.

use super::draft::{Draft, check_revision};
use super::{advance, leave};
use crate::Revision;
use crate::change::{Changes, Collection, Object};
use crate::context::Context;
use crate::fence::OnReturn;
use crate::guard::Isolation;
use crate::leaving::OnShutdown;
use crate::name::Name;
use crate::node::{Node, NodeFacts, NodeRole, NodeSpec, NodeStatus, Reachability};
use crate::rejection::Rejection;
use crate::world::World;

/// What is to be changed of a node's settings; None: stays.
pub(super) struct NodePatch {
    pub schedulable: Option<bool>,
    pub on_return: Option<OnReturn>,
    pub isolation: Option<Isolation>,
    pub on_shutdown: Option<OnShutdown>,
}

pub(super) fn update(
    world: &World,
    name: &Name,
    patch: &NodePatch,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.node(name)?;
    check_revision(&format!("node/{name}"), expected, old.meta.revision)?;
    let mut node = Node::clone(old);
    node.spec.schedulable = patch.schedulable.unwrap_or(node.spec.schedulable);
    node.spec.on_return = patch.on_return.unwrap_or(node.spec.on_return);
    node.spec.isolation = patch.isolation.unwrap_or(node.spec.isolation);
    node.spec.on_shutdown = patch.on_shutdown.unwrap_or(node.spec.on_shutdown);
    let draft = Draft::new(world, format!("modify node/{name}"), context);
    Ok(put_changed(draft, old, node).finish_replying(Collection::Nodes, name))
}

pub(super) fn delete(world: &World, name: &Name, expected: Revision) -> Result<Changes, Rejection> {
    let node = world.node(name)?;
    let subject = format!("node/{name}");
    check_revision(&subject, expected, node.meta.revision)?;
    let held: Vec<_> = world
        .vms
        .values()
        .filter(|vm| vm.placed_on(name) || vm.migration.as_ref().is_some_and(|m| m.to == *name))
        .map(|vm| vm.meta.name.to_string())
        .collect();
    if !held.is_empty() {
        let shown = held.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let more = if held.len() > 5 { format!(" and {} more", held.len() - 5) } else { String::new() };
        return Err(Rejection::precondition(
            "node-must-be-empty",
            subject,
            format!("VMs are placed on it: {shown}{more}"),
        )
        .help("move them: pvc vm move VM -t NODE"));
    }
    super::rule::refuse_named_node(world, name)?;
    if node.spec.role == NodeRole::Coordinator {
        return Err(Rejection::precondition("node-must-not-vote", subject, "it is a coordinator")
            .help(format!("pvc cluster voter remove {name}")));
    }
    let mut changes = Changes::new(format!("remove {subject}"));
    changes.delete(crate::ObjectKey { collection: Collection::Nodes, name: name.clone() });
    Ok(changes)
}

/// The first coordinator. Asked again, it answers with what is there.
pub(super) fn found(
    world: &World,
    name: &Name,
    address: &str,
    member_id: u64,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let mut draft = Draft::new(world, format!("found the cluster with node/{name}"), context);
    match world.nodes.get(name) {
        Some(node) if node.status.member_id == member_id => {}
        Some(_) => {
            let detail = "a node of that name exists with another member id";
            return Err(Rejection::precondition("node-name-unique", format!("node/{name}"), detail));
        }
        None if !world.nodes.is_empty() => {
            let detail = "the cluster is founded already; further nodes join";
            return Err(
                Rejection::precondition("found-once", format!("node/{name}"), detail).help("pvc token join")
            );
        }
        None => {
            let node = new_node(&mut draft, name, NodeRole::Coordinator, address, member_id);
            draft.put(Object::Node(node));
        }
    }
    Ok(draft.finish_replying(Collection::Nodes, name))
}

pub(super) fn new_node(
    draft: &mut Draft<'_>,
    name: &Name,
    role: NodeRole,
    address: &str,
    member_id: u64,
) -> Node {
    Node {
        meta: draft.new_meta(name.clone()),
        spec: NodeSpec {
            role,
            schedulable: true,
            standby: false,
            maintenance: false,
            on_return: OnReturn::default(),
            isolation: Isolation::default(),
            on_shutdown: OnShutdown::default(),
            bmc: None,
        },
        status: NodeStatus {
            reachability: Reachability::NeverSeen,
            since: draft.context.now,
            member_id,
            session: 0,
            address: address.to_string(),
            facts: NodeFacts::default(),
            fence: None,
            fences: 0,
            guard: None,
            guard_words: 0,
            leaving: None,
        },
    }
}

pub(super) fn set_reachability(
    world: &World,
    name: &Name,
    reachability: Reachability,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.node(name)?;
    let mut node = Node::clone(old);
    let mut draft = Draft::new(world, format!("node/{name} is {}", word(reachability)), context);
    if node.status.reachability != reachability {
        node.status.reachability = reachability;
        node.status.since = draft.context.now;
    }
    draft = put_changed(draft, old, node);
    leave::settle(&mut draft, name);
    advance::all(&mut draft);
    Ok(draft.finish_replying(Collection::Nodes, name))
}

fn word(reachability: Reachability) -> &'static str {
    match reachability {
        Reachability::NeverSeen => "not seen yet",
        Reachability::Reachable => "reachable",
        Reachability::Unreachable => "unreachable",
    }
}

pub(super) fn set_role(
    world: &World,
    name: &Name,
    role: NodeRole,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.node(name)?;
    let subject = format!("node/{name}");
    let mut node = Node::clone(old);
    node.spec.role = role;
    match role {
        NodeRole::Coordinator if old.status.member_id == 0 => {
            let detail = "it joined as a hypervisor, or its vote was taken away: it has no copy of the state";
            return Err(Rejection::precondition("coordinator-by-joining", subject, detail).help(format!(
                "pvc node remove {name}, then join it anew with `pvc-bootstrap join --role coordinator`"
            )));
        }
        NodeRole::Coordinator => {}
        NodeRole::Hypervisor => {
            let other = |n: &Node| n.meta.name != *name && n.spec.role == NodeRole::Coordinator;
            if !world.nodes.values().any(|node| other(node)) {
                let detail = "it is the last coordinator";
                return Err(Rejection::precondition("last-coordinator", subject, detail)
                    .help("join another one first: pvc token join"));
            }
            // Numbers are never used twice: with a new vote comes a new one.
            node.status.member_id = 0;
            node.spec.standby = false;
        }
    }
    let draft = Draft::new(world, format!("change the role of node/{name}"), context);
    Ok(put_changed(draft, old, node).finish_replying(Collection::Nodes, name))
}

fn put_changed<'a>(mut draft: Draft<'a>, old: &Node, mut node: Node) -> Draft<'a> {
    if node != *old {
        node.meta.updated = draft.context.now;
        draft.put(Object::Node(node));
    }
    draft
}
