//! Reservations, and the rules of a network's firewall.

use super::networks::{cluster, network};
use crate::command::Command;
use crate::command::NetworkCommand::*;
use crate::network::acl::{Acl, AclRule, Action, Direction, Matches, PortRange, Protocol, RULES_MAX};
use crate::network::{Managed, Reservation};
use crate::testing::{Cluster, name};
use crate::vm::Mac;

fn mac(last: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, last])
}

/// "10.1.0.10 2001:db8:1::10".
fn reservation(hostname: &str, last: u8, addresses: &str) -> Reservation {
    let mut words = addresses.split_whitespace();
    let ipv4 = words.clone().find_map(|text| text.parse().ok());
    Reservation {
        mac: mac(last),
        ipv4,
        ipv6: words.find_map(|text| text.parse().ok()),
        hostname: name(hostname),
    }
}

fn reserve(reservation: Reservation) -> Command {
    network(AddReservation { network: name("lan"), reservation, expected_revision: 0 })
}

fn of(c: &Cluster) -> Managed {
    c.world.networks[&name("1001")].managed().expect("managed").clone()
}

#[test]
fn a_reservation_is_an_address_and_a_name_for_one_nic() {
    let mut c = cluster();
    c.ok(reserve(reservation("web1", 1, "10.1.0.10 2001:db8:1::10")));
    assert_eq!(c.ok(reserve(reservation("web1", 1, "10.1.0.10 2001:db8:1::10"))), 0, "asked for again");
    for (rule, other) in [
        ("reservation-once", reservation("web2", 1, "10.1.0.11")),
        ("reservation-once", reservation("web2", 2, "10.1.0.10")),
        ("reservation-once", reservation("web2", 2, "2001:db8:1::10")),
        ("reservation-once", reservation("web1", 2, "10.1.0.11")),
        ("reservation-address", reservation("web2", 2, "10.2.0.11")),
        ("reservation-address", reservation("web2", 2, "2001:db8:2::11")),
        ("reservation-address", reservation("web2", 2, "10.1.0.1")),
        ("reservation-address", reservation("web2", 2, "10.1.0.0")),
        ("reservation-address", reservation("web2", 2, "10.1.0.255")),
        ("reservation-address", reservation("web2", 2, "")),
        ("hostname", reservation("web2.lan", 2, "10.1.0.11")),
    ] {
        let shown = other.to_string();
        assert_eq!(c.rule(reserve(other)), rule, "{shown}");
    }
    let refusal = c.run(reserve(reservation("web2", 2, "10.1.0.10"))).expect_err("it is kept");
    let expected = "10.1.0.10 is reserved already, for web1 (52:54:00:00:00:01, 10.1.0.10, 2001:db8:1::10)";
    assert_eq!(refusal.detail, expected);
    assert_eq!(of(&c).reservations.len(), 1);
    let remove = |hostname: &str| {
        network(RemoveReservation { network: name("1001"), hostname: name(hostname), expected_revision: 0 })
    };
    assert_eq!(c.rule(remove("web2")), "must-exist");
    c.ok(remove("web1"));
    assert!(of(&c).reservations.is_empty());
}

fn rule(rule: &str, matches: Matches) -> AclRule {
    AclRule { name: name(rule), direction: Direction::In, order: 10, description: String::new(), matches }
}

pub(super) fn raw(called: &str, text: &str) -> AclRule {
    rule(called, Matches::Raw(text.to_owned()))
}

/// "tcp from 10.0.0.0/8,10.9.0.1/32 to 10.1.0.0/24 port 22,80-90".
fn typed(text: &str) -> AclRule {
    let words: Vec<&str> = text.split(' ').collect();
    let after = |word: &str| words.iter().position(|one| *one == word).map(|at| words[at + 1]);
    let nets = |word: &str| {
        let nets = after(word).into_iter().flat_map(|text| text.split(','));
        nets.map(|net| net.parse().expect("a net")).collect()
    };
    let port = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        PortRange { first: first.parse().expect("a port"), last: last.parse().expect("a port") }
    };
    let protocol = match words[0] {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        "icmp" => Protocol::Icmp,
        "icmpv6" => Protocol::Icmpv6,
        _ => Protocol::Any,
    };
    let ports = after("port").into_iter().flat_map(|text| text.split(',')).map(port).collect();
    let (sources, destinations) = (nets("from"), nets("to"));
    rule("r", Matches::Typed { protocol, sources, destinations, ports, action: Action::Drop })
}

fn add(rule: AclRule) -> Command {
    network(AddAclRule { network: name("lan"), rule: Box::new(rule), expected_revision: 0 })
}

