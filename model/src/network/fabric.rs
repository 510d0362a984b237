//! What carries client networks, as people have set it for the cluster: its own autonomous system, the site's routers, and
//! who may have the zones.

use std::net::IpAddr;

use crate::name::Name;

/// The cluster's autonomous system unless people say otherwise; private use (RFC 6996).
pub const ASN_DEFAULT: u32 = 65_500;
/// Upstream routers, at most.
pub const PEERS_MAX: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fabric {
    /// 1 to 4294967294, but not those kept for other uses (RFC 7607, RFC 7300).
    pub asn: u32,
    /// Routers outside, to which all coordinators announce the client networks.
    pub peers: Vec<Peer>,
    /// Name servers that may copy the zones, and are told when they change.
    pub zone_secondaries: Vec<IpAddr>,
    /// Resolvers that are asked for names that are not the cluster's; empty: such names are not found.
    pub forwarders: Vec<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Unique.
    pub name: Name,
    pub address: IpAddr,
    pub asn: u32,
    /// The link to it is watched by BFD (RFC 5880) too, which finds it dead within a second.
    pub bfd: bool,
}

impl Default for Fabric {
    fn default() -> Self {
        Fabric { asn: ASN_DEFAULT, peers: Vec::new(), zone_secondaries: Vec::new(), forwarders: Vec::new() }
    }
}
