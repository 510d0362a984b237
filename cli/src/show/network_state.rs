//! What hosts see of a client network: a section for each host, then what rules have matched and which names are served.

use std::collections::BTreeMap;
use std::time::Duration;

use pvc_proto::v1::{
    AclDirection, FabricPeer, FabricPeerKind, FabricRoutes, HostNetworkState, NetworkMac, NetworkStance,
    NetworkState,
};

use super::words::{choice, duration};
use crate::output::page::Page;

/// Guests that are named in one line: a host may see thousands.
const NAMED_MAX: usize = 20;
const UP: &str = "Established";

/// Adds the sections. `managed`: the network is an overlay of the cluster's.
pub fn sections(mut page: Page, state: &NetworkState, managed: bool) -> Page {
    for host in &state.hosts {
        page = page.section(&format!("Seen by {}", host.node), &seen(host, managed));
    }
    page.section("Packets matched by rules", &matched(state)).section("Names served", &names(state))
}

fn seen(host: &HostNetworkState, managed: bool) -> Vec<String> {
    if !host.problem.is_empty() {
        return vec![format!("nothing is known: {}", host.problem)];
    }
    let mut lines = vec![bridge(host)];
    if managed {
        lines.insert(0, stance(host.stance()).to_owned());
    }
    if !host.other_hosts.is_empty() {
        lines.push(format!("carried by {} too", host.other_hosts.join(", ")));
    }
    lines.extend(host.peers.iter().map(session));
    lines.extend(guests(host));
    lines.extend(host.unknown.iter().map(|what| format!("not known: {what}")));
    lines
}

fn stance(stance: NetworkStance) -> &'static str {
    match stance {
        NetworkStance::Primary => "primary: gateways, DHCP, names",
        NetworkStance::Ready => "coordinator: about to be the primary",
        NetworkStance::Standby => "coordinator: announces and forwards",
        NetworkStance::Leaving => "leaving: has just handed the gateways over",
        NetworkStance::CutOff => "cut off: was the primary, keeps the gateways, lends nothing",
        NetworkStance::Hypervisor => "hypervisor",
        NetworkStance::Unspecified => "unknown",
    }
}

fn bridge(host: &HostNetworkState) -> String {
    let there = if host.bridge { "bridge up" } else { "no bridge that is up" };
    let addresses = host.gateways.join(", ");
    if addresses.is_empty() { there.to_owned() } else { format!("{there}, with {addresses}") }
}

/// "session with hv2: up for 3 m 2 s, EVPN 12 in 11 out".
fn session(peer: &FabricPeer) -> String {
    let who = match (peer.name.as_str(), peer.kind()) {
        ("", _) => peer.address.clone(),
        (name, FabricPeerKind::Upstream) => format!("router {name} ({})", peer.address),
        (name, _) => name.to_owned(),
    };
    let time = duration(Duration::from_secs(peer.seconds));
    let state = match (peer.state.as_str(), peer.seconds) {
        (UP, _) => format!("up for {time}"),
        (state, 0) => format!("down ({state}), it has never answered"),
        (state, _) => format!("down ({state}) for {time}"),
    };
    let alive = match peer.alive {
        Some(true) => ", alive by BFD",
        Some(false) => ", dead by BFD",
        None => "",
    };
    let routes: String = peer.routes.iter().filter(|_| peer.state == UP).map(routes).collect();
    format!("session with {who}: {state}{alive}{routes}")
}

fn routes(routes: &FabricRoutes) -> String {
    let family = match routes.family.as_str() {
        "l2VpnEvpn" => "EVPN",
        "ipv4Unicast" => "IPv4",
        "ipv6Unicast" => "IPv6",
        other => other,
    };
    format!(", {family} {} in {} out", routes.received, routes.sent)
}

/// "guests here: web1, db1", then each other host's.
fn guests(host: &HostNetworkState) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for mac in &host.macs {
        let NetworkMac { mac, vm, host, .. } = mac;
        places.entry(host).or_default().push(if vm.is_empty() { mac } else { vm });
    }
    let line = |(place, mut guests): (&str, Vec<&str>)| {
        guests.sort_unstable();
        let place = if place.is_empty() { "here".to_owned() } else { format!("on {place}") };
        let named = guests[..guests.len().min(NAMED_MAX)].join(", ");
        let more = match guests.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("guests {place}: {named}{more}")
    };
    let mut lines: Vec<String> = places.into_iter().map(line).collect();
    lines.extend(unlisted(host.mac_count, host.macs.len()).map(|more| format!("{more} guests")));
    lines
}

/// What was left out of a list, in words.
fn unlisted(count: u32, listed: usize) -> Option<String> {
    let more = (count as usize).saturating_sub(listed);
    (more > 0).then(|| format!("and {more} more"))
}

