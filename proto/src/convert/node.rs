//! Nodes.

use pvc_model::bmc::{Bmc, BmcAdapter, Sealed, Wiring};
use pvc_model::node::{NetworkHealth, NodeFacts, NodeRole, NodeSpec, NodeStatus, Reachability};
use pvc_model::{Name, Node, Rejection, World};

use super::fence::{fence, on_return};
use super::guard::{guard, isolation};
use super::leaving::{leaving, on_shutdown};
use super::meta::{meta, subject};
use super::primary::holds;
use super::refuse::{At, WireEnum, wire_enum, wire_time};
use crate::v1;

wire_enum!(v1::NodeRole, NodeRole, { Coordinator, Hypervisor });
wire_enum!(v1::BmcAdapter, BmcAdapter, { Auto, Native, Ipmitool });
wire_enum!(v1::Wiring, Wiring, { Verified, NotVerified, Wrong });
wire_enum!(v1::Reachability, Reachability, { NeverSeen, Reachable, Unreachable });

/// Refused when it is unset.
pub fn node_role(at: &At<'_>, number: i32) -> Result<NodeRole, Rejection> {
    NodeRole::from_wire(number, at)
}

/// Unset: auto.
pub fn bmc_adapter(at: &At<'_>, number: i32) -> Result<BmcAdapter, Rejection> {
    BmcAdapter::from_wire_or(number, BmcAdapter::Auto, at)
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
                on_return: v1::OnReturn::from(node.spec.on_return).into(),
                isolation: v1::Isolation::from(node.spec.isolation).into(),
                on_shutdown: v1::OnShutdown::from(node.spec.on_shutdown).into(),
                bmc: node.spec.bmc.as_ref().map(v1::Bmc::from),
            }),
            status: Some((&node.status).into()),
            ..v1::Node::default()
        }
    }
}

impl From<&Bmc> for v1::Bmc {
    fn from(bmc: &Bmc) -> Self {
        v1::Bmc {
            address: bmc.address.clone(),
            user: bmc.user.clone(),
            adapter: v1::BmcAdapter::from(bmc.adapter).into(),
            identity: bmc.identity.clone(),
            trusted: bmc.trusted,
            sealed_password: bmc.password.0.clone(),
            ..v1::Bmc::default()
        }
    }
}

fn bmc(at: &At<'_>, wire: &v1::Bmc) -> Result<Bmc, Rejection> {
    Ok(Bmc {
        address: wire.address.clone(),
        user: wire.user.clone(),
        password: Sealed(wire.sealed_password.clone()),
        adapter: BmcAdapter::from_wire(wire.adapter, &at.field("adapter"))?,
        identity: wire.identity.clone(),
        trusted: wire.trusted,
    })
}

impl From<&NodeStatus> for v1::NodeStatus {
    fn from(status: &NodeStatus) -> Self {
        v1::NodeStatus {
            reachability: v1::Reachability::from(status.reachability).into(),
            since: Some(wire_time(status.since)),
            address: status.address.clone(),
            member_id: status.member_id,
            session: status.session,
            fence: status.fence.as_ref().map(Into::into),
            fences: status.fences,
            guard: status.guard.as_ref().map(Into::into),
            guard_words: status.guard_words,
            leaving: status.leaving.as_ref().map(Into::into),
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
            system_uuid: facts.system_uuid.clone(),
            networks: facts.networks.iter().map(|(name, at)| (name.to_string(), at.to_string())).collect(),
            // Unset where there is nothing to say, as it was stored before there were client networks.
            network_health: (facts.network_health != NetworkHealth::default()).then(|| v1::NetworkHealth {
                problems: facts.network_health.problems.clone().into_iter().collect(),
                repairs: facts.network_health.repairs,
                last_repair: facts.network_health.last_repair.clone(),
            }),
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
        system_uuid: wire.system_uuid.clone(),
        // What can't be read is no address at which anything could be asked.
        networks: wire
            .networks
            .iter()
            .filter_map(|(name, at)| Some((name.parse().ok()?, at.parse().ok()?)))
            .collect(),
        network_health: wire.network_health.as_ref().map_or_else(NetworkHealth::default, |health| {
            NetworkHealth {
                problems: health.problems.clone().into_iter().collect(),
                repairs: health.repairs,
                last_repair: health.last_repair.clone(),
            }
        }),
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
            on_return: on_return(&at.field("on_return"), spec.on_return)?,
            isolation: isolation(&at.field("isolation"), spec.isolation)?,
            on_shutdown: on_shutdown(&at.field("on_shutdown"), spec.on_shutdown)?,
            bmc: spec.bmc.as_ref().map(|wire| bmc(&at.field("bmc"), wire)).transpose()?,
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
            fence: status.fence.as_ref().map(|wire| fence(&at.field("fence"), wire)).transpose()?,
            fences: status.fences,
            guard: status.guard.as_ref().map(|wire| guard(&at.field("guard"), wire)).transpose()?,
            guard_words: status.guard_words,
            leaving: status.leaving.as_ref().map(|wire| leaving(&at.field("leaving"), wire)).transpose()?,
        };
        Ok(Node { meta: meta(&root, wire.meta.as_ref())?, spec, status })
    }
}

/// A node as it is shown: without its BMC's password, with what is placed on it, whether it leads, and its load where that is known.
pub fn node_view(world: &World, node: &Node, leader: Option<&Name>, load: Option<v1::NodeLoad>) -> v1::Node {
    let mut view = v1::Node::from(node);
    for vm in world.vms_placed_on(&node.meta.name) {
        view.vms_placed += 1;
        view.vcpus_placed += vm.spec.vcpus;
        view.memory_placed_mib += vm.spec.memory_mib;
    }
    view.leader = leader == Some(&node.meta.name);
    view.primary = holds(world.primary(), &node.meta.name);
    view.load = load;
    let shown = view.spec.as_mut().and_then(|spec| spec.bmc.as_mut());
    if let (Some(shown), Some(bmc)) = (shown, &node.spec.bmc) {
        shown.has_password = !bmc.password.0.is_empty();
        shown.sealed_password.clear();
        shown.wiring = v1::Wiring::from(bmc.wiring(&bmc.identity, &node.status.facts.system_uuid)).into();
    }
    view
}
