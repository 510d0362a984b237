//! What a network's firewall rules may be. A raw one must not be able to leave its network's chain: whether nft takes it
//! for the rest is nft's to say.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::acl::{Acl, AclRule, Matches, PortRange, Protocol, RAW_LENGTH_MAX, RULES_MAX};
use crate::rejection::{Rejection, RejectionKind};

/// Characters of a rule's description, at most.
pub const DESCRIPTION_LENGTH_MAX: usize = 256;
/// The highest place in the order.
pub const ORDER_MAX: u32 = 65_535;
/// Sources, destinations and ranges of ports of one rule, at most, of each.
pub const MATCHES_MAX: usize = 64;
/// Words of nft's language that lead out of the chain in which they stand, hand packets to somebody else, change them, or say what
/// is ours to say.
const FORBIDDEN_WORDS: &[&str] = &[
    "jump",
    "goto",
    "vmap",
    "map",
    "queue",
    "include",
    "define",
    "redefine",
    "undefine",
    "add",
    "create",
    "delete",
    "destroy",
    "flush",
    "insert",
    "replace",
    "reset",
    "table",
    "chain",
    "fwd",
    "dup",
    "tproxy",
    "synproxy",
    "snat",
    "dnat",
    "masquerade",
    "redirect",
    "notrack",
    "flow",
    "offload",
    "set",
    "update",
    "meter",
    "comment",
    "handle",
    "position",
    "index",
    "name",
];
/// Characters that end a statement, group several, quote, name a set or a variable of somebody else's, or begin a comment.
const FORBIDDEN_CHARACTERS: [char; 10] = ['{', '}', ';', '"', '\'', '`', '\\', '#', '$', '@'];

/// `subject` is the network.
pub fn check_acl(subject: &str, acl: &Acl) -> Result<(), Rejection> {
    if acl.rules.len() > RULES_MAX {
        let detail = format!("a network has at most {RULES_MAX} rules, not {}", acl.rules.len());
        return Err(Rejection::new(RejectionKind::Exhausted, "acl-rules-at-most", subject, detail)
            .help("join rules: one rule takes several addresses and ports"));
    }
    let mut names = BTreeSet::new();
    for rule in &acl.rules {
        if !names.insert(&rule.name) {
            let detail = format!("it has a rule {} already", rule.name);
            return Err(Rejection::new(RejectionKind::AlreadyExists, "acl-rule-once", subject, detail)
                .help("choose another name, or change that one: pvc network acl modify"));
        }
        Check { subject, rule }.all()?;
    }
    Ok(())
}

struct Check<'a> {
    subject: &'a str,
    rule: &'a AclRule,
}

