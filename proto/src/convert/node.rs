//! Nodes.

use pvc_model::node::{NodeFacts, NodeRole, NodeSpec, NodeStatus, Reachability};
use pvc_model::{Name, Node, Rejection, World};

use super::meta::{meta, subject};
use super::refuse::{At, WireEnum, wire_enum, wire_time};
use crate::v1;

wire_enum!(v1::NodeRole, NodeRole, { Coordinator, Hypervisor });
wire_enum!(v1::Reachability, Reachability, { NeverSeen, Reachable, Unreachable });

/// Refused when it is unset.
pub fn node_role(at: &At<'_>, number: i32) -> Result<NodeRole, Rejection> {
    NodeRole::from_wire(number, at)
}

/// As a filter: unset is no filter.
pub fn reachability(at: &At<'_>, number: i32) -> Result<Option<Reachability>, Rejection> {
    if number == 0 { Ok(None) } else { Reachability::from_wire(number, at).map(Some) }
}

impl From<&Node> for v1::Node {
    fn from(node: &Node) -> Self {
        v1::Node {
            meta: Some((&node.meta).into()),
            spec: Some(v1::NodeSpec {
                role: v1::NodeRole::from(node.spec.role).into(),
                schedulable: node.spec.schedulable,
                standby: node.spec.standby,
                maintenance: node.spec.maintenance,
            }),
            status: Some((&node.status).into()),
            ..v1::Node::default()
        }
    }
}

impl From<&NodeStatus> for v1::NodeStatus {
    fn from(status: &NodeStatus) -> Self {
        v1::NodeStatus {
            reachability: v1::Reachability::from(status.reachability).into(),
            since: Some(wire_time(status.since)),
            address: status.address.clone(),
            member_id: status.member_id,
            session: status.session,
            ..v1::NodeStatus::from(&status.facts)
        }
    }
}

/// A node's own report: what belongs to the leader is left unset.
impl From<&NodeFacts> for v1::NodeStatus {
    fn from(facts: &NodeFacts) -> Self {
        v1::NodeStatus {
            version: facts.version.clone(),
            cpus: facts.cpus,
            memory_mib: facts.memory_mib,
            hypervisor: facts.hypervisor.clone(),
            kernel: facts.kernel.clone(),
            problem: facts.problem.clone(),
            level: facts.level,
            ..v1::NodeStatus::default()
        }
    }
}

/// What a node says of itself; the leader's part of the message is not looked at.
pub fn node_facts(wire: &v1::NodeStatus) -> NodeFacts {
    NodeFacts {
        version: wire.version.clone(),
        cpus: wire.cpus,
        memory_mib: wire.memory_mib,
        hypervisor: wire.hypervisor.clone(),
        kernel: wire.kernel.clone(),
        problem: wire.problem.clone(),
        level: wire.level,
    }
}

impl TryFrom<&v1::Node> for Node {
    type Error = Rejection;

    fn try_from(wire: &v1::Node) -> Result<Self, Rejection> {
        let subject = subject("node", wire.meta.as_ref());
        let root = At::new(&subject);
        let at = root.field("spec");
        let spec = at.present(wire.spec.as_ref())?;
        let spec = NodeSpec {
            role: node_role(&at.field("role"), spec.role)?,
            schedulable: spec.schedulable,
            standby: spec.standby,
            maintenance: spec.maintenance,
        };
        let at = root.field("status");
        let status = at.present(wire.status.as_ref())?;
        let status = NodeStatus {
            reachability: Reachability::from_wire(status.reachability, &at.field("reachability"))?,
            since: at.field("since").time(status.since.as_ref())?,
            member_id: status.member_id,
            session: status.session,
            address: status.address.clone(),
            facts: node_facts(status),
        };
        Ok(Node { meta: meta(&root, wire.meta.as_ref())?, spec, status })
    }
}

/// A node as it is shown: with what is placed on it, whether it leads, and its load where that is known.
pub fn node_view(world: &World, node: &Node, leader: Option<&Name>, load: Option<v1::NodeLoad>) -> v1::Node {
    let mut view = v1::Node::from(node);
    for vm in world.vms_placed_on(&node.meta.name) {
        view.vms_placed += 1;
        view.vcpus_placed += vm.spec.vcpus;
        view.memory_placed_mib += vm.spec.memory_mib;
    }
    view.leader = leader == Some(&node.meta.name);
    view.load = load;
    view
}
