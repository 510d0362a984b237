//! What this host must have of the client networks, by what the node was told and whether its lease covers that. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use pvc_model::network::Network;
use pvc_model::network::host::{HostPlan, Port, Stance};
use pvc_model::node::NodeRole;
use pvc_model::primary::{Primary, PrimaryPhase};
use pvc_model::{Name, Vm};

use crate::agent::view::NodeView;

/// `cluster`: its id as a number. `covered`: the node's lease covers the view.
pub fn host_plan(me: &Name, cluster: u128, view: &NodeView, covered: bool) -> HostPlan {
    let coordinator = view.node.as_ref().is_some_and(|node| node.spec.role == NodeRole::Coordinator);
    let primary = view.primary.as_ref();
    HostPlan {
        stance: if coordinator { stance(me, primary, covered) } else { Stance::Hypervisor },
        revision: view.revision,
        cluster,
        epoch: primary.map_or(0, |primary| primary.epoch),
        fabric: view.fabric.clone(),
        coordinators: ips(&view.coordinators),
        hypervisors: ips(&view.hypervisors),
        networks: by_number(view),
        leases: view.leases.values().cloned().collect(),
        ports: ports(me, view),
    }
}

/// How a coordinator stands to the single-holder services. By the newest epoch that it knows it is one primary or none; the
/// overlap of a hand-over, in which the last one has not heard of it, is meant (docs/networks.md).
fn stance(me: &Name, primary: Option<&Primary>, covered: bool) -> Stance {
    match primary {
        Some(primary) if primary.node == *me && covered => Stance::Primary,
        Some(primary) if primary.node == *me => Stance::CutOff,
        Some(Primary { phase: PrimaryPhase::HandingOver { to }, .. }) if to == me => Stance::Ready,
        _ => Stance::Standby,
    }
}

fn by_number(view: &NodeView) -> Vec<Arc<Network>> {
    let mut networks: Vec<_> = view.networks.values().cloned().collect();
    networks.sort_by_key(|network| network.vni);
    networks
}

fn ips(hosts: &[(Name, String)]) -> Vec<(Name, IpAddr)> {
    let ip = |address: &str| Some(address.parse::<SocketAddr>().ok()?.ip());
    hosts.iter().filter_map(|(name, address)| Some((name.clone(), ip(address)?))).collect()
}

/// NICs of the guests that are here, may be started here, or arrive.
fn ports(me: &Name, view: &NodeView) -> Vec<Port> {
    let mut seen = BTreeSet::new();
    let here = view.vms.values().filter(|vm| concerns(vm, me));
    let nics = here.flat_map(|vm| vm.spec.nics.iter().map(move |nic| (vm, nic)));
    nics.filter_map(|(vm, nic)| {
        let mac = nic.mac.filter(|mac| seen.insert(*mac))?;
        Some(Port {
            vm: vm.meta.name.clone(),
            mac,
            attachment: nic.attachment.clone(),
            spoof_check: nic.spoof_check,
            addresses: nic.addresses.clone(),
            moving: vm.migration.is_some(),
        })
    })
    .collect()
}

fn concerns(vm: &Vm, me: &Name) -> bool {
    vm.placed_on(me)
        || vm.migration.as_ref().is_some_and(|migration| migration.from == *me || migration.to == *me)
        || vm.observed.as_ref().is_some_and(|observed| observed.node == *me)
}
