//! What a network has many of, and what carries all networks: reservations, leases, rules, peers, the fabric.

use pvc_proto::v1::{
    AclAction, AclRule, FabricInfo, Lease, Network, NetworkState, Peer, PortRange, Reservation,
};

use super::network_state;
use super::words::{choice, time, yes_no};
use crate::output::Tone;
use crate::output::page::Page;
use crate::output::table::{Cell, Column, figures, optional, render, text};

const RESERVATIONS: &[Column] = &[text("HOSTNAME"), text("MAC"), optional("IPV4"), optional("IPV6")];
const LEASES: &[Column] = &[
    figures("NETWORK"),
    text("ADDRESS"),
    text("MAC"),
    optional("HOSTNAME"),
    optional("VM"),
    text("UNTIL"),
    optional("CLIENT"),
];
const RULES: &[Column] = &[
    figures("ORDER"),
    text("NAME"),
    text("DIRECTION"),
    text("ACTION"),
    text("PROTOCOL"),
    text("FROM"),
    text("TO"),
    text("PORTS"),
    optional("PACKETS"),
    optional("DESCRIPTION"),
];
const PEERS: &[Column] = &[text("NAME"), text("ADDRESS"), figures("ASN"), text("BFD")];

pub fn reservations(network: &Network, colour: bool) -> String {
    let row = |one: &Reservation| {
        [&one.hostname, &one.mac, &one.ipv4, &one.ipv6].map(|text| Cell::from(text.as_str())).to_vec()
    };
    render(RESERVATIONS, network.reservations.iter().map(row).collect(), colour)
}

/// "web1  52:54:00:12:34:56  10.1.0.10".
pub fn reservation_line(one: &Reservation) -> String {
    let parts = [&one.hostname, &one.mac, &one.ipv4, &one.ipv6];
    parts.into_iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join("  ")
}

pub fn leases(leases: &[&Lease], colour: bool) -> String {
    let row = |lease: &&Lease| {
        vec![
            lease.vni.to_string().into(),
            lease.address.as_str().into(),
            lease.mac.as_str().into(),
            lease.hostname.as_str().into(),
            lease.vm.as_str().into(),
            time(lease.expire_time.as_ref()).into(),
            lease.client_id.as_str().into(),
        ]
    };
    render(LEASES, leases.iter().map(row).collect(), colour)
}

/// "10.1.0.101  52:54:00:12:34:56  web1  until 2026-11-28 10:00:00Z".
pub fn lease_line(lease: &Lease) -> String {
    let vm = if lease.vm.is_empty() { String::new() } else { format!("vm/{}", lease.vm) };
    let until = format!("until {}", time(lease.expire_time.as_ref()));
    let parts = [lease.address.clone(), lease.mac.clone(), lease.hostname.clone(), vm, until];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

/// In the order in which they are given. `state`: what the hosts see, where it is asked how many packets each rule has matched.
pub fn acl(rules: &[AclRule], state: Option<&NetworkState>, colour: bool) -> String {
    let matched = state.map(network_state::sums).unwrap_or_default();
    let packets = |one: &AclRule| {
        matched
            .get(&(one.direction(), one.name.as_str()))
            .map_or(String::new(), |(packets, _)| packets.to_string())
    };
    render(RULES, rules.iter().map(|one| rule(one, packets(one))).collect(), colour)
}

fn rule(rule: &AclRule, packets: String) -> Vec<Cell> {
    let any = |list: Vec<String>| if list.is_empty() { "any".to_owned() } else { list.join(",") };
    let mut row = vec![
        rule.order.to_string().into(),
        rule.name.as_str().into(),
        choice(rule.direction().as_str_name(), "ACL_DIRECTION_").into(),
    ];
    if rule.raw.is_empty() {
        let tone = match rule.action() {
            AclAction::Accept => Tone::Good,
            AclAction::Drop | AclAction::Reject => Tone::Bad,
            AclAction::Unspecified => Tone::Plain,
        };
        row.extend([
            Cell::toned(choice(rule.action().as_str_name(), "ACL_ACTION_"), tone),
            match choice(rule.protocol().as_str_name(), "ACL_PROTOCOL_").as_str() {
                "unknown" => "any".into(),
                protocol => protocol.into(),
            },
            any(rule.sources.clone()).into(),
            any(rule.destinations.clone()).into(),
            any(rule.ports.iter().map(port).collect()).into(),
        ]);
    } else {
        row.extend([Cell::from("raw"), rule.raw.as_str().into(), "".into(), "".into(), "".into()]);
    }
    row.extend([packets.into(), rule.description.as_str().into()]);
    row
}

fn port(range: &PortRange) -> String {
    if range.last == 0 || range.last == range.first {
        range.first.to_string()
    } else {
        format!("{}-{}", range.first, range.last)
    }
}

pub fn peers(peers: &[Peer], colour: bool) -> String {
    let row = |peer: &Peer| {
        vec![
            peer.name.as_str().into(),
            peer.address.as_str().into(),
            peer.asn.to_string().into(),
            yes_no(peer.bfd).into(),
        ]
    };
    render(PEERS, peers.iter().map(row).collect(), colour)
}

pub fn fabric(info: &FabricInfo, colour: bool) -> String {
    let fabric = info.fabric.clone().unwrap_or_default();
    let none = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let line = |peer: &Peer| {
        let bfd = if peer.bfd { ", watched by BFD" } else { "" };
        format!("{}: {} in AS {}{bfd}", peer.name, peer.address, peer.asn)
    };
    Page::new(colour)
        .row("Autonomous system", fabric.asn.to_string())
        .row("Zone secondaries", none(&fabric.zone_secondaries))
        .row("Forwarders", none(&fabric.forwarders))
        .section("Peers", &fabric.peers.iter().map(line).collect::<Vec<_>>())
        .row("Revision", info.revision.to_string())
        .finish()
}
