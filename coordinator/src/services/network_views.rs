//! How client networks and leases are found and shown in lists and watches.

use std::collections::BTreeSet;
use std::sync::Arc;

use pvc_model::network::lease::Lease;
use pvc_model::network::{Network, Vni};
use pvc_model::{Object, World};
use pvc_proto::convert::{lease_view, network_view};
use pvc_proto::v1;
use regex::Regex;

use super::shared::Shared;
use crate::core::Change;

/// By the number, or by what people call it.
pub fn matches(filter: Option<&Regex>, network: &Network) -> bool {
    filter.is_none_or(|filter| {
        filter.is_match(network.meta.name.as_str()) || filter.is_match(network.spec.description.as_str())
    })
}

/// Without its reservations and rules, of which there may be thousands.
pub fn brief(world: &World, network: &Network) -> v1::Network {
    let whole = network_view(world, network);
    v1::Network { reservations: Vec::new(), acl: Vec::new(), ..whole }
}

pub fn network_message(
    _: &Shared,
    world: &World,
    kind: v1::ChangeKind,
    network: Option<&Network>,
    revision: u64,
) -> v1::NetworkChange {
    let network = network.map(|network| network_view(world, network));
    v1::NetworkChange { kind: kind.into(), network, revision }
}

pub fn lease_message(
    _: &Shared,
    world: &World,
    kind: v1::ChangeKind,
    lease: Option<&Lease>,
    revision: u64,
) -> v1::LeaseChange {
    v1::LeaseChange { kind: kind.into(), lease: lease.map(|lease| lease_view(world, lease)), revision }
}

/// Networks that are used by other VMs than before.
pub fn touched(world: &World, changes: &[Change]) -> Vec<Arc<Network>> {
    let changed: BTreeSet<Vni> = changes
        .iter()
        .flat_map(|change| {
            let (old, new) = (attached(change.old.as_ref()), attached(change.new.as_ref()));
            old.symmetric_difference(&new).copied().collect::<Vec<_>>()
        })
        .collect();
    changed.iter().filter_map(|vni| world.networks.get(&vni.name()).cloned()).collect()
}

/// Networks that a VM has NICs in.
fn attached(object: Option<&Object>) -> BTreeSet<Vni> {
    let Some(Object::Vm(vm)) = object else { return BTreeSet::new() };
    vm.spec.nics.iter().filter_map(|nic| nic.attachment.network()).collect()
}