impl Check<'_> {
    fn invalid<T>(&self, rule: &'static str, detail: impl std::fmt::Display) -> Result<T, Rejection> {
        Err(Rejection::invalid(rule, self.subject, format!("rule {}: {detail}", self.rule.name)))
    }

    fn all(&self) -> Result<(), Rejection> {
        let AclRule { order, description, matches, .. } = self.rule;
        if *order > ORDER_MAX {
            return self.invalid("acl-order", format_args!("the order is 0 to {ORDER_MAX}, not {order}"));
        }
        if description.chars().count() > DESCRIPTION_LENGTH_MAX || description.contains(char::is_control) {
            let detail =
                format_args!("the description is one line of at most {DESCRIPTION_LENGTH_MAX} characters");
            return self.invalid("acl-description", detail);
        }
        match matches {
            Matches::Typed { protocol, sources, destinations, ports, .. } => {
                self.ports(*protocol, ports)?;
                self.addresses(*protocol, sources, destinations)
            }
            Matches::Raw(text) => self.raw(text),
        }
    }

    fn ports(&self, protocol: Protocol, ports: &[PortRange]) -> Result<(), Rejection> {
        if ports.is_empty() {
            return Ok(());
        }
        if !matches!(protocol, Protocol::Tcp | Protocol::Udp | Protocol::Sctp) {
            return self.invalid("acl-ports", "there are ports only with tcp, udp and sctp");
        }
        if ports.len() > MATCHES_MAX {
            let detail = format_args!("at most {MATCHES_MAX} ports and ranges of ports, not {}", ports.len());
            return self.invalid("acl-ports", detail);
        }
        let mut sorted = ports.to_vec();
        sorted.sort();
        for range in &sorted {
            if range.first == 0 || range.first > range.last {
                let detail = format_args!(
                    "{}-{} is no range of ports: they are 1 to 65535, the lower one first",
                    range.first, range.last
                );
                return self.invalid("acl-ports", detail);
            }
        }
        match sorted.windows(2).find(|pair| pair[0].last >= pair[1].first) {
            Some(pair) => {
                let detail = format_args!("port {} stands in it twice", pair[1].first);
                self.invalid("acl-ports", detail)
            }
            None => Ok(()),
        }
    }

    fn addresses(
        &self,
        protocol: Protocol,
        sources: &[IpNet],
        destinations: &[IpNet],
    ) -> Result<(), Rejection> {
        for (what, nets) in [("sources", sources), ("destinations", destinations)] {
            if nets.len() > MATCHES_MAX {
                let detail = format_args!("at most {MATCHES_MAX} {what}, not {}", nets.len());
                return self.invalid("acl-addresses", detail);
            }
            if let Some(net) = nets.iter().find(|net| net.trunc() != **net) {
                let detail = format_args!("{net} has bits beyond its prefix: {} has none", net.trunc());
                return self.invalid("acl-addresses", detail);
            }
            let twice = |(at, net): (usize, &IpNet)| {
                nets[..at].iter().find(|one| super::check::overlap(**one, *net)).map(|one| (*one, *net))
            };
            if let Some((one, net)) = nets.iter().enumerate().find_map(twice) {
                let detail = format_args!("{net} and {one} among its {what} are about the same addresses");
                return self.invalid("acl-addresses", detail);
            }
        }
        let mut all = sources.iter().chain(destinations).map(|net| net.addr().is_ipv6());
        let family = match protocol {
            Protocol::Icmp => Some(false),
            Protocol::Icmpv6 => Some(true),
            _ => all.next(),
        };
        match family {
            Some(v6) if all.any(|other| other != v6) => {
                let detail = match protocol {
                    Protocol::Icmp => "icmp is of IPv4: its addresses are too",
                    Protocol::Icmpv6 => "icmpv6 is of IPv6: its addresses are too",
                    _ => "its addresses are of IPv4 and of IPv6: make a rule for each",
                };
                self.invalid("acl-families", detail)
            }
            _ => Ok(()),
        }
    }

    fn raw(&self, text: &str) -> Result<(), Rejection> {
        raw_problem(text).map_or(Ok(()), |problem| self.invalid("acl-raw", problem))
    }
}

/// What forbids a raw rule, if anything does. Asked again by whoever hands it to nft.
pub fn raw_problem(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        return Some("it says nothing".to_owned());
    }
    if text.len() > RAW_LENGTH_MAX {
        return Some(format!("at most {RAW_LENGTH_MAX} characters, not {}", text.len()));
    }
    if let Some(bad) = text.chars().find(|c| !matches!(c, ' '..='~')) {
        return Some(format!("it is one line of printable ASCII characters, without {bad:?}"));
    }
    if let Some(bad) = text.chars().find(|c| FORBIDDEN_CHARACTERS.contains(c)) {
        return Some(format!("{bad:?} can't stand in it: it is one statement in its network's chain"));
    }
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
    let bad = words.find(|word| FORBIDDEN_WORDS.contains(&word.to_ascii_lowercase().as_str()))?;
    Some(format!(
        "{bad:?} can't stand in it: a rule speaks of packets and what becomes of them in its network"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_leave_its_chain_is_refused() {
        for bad in [
            "",
            "  ",
            "tcp dport 22 accept; add table inet x",
            "tcp dport 22 accept }",
            "tcp dport 22 accept\nadd table inet x",
            "tcp dport 22 accept # ",
            "tcp dport 22 accept \\",
            "jump in-1002",
            "tcp dport 22 GOTO in-1002",
            "ip saddr vmap",
            "ip saddr @clients4 accept",
            "ip saddr $x accept",
            "log prefix \"x\" accept",
            "queue num 1",
            "ip daddr set 10.0.0.1",
            "meta mark set 1",
            "redirect to 80",
            "counter name x accept",
            "accept comment x",
            "tcp dport 22 accept\u{a0}",
        ] {
            assert!(raw_problem(bad).is_some(), "{bad:?} was taken");
        }
        assert!(raw_problem(&"x ".repeat(RAW_LENGTH_MAX)).is_some());
    }

    #[test]
    fn what_speaks_of_packets_is_taken() {
        for good in [
            "tcp flags & (fin|syn|rst|ack) == syn limit rate 10/second burst 5 packets accept",
            "ip saddr 10.0.0.0/8 tcp dport 1000-2000 ct state new log drop",
            "meta l4proto icmp reject with icmpx type admin-prohibited",
            "ip6 saddr != 2001:db8::/32 drop",
        ] {
            assert_eq!(raw_problem(good), None, "{good}");
        }
    }
}
