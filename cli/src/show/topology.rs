//! A picture in text of how routers, coordinators, networks, hosts and NICs hang together, from what the store has.
//!
//! ```text
//! rtr1 192.0.2.1 AS 65001 (BFD)
//!  │
//! cluster AS 65500
//!  ├─ hv1  primary: gateways, DHCP, names
//!  ├─ hv2  coordinator
//!  └─ hv4  hypervisor
//!
//! network 1001 lan (managed)  10.1.0.0/24 via 10.1.0.1
//!  ├─ hv1
//!  │   └─ web1  52:54:00:00:00:01  10.1.0.100
//!  └─ not running
//!      └─ db1  52:54:00:00:00:02
//! ```

use std::collections::BTreeMap;

use pvc_proto::v1::{Fabric, Lease, Network, Nic, Node, NodeRole, Reachability, Vm, VmPhase};

use super::words::name;
use super::{network, node, vm};
use crate::output::Tone;
use crate::output::page::paint;

/// What is drawn.
pub struct Drawn {
    pub fabric: Fabric,
    pub nodes: Vec<Node>,
    pub networks: Vec<Network>,
    pub vms: Vec<Vm>,
    pub leases: Vec<Lease>,
    /// The hosts' own networks and bridges too, where guests have NICs in them.
    pub host_networks: bool,
}

pub fn picture(drawn: &Drawn, colour: bool) -> String {
    let mut lines = outside(&drawn.fabric);
    lines.push(format!("cluster AS {}", drawn.fabric.asn));
    let nodes = drawn.nodes.iter().map(|node| Branch::leaf(host(node, colour)));
    lines.extend(draw(nodes.collect()));
    let mut networks: Vec<&Network> = drawn.networks.iter().collect();
    networks.sort_by_key(|network| network.vni);
    for network in networks {
        lines.push(String::new());
        lines.push(head(network));
        lines.extend(draw(hosts_of(drawn, &network.vni.to_string(), colour)));
    }
    if drawn.host_networks {
        for (attachment, what) in others(drawn) {
            lines.push(String::new());
            lines.push(what);
            lines.extend(draw(hosts_of(drawn, &attachment, colour)));
        }
    }
    lines.join("\n") + "\n"
}

/// The routers, above the cluster.
fn outside(fabric: &Fabric) -> Vec<String> {
    let line = |peer: &pvc_proto::v1::Peer| {
        let bfd = if peer.bfd { " (BFD)" } else { "" };
        format!("{} {} AS {}{bfd}", peer.name, peer.address, peer.asn)
    };
    let mut lines: Vec<String> = fabric.peers.iter().map(line).collect();
    match lines.is_empty() {
        true => lines.push("no router outside: see `pvc network peer add`".to_owned()),
        false => lines.push(" │".to_owned()),
    }
    lines
}

fn host(host: &Node, colour: bool) -> String {
    let role = match host.spec.as_ref().map_or(NodeRole::Unspecified, |spec| spec.role()) {
        _ if host.primary => "primary: gateways, DHCP, names",
        NodeRole::Coordinator => "coordinator: announces and forwards",
        _ => "hypervisor",
    };
    let state = node::state(host);
    let reachable =
        host.status.as_ref().is_some_and(|status| status.reachability() == Reachability::Reachable);
    let state = if reachable { String::new() } else { format!("  {}", paint(&state, Tone::Bad, colour)) };
    format!("{}  {role}{state}", name(host.meta.as_ref()))
}

fn head(network: &Network) -> String {
    let spec = network.spec.clone().unwrap_or_default();
    let managed = spec.managed.clone().unwrap_or_default();
    let subnets = [managed.ipv4, managed.ipv6].into_iter().flatten().map(|subnet| {
        let via = if subnet.gateway.is_empty() {
            "not routed".to_owned()
        } else {
            format!("via {}", subnet.gateway)
        };
        format!("  {} {via}", subnet.subnet)
    });
    let subnets: String = subnets.collect();
    format!("network {} {} ({}){subnets}", network.vni, spec.description, network::kind(&spec))
}

