//! What hosts are told, in a few words.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pvc_model::name::Uid;
use pvc_model::network::acl::{Acl, AclRule, Action, Direction, Matches, PortRange, Protocol};
use pvc_model::network::host::{HostPlan, Port, Stance};
use pvc_model::network::lease::Lease;
use pvc_model::network::{
    Attachment, DhcpRange, Managed, Network, NetworkKind, NetworkSpec, Reservation, Subnet, Vni,
};
use pvc_model::vm::Mac;
use pvc_model::{Meta, Name, Timestamp};
use pvc_network::Site;

pub fn site() -> Site {
    Site {
        node: name("hv1"),
        address: address("10.255.0.1"),
        cluster_device: "cluster0".to_owned(),
        upstream_device: Some("upstream0".to_owned()),
        storage_device: None,
        bridge_device: None,
        state_dir: PathBuf::from("/nonexistent"),
        run_dir: PathBuf::from("/nonexistent"),
        frr_dir: PathBuf::from("/nonexistent"),
        frr_run_dir: PathBuf::from("/nonexistent"),
        frr_snippets_dir: PathBuf::from("/nonexistent"),
        program: PathBuf::from("/nonexistent"),
    }
}

pub fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

pub fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn vni(number: u32) -> Vni {
    Vni::new(number).expect("a number of a network")
}

/// The NIC of that number.
pub fn mac(number: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, number])
}

fn meta(text: &str) -> Meta {
    let uid = Uid::from_random(1);
    Meta {
        name: name(text),
        uid,
        revision: Default::default(),
        created: Timestamp::default(),
        updated: Timestamp::default(),
    }
}

/// A managed network with that subnet and its first address as the gateway, and DHCP in it or not.
pub fn subnet(text: &str, dhcp: bool) -> Subnet {
    let subnet: ipnet::IpNet = text.parse().expect("a subnet");
    let gateway = subnet.hosts().find(|address| *address != subnet.network()).expect("it has room");
    let range = DhcpRange { first: gateway, last: subnet.broadcast(), lease_seconds: 3600 };
    Subnet { subnet, gateway: Some(gateway), dhcp: dhcp.then_some(range) }
}

pub fn network(number: u32, ipv4: Option<Subnet>, ipv6: Option<Subnet>) -> Network {
    let managed = Managed {
        domain: format!("net{number}.example"),
        name_servers: Vec::new(),
        ntp_servers: Vec::new(),
        ipv4,
        ipv6,
        reservations: Vec::new(),
        acl: Acl::default(),
    };
    let spec = NetworkSpec {
        description: name(&format!("net{number}")),
        mtu: None,
        kind: NetworkKind::Managed(managed),
    };
    Network { meta: meta(&number.to_string()), vni: vni(number), spec }
}

pub fn managed(network: &mut Network) -> &mut Managed {
    match &mut network.spec.kind {
        NetworkKind::Managed(managed) => managed,
        NetworkKind::Bridged { .. } => panic!("it is managed"),
    }
}

pub fn reservation(mac: Mac, ipv4: &str) -> Reservation {
    Reservation { mac, ipv4: Some(ipv4.parse().expect("an address")), ipv6: None, hostname: name("kept") }
}

pub fn lease(number: u32, mac: Option<Mac>, text: &str) -> Arc<Lease> {
    let (network, address) = (vni(number), address(text));
    Arc::new(Lease {
        meta: meta(Lease::name(network, address).as_str()),
        network,
        address,
        mac,
        hostname: None,
        client_id: String::new(),
        iaid: None,
        expires: Timestamp::default(),
    })
}

pub fn port(number: u32, mac: Mac) -> Port {
    let attachment = Attachment::Network(vni(number));
    Port { vm: name("web"), mac, attachment, spoof_check: true, addresses: Vec::new(), moving: false }
}

pub fn plan(stance: Stance, networks: Vec<Network>) -> HostPlan {
    let coordinators = vec![(name("hv1"), address("10.255.0.1")), (name("hv2"), address("10.255.0.2"))];
    HostPlan {
        stance,
        coordinators,
        networks: networks.into_iter().map(Arc::new).collect(),
        ..HostPlan::default()
    }
}

/// A rule as people write it in tests: "in 10 tcp 22,8000-8010 from 10.0.0.0/8 to 10.1.0.5/32 accept".
pub fn rule(text: &str) -> AclRule {
    let mut words = text.split_whitespace();
    let mut next = || words.next();
    let direction = if next() == Some("in") { Direction::In } else { Direction::Out };
    let order: u32 = next().and_then(|word| word.parse().ok()).expect("an order");
    let protocol = match next() {
        Some("tcp") => Protocol::Tcp,
        Some("udp") => Protocol::Udp,
        Some("icmp") => Protocol::Icmp,
        Some("icmpv6") => Protocol::Icmpv6,
        _ => Protocol::Any,
    };
    let (mut sources, mut destinations, mut ports, mut action) = (vec![], vec![], vec![], Action::Accept);
    while let Some(word) = next() {
        match word {
            "from" => sources.extend(next().map(|word| word.parse::<ipnet::IpNet>().expect("a network"))),
            "to" => destinations.extend(next().map(|word| word.parse::<ipnet::IpNet>().expect("a network"))),
            "accept" => action = Action::Accept,
            "drop" => action = Action::Drop,
            "reject" => action = Action::Reject,
            list => ports.extend(list.split(',').map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                PortRange { first: first.parse().expect("a port"), last: last.parse().expect("a port") }
            })),
        }
    }
    let name = name(&format!("r{order}"));
    let matches = Matches::Typed { protocol, sources, destinations, ports, action };
    AclRule { name, direction, order, description: String::new(), matches }
}

pub fn raw(direction: Direction, order: u32, text: &str) -> AclRule {
    let matches = Matches::Raw(text.to_owned());
    AclRule { name: name(&format!("raw{order}")), direction, order, description: String::new(), matches }
}
