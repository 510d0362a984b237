//! Client networks: what may be made and changed, and what may not.

use crate::command::Command::{self, *};
use crate::command::NetworkCommand::{self, *};
use crate::command::SpecPatch;
use crate::network::acl::Acl;
use crate::network::fabric::Peer;
use crate::network::{Attachment, DhcpRange, Managed, NetworkKind, NetworkSpec, Reservation, Subnet, Vni};
use crate::nic::Nic;
use crate::testing::{Cluster, name};
use crate::vm::Mac;

pub(super) fn network(command: NetworkCommand) -> Command {
    Network(Box::new(command))
}

pub(super) fn vni(number: u32) -> Vni {
    Vni::new(number).expect("a number of a network")
}

/// "10.1.0.0/24 via 10.1.0.1 dhcp 10.1.0.100-10.1.0.199".
pub(super) fn subnet(text: &str) -> Subnet {
    let words: Vec<&str> = text.split(' ').collect();
    let after = |word: &str| words.iter().position(|one| *one == word).map(|at| words[at + 1]);
    let range = |text: &str| {
        let (first, last) = text.split_once('-').expect("a range");
        let [first, last] = [first, last].map(|text| text.parse().expect("an address"));
        DhcpRange { first, last, lease_seconds: 3600 }
    };
    Subnet {
        subnet: words[0].parse().expect("a subnet"),
        gateway: after("via").map(|text| text.parse().expect("an address")),
        dhcp: after("dhcp").map(range),
    }
}

/// A managed network with the domain DESCRIPTION.example; empty texts: no subnet of that family.
pub(super) fn managed(description: &str, v4: &str, v6: &str) -> NetworkSpec {
    let family = |text: &str| (!text.is_empty()).then(|| subnet(text));
    let managed = Managed {
        domain: format!("{description}.example"),
        name_servers: Vec::new(),
        ntp_servers: Vec::new(),
        ipv4: family(v4),
        ipv6: family(v6),
        reservations: Vec::new(),
        acl: Acl::default(),
    };
    NetworkSpec { description: name(description), mtu: None, kind: NetworkKind::Managed(managed) }
}

fn bridged(description: &str, device: Option<&str>) -> NetworkSpec {
    let kind = NetworkKind::Bridged { device: device.map(str::to_owned) };
    NetworkSpec { description: name(description), mtu: None, kind }
}

pub(super) fn create(number: u32, spec: NetworkSpec) -> Command {
    network(CreateNetwork { vni: vni(number), spec: Box::new(spec) })
}

fn update(called: &str, spec: NetworkSpec) -> Command {
    network(UpdateNetwork { name: name(called), spec: Box::new(spec), expected_revision: 0 })
}

fn delete(called: &str) -> Command {
    network(DeleteNetwork { name: name(called), expected_revision: 0 })
}

const LAN: &str = "10.1.0.0/24 via 10.1.0.1 dhcp 10.1.0.100-10.1.0.199";

/// A cluster with network 1001, "lan".
pub(super) fn cluster() -> Cluster {
    let mut c = Cluster::of_coordinators(&["hv1", "hv2"]);
    c.ok(create(1001, managed("lan", LAN, "2001:db8:1::/64 via 2001:db8:1::1")));
    c
}

fn with(change: impl FnOnce(&mut NetworkSpec, &mut Managed)) -> NetworkSpec {
    let mut spec = managed("new", "10.9.0.0/24 via 10.9.0.1", "");
    let NetworkKind::Managed(mut managed) = spec.kind.clone() else { unreachable!("it is managed") };
    change(&mut spec, &mut managed);
    spec.kind = NetworkKind::Managed(managed);
    spec
}

