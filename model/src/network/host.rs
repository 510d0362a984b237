//! What one host must have of the client networks: all of it, each time. The crate `network` compares it with what there is.

use std::net::IpAddr;
use std::sync::Arc;

use super::fabric::Fabric;
use super::lease::Lease;
use super::{Attachment, Network};
use crate::mac::Mac;
use crate::name::Name;

/// How a host stands to the single-holder services: gateways, DHCP, DNS for guests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stance {
    /// A hypervisor: none of it, ever.
    #[default]
    Hypervisor,
    /// A coordinator that does not carry them: announces and forwards, with a worse preference.
    Standby,
    /// The target of a hand-over: all is to be ready (DHCP and DNS servers, rules), and no address of a gateway taken yet.
    Ready,
    /// It carries them.
    Primary,
    /// It has handed them over a moment ago: it keeps the gateways' addresses until the new primary has certainly taken them, and
    /// nothing else.
    Leaving,
    /// It carried them when its lease lapsed, and knows of no newer epoch: it keeps the gateways' addresses for its own side,
    /// lends no address, and announces with the worst preference of all.
    CutOff,
}

impl Stance {
    pub fn is_coordinator(self) -> bool {
        self != Stance::Hypervisor
    }

    /// Whether the gateways' addresses are on this host.
    pub fn has_gateways(self) -> bool {
        matches!(self, Stance::Primary | Stance::Leaving | Stance::CutOff)
    }
}

/// Everything that a host's reconcilers are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPlan {
    pub stance: Stance,
    /// The primary's epoch; what the services report carries it.
    pub epoch: u64,
    /// The store's revision that all of this was made from; what was removed up to it is not in here.
    pub revision: u64,
    /// The cluster's uid, as a number: DHCPv6 servers have it in their identity, the same on each primary.
    pub cluster: u128,
    pub fabric: Fabric,
    /// All coordinators and where they are reached in the cluster's network, this host among them where it is one.
    pub coordinators: Vec<(Name, IpAddr)>,
    /// All hypervisors and where they are; a hypervisor is not told.
    pub hypervisors: Vec<(Name, IpAddr)>,
    /// Networks that this host is to carry, in order of their numbers: a coordinator all, a hypervisor those of its guests.
    pub networks: Vec<Arc<Network>>,
    /// Leases in these networks.
    pub leases: Vec<Arc<Lease>>,
    /// NICs of guests that run here, or arrive.
    pub ports: Vec<Port>,
}

/// A guest's NIC on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub vm: Name,
    pub mac: Mac,
    pub attachment: Attachment,
    /// Only frames from its own MAC, and packets from its own addresses, are taken from it.
    pub spoof_check: bool,
    /// Addresses that it may use besides those it was lent or that are reserved for it.
    pub addresses: Vec<IpAddr>,
    /// Its guest is being moved by a live migration, to this host or away: nobody but the guest itself says where it is.
    pub moving: bool,
}

impl Port {
    /// The name of its device on the host: 15 characters, the most that Linux takes.
    pub fn device(&self) -> String {
        port_device(self.mac)
    }
}

/// The device on a host of the NIC with this address. One MAC is in a cluster once, so the name is too.
pub fn port_device(mac: Mac) -> String {
    let [a, b, c, d, e, f] = mac.0;
    format!("nic{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}")
}