/// Packets and bytes that each rule has matched: the sum over all hosts, for packets pass where they are routed.
pub fn sums(state: &NetworkState) -> BTreeMap<(AclDirection, &str), (u64, u64)> {
    let mut sums: BTreeMap<(AclDirection, &str), (u64, u64)> = BTreeMap::new();
    for count in state.hosts.iter().flat_map(|host| &host.counts) {
        let sum = sums.entry((count.direction(), count.rule.as_str())).or_default();
        *sum = (sum.0.saturating_add(count.packets), sum.1.saturating_add(count.bytes));
    }
    sums
}

fn matched(state: &NetworkState) -> Vec<String> {
    let line = |((direction, rule), (packets, bytes)): ((AclDirection, &str), (u64, u64))| {
        let direction = choice(direction.as_str_name(), "ACL_DIRECTION_");
        format!("{direction} {rule}: {packets} packets, {bytes} bytes")
    };
    sums(state).into_iter().map(line).collect()
}

fn names(state: &NetworkState) -> Vec<String> {
    let served = |host: &HostNetworkState| {
        let mut names = host.names.clone();
        names.extend(unlisted(host.name_count, names.len()));
        names
    };
    // Only the primary tells of them.
    state.hosts.iter().map(served).find(|names| !names.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use pvc_proto::v1::RuleCount;

    use super::*;

    fn page(hosts: Vec<HostNetworkState>) -> String {
        sections(Page::new(false), &NetworkState { hosts }, true).finish()
    }

    fn count(packets: u64) -> RuleCount {
        let direction = AclDirection::In.into();
        RuleCount { direction, rule: "ssh".into(), packets, bytes: packets * 60 }
    }

    #[test]
    fn each_host_has_its_section() {
        let peer = FabricPeer {
            address: "192.0.2.9".into(),
            name: "rtr1".into(),
            kind: FabricPeerKind::Upstream.into(),
            state: UP.into(),
            seconds: 182,
            alive: Some(true),
            routes: vec![FabricRoutes { family: "ipv4Unicast".into(), received: 1, sent: 2 }],
        };
        let down = FabricPeer { state: "Active".into(), address: "192.0.2.3".into(), ..Default::default() };
        let mac = |vm: &str, host: &str| NetworkMac {
            mac: "52:54:00:00:00:01".into(),
            vm: vm.into(),
            host: host.into(),
            ..Default::default()
        };
        let hv1 = HostNetworkState {
            node: "hv1".into(),
            stance: NetworkStance::Primary.into(),
            bridge: true,
            gateways: vec!["10.1.0.1".into(), "fe80::1".into()],
            peers: vec![peer, down],
            other_hosts: vec!["hv2".into()],
            macs: vec![mac("web2", ""), mac("web1", ""), mac("", "hv2")],
            mac_count: 3,
            counts: vec![count(2)],
            names: vec!["web1.lan.example A 10.1.0.10".into()],
            name_count: 3,
            unknown: vec!["its leases: no".into()],
            ..Default::default()
        };
        let hv2 = HostNetworkState {
            node: "hv2".into(),
            stance: NetworkStance::Standby.into(),
            counts: vec![count(5)],
            ..Default::default()
        };
        let hv3 = HostNetworkState {
            node: "hv3".into(),
            problem: "it does not answer".into(),
            ..Default::default()
        };
        let expected = "\
Seen by hv1:
  primary: gateways, DHCP, names
  bridge up, with 10.1.0.1, fe80::1
  carried by hv2 too
  session with router rtr1 (192.0.2.9): up for 3 m 2 s, alive by BFD, IPv4 1 in 2 out
  session with 192.0.2.3: down (Active), it has never answered
  guests here: web1, web2
  guests on hv2: 52:54:00:00:00:01
  not known: its leases: no
Seen by hv2:
  coordinator: announces and forwards
  no bridge that is up
Seen by hv3:
  nothing is known: it does not answer
Packets matched by rules:
  in ssh: 7 packets, 420 bytes
Names served:
  web1.lan.example A 10.1.0.10
  and 2 more
";
        assert_eq!(page(vec![hv1, hv2, hv3]), expected);
    }

    #[test]
    fn a_crowd_of_guests_is_one_line() {
        let macs = (0..25).map(|number| NetworkMac { vm: format!("g{number:02}"), ..Default::default() });
        let host = HostNetworkState { macs: macs.collect(), mac_count: 30, ..Default::default() };
        let lines = guests(&host);
        assert!(lines[0].ends_with("g18, g19 and 5 more"), "{lines:?}");
        assert_eq!(lines[1], "and 5 more guests");
    }
}
