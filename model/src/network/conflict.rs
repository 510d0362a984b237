//! What a network may not share with the rest of the cluster: numbers, names, domains, and addresses.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Network;
use super::check::overlap;
use crate::name::Name;
use crate::rejection::{Rejection, RejectionKind};
use crate::world::World;

/// Refuses what `network`, which is to be put into `world`, shares with others.
pub fn refuse_conflicts(world: &World, network: &Network) -> Result<(), Rejection> {
    let subject = network.subject();
    let others = || world.networks.values().filter(|other| other.vni != network.vni);
    if let Some(other) = others().find(|other| other.spec.description == network.spec.description) {
        let detail = format!("network {} is called {} already", other.vni, other.spec.description);
        return Err(Rejection::new(RejectionKind::AlreadyExists, "description-taken", subject, detail)
            .help("choose another description, or see `pvc network list`"));
    }
    let Some(managed) = network.managed() else { return Ok(()) };
    for other in others() {
        let Some(theirs) = other.managed() else { continue };
        if theirs.domain == managed.domain {
            let detail = format!("{} is the domain of {} already", managed.domain, other.called());
            return Err(Rejection::new(RejectionKind::AlreadyExists, "domain-taken", subject, detail)
                .help("each network has a domain of its own, such as DESCRIPTION.example.org"));
        }
        for mine in managed.subnets() {
            if let Some(its) = theirs.subnets().find(|its| overlap(its.subnet, mine.subnet)) {
                let detail = format!(
                    "{} of {} overlaps {} of {}",
                    mine.subnet,
                    network.called(),
                    its.subnet,
                    other.called()
                );
                return Err(Rejection::precondition("subnets-apart", subject, detail)
                    .help("choose another subnet; `pvc network list` shows all"));
            }
        }
    }
    for mine in managed.subnets() {
        if let Some((address, whose)) = address_inside(world, mine.subnet) {
            let detail = format!("{} holds {address}, {whose}", mine.subnet);
            return Err(Rejection::precondition("subnet-of-hosts", subject, detail)
                .help("client networks have subnets of their own, beside those of the hosts"));
        }
    }
    Ok(())
}

/// An address of the cluster's own in `net`, and whose it is: "the address of node hv1".
fn address_inside(world: &World, net: IpNet) -> Option<(IpAddr, String)> {
    infrastructure(world).find(|(address, _)| net.contains(address))
}

/// Addresses that hosts, the primary and the routers outside have.
fn infrastructure(world: &World) -> impl Iterator<Item = (IpAddr, String)> {
    let nodes = world.nodes.values().flat_map(|node| {
        let socket = node.status.address.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip());
        let others = node.status.facts.networks.values().copied();
        let name = node.meta.name.clone();
        socket.into_iter().chain(others).map(move |address| (address, format!("an address of node {name}")))
    });
    let settings = world.settings();
    let floating =
        settings.floating.map(|floating| (floating.address.address, "the primary's address".to_owned()));
    let peers = settings.fabric.peers.into_iter();
    let peers = peers.map(|peer| (peer.address, format!("the address of the upstream peer {}", peer.name)));
    nodes.chain(floating).chain(peers)
}

/// The node that has `address`.
pub fn node_with(world: &World, address: IpAddr) -> Option<Name> {
    let has = |node: &&std::sync::Arc<crate::Node>| {
        let socket = node.status.address.parse::<std::net::SocketAddr>();
        socket.is_ok_and(|socket| socket.ip() == address)
            || node.status.facts.networks.values().any(|own| *own == address)
    };
    world.nodes.values().find(has).map(|node| node.meta.name.clone())
}

/// The client network that `address` is in.
pub fn network_with(world: &World, address: IpAddr) -> Option<&Network> {
    let holds = |network: &&std::sync::Arc<Network>| {
        network.managed().is_some_and(|managed| managed.subnets().any(|one| one.subnet.contains(&address)))
    };
    world.networks.values().find(holds).map(|network| &**network)
}
