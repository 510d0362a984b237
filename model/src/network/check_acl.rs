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
/// Words of nft's language that lead out of the chain in which they stand, or hand packets to somebody else.
const FORBIDDEN_WORDS: [&str; 19] = [
    "jump", "goto", "queue", "include", "define", "redefine", "undefine", "vmap", "map", "add", "create",
    "delete", "destroy", "flush", "table", "chain", "fwd", "dup", "tproxy",
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
        let rule = "acl-raw";
        if text.trim().is_empty() {
            return self.invalid(rule, "it says nothing");
        }
        if text.len() > RAW_LENGTH_MAX {
            return self
                .invalid(rule, format_args!("at most {RAW_LENGTH_MAX} characters, not {}", text.len()));
        }
        if let Some(bad) = text.chars().find(|c| !matches!(c, ' '..='~')) {
            let detail = format_args!("it is one line of printable ASCII characters, without {bad:?}");
            return self.invalid(rule, detail);
        }
        if let Some(bad) = text.chars().find(|c| FORBIDDEN_CHARACTERS.contains(c)) {
            let detail =
                format_args!("{bad:?} can't stand in it: it is one statement in its network's chain");
            return self.invalid(rule, detail);
        }
        let word = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
        match word.into_iter().find(|word| FORBIDDEN_WORDS.contains(&word.to_ascii_lowercase().as_str())) {
            Some(word) => self.invalid(
                rule,
                format_args!("{word:?} can't stand in it: it leads out of its network's chain"),
            ),
            None => Ok(()),
        }
    }
}