#[test]
fn what_can_never_be_right_is_refused_by_its_rule() {
    let v4 = |text: &str| managed("new", text, "");
    let v6 = |text: &str| managed("new", "", text);
    let servers =
        |count: u8| (1..=count).map(|last| [10, 0, 0, last].into()).collect::<Vec<std::net::IpAddr>>();
    for (rule, spec) in [
        ("subnet-needed", managed("new", "", "")),
        ("subnet-family", managed("new", "2001:db8:9::/64", "")),
        ("subnet-family", managed("new", "", "10.9.0.0/24")),
        ("subnet-bits", v4("10.9.0.1/24")),
        ("prefix-length", v4("10.9.0.0/31")),
        ("prefix-length", v4("8.0.0.0/7")),
        ("prefix-length", v6("2001:db8:9::/127")),
        ("subnet-special", v4("127.1.0.0/24")),
        ("subnet-special", v4("169.254.169.0/24")),
        ("subnet-special", v4("224.0.0.0/8")),
        ("subnet-special", v6("fe80::/64")),
        ("gateway", v4("10.9.0.0/24 via 10.8.0.1")),
        ("gateway", v4("10.9.0.0/24 via 10.9.0.0")),
        ("gateway", v4("10.9.0.0/24 via 10.9.0.255")),
        ("gateway", v4("10.9.0.0/24 via 2001:db8:9::1")),
        ("gateway", v6("2001:db8:9::/64 via 2001:db8:9::")),
        ("dhcp-range", v4("10.9.0.0/24 via 10.9.0.1 dhcp 10.9.0.20-10.9.0.10")),
        ("dhcp-range", v4("10.9.0.0/24 via 10.9.0.1 dhcp 10.9.0.10-10.9.1.20")),
        ("dhcp-range", v4("10.9.0.0/24 via 10.9.0.1 dhcp 10.8.0.10-10.9.0.20")),
        ("dhcp-range", v4("10.9.0.0/24 via 10.9.0.15 dhcp 10.9.0.10-10.9.0.20")),
        ("dhcp-range", v4("10.9.0.0/24 via 10.9.0.1 dhcp 10.9.0.2-10.9.0.255")),
        ("dhcp-needs-gateway", v4("10.9.0.0/24 dhcp 10.9.0.10-10.9.0.20")),
        ("lease-range", with(|_, m| m.ipv4 = Some(lent_for(119)))),
        ("lease-range", with(|_, m| m.ipv4 = Some(lent_for(31_536_001)))),
        ("network-description", managed("a.b", "10.9.0.0/24", "")),
        ("network-description", bridged("1002", None)),
        ("domain-name", with(|_, m| m.domain = "Lan.example".into())),
        ("domain-name", with(|_, m| m.domain = String::new())),
        ("domain-name", with(|_, m| m.domain = "a..b".into())),
        ("domain-name", with(|_, m| m.domain = "9.10.in-addr.arpa".into())),
        ("servers-at-most", with(|_, m| m.name_servers = servers(9))),
        ("server-address", with(|_, m| m.ntp_servers = vec!["0.0.0.0".parse().expect("an address")])),
        ("mtu-range", with(|spec, _| spec.mtu = Some(575))),
        ("mtu-range", with(|spec, _| spec.mtu = Some(65_536))),
        ("mtu-range", NetworkSpec { mtu: Some(1279), ..v6("2001:db8:9::/64") }),
        ("device-name", bridged("new", Some("a very long device name"))),
        ("device-name", bridged("new", Some("vmbr7"))),
        ("device-name", bridged("new", Some("eth0;reboot"))),
    ] {
        let mut c = cluster();
        let before = c.world.networks.clone();
        let shown = format!("{spec:?}");
        assert_eq!(c.rule(create(9, spec)), rule, "{shown}");
        assert_eq!(c.world.networks, before);
    }
    let mut c = cluster();
    assert_eq!(c.rule(create(4095, bridged("new", None))), "vlan-range");
    c.ok(create(4094, bridged("site", Some("eth1"))));
    c.ok(create(16_777_214, NetworkSpec { mtu: Some(1280), ..v6("2001:db8:9::/64") }));
    assert!(Vni::new(0).is_err() && Vni::new(16_777_215).is_err());
}

fn lent_for(seconds: u32) -> Subnet {
    let mut subnet = subnet("10.9.0.0/24 via 10.9.0.1 dhcp 10.9.0.10-10.9.0.20");
    subnet.dhcp.as_mut().expect("a range").lease_seconds = seconds;
    subnet
}

#[test]
fn what_others_have_is_refused_and_they_are_named() {
    for (rule, number, spec, detail) in [
        ("vni-taken", 1001, managed("new", "10.9.0.0/24", ""), "network 1001 (lan)"),
        ("description-taken", 9, managed("lan", "10.9.0.0/24", ""), "network 1001 is called lan already"),
        ("domain-taken", 9, with(|_, m| m.domain = "lan.example".into()), "of network 1001 (lan) already"),
        (
            "subnets-apart",
            9,
            managed("new", "10.0.0.0/8", ""),
            "10.0.0.0/8 of network 9 (new) overlaps 10.1.0.0/24 of network 1001 (lan)",
        ),
        (
            "subnets-apart",
            9,
            managed("new", "10.1.0.128/25", ""),
            "10.1.0.128/25 of network 9 (new) overlaps 10.1.0.0/24 of network 1001 (lan)",
        ),
        ("subnets-apart", 9, managed("new", "", "2001:db8::/32"), "overlaps 2001:db8:1::/64"),
        ("subnet-of-hosts", 9, managed("new", "192.0.2.0/24", ""), "holds 192.0.2.0, an address of node hv1"),
        (
            "subnet-of-hosts",
            9,
            managed("new", "198.51.100.0/24", ""),
            "the address of the upstream peer rtr1",
        ),
    ] {
        let mut c = cluster();
        let address = "198.51.100.1".parse().expect("an address");
        c.ok(network(AddPeer { peer: Peer { name: name("rtr1"), address, asn: 65001, bfd: true } }));
        let refusal = c.run(create(number, spec)).expect_err(rule);
        assert_eq!(refusal.rule, rule);
        assert!(refusal.detail.contains(detail), "{refusal}");
        assert!(!refusal.help.is_empty(), "{refusal}");
    }
    let mut c = cluster();
    c.ok(create(9, managed("new", "10.1.1.0/24", "2001:db8:2::/64")));
    assert_eq!(c.rule(update("9", managed("new", "10.1.0.0/16", ""))), "subnets-apart");
    // Its own subnet, larger, overlaps nobody's.
    c.ok(update("9", managed("new", "10.1.2.0/23", "")));
}

