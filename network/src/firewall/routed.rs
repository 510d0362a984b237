//! `inet pvc`: what is routed into client networks and out of them, and what their guests may have of the host itself.
//!
//! ```text
//! forward-guard   no bridge that is not known; no hosts from client networks
//! forward-out     by the bridge it comes from: the network's rules "out"     ─┐ base chains of their own: an "accept" in
//! forward-in      by the bridge it goes to: the network's rules "in"         ─┘ one of them does not answer for the others
//! input           a gateway's services, and nothing else of the host
//! ```
//! It is the same whether a coordinator carries the gateways now or not: a hand-over changes nothing here. A hypervisor has
//! no business with what its guests send to be routed, and drops it.

use std::net::IpAddr;

use ipnet::IpNet;
use pvc_model::network::acl::Direction;
use pvc_model::network::host::HostPlan;

use super::acl;
use super::rules::Chains;
use super::table::{Chain, Family, Rule, Set, Table};

/// Any client network's bridge. Numbers begin with no 0: an administrator's "vmbr0" is not ours.
const ANY_CLIENT_IN: &str = "iifname \"vmbr*\" iifname != \"vmbr0*\"";
const ANY_CLIENT_OUT: &str = "oifname \"vmbr*\" oifname != \"vmbr0*\"";
const KNOWN_FLOWS: &str = "ct state established,related";

/// What two packets of one network need not be asked: where the host's br_netfilter is on, frames between guests come by here
/// too, and they are not routed.
const SWITCHED: &str = "iifname . oifname @switched";

/// `hosts`: where hosts are reached by each other, which is nobody else's business. `rules`: people's.
pub fn table(plan: &HostPlan, hosts: &[IpNet], rules: &Chains) -> Table {
    let mut table = Table::new(Family::Inet);
    let mut switched = Set::of("type ifname . ifname");
    for network in &plan.networks {
        let bridge = network.vni.bridge();
        switched.insert(format!("\"{bridge}\" . \"{bridge}\""));
    }
    table.sets.insert("switched".to_owned(), switched);
    if plan.stance.is_coordinator() {
        coordinator(plan, hosts, rules, &mut table);
    } else {
        let forward = vec![
            Rule::new(SWITCHED, "accept"),
            Rule::new(ANY_CLIENT_IN, "counter drop"),
            Rule::new(ANY_CLIENT_OUT, "counter drop"),
        ];
        table.chains.insert("forward-guard".to_owned(), Chain::hooked(FORWARD_GUARD, forward));
        let input = vec![Rule::new(ANY_CLIENT_IN, "counter drop")];
        table.chains.insert("input".to_owned(), Chain::hooked(INPUT, input));
    }
    table
}

const FORWARD_GUARD: &str = "type filter hook forward priority filter - 3";
const FORWARD_OUT: &str = "type filter hook forward priority filter - 2";
const FORWARD_IN: &str = "type filter hook forward priority filter - 1";
const INPUT: &str = "type filter hook input priority filter - 1";

fn coordinator(plan: &HostPlan, hosts: &[IpNet], rules: &Chains, table: &mut Table) {
    let mut known = Set::of("type ifname");
    let mut time = Set::of("type ifname");
    let mut gateways_v4 = Set::of("type ifname . ipv4_addr");
    let mut gateways_v6 = Set::of("type ifname . ipv6_addr");
    let mut from = Set::map("type ifname : verdict");
    let mut to = Set::map("type ifname : verdict");
    let mut clients = Vec::new();
    for network in &plan.networks {
        let Some(managed) = network.managed() else { continue };
        let bridge = format!("\"{}\"", network.vni.bridge());
        known.insert(bridge.clone());
        clients.extend(managed.subnets().map(|subnet| subnet.subnet));
        for gateway in managed.gateways().map(|gateway| gateway.addr()) {
            let gateways = if gateway.is_ipv4() { &mut gateways_v4 } else { &mut gateways_v6 };
            gateways.insert(format!("{bridge} . {gateway}"));
            if managed.ntp_servers.contains(&gateway) {
                time.insert(bridge.clone());
            }
        }
        for (direction, map) in [(Direction::In, &mut to), (Direction::Out, &mut from)] {
            let Some(rules) = rules.get(&(network.vni, direction)) else { continue };
            let chain = acl::chain(direction, network.vni);
            map.elements.insert(bridge.clone(), format!("goto {chain}"));
            table.chains.insert(chain, Chain { hook: None, rules: rules.clone() });
        }
    }
    let sets = [
        ("known", known),
        ("with-time", time),
        ("gateways4", gateways_v4),
        ("gateways6", gateways_v6),
        ("from-network", from),
        ("to-network", to),
        ("clients4", prefixes(&clients, true)),
        ("clients6", prefixes(&clients, false)),
        ("hosts4", prefixes(hosts, true)),
        ("hosts6", prefixes(hosts, false)),
    ];
    table.sets.extend(sets.into_iter().map(|(name, set)| (name.to_owned(), set)));
    let chains = [
        ("forward-guard", Chain::hooked(FORWARD_GUARD, forward_guard())),
        ("forward-out", Chain::hooked(FORWARD_OUT, by_network("iifname vmap @from-network"))),
        ("forward-in", Chain::hooked(FORWARD_IN, by_network("oifname vmap @to-network"))),
        ("input", Chain::hooked(INPUT, input())),
        ("clients", Chain::of(clients_of_the_host())),
        ("services", Chain::of(services())),
    ];
    table.chains.extend(chains.into_iter().map(|(name, chain)| (name.to_owned(), chain)));
}

