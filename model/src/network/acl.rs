//! A network's firewall: rules in order, the first that matches decides; what none matches is let through. They are
//! about traffic that is routed into the network or out of it, not about that between its own guests.

use ipnet::IpNet;

use crate::name::Name;

/// Rules of one network, at most.
pub const RULES_MAX: usize = 2000;
/// Characters of a raw rule, at most.
pub const RAW_LENGTH_MAX: usize = 512;

/// A network's rules, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    pub rules: Vec<AclRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclRule {
    /// Unique in its network.
    pub name: Name,
    pub direction: Direction,
    /// Lower ones are asked first, equal ones in the order of their names; 0 to 65535.
    pub order: u32,
    /// For people; at most 256 characters.
    pub description: String,
    pub matches: Matches,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To the network's guests.
    In,
    /// From the network's guests.
    Out,
}

/// What a rule is about, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matches {
    Typed {
        protocol: Protocol,
        /// Empty: any. All of one family with those of `destinations`.
        sources: Vec<IpNet>,
        destinations: Vec<IpNet>,
        /// Of the destination; only with TCP, UDP and SCTP. Empty: any.
        ports: Vec<PortRange>,
        action: Action,
    },
    /// One statement of nft's language, as it stands in a chain; it can't leave its network's chain.
    Raw(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Any,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmpv6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Accept,
    Drop,
    /// Dropped, and the sender is told.
    Reject,
}

/// Both ends included; 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl Acl {
    /// The rules of one direction, in the order in which they are asked.
    pub fn in_order(&self, direction: Direction) -> Vec<&AclRule> {
        let mut rules: Vec<&AclRule> = self.rules.iter().filter(|rule| rule.direction == direction).collect();
        rules.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
        rules
    }
}

impl AclRule {
    /// Bytes that it takes in the store, at most: `field` for each field, `net` for each address with a prefix.
    pub(super) fn size(&self, field: usize, net: usize) -> usize {
        let matches = match &self.matches {
            Matches::Typed { sources, destinations, ports, .. } => {
                (sources.len() + destinations.len()) * net + ports.len() * 2 * field
            }
            Matches::Raw(text) => text.len(),
        };
        self.name.as_str().len() + self.description.len() + matches + 8 * field
    }
}
