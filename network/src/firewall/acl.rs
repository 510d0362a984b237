//! A network's rules as people wrote them, as rules of nft's.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

use ipnet::IpNet;
use pvc_model::Name;
use pvc_model::network::Vni;
use pvc_model::network::acl::{Acl, AclRule, Action, Direction, Matches, PortRange, Protocol};
use pvc_model::network::check_acl::raw_problem;

use super::raw;
use super::table::Rule;

/// The rules of one direction, and those that could not be made.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    pub rules: Arc<Vec<Rule>>,
    pub refused: Vec<Refusal>,
}

/// A rule that can't be, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub rule: Name,
    pub reason: String,
}

/// The chain of a network's rules of one direction.
pub fn chain(direction: Direction, vni: Vni) -> String {
    match direction {
        Direction::In => format!("in-{vni}"),
        Direction::Out => format!("out-{vni}"),
    }
}

/// The counter of one rule.
pub fn counter(direction: Direction, vni: Vni, rule: &Name) -> String {
    format!("{}-{rule}", chain(direction, vni))
}

/// What [`counter`] named, of this network.
pub fn counted(vni: Vni, counter: &str) -> Option<(Direction, Name)> {
    [Direction::In, Direction::Out].into_iter().find_map(|direction| {
        let rule = counter.strip_prefix(&chain(direction, vni))?.strip_prefix('-')?;
        Some((direction, rule.parse().ok()?))
    })
}

pub fn render(vni: Vni, acl: &Acl, direction: Direction) -> Rendered {
    let mut rules = Vec::new();
    let mut refused = Vec::new();
    for rule in acl.in_order(direction) {
        match one(rule, counter(direction, vni, &rule.name)) {
            Ok(made) => rules.push(made),
            Err(reason) => refused.push(Refusal { rule: rule.name.clone(), reason }),
        }
    }
    Rendered { rules: Arc::new(rules), refused }
}

fn one(rule: &AclRule, counter: String) -> Result<Rule, String> {
    match &rule.matches {
        Matches::Raw(text) => match raw_problem(text) {
            Some(problem) => Err(problem),
            None => Ok(raw::rule(text, counter, &rule.name)),
        },
        Matches::Typed { protocol, sources, destinations, ports, action } => {
            let families = sources.iter().chain(destinations).map(|network| network.addr().is_ipv4());
            let families = families.chain(match protocol {
                Protocol::Icmp => Some(true),
                Protocol::Icmpv6 => Some(false),
                Protocol::Any | Protocol::Tcp | Protocol::Udp | Protocol::Sctp => None,
            });
            if families.collect::<BTreeSet<bool>>().len() > 1 {
                return Err("it speaks of IPv4 and IPv6 at once".to_owned());
            }
            let mut matches = Vec::new();
            matches.extend(addresses("saddr", sources));
            matches.extend(addresses("daddr", destinations));
            matches.extend(transport(*protocol, ports)?);
            let action = match (action, protocol) {
                (Action::Accept, _) => "accept",
                (Action::Drop, _) => "drop",
                (Action::Reject, Protocol::Tcp) => "reject with tcp reset",
                (Action::Reject, _) => "reject with icmpx admin-prohibited",
            };
            let name = Some(rule.name.clone());
            Ok(Rule { counter: Some(counter), name, ..Rule::new(matches.join(" "), action) })
        }
    }
}

/// What matches packets whose source or destination is in one of the networks, all of one family.
fn addresses(field: &str, networks: &[IpNet]) -> Option<String> {
    let is_v4 = networks.first()?.addr().is_ipv4();
    if networks.iter().any(|network| network.prefix_len() == 0) {
        return Some(format!("meta nfproto {}", if is_v4 { "ipv4" } else { "ipv6" }));
    }
    let family = if is_v4 { "ip" } else { "ip6" };
    Some(format!("{family} {field} {}", one_of(&merged(networks))))
}

/// The same addresses in as few networks as can be, none within another.
pub fn merged(networks: &[IpNet]) -> Vec<String> {
    let shown = |network: IpNet| match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.trunc().to_string(),
    };
    let networks: Vec<IpNet> = networks.iter().map(IpNet::trunc).collect();
    IpNet::aggregate(&networks).into_iter().map(shown).collect()
}

fn transport(protocol: Protocol, ports: &[PortRange]) -> Result<Option<String>, String> {
    let (name, number) = match protocol {
        Protocol::Any if ports.is_empty() => return Ok(None),
        Protocol::Tcp => ("tcp", 6),
        Protocol::Udp => ("udp", 17),
        Protocol::Sctp => ("sctp", 132),
        Protocol::Icmp if ports.is_empty() => return Ok(Some("meta nfproto ipv4 meta l4proto 1".to_owned())),
        Protocol::Icmpv6 if ports.is_empty() => {
            return Ok(Some("meta nfproto ipv6 meta l4proto 58".to_owned()));
        }
        Protocol::Any | Protocol::Icmp | Protocol::Icmpv6 => {
            return Err("it has ports, and its protocol has none".to_owned());
        }
    };
    if ports.is_empty() {
        return Ok(Some(format!("meta l4proto {number}")));
    }
    if let Some(bad) = ports.iter().find(|range| range.first == 0 || range.first > range.last) {
        return Err(format!("{}-{} is no range of ports", bad.first, bad.last));
    }
    Ok(Some(format!("{name} dport {}", one_of(&merged_ports(ports)))))
}

fn merged_ports(ports: &[PortRange]) -> Vec<String> {
    let mut sorted: Vec<(u16, u16)> = ports.iter().map(|range| (range.first, range.last)).collect();
    sorted.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (first, last) in sorted {
        match merged.last_mut() {
            Some(before) if u32::from(first) <= u32::from(before.1) + 1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    let shown = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    merged.into_iter().map(shown).collect()
}

/// As nft writes "one of these".
pub fn one_of(values: &[impl Display]) -> String {
    match values {
        [single] => single.to_string(),
        several => {
            let several: Vec<String> = several.iter().map(ToString::to_string).collect();
            format!("{{ {} }}", several.join(", "))
        }
    }
}