/// What else guests' NICs are attached to: attachment, and what is said of it.
fn others(drawn: &Drawn) -> BTreeMap<String, String> {
    let nics = drawn.vms.iter().flat_map(|vm| vm.spec.iter().flat_map(|spec| &spec.nics));
    let other = |nic: &Nic| match (nic.bridge.as_str(), nic.network.as_str()) {
        ("", network) if network.parse::<u32>().is_ok() => None,
        ("", network) => Some((network.to_owned(), format!("the hosts' network {network}"))),
        (bridge, _) => Some((bridge.to_owned(), format!("the hosts' bridge {bridge}"))),
    };
    nics.filter_map(other).collect()
}

/// The hosts on which guests have NICs there, with these.
fn hosts_of(drawn: &Drawn, attachment: &str, colour: bool) -> Vec<Branch> {
    let mut hosts: BTreeMap<(bool, String), Vec<Branch>> = BTreeMap::new();
    for vm in &drawn.vms {
        let nics = vm.spec.iter().flat_map(|spec| &spec.nics);
        for nic in nics.filter(|nic| is_attached(nic, attachment)) {
            let host = runs_on(vm);
            // Those that run nowhere come last.
            let place = (host.is_none(), host.unwrap_or_else(|| "not running".to_owned()));
            hosts.entry(place).or_default().push(Branch::leaf(port(drawn, vm, nic, attachment, colour)));
        }
    }
    if hosts.is_empty() {
        return vec![Branch::leaf("no VM has a NIC in it".to_owned())];
    }
    hosts.into_iter().map(|((_, host), below)| Branch { text: host, below }).collect()
}

fn is_attached(nic: &Nic, attachment: &str) -> bool {
    if nic.bridge.is_empty() { nic.network == attachment } else { nic.bridge == attachment }
}

fn runs_on(vm: &Vm) -> Option<String> {
    let status = vm.status.as_ref()?;
    let runs = !matches!(status.phase(), VmPhase::Stopped | VmPhase::Failed);
    status.placement.as_ref().filter(|_| runs).map(|placement| placement.node.clone())
}

/// A guest's NIC: who, which, and what it was lent.
fn port(drawn: &Drawn, guest: &Vm, nic: &Nic, attachment: &str, colour: bool) -> String {
    let of_it = |lease: &&Lease| lease.vni.to_string() == attachment && lease.mac == nic.mac;
    let addresses: Vec<&str> = drawn
        .leases
        .iter()
        .filter(of_it)
        .map(|lease| lease.address.as_str())
        .chain(reserved(drawn, nic, attachment))
        .collect();
    let addresses = if addresses.is_empty() { String::new() } else { format!("  {}", addresses.join(" ")) };
    let link =
        if nic.link_down { format!("  {}", paint("link down", Tone::Dim, colour)) } else { String::new() };
    let state = vm::state(guest);
    let state =
        if state == "running" || runs_on(guest).is_none() { String::new() } else { format!("  ({state})") };
    format!("{}  {}{addresses}{link}{state}", name(guest.meta.as_ref()), nic.mac)
}

/// Addresses that are reserved for the NIC and not lent just now.
fn reserved<'a>(drawn: &'a Drawn, nic: &'a Nic, attachment: &'a str) -> impl Iterator<Item = &'a str> {
    let network = drawn.networks.iter().find(move |network| network.vni.to_string() == attachment);
    let mine = network.into_iter().flat_map(|network| &network.reservations).filter(|one| one.mac == nic.mac);
    let addresses = mine.flat_map(|one| [one.ipv4.as_str(), one.ipv6.as_str()]);
    addresses
        .filter(|address| !address.is_empty() && !drawn.leases.iter().any(|lease| lease.address == *address))
}

/// A line with lines below it.
struct Branch {
    text: String,
    below: Vec<Branch>,
}

impl Branch {
    fn leaf(text: String) -> Branch {
        Branch { text, below: Vec::new() }
    }
}

