//! Client networks: what guests' NICs are attached to. A managed network is an overlay that the cluster carries
//! everywhere (VXLAN by EVPN) and serves (gateway, DHCP, DNS, firewall); a bridged one is a VLAN of the site's own.
//!
//! Pure, like all of `model`: what a host must have follows from these objects ([`host::HostPlan`]); the crate
//! `network` makes it so.

pub mod acl;
pub mod check;
pub mod check_acl;
pub mod conflict;
pub mod fabric;
pub mod host;
pub mod lease;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::Meta;
use crate::mac::Mac;
use crate::name::Name;
use acl::Acl;

/// The number of a network: of a managed one its VXLAN network identifier, 1 to 16777214 (24 bits, RFC 7348 section 5,
/// without the two that mean none and all); of a bridged one its VLAN, 1 to 4094 (IEEE 802.1Q).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni(u32);

/// The most that a managed network's number may be.
pub const VNI_MAX: u32 = 16_777_214;
/// The most that a bridged network's number may be.
pub const VLAN_MAX: u32 = 4094;
/// Seconds for which an address is lent, unless people say otherwise.
pub const LEASE_SECONDS_DEFAULT: u32 = 172_800;
/// Bytes by which a frame grows in the overlay over IPv4: outer Ethernet is not counted, IP 20, UDP 8, VXLAN 8, inner Ethernet 14.
pub const OVERLAY_BYTES: u32 = 50;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no number of a network: they are 1 to {VNI_MAX}")]
pub struct VniError(pub String);

impl Vni {
    pub fn new(number: u32) -> Result<Vni, VniError> {
        if (1..=VNI_MAX).contains(&number) { Ok(Vni(number)) } else { Err(VniError(number.to_string())) }
    }

    pub fn get(self) -> u32 {
        self.0
    }

    /// The name of the network's object in the store.
    pub fn name(self) -> Name {
        self.0.to_string().parse().unwrap_or_else(|_| unreachable!("digits are a name"))
    }

    /// The bridge on each host that guests' NICs are ports of.
    pub fn bridge(self) -> String {
        format!("vmbr{self}")
    }

    /// The network whose bridge has this name.
    pub fn of_bridge(bridge: &str) -> Option<Vni> {
        let vni: Vni = bridge.strip_prefix("vmbr")?.parse().ok()?;
        // "vmbr01" and "vmbr+1" are read as 1, and are none of ours.
        (vni.bridge() == bridge).then_some(vni)
    }

    /// The tunnel's end on each host, of a managed network.
    pub fn tunnel(self) -> String {
        format!("vxlan{self}")
    }

    /// The tagged device on each host, of a bridged network.
    pub fn vlan_device(self) -> String {
        format!("vlan{self}")
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Vni {
    type Err = VniError;

    fn from_str(text: &str) -> Result<Vni, VniError> {
        let number = text.parse().map_err(|_| VniError(text.chars().take(32).collect()))?;
        Vni::new(number)
    }
}

/// A client network. Its name is its number, in decimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub meta: Meta,
    pub vni: Vni,
    pub spec: NetworkSpec,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSpec {
    /// What people call it: one DNS label, unique.
    pub description: Name,
    /// Largest packet, bytes, 576 to 65535 (1280 at least where there is IPv6); None: as large as what carries it allows.
    pub mtu: Option<u32>,
    pub kind: NetworkKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkKind {
    Managed(Managed),
    /// A VLAN of the site's, on the hosts' `bridge_device` unless another is named; nothing in it is ours.
    Bridged {
        device: Option<String>,
    },
}

/// What the cluster serves in a managed network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    /// The DNS domain of its guests, lower case, without the dot at the end.
    pub domain: String,
    /// Resolvers that guests are told of; empty: the gateway, which knows all networks' names.
    pub name_servers: Vec<IpAddr>,
    /// Time servers that guests are told of; empty: none.
    pub ntp_servers: Vec<IpAddr>,
    pub ipv4: Option<Subnet>,
    pub ipv6: Option<Subnet>,
    /// Addresses kept for one NIC each.
    pub reservations: Vec<Reservation>,
    pub acl: Acl,
}

/// A network's addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Truncated: no bit beyond the prefix is set.
    pub subnet: IpNet,
    /// The guests' router, an address of the subnet. None: the network is not routed.
    pub gateway: Option<IpAddr>,
    /// None: no DHCP. With IPv6 guests are then told the prefix (SLAAC, RFC 4862) where there is a gateway.
    pub dhcp: Option<DhcpRange>,
}

/// The addresses that DHCP lends, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpRange {
    pub first: IpAddr,
    pub last: IpAddr,
    /// 120 to 31536000.
    pub lease_seconds: u32,
}

