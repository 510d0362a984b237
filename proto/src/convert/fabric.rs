//! What carries the client networks.

use std::net::IpAddr;

use pvc_model::network::fabric::{ASN_DEFAULT, Fabric, Peer};
use pvc_model::{Rejection, World};

use super::network::{addresses, ip};
use super::refuse::At;
use crate::v1;

impl From<&Peer> for v1::Peer {
    fn from(peer: &Peer) -> Self {
        v1::Peer {
            name: peer.name.to_string(),
            address: peer.address.to_string(),
            asn: peer.asn,
            bfd: peer.bfd,
        }
    }
}

impl From<&Fabric> for v1::Fabric {
    fn from(fabric: &Fabric) -> Self {
        let texts = |addresses: &[IpAddr]| addresses.iter().map(IpAddr::to_string).collect();
        v1::Fabric {
            asn: fabric.asn,
            peers: fabric.peers.iter().map(Into::into).collect(),
            zone_secondaries: texts(&fabric.zone_secondaries),
            forwarders: texts(&fabric.forwarders),
        }
    }
}

/// `at` is the peer itself.
pub fn peer(at: &At<'_>, wire: &v1::Peer) -> Result<Peer, Rejection> {
    Ok(Peer {
        name: at.field("name").name(&wire.name)?,
        address: ip(&at.field("address"), &wire.address)?,
        asn: wire.asn,
        bfd: wire.bfd,
    })
}

/// `at` is the fabric itself.
pub fn fabric(at: &At<'_>, wire: &v1::Fabric) -> Result<Fabric, Rejection> {
    let peers = wire.peers.iter().enumerate().map(|(i, one)| peer(&at.item("peers", i), one));
    Ok(Fabric {
        asn: if wire.asn == 0 { ASN_DEFAULT } else { wire.asn },
        peers: peers.collect::<Result<_, _>>()?,
        zone_secondaries: addresses(at, "zone_secondaries", &wire.zone_secondaries)?,
        forwarders: addresses(at, "forwarders", &wire.forwarders)?,
    })
}

/// A list of addresses that may be left out. `at` is the request.
pub fn optional_addresses(
    at: &At<'_>,
    field: &str,
    wire: Option<&v1::Addresses>,
) -> Result<Option<Vec<IpAddr>>, Rejection> {
    wire.map(|wire| addresses(&at.field(field), "addresses", &wire.addresses)).transpose()
}

/// The fabric as it is shown.
pub fn fabric_view(world: &World) -> v1::FabricInfo {
    v1::FabricInfo {
        fabric: Some((&world.settings().fabric).into()),
        revision: world.cluster.as_ref().map_or(0, |cluster| cluster.meta.revision),
    }
}