fn draw(branches: Vec<Branch>) -> Vec<String> {
    let count = branches.len();
    let mut lines = Vec::new();
    for (at, branch) in branches.into_iter().enumerate() {
        let last = at + 1 == count;
        lines.push(format!(" {} {}", if last { "└─" } else { "├─" }, branch.text));
        let stem = if last { "    " } else { " │  " };
        lines.extend(draw(branch.below).into_iter().map(|line| format!("{stem}{line}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use pvc_proto::v1::{
        ManagedNetwork, Meta, NetworkSpec, NodeSpec, NodeStatus, Peer, Placement, Reservation, Subnet,
        VmSpec, VmStatus,
    };

    use super::*;

    fn meta(name: &str) -> Option<Meta> {
        Some(Meta { name: name.to_owned(), ..Meta::default() })
    }

    fn node(name: &str, role: NodeRole, primary: bool, reachability: Reachability) -> Node {
        Node {
            meta: meta(name),
            spec: Some(NodeSpec { role: role.into(), ..NodeSpec::default() }),
            status: Some(NodeStatus { reachability: reachability.into(), ..NodeStatus::default() }),
            primary,
            ..Node::default()
        }
    }

    fn guest(name: &str, node: Option<&str>, network: &str, mac: &str) -> Vm {
        let phase = if node.is_some() { VmPhase::Running } else { VmPhase::Stopped };
        let placement = node.map(|node| Placement { node: node.to_owned(), ..Placement::default() });
        let nic = Nic { network: network.to_owned(), mac: mac.to_owned(), ..Nic::default() };
        Vm {
            meta: meta(name),
            spec: Some(VmSpec { nics: vec![nic], ..VmSpec::default() }),
            status: Some(VmStatus { phase: phase.into(), placement, ..VmStatus::default() }),
            ..Vm::default()
        }
    }

    #[test]
    fn the_whole_of_it() {
        let peer = Peer { name: "rtr1".into(), address: "192.0.2.1".into(), asn: 65001, bfd: true };
        let subnet = Subnet { subnet: "10.1.0.0/24".into(), gateway: "10.1.0.1".into(), ..Subnet::default() };
        let managed = ManagedNetwork { ipv4: Some(subnet), ..ManagedNetwork::default() };
        let spec =
            NetworkSpec { description: "lan".into(), managed: Some(managed), ..NetworkSpec::default() };
        let kept = Reservation { mac: "c".into(), ipv4: "10.1.0.9".into(), ..Reservation::default() };
        let drawn = Drawn {
            fabric: Fabric { asn: 65500, peers: vec![peer], ..Fabric::default() },
            nodes: vec![
                node("hv1", NodeRole::Coordinator, true, Reachability::Reachable),
                node("hv2", NodeRole::Coordinator, false, Reachability::Unreachable),
                node("hv4", NodeRole::Hypervisor, false, Reachability::Reachable),
            ],
            networks: vec![Network {
                vni: 1001,
                spec: Some(spec),
                reservations: vec![kept],
                ..Network::default()
            }],
            vms: vec![
                guest("a", Some("hv4"), "1001", "a"),
                guest("b", Some("hv1"), "1001", "b"),
                guest("c", None, "1001", "c"),
                guest("d", Some("hv1"), "upstream", "d"),
            ],
            leases: vec![Lease {
                vni: 1001,
                address: "10.1.0.100".into(),
                mac: "a".into(),
                ..Lease::default()
            }],
            host_networks: true,
        };
        let expected = "\
rtr1 192.0.2.1 AS 65001 (BFD)
 │
cluster AS 65500
 ├─ hv1  primary: gateways, DHCP, names
 ├─ hv2  coordinator: announces and forwards  unreachable
 └─ hv4  hypervisor

network 1001 lan (managed)  10.1.0.0/24 via 10.1.0.1
 ├─ hv1
 │   └─ b  b
 ├─ hv4
 │   └─ a  a  10.1.0.100
 └─ not running
     └─ c  c  10.1.0.9

the hosts' network upstream
 └─ hv1
     └─ d  d
";
        assert_eq!(picture(&drawn, false), expected);
    }
}
