//! The rules of a client network's firewall.

use ipnet::IpNet;
use pvc_model::Rejection;
use pvc_model::network::acl::{Acl, AclRule, Action, Direction, Matches, PortRange, Protocol};

use super::network::ip;
use super::refuse::{At, WireEnum, wire_enum};
use crate::v1;

wire_enum!(v1::AclDirection, Direction, { In, Out });
wire_enum!(v1::AclProtocol, Protocol, { Any, Tcp, Udp, Sctp, Icmp, Icmpv6 });
wire_enum!(v1::AclAction, Action, { Accept, Drop, Reject });

/// An address stands for itself: without its whole length as a prefix.
fn wire_net(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

impl From<&AclRule> for v1::AclRule {
    fn from(rule: &AclRule) -> Self {
        let wire = v1::AclRule {
            name: rule.name.to_string(),
            direction: v1::AclDirection::from(rule.direction).into(),
            order: rule.order,
            description: rule.description.clone(),
            ..v1::AclRule::default()
        };
        match &rule.matches {
            Matches::Typed { protocol, sources, destinations, ports, action } => v1::AclRule {
                protocol: v1::AclProtocol::from(*protocol).into(),
                sources: sources.iter().map(wire_net).collect(),
                destinations: destinations.iter().map(wire_net).collect(),
                ports: ports
                    .iter()
                    .map(|range| v1::PortRange { first: range.first.into(), last: range.last.into() })
                    .collect(),
                action: v1::AclAction::from(*action).into(),
                ..wire
            },
            Matches::Raw(raw) => v1::AclRule { raw: raw.clone(), ..wire },
        }
    }
}

fn nets<'a>(at: &'a At<'a>, field: &'a str, texts: &[String]) -> Result<Vec<IpNet>, Rejection> {
    let one = |(i, text): (usize, &String)| {
        let at = at.item(field, i);
        match text.contains('/') {
            true => super::network::address(&at, text, "10.1.0.7, 10.1.0.0/24 or 2001:db8:1::/64"),
            false => ip(&at, text).map(IpNet::from),
        }
    };
    texts.iter().enumerate().map(one).collect()
}

fn ports<'a>(at: &'a At<'a>, wire: &[v1::PortRange]) -> Result<Vec<PortRange>, Rejection> {
    let port = |at: &At<'_>, port: u32| {
        u16::try_from(port)
            .map_err(|_| at.refuse("acl-ports", format_args!("must be 1 to 65535, not {port}")))
    };
    let one = |(i, range): (usize, &v1::PortRange)| {
        let at = at.item("ports", i);
        let last = if range.last == 0 { range.first } else { range.last };
        Ok(PortRange { first: port(&at, range.first)?, last: port(&at, last)? })
    };
    wire.iter().enumerate().map(one).collect()
}

/// `at` is the rule itself.
pub fn acl_rule(at: &At<'_>, wire: &v1::AclRule) -> Result<AclRule, Rejection> {
    let typed = wire.protocol != 0
        || wire.action != 0
        || !(wire.sources.is_empty() && wire.destinations.is_empty() && wire.ports.is_empty());
    let matches = match (typed, wire.raw.is_empty()) {
        (true, false) => {
            return Err(at.refuse(
                "acl-raw-alone",
                "a rule is either raw, or has a protocol, addresses, ports, an action",
            ));
        }
        (false, false) => Matches::Raw(wire.raw.clone()),
        (_, true) => Matches::Typed {
            protocol: Protocol::from_wire_or(wire.protocol, Protocol::Any, &at.field("protocol"))?,
            sources: nets(at, "sources", &wire.sources)?,
            destinations: nets(at, "destinations", &wire.destinations)?,
            ports: ports(at, &wire.ports)?,
            action: Action::from_wire(wire.action, &at.field("action"))?,
        },
    };
    Ok(AclRule {
        name: at.field("name").name(&wire.name)?,
        direction: Direction::from_wire(wire.direction, &at.field("direction"))?,
        order: wire.order,
        description: wire.description.clone(),
        matches,
    })
}

/// The list `field` of what `at` is.
pub fn acl(at: &At<'_>, field: &str, wire: &[v1::AclRule]) -> Result<Acl, Rejection> {
    let rules = wire.iter().enumerate().map(|(i, rule)| acl_rule(&at.item(field, i), rule));
    Ok(Acl { rules: rules.collect::<Result<_, _>>()? })
}