/// An address and a name that belong to one NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    pub mac: Mac,
    /// Of the network's IPv4 subnet, IPv6 subnet, or one of each; at least one.
    pub ipv4: Option<std::net::Ipv4Addr>,
    pub ipv6: Option<std::net::Ipv6Addr>,
    /// One DNS label; unique in the network.
    pub hostname: Name,
}

impl Network {
    /// "network/1001".
    pub fn subject(&self) -> String {
        format!("network/{}", self.vni)
    }

    /// For people: "network 1001 (lan)".
    pub fn called(&self) -> String {
        format!("network {} ({})", self.vni, self.spec.description)
    }

    pub fn managed(&self) -> Option<&Managed> {
        match &self.spec.kind {
            NetworkKind::Managed(managed) => Some(managed),
            NetworkKind::Bridged { .. } => None,
        }
    }
}

impl Reservation {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4.map(IpAddr::V4).into_iter().chain(self.ipv6.map(IpAddr::V6))
    }
}

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.hostname, self.mac)?;
        self.addresses().try_for_each(|address| write!(f, ", {address}"))?;
        f.write_str(")")
    }
}

impl Managed {
    /// Its subnets, IPv4 first.
    pub fn subnets(&self) -> impl Iterator<Item = &Subnet> {
        self.ipv4.iter().chain(&self.ipv6)
    }

    /// Its gateways' addresses with the length of the prefix.
    pub fn gateways(&self) -> impl Iterator<Item = IpNet> {
        self.subnets().filter_map(|subnet| {
            let gateway = subnet.gateway?;
            IpNet::new(gateway, subnet.subnet.prefix_len()).ok()
        })
    }
}

/// What a NIC is attached to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attachment {
    /// A client network.
    Network(Vni),
    /// One of the hosts' own networks, by its bridge.
    Host(HostNetwork),
    /// A bridge that the hosts' administrator has made.
    Bridge(String),
}

/// The hosts' own networks that guests may take part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostNetwork {
    Upstream,
    Cluster,
    Storage,
}

impl HostNetwork {
    pub const ALL: [HostNetwork; 3] = [HostNetwork::Upstream, HostNetwork::Cluster, HostNetwork::Storage];

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            HostNetwork::Upstream => "upstream",
            HostNetwork::Cluster => "cluster",
            HostNetwork::Storage => "storage",
        }
    }

    /// Its bridge on each host.
    pub fn bridge(self) -> &'static str {
        match self {
            HostNetwork::Upstream => "brupstream",
            HostNetwork::Cluster => "brcluster",
            HostNetwork::Storage => "brstorage",
        }
    }
}

impl FromStr for HostNetwork {
    type Err = NotHostNetwork;

    fn from_str(text: &str) -> Result<HostNetwork, NotHostNetwork> {
        HostNetwork::ALL.into_iter().find(|network| network.as_str() == text).ok_or(NotHostNetwork)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hosts' own networks are upstream, cluster and storage")]
pub struct NotHostNetwork;

impl Attachment {
    /// The client network, where it is one.
    pub fn network(&self) -> Option<Vni> {
        match self {
            Attachment::Network(vni) => Some(*vni),
            Attachment::Host(_) | Attachment::Bridge(_) => None,
        }
    }

    /// The bridge on each host that the NIC is a port of.
    pub fn bridge(&self) -> String {
        match self {
            Attachment::Network(vni) => vni.bridge(),
            Attachment::Host(network) => network.bridge().to_owned(),
            Attachment::Bridge(bridge) => bridge.clone(),
        }
    }
}
