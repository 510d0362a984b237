//! What happened to a client network.

use std::collections::BTreeMap;

use super::{Said, said};
use crate::network::{Managed, Network, NetworkKind, Subnet};

/// So many changes of a kind are told one by one; more are counted.
const TOLD_MAX: usize = 4;

pub(super) fn events(old: Option<&Network>, new: &Network) -> Vec<Said> {
    let Some(old) = old else { return vec![said("settings", "it was made")] };
    let mut events = Vec::new();
    if old.spec.description != new.spec.description {
        events.push(said("settings", format!("it is called {}", new.spec.description)));
    }
    if old.spec.mtu != new.spec.mtu {
        let mtu = new.spec.mtu.map_or("as large as what carries it allows".to_owned(), |mtu| mtu.to_string());
        events.push(said("settings", format!("its MTU is {mtu}")));
    }
    match (&old.spec.kind, &new.spec.kind) {
        (NetworkKind::Managed(old), NetworkKind::Managed(new)) => managed(&mut events, old, new),
        (was, is) if was != is => events.push(said("settings", "it is on another device")),
        (_, _) => {}
    }
    events
}

fn managed(events: &mut Vec<Said>, old: &Managed, new: &Managed) {
    if old.domain != new.domain {
        events.push(said("settings", format!("its domain is {}", new.domain)));
    }
    if (&old.name_servers, &old.ntp_servers) != (&new.name_servers, &new.ntp_servers) {
        events.push(said("settings", "guests are told of other name servers or time servers"));
    }
    for (family, was, is) in [("IPv4", &old.ipv4, &new.ipv4), ("IPv6", &old.ipv6, &new.ipv6)] {
        match is {
            _ if was == is => {}
            None => events.push(said("addresses", format!("it has no {family} any more"))),
            Some(is) => events.push(said("addresses", format!("its {family} is {}", subnet(is)))),
        }
    }
    let reservations = |managed: &Managed| {
        managed.reservations.iter().map(|one| (one.hostname.to_string(), one.clone())).collect()
    };
    changes(events, "addresses", "reservation", &reservations(old), &reservations(new));
    let rules = |managed: &Managed| {
        managed.acl.rules.iter().map(|rule| (rule.name.to_string(), rule.clone())).collect()
    };
    changes(events, "firewall", "rule", &rules(old), &rules(new));
}

/// "10.1.0.0/24, gateway 10.1.0.1, DHCP 10.1.0.100 to 10.1.0.199".
fn subnet(subnet: &Subnet) -> String {
    let gateway = subnet.gateway.map_or(", not routed".to_owned(), |gateway| format!(", gateway {gateway}"));
    let dhcp = subnet.dhcp.as_ref().map(|dhcp| format!(", DHCP {} to {}", dhcp.first, dhcp.last));
    format!("{}{gateway}{}", subnet.subnet, dhcp.unwrap_or_default())
}

/// What came, changed and went of things with names.
fn changes<T: PartialEq>(
    events: &mut Vec<Said>,
    topic: &'static str,
    what: &str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
) {
    let came = new.keys().filter(|name| !old.contains_key(*name)).map(|name| (name, "added"));
    let went = old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name, "removed"));
    let differs = new.iter().filter(|(name, is)| old.get(*name).is_some_and(|was| was != *is));
    let changed: Vec<(&String, &str)> =
        came.chain(differs.map(|(name, _)| (name, "changed"))).chain(went).collect();
    if changed.len() <= TOLD_MAX {
        events.extend(changed.iter().map(|(name, how)| said(topic, format!("{what} {name} was {how}"))));
        return;
    }
    let count = |wanted: &str| changed.iter().filter(|(_, how)| *how == wanted).count();
    let (added, altered, removed) = (count("added"), count("changed"), count("removed"));
    events.push(said(topic, format!("{what}s: {added} added, {altered} changed, {removed} removed")));
}
