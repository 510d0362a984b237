//! What carries the client networks: the cluster's autonomous system, the routers outside, and who may have the zones.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::cluster::{name, put_cluster, the_cluster};
use super::super::draft::{Draft, check_revision};
use crate::Revision;
use crate::change::{Changes, Collection};
use crate::context::Context;
use crate::name::Name;
use crate::network::check::is_host;
use crate::network::conflict::{network_with, node_with};
use crate::network::fabric::{Fabric, PEERS_MAX, Peer};
use crate::rejection::{Rejection, RejectionKind};
use crate::world::World;

const SUBJECT: &str = "cluster";
/// Name servers that may copy the zones, and resolvers that are asked, at most, of each.
const SERVERS_MAX: usize = 16;
/// Numbers of autonomous systems that nobody has: none (RFC 7607), the stand-in of 4-byte ones (RFC 6793), and the last
/// ones of both lengths (RFC 7300).
const ASNS_KEPT: [u32; 4] = [0, 23_456, 65_535, u32::MAX];

/// Unset: unchanged.
pub(super) fn update_fabric(
    world: &World,
    asn: Option<u32>,
    zone_secondaries: Option<&[IpAddr]>,
    forwarders: Option<&[IpAddr]>,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let actual = world.cluster.as_ref().map_or(0, |cluster| cluster.meta.revision);
    check_revision(SUBJECT, expected, actual)?;
    change(world, "modify the fabric of the client networks", context, |fabric| {
        fabric.asn = asn.unwrap_or(fabric.asn);
        if let Some(secondaries) = zone_secondaries {
            fabric.zone_secondaries = secondaries.to_vec();
        }
        if let Some(forwarders) = forwarders {
            fabric.forwarders = forwarders.to_vec();
        }
        Ok(())
    })
}

pub(super) fn add_peer(world: &World, peer: &Peer, context: &mut Context) -> Result<Changes, Rejection> {
    change(world, &format!("add the upstream peer {}", peer.name), context, |fabric| {
        let Some(old) = fabric.peers.iter().find(|one| one.name == peer.name) else {
            fabric.peers.push(peer.clone());
            fabric.peers.sort_by(|a, b| a.name.cmp(&b.name));
            return Ok(());
        };
        if old == peer {
            return Ok(());
        }
        let detail =
            format!("there is an upstream peer {} already: {} in AS {}", old.name, old.address, old.asn);
        Err(Rejection::new(RejectionKind::AlreadyExists, "peer-once", SUBJECT, detail)
            .help(format!("pvc network peer remove {}, then add it anew", old.name)))
    })
}

pub(super) fn remove_peer(world: &World, peer: &Name, context: &mut Context) -> Result<Changes, Rejection> {
    change(world, &format!("remove the upstream peer {peer}"), context, |fabric| {
        let before = fabric.peers.len();
        fabric.peers.retain(|one| one.name != *peer);
        if fabric.peers.len() == before {
            let detail = format!("there is no upstream peer {peer}");
            return Err(Rejection::new(RejectionKind::NotFound, "must-exist", SUBJECT, detail)
                .help("see `pvc network peer list`"));
        }
        Ok(())
    })
}

fn change(
    world: &World,
    summary: &str,
    context: &mut Context,
    what: impl FnOnce(&mut Fabric) -> Result<(), Rejection>,
) -> Result<Changes, Rejection> {
    let mut draft = Draft::new(world, summary, context);
    let mut cluster = the_cluster(&mut draft);
    what(&mut cluster.spec.fabric)?;
    check(world, &cluster.spec.fabric)?;
    put_cluster(&mut draft, cluster);
    Ok(draft.finish_replying(Collection::Cluster, &name()))
}

fn check(world: &World, fabric: &Fabric) -> Result<(), Rejection> {
    check_asn("the cluster's", fabric.asn)?;
    if fabric.peers.len() > PEERS_MAX {
        let detail = format!("at most {PEERS_MAX} upstream peers, not {}", fabric.peers.len());
        return Err(Rejection::new(RejectionKind::Exhausted, "peers-at-most", SUBJECT, detail));
    }
    let mut addresses = BTreeSet::new();
    for peer in &fabric.peers {
        check_peer(world, fabric, peer)?;
        if !addresses.insert(peer.address) {
            let detail = format!("two upstream peers have the address {}", peer.address);
            return Err(Rejection::new(RejectionKind::AlreadyExists, "peer-once", SUBJECT, detail)
                .help("see `pvc network peer list`"));
        }
    }
    check_servers("zone secondaries", &fabric.zone_secondaries)?;
    check_servers("forwarders", &fabric.forwarders)
}

fn check_asn(whose: &str, asn: u32) -> Result<(), Rejection> {
    if ASNS_KEPT.contains(&asn) {
        let detail = format!("{asn} can't be {whose} autonomous system: that number is kept for other uses");
        return Err(Rejection::invalid("asn-range", SUBJECT, detail)
            .help("1 to 4294967294; for private use 64512 to 65534, and 4200000000 to 4294967294"));
    }
    Ok(())
}

fn check_peer(world: &World, fabric: &Fabric, peer: &Peer) -> Result<(), Rejection> {
    check_asn(&format!("{}'s", peer.name), peer.asn)?;
    if peer.asn == fabric.asn {
        let detail = format!(
            "the upstream peer {} is in AS {}, and so is the cluster: they must differ",
            peer.name, peer.asn
        );
        return Err(Rejection::invalid("peer-asn", SUBJECT, detail)
            .help("pvc network fabric set --asn gives the cluster another one"));
    }
    let whose = if !is_host(peer.address) {
        Some("is no address of a router".to_owned())
    } else if let Some(node) = node_with(world, peer.address) {
        Some(format!("is an address of node {node}"))
    } else {
        network_with(world, peer.address).map(|network| format!("is in {}", network.called()))
    };
    match whose {
        Some(whose) => {
            let detail = format!("the upstream peer {}: {} {whose}", peer.name, peer.address);
            Err(Rejection::invalid("peer-address", SUBJECT, detail).help("give the router's address outside"))
        }
        None => Ok(()),
    }
}

fn check_servers(what: &str, servers: &[IpAddr]) -> Result<(), Rejection> {
    if servers.len() > SERVERS_MAX {
        let detail = format!("at most {SERVERS_MAX} {what}, not {}", servers.len());
        return Err(Rejection::invalid("servers-at-most", SUBJECT, detail));
    }
    let mut once = BTreeSet::new();
    for server in servers {
        if !is_host(*server) {
            let detail = format!("{what}: {server} is no address of a host");
            return Err(Rejection::invalid("server-address", SUBJECT, detail));
        }
        if !once.insert(server) {
            return Err(Rejection::invalid(
                "server-once",
                SUBJECT,
                format!("{what}: {server} is there twice"),
            ));
        }
    }
    Ok(())
}
