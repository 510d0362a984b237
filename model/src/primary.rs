//! The primary: the coordinator that carries the cluster's single-holder services now. A role with an epoch
//! that only rises; not the Raft leader. docs/decisions/0017 tells why it is as it is.
//!
//! ```text
//! none ──elected──▶ Holding ──asked──▶ HandingOver{to} ──`to` is ready──▶ TakingOver{from} ──`from` has let go──▶ Holding
//!                      ▲                    │ not ready in time, gone          (epoch + 1)      or can hold no more
//!                      ├────────────────────┘
//!                      └──the holder's lease has certainly lapsed (epoch + 1)
//! ```

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::name::Name;
use crate::node::{Node, NodeRole};
use crate::rejection::Rejection;
use crate::time::Timestamp;
use crate::world::World;

/// L: a node may act for so long after it sent a heartbeat that was acknowledged.
pub const LEASE: Duration = Duration::from_millis(2500);

/// Who carries the single-holder services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    pub node: Name,
    /// Rises with each change of the holder.
    pub epoch: u64,
    /// When this holder got the role, by the leader's clock.
    pub since: Timestamp,
    pub phase: PrimaryPhase,
    /// Why it holds the role, or why a hand-over did not come about: for people.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrimaryPhase {
    /// It carries the services.
    Holding,
    /// It carries them until `to` has said that it is ready.
    HandingOver { to: Name },
    /// It is the holder, and waits until `from` has let go.
    TakingOver { from: Name },
}

impl Primary {
    /// The node that may carry the services now; None: nobody, in the midst of a hand-over.
    pub fn carrier(&self) -> Option<&Name> {
        match &self.phase {
            PrimaryPhase::Holding | PrimaryPhase::HandingOver { .. } => Some(&self.node),
            PrimaryPhase::TakingOver { .. } => None,
        }
    }
}

/// The address under which the primary is reached, and the device that carries it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Floating {
    pub address: Cidr,
    /// A network device or bridge, the same on all coordinators.
    pub device: Device,
}

impl fmt::Display for Floating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.address, self.device)
    }
}

/// An address of a host with the length of its network's prefix: 10.0.0.9/24, 2001:db8::9/64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    pub address: IpAddr,
    pub prefix: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no address with a prefix, like 10.0.0.9/24 or 2001:db8::9/64");
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        let cidr = Cidr { address, prefix };
        cidr.unfit().map_or(Ok(cidr), |why| Err(format!("{text}: {why}")))
    }
}

impl Cidr {
    /// Why no host can have it.
    fn unfit(&self) -> Option<&'static str> {
        let (bits, value, whole) = match self.address {
            IpAddr::V4(v4) => (32, u128::from(v4.to_bits()), v4.is_broadcast()),
            IpAddr::V6(v6) => (128, v6.to_bits(), false),
        };
        if self.prefix == 0 || self.prefix > bits {
            return Some("the prefix is 1 to 32 for IPv4, 1 to 128 for IPv6");
        }
        let ip = self.address;
        if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || whole {
            return Some("it is no address of one host");
        }
        if matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            return Some("a link's own address does not reach beyond it");
        }
        let host_bits = bits - self.prefix;
        let mask = (1u128 << host_bits.min(127)) - 1;
        let host = value & mask;
        match host_bits {
            2.. if host == 0 => Some("it is the network's own address"),
            2.. if self.address.is_ipv4() && host == mask => Some("it is the network's broadcast address"),
            _ => None,
        }
    }
}

/// The name of a network device, as the kernel takes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device(String);

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Device {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fit = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
        let named = !matches!(text, "." | ".." | "lo");
        if named && (1..=15).contains(&text.len()) && text.chars().all(fit) {
            return Ok(Device(text.to_owned()));
        }
        Err(format!("{text:?} is no network device: 1 to 15 characters, no space, '/' or ':', and not lo"))
    }
}

/// Why a node can't be the primary, as far as is committed. What the leader's memory knows comes on top.
pub fn obstacle(world: &World, node: &Node) -> Option<Rejection> {
    let name = &node.meta.name;
    let refuse = |rule, detail: &str, help: String| {
        Some(Rejection::precondition(rule, format!("node/{name}"), detail).help(help))
    };
    let others = || {
        let fit = world.nodes.values().filter(|other| other.meta.name != *name && votes(other));
        let names: Vec<&str> = fit.map(|other| other.meta.name.as_str()).collect();
        if names.is_empty() { "pvc node list".to_owned() } else { format!("voters: {}", names.join(", ")) }
    };
    if !votes(node) {
        return refuse("primary-votes", "it is no voting coordinator", others());
    }
    if !node.is_reachable() {
        return refuse("primary-reachable", "the leader does not hear it", others());
    }
    if node.is_denied_lease() {
        return refuse(
            "primary-unfenced",
            "it is fenced",
            "see `pvc node info`, and what its fence waits for".to_owned(),
        );
    }
    if node.spec.maintenance {
        return refuse("primary-not-in-maintenance", "it is in maintenance", others());
    }
    if node.status.leaving.is_some() {
        return refuse("primary-stays", "its host is being shut down", others());
    }
    None
}