fn forward_guard() -> Vec<Rule> {
    vec![
        Rule::new(SWITCHED, "accept"),
        Rule::new(format!("{ANY_CLIENT_IN} iifname != @known"), "counter drop"),
        Rule::new(format!("{ANY_CLIENT_OUT} oifname != @known"), "counter drop"),
        Rule::new(KNOWN_FLOWS, "accept"),
        Rule::new("iifname @known ip daddr @hosts4", "counter drop"),
        Rule::new("iifname @known ip6 daddr @hosts6", "counter drop"),
    ]
}

fn by_network(lookup: &str) -> Vec<Rule> {
    vec![Rule::new(SWITCHED, "accept"), Rule::new(KNOWN_FLOWS, "accept"), Rule::new(lookup, "")]
}

/// Clients are told apart by their bridge, and by their addresses where they come another way: through another coordinator, or
/// around by the site's routers.
fn input() -> Vec<Rule> {
    vec![
        Rule::new("iifname \"lo\"", "accept"),
        Rule::new(KNOWN_FLOWS, "accept"),
        Rule::new(ANY_CLIENT_IN, "goto clients"),
        Rule::new("ip saddr @clients4", "counter drop"),
        Rule::new("ip6 saddr @clients6", "counter drop"),
    ]
}

fn clients_of_the_host() -> Vec<Rule> {
    let accept = |matches: &str| Rule::new(matches, "accept");
    vec![
        accept("ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit }"),
        accept("icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report }"),
        accept("iifname @known ip daddr 255.255.255.255 udp sport 68 udp dport 67"),
        accept("iifname @known ip6 daddr ff02::1:2 udp dport 547"),
        Rule::new("iifname . ip daddr @gateways4", "goto services"),
        Rule::new("iifname . ip6 daddr @gateways6", "goto services"),
        Rule::new("iifname @known ip6 daddr fe80::/10", "goto services"),
        Rule::new("", "counter drop"),
    ]
}

fn services() -> Vec<Rule> {
    let accept = |matches: &str| Rule::new(matches, "accept");
    vec![
        accept("icmp type echo-request"),
        accept("icmpv6 type echo-request"),
        accept("meta l4proto { tcp, udp } th dport 53"),
        accept("udp dport { 67, 547 }"),
        accept("iifname @with-time udp dport 123"),
        Rule::new("", "counter drop"),
    ]
}

fn prefixes(networks: &[IpNet], v4: bool) -> Set {
    let kind = if v4 { "type ipv4_addr; flags interval" } else { "type ipv6_addr; flags interval" };
    let mut set = Set::of(kind);
    let networks: Vec<IpNet> =
        networks.iter().copied().filter(|network| network.addr().is_ipv4() == v4).collect();
    acl::merged(&networks).into_iter().for_each(|network| set.insert(network));
    set
}

/// The coordinators themselves, and what is known of the networks that hosts are in.
pub fn hosts(plan: &HostPlan, networks: &[IpNet]) -> Vec<IpNet> {
    let coordinators = plan.coordinators.iter().map(|(_, address): &(_, IpAddr)| IpNet::from(*address));
    coordinators.chain(networks.iter().copied()).collect()
}
