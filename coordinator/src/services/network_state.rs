//! What hosts see of a client network: all that carry it are asked side by side. One that does not answer is said to be so, and
//! holds up none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use pvc_model::network::{Network, Vni};
use pvc_model::node::{Node, NodeRole};
use pvc_model::{Name, Vm, World};
use pvc_proto::internal::v1::HostNetworkRequest;
use pvc_proto::v1;
use tokio::time::timeout;
use tonic::Status;

use super::hosts::in_time;
use super::shared::{Shared, refuse};
use super::vm_host::host;

/// A host that takes longer is not waited for; it gives each thing it looks at three seconds itself.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn state(shared: &Shared, network: &Name) -> Result<v1::NetworkState, Status> {
    let world = shared.world(0).await?;
    let network = world.network(network).map_err(refuse)?;
    let nodes = world.nodes.values();
    let hosts = nodes.filter(|node| node.spec.role == NodeRole::Coordinator).map(|node| &node.meta.name);
    let hosts: BTreeSet<&Name> = hosts.chain(hosts_of_guests(&world, network)).collect();
    let mut hosts = join_all(hosts.into_iter().map(|node| ask(shared, &world, node, network.vni))).await;
    let names = Names::of(&world);
    hosts.iter_mut().for_each(|host| names.put(&world, host));
    Ok(v1::NetworkState { hosts })
}

/// Where guests of the network are, or may be.
fn hosts_of_guests<'a>(world: &'a World, network: &Network) -> impl Iterator<Item = &'a Name> {
    let users = world.network_users(network.vni).into_iter();
    users.filter_map(|vm| world.vms.get(&vm)).flat_map(|vm| hosts_of(vm))
}

fn hosts_of(vm: &Vm) -> impl Iterator<Item = &Name> {
    let placed = vm.placement.iter().map(|placement| &placement.node);
    placed.filter(|_| !vm.is_proven_off()).chain(vm.migration.iter().map(|migration| &migration.to))
}

async fn ask(shared: &Shared, world: &World, node: &Name, vni: Vni) -> v1::HostNetworkState {
    let unknown = |problem: String| v1::HostNetworkState {
        node: node.to_string(),
        problem,
        ..v1::HostNetworkState::default()
    };
    if !world.nodes.get(node).is_some_and(|node| node.is_reachable()) {
        return unknown("the leader does not hear it".to_owned());
    }
    let answer = async {
        let mut host = host(shared, world, node).await?;
        in_time(node, host.look_at_network(HostNetworkRequest { vni: vni.get() })).await
    };
    match timeout(PATIENCE, answer).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(status)) => {
            let said = status.message();
            unknown(said.strip_prefix(&format!("node/{node}: ")).unwrap_or(said).to_owned())
        }
        Err(_) => unknown(format!("it does not answer within {} s", PATIENCE.as_secs())),
    }
}

/// Nodes by their addresses in the cluster's network: hosts know each other by these.
struct Names(BTreeMap<String, Name>);

impl Names {
    fn of(world: &World) -> Names {
        let known = |node: &Node| {
            let address: SocketAddr = node.status.address.parse().ok()?;
            Some((address.ip().to_string(), node.meta.name.clone()))
        };
        Names(world.nodes.values().filter_map(|node| known(node)).collect())
    }

    fn name(&self, address: &mut String) {
        if let Some(name) = self.0.get(address) {
            *address = name.to_string();
        }
    }

    /// Puts names of nodes in the place of addresses, and of VMs beside their MACs.
    fn put(&self, world: &World, host: &mut v1::HostNetworkState) {
        host.other_hosts.iter_mut().for_each(|other| self.name(other));
        for peer in host.peers.iter_mut().filter(|peer| peer.name.is_empty()) {
            peer.name = self.0.get(&peer.address).map(ToString::to_string).unwrap_or_default();
        }
        for mac in &mut host.macs {
            self.name(&mut mac.host);
            let user = mac.mac.parse().ok().and_then(|mac| world.mac_user(mac));
            mac.vm = user.map(ToString::to_string).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_called_by_their_names() {
        let text = |text: &str| text.to_owned();
        let peer = |address: &str, name: &str| v1::FabricPeer {
            address: text(address),
            name: text(name),
            ..v1::FabricPeer::default()
        };
        let mut host = v1::HostNetworkState {
            other_hosts: vec![text("192.0.2.2"), text("192.0.2.9")],
            macs: vec![v1::NetworkMac { host: text("192.0.2.2"), ..v1::NetworkMac::default() }],
            peers: vec![peer("192.0.2.2", ""), peer("192.0.2.2", "rtr1"), peer("192.0.2.9", "")],
            ..v1::HostNetworkState::default()
        };
        let names = Names(BTreeMap::from([(text("192.0.2.2"), "hv2".parse().expect("a name"))]));
        names.put(&World::default(), &mut host);
        assert_eq!(host.other_hosts, ["hv2", "192.0.2.9"], "one that no node has stays as it is");
        assert_eq!(host.macs[0].host, "hv2");
        assert_eq!(host.peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["hv2", "rtr1", ""]);
    }
}