/// Whether it is a voting coordinator: no other one can be the primary.
pub fn votes(node: &Node) -> bool {
    node.spec.role == NodeRole::Coordinator && !node.spec.standby
}

/// What the leader's memory knows of a node that could become the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub node: Name,
    /// Since its last heartbeat.
    pub silent_for: Duration,
    /// For so long it has been heard without a gap.
    pub unbroken: Duration,
    pub leads: bool,
}

/// Heard so lately that it has hardly died since: two heartbeats and some.
const FRESH: Duration = Duration::from_millis(1250);
/// Heard for so long without a gap, a node does not flap.
pub const STEADY: Duration = Duration::from_secs(10);

/// Who becomes the primary where there is none, or its lease has lapsed. A node that flaps only where there is no
/// other; then one that does not lead, so that a host that dies takes one role with it; then by name.
pub fn choose(world: &World, candidates: &[Candidate]) -> Option<Name> {
    let fit = |candidate: &&Candidate| {
        let node = world.nodes.get(&candidate.node);
        candidate.silent_for < FRESH && node.is_some_and(|node| obstacle(world, node).is_none())
    };
    let best = candidates.iter().filter(fit).min_by_key(|c| (c.unbroken < STEADY, c.leads, c.node.clone()));
    best.map(|candidate| candidate.node.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, name};

    #[test]
    fn addresses_that_a_host_can_have() {
        for good in
            ["10.0.0.9/24", "10.0.0.0/31", "10.0.0.9/32", "2001:db8::9/64", "fd00::1/128", "10.9.9.9/1"]
        {
            assert_eq!(good.parse::<Cidr>().expect(good).to_string(), good);
        }
        for bad in [
            "",
            "10.0.0.9",
            "10.0.0.9/",
            "10.0.0.9/33",
            "10.0.0.9/0",
            "10.0.0.0/24",
            "10.0.0.255/24",
            "127.0.0.1/8",
            "224.0.0.1/24",
            "0.0.0.0/8",
            "255.255.255.255/32",
            "::/64",
            "::1/128",
            "ff02::1/64",
            "fe80::1/64",
            "2001:db8::/64",
            "2001:db8::9/129",
            "10.0.0.9/24/3",
            "hv1/24",
            "10.0.0.9/-1",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
        for good in ["br-cluster", "eth0", "bond0.100"] {
            assert_eq!(good.parse::<Device>().expect(good).as_str(), good);
        }
        for bad in ["", "lo", "..", "a/b", "a b", "a:1", "a-name-of-16-chars", "brücke"] {
            assert!(bad.parse::<Device>().is_err(), "{bad}");
        }
    }

    fn candidate(node: &str, silent_ms: u64, unbroken_s: u64, leads: bool) -> Candidate {
        Candidate {
            node: name(node),
            silent_for: Duration::from_millis(silent_ms),
            unbroken: Duration::from_secs(unbroken_s),
            leads,
        }
    }

    #[test]
    fn the_steady_one_that_does_not_lead_is_chosen() {
        let mut c = Cluster::of_coordinators(&["hv1", "hv2", "hv3"]);
        let all = |a: (u64, u64), b: (u64, u64), d: (u64, u64)| {
            [("hv1", a, true), ("hv2", b, false), ("hv3", d, false)]
                .map(|(node, (silent, unbroken), leads)| candidate(node, silent, unbroken, leads))
        };
        let chosen =
            |c: &Cluster, candidates: &[Candidate]| choose(&c.world, candidates).map(|name| name.to_string());
        assert_eq!(chosen(&c, &all((0, 60), (0, 60), (0, 60))).as_deref(), Some("hv2"));
        assert_eq!(chosen(&c, &all((0, 60), (1300, 60), (0, 60))).as_deref(), Some("hv3"), "hv2 may be dead");
        assert_eq!(chosen(&c, &all((0, 60), (0, 1), (0, 2))).as_deref(), Some("hv1"), "both others flap");
        assert_eq!(
            chosen(&c, &all((0, 1), (0, 1), (0, 1))).as_deref(),
            Some("hv2"),
            "a new term knows no more"
        );
        assert_eq!(chosen(&c, &all((1300, 60), (1300, 60), (1300, 60))), None);
        c.unreachable("hv2");
        assert_eq!(chosen(&c, &all((0, 60), (0, 60), (0, 60))).as_deref(), Some("hv3"));
        assert_eq!(chosen(&c, &[candidate("gone", 0, 60, false)]), None);
    }
}