#[test]
fn a_typed_rule_is_one_that_can_match() {
    for good in [
        "any",
        "tcp port 22",
        "udp port 53,5000-5010",
        "sctp port 1-65535",
        "tcp from 10.0.0.0/8,192.0.2.7/32 to 10.1.0.0/24 port 443",
        "any from 2001:db8::/32 to 2001:db8:1::7/128",
        "icmp from 10.0.0.0/8",
        "icmpv6 to 2001:db8:1::/64",
    ] {
        cluster().ok(add(typed(good)));
    }
    for (refused, bad) in [
        ("acl-ports", "any port 22"),
        ("acl-ports", "icmp port 22"),
        ("acl-ports", "tcp port 0"),
        ("acl-ports", "tcp port 90-80"),
        ("acl-ports", "tcp port 22,20-25"),
        ("acl-addresses", "any from 10.0.0.1/8"),
        ("acl-addresses", "any from 10.0.0.0/8,10.1.0.0/24"),
        ("acl-families", "any from 10.0.0.0/8,2001:db8::/32"),
        ("acl-families", "tcp from 10.0.0.0/8 to 2001:db8::/32 port 22"),
        ("acl-families", "icmp from 2001:db8::/32"),
        ("acl-families", "icmpv6 from 10.0.0.0/8"),
    ] {
        assert_eq!(cluster().rule(add(typed(bad))), refused, "{bad}");
    }
    let mut c = cluster();
    assert_eq!(c.rule(add(AclRule { order: 65_536, ..typed("any") })), "acl-order");
    assert_eq!(c.rule(add(AclRule { description: "a\nb".into(), ..typed("any") })), "acl-description");
    assert_eq!(c.rule(add(AclRule { description: "a".repeat(257), ..typed("any") })), "acl-description");
}

#[test]
fn a_raw_rule_cannot_leave_its_chain() {
    for good in [
        "tcp dport 22 ct state new limit rate 10/second accept",
        "icmp type echo-request drop",
        "ip saddr 10.0.0.0/8 counter reject with icmp type admin-prohibited",
    ] {
        cluster().ok(add(raw("r", good)));
    }
    for bad in [
        "",
        "   ",
        "accept; flush ruleset",
        "accept } chain x { accept",
        "tcp dport 22 jump other",
        "tcp dport 22 JUMP other",
        "goto other",
        "tcp dport vmap @verdicts",
        "queue num 0",
        "accept\nflush ruleset",
        "accept # the rest",
        "log prefix \"a\" accept",
        "log prefix 'a' accept",
        "include `x`",
        "ip saddr $net accept",
        "accept \\",
        "ip saddr @set accept",
        "add rule inet pvc forward accept",
        "delete table inet pvc",
        "log prefix \u{e4} accept",
        &"accept ".repeat(80),
    ] {
        assert_eq!(cluster().rule(add(raw("r", bad))), "acl-raw", "{bad:?}");
    }
}

#[test]
fn rules_come_go_and_are_replaced_in_one_step() {
    let mut c = cluster();
    c.ok(add(raw("a", "tcp dport 22 accept")));
    assert_eq!(c.ok(add(raw("a", "tcp dport 22 accept"))), 0, "asked for again");
    assert_eq!(c.rule(add(raw("a", "tcp dport 23 accept"))), "acl-rule-once");
    let update =
        |rule| network(UpdateAclRule { network: name("lan"), rule: Box::new(rule), expected_revision: 0 });
    c.ok(update(raw("a", "tcp dport 23 accept")));
    assert_eq!(c.rule(update(raw("b", "accept"))), "must-exist");
    let replace = |count: usize| {
        let acl = Acl { rules: (0..count).map(|number| raw(&format!("r{number}"), "accept")).collect() };
        network(ReplaceAcl { network: name("1001"), acl, expected_revision: 0 })
    };
    assert_eq!(c.ok(replace(1000)), 1, "one object");
    assert_eq!(c.ok(replace(1000)), 0);
    assert_eq!(c.rule(replace(RULES_MAX + 1)), "acl-rules-at-most");
    assert_eq!(of(&c).acl.rules.len(), 1000);
    let remove =
        |rule: &str| network(RemoveAclRule { network: name("lan"), rule: name(rule), expected_revision: 0 });
    c.ok(remove("r7"));
    assert_eq!(c.rule(remove("r7")), "must-exist");
    let stale = AddAclRule { network: name("lan"), rule: Box::new(raw("x", "accept")), expected_revision: 1 };
    assert_eq!(c.rule(network(stale)), "expected-revision");
}

#[test]
fn a_bridged_network_has_none_of_it() {
    let mut c = cluster();
    let vlan = crate::network::Vni::new(7).expect("a number");
    c.ok(crate::testing::bridged_network(vlan));
    let reservation = reservation("web1", 1, "10.1.0.10");
    let kept = AddReservation { network: name("7"), reservation, expected_revision: 0 };
    assert_eq!(c.rule(network(kept)), "network-managed");
    let acl = ReplaceAcl { network: name("7"), acl: Acl::default(), expected_revision: 0 };
    assert_eq!(c.rule(network(acl)), "network-managed");
}