#[test]
fn a_change_keeps_what_belongs_to_the_network_and_strands_nothing() {
    let mut c = cluster();
    let mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
    let kept = Reservation { mac, ipv4: Some([10, 1, 0, 10].into()), ipv6: None, hostname: name("web1") };
    c.ok(network(AddReservation { network: name("lan"), reservation: kept, expected_revision: 0 }));
    assert_eq!(c.rule(update("lan", managed("lan", "10.2.0.0/24", ""))), "reservation-address");
    assert_eq!(c.rule(update("lan", managed("lan", "", "2001:db8:1::/64"))), "reservation-address");
    assert_eq!(c.rule(update("lan", managed("lan", "10.1.0.0/24 via 10.1.0.10", ""))), "reservation-address");
    assert_eq!(c.rule(update("lan", bridged("lan", None))), "network-kind-stays");
    assert_eq!(c.rule(update("wan", managed("wan", "10.2.0.0/24", ""))), "must-exist");
    c.ok(update("lan", managed("office", "10.1.0.0/16 via 10.1.0.1", "")));
    let now = &c.world.networks[&name("1001")];
    assert_eq!(now.spec.description, name("office"));
    assert_eq!(now.managed().expect("managed").reservations.len(), 1);
    assert_eq!(
        c.ok(update("office", managed("office", "10.1.0.0/16 via 10.1.0.1", ""))),
        0,
        "it is so already"
    );
    let stale = UpdateNetwork {
        name: name("1001"),
        spec: Box::new(managed("x", "10.1.0.0/16", "")),
        expected_revision: 1,
    };
    assert_eq!(c.rule(network(stale)), "expected-revision");
}

#[test]
fn what_happens_to_a_network_is_told() {
    let mut c = cluster();
    let uid = c.world.networks[&name("1001")].meta.uid;
    assert_eq!(c.events_of(uid), ["settings: it was made"]);
    let mut spec = managed("office", "10.1.0.0/16 via 10.1.0.1", "");
    spec.mtu = Some(1400);
    c.ok(update("lan", spec));
    assert_eq!(
        c.events_of(uid),
        [
            "settings: it is called office",
            "settings: its MTU is 1400",
            "settings: its domain is office.example",
            "addresses: its IPv4 is 10.1.0.0/16, gateway 10.1.0.1",
            "addresses: it has no IPv6 any more",
        ]
    );
    let load = |names: &[&str], text: &str| {
        let acl = Acl { rules: names.iter().map(|name| super::acls::raw(name, text)).collect() };
        network(ReplaceAcl { network: name("office"), acl, expected_revision: 0 })
    };
    c.ok(load(&["a", "b"], "accept"));
    assert_eq!(c.events_of(uid), ["firewall: rule a was added", "firewall: rule b was added"]);
    c.ok(load(&["b", "c", "d", "e", "f"], "drop"));
    assert_eq!(c.events_of(uid), ["firewall: rules: 4 added, 1 changed, 1 removed"]);
    c.ok(delete("office"));
    assert!(c.events_of(uid).is_empty(), "they go with it");
}

#[test]
fn a_network_in_use_stays_and_the_users_are_named() {
    let mut c = cluster();
    for vm in ["b", "a"] {
        c.create(vm);
        let add_nics = vec![Nic::new(Attachment::Network(vni(1001)))];
        let patch = Box::new(SpecPatch { add_nics, ..SpecPatch::default() });
        c.ok(UpdateVm { name: name(vm), patch, expected_revision: 0 });
    }
    let refusal = c.run(delete("lan")).expect_err("it is used");
    assert_eq!((refusal.rule, refusal.subject.as_str()), ("network-unused", "network/1001"));
    assert_eq!(refusal.detail, "vm/a, vm/b have NICs in it");
    assert_eq!(refusal.help, "pvc vm network remove a 1001 takes its NIC out of it");
    for vm in ["a", "b"] {
        c.ok(DeleteVm { name: name(vm), delete_volumes: false, expected_revision: 0 });
    }
    c.ok(delete("lan"));
    assert!(c.world.networks.is_empty());
    assert_eq!(c.rule(delete("lan")), "must-exist");
}

#[test]
fn a_network_too_large_for_the_store_is_refused() {
    let mut c = cluster();
    let many = |count: u16| {
        let rule = |number: u16| super::acls::raw(&format!("r{number}"), &"tcp dport 22 accept ".repeat(20));
        let acl = Acl { rules: (0..count).map(rule).collect() };
        network(ReplaceAcl { network: name("lan"), acl, expected_revision: 0 })
    };
    assert_eq!(c.rule(many(1000)), "network-at-most");
    c.ok(many(400));
}
