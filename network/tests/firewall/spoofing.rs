//! What guests' NICs may send: frames go in at one NIC, and are or are not seen at another of the same bridge.

use std::net::{Ipv4Addr, Ipv6Addr};

use pvc_model::network::host::{HostPlan, Stance};
use pvc_model::network::{Attachment, HostNetwork};
use pvc_model::vm::Mac;

use crate::frames::{ALL_NODES, Frame};
use crate::lab::{Ns, Tap};
use crate::plans::{address, lease, mac, managed, network, plan, port, reservation, site, subnet};

const GUEST: u8 = 1;
const WITNESS: u8 = 2;
const BRIDGE: &str = "vmbr1001";

/// One guest's NIC, and one that sees what comes through.
struct Lab {
    host: Ns,
    guest: Tap,
    witness: Tap,
}

impl Lab {
    fn new() -> Option<Lab> {
        let host = Ns::new()?;
        host.bridge(BRIDGE);
        let (guest, witness) = (host.tap(BRIDGE, mac(GUEST)), host.tap(BRIDGE, mac(WITNESS)));
        Some(Lab { host, guest, witness })
    }

    fn apply(&self, plan: &HostPlan) {
        self.host.firewall(site()).pass(plan);
    }

    fn passes(&self, frame: &Frame) -> bool {
        self.guest.reaches(&self.witness, frame)
    }

    fn from4(&self, source: &str) -> bool {
        self.passes(&Frame::udp4(mac(GUEST), (v4(source), 4000), (Ipv4Addr::BROADCAST, 4000)))
    }

    fn arp(&self, address: &str) -> bool {
        self.passes(&Frame::arp_reply(mac(GUEST), mac(GUEST), v4(address)))
    }

    fn from6(&self, source: &str) -> bool {
        self.passes(&Frame::udp6(mac(GUEST), (v6(source), 4000), (ALL_NODES, 4000)))
    }

    fn advertises(&self, target: &str) -> bool {
        self.passes(&Frame::neighbour_advertisement(mac(GUEST), v6("fe80::1:1"), v6(target)))
    }
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().expect("an IPv4 address")
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().expect("an IPv6 address")
}

/// One guest in a network of those subnets, with what it was lent.
fn with_guest(ipv4: Option<(&str, bool)>, ipv6: Option<(&str, bool)>, lent: &[&str]) -> HostPlan {
    let of = |family: Option<(&str, bool)>| family.map(|(text, dhcp)| subnet(text, dhcp));
    let mut plan = plan(Stance::Hypervisor, vec![network(1001, of(ipv4), of(ipv6))]);
    plan.leases = lent.iter().map(|address| lease(1001, Some(mac(GUEST)), address)).collect();
    plan.ports.push(port(1001, mac(GUEST)));
    plan
}

#[test]
fn a_nic_sends_from_its_own_mac_only() {
    let Some(lab) = Lab::new() else { return };
    let stranger = Mac([0x52, 0x54, 0, 0, 9, 9]);
    let frames = [
        Frame::udp4(stranger, (v4("10.1.0.7"), 4000), (Ipv4Addr::BROADCAST, 4000)),
        Frame::announcement(stranger),
        Frame::arp_reply(mac(GUEST), stranger, v4("10.1.0.7")),
        Frame::arp_reply(stranger, mac(GUEST), v4("10.1.0.7")),
    ];
    assert!(frames.iter().all(|frame| lab.passes(frame)), "without the firewall all goes through");
    lab.apply(&with_guest(Some(("10.1.0.0/24", true)), None, &["10.1.0.7"]));
    for frame in &frames {
        assert!(!lab.passes(frame), "{frame:?}");
    }
    // And of what is dropped the bridge learns nothing.
    let unheard = Mac([0x52, 0x54, 0, 0, 9, 8]);
    assert!(!lab.passes(&Frame::announcement(unheard)));
    let learnt = lab.host.program("bridge", "fdb show").expect("the bridge tells");
    assert!(learnt.contains(&stranger.to_string()) && !learnt.contains(&unheard.to_string()), "{learnt}");
}

#[test]
fn with_dhcp_a_guest_has_what_it_was_lent() {
    let Some(lab) = Lab::new() else { return };
    let mut plan = with_guest(Some(("10.1.0.0/24", true)), None, &["10.1.0.7"]);
    plan.leases.push(lease(1001, Some(mac(9)), "10.1.0.8"));
    lab.apply(&plan);
    assert!(lab.from4("10.1.0.7") && lab.arp("10.1.0.7"), "its own");
    for others in ["10.1.0.8", "10.1.0.9", "10.1.0.1", "192.0.2.1"] {
        assert!(!lab.from4(others) && !lab.arp(others), "{others}");
    }
    // How one comes by an address.
    let to_server = (Ipv4Addr::BROADCAST, 67);
    assert!(lab.passes(&Frame::udp4(mac(GUEST), (Ipv4Addr::UNSPECIFIED, 68), to_server)));
    assert!(lab.passes(&Frame::arp_probe(mac(GUEST), v4("10.1.0.9"))));
    assert!(!lab.passes(&Frame::udp4(mac(GUEST), (Ipv4Addr::UNSPECIFIED, 4000), to_server)));
    // A network of IPv4 has no business with other IPv6 than that of the link.
    assert!(lab.from6("fe80::1:1") && !lab.from6("2001:db8:1::5"));
    // Nor with what hides what it is, like a tagged frame.
    assert!(!lab.passes(&Frame::ethernet(mac(GUEST), 0x8100, &[0, 1, 8, 0])));
}

#[test]
fn a_new_lease_opens_its_address_and_an_old_one_closes_it() {
    let Some(lab) = Lab::new() else { return };
    let mut host = lab.host.firewall(site());
    let plan = |lent: &[&str]| with_guest(Some(("10.1.0.0/24", true)), None, lent);
    host.pass(&plan(&["10.1.0.7"]));
    let said = host.pass(&plan(&["10.1.0.7", "10.1.0.8"]));
    assert_eq!(said, ["changed bridge pvc: owned4"]);
    assert!(lab.from4("10.1.0.7") && lab.from4("10.1.0.8"));
    host.pass(&plan(&["10.1.0.8"]));
    assert!(!lab.from4("10.1.0.7") && lab.from4("10.1.0.8"));
    // Reserved, and given with the NIC.
    let mut more = plan(&[]);
    let mut network = (*more.networks[0]).clone();
    managed(&mut network).reservations.push(reservation(mac(GUEST), "10.1.0.20"));
    more.networks = vec![network.into()];
    more.ports[0].addresses = vec![address("10.1.0.30"), address("10.1.0.1"), address("2001:db8::30")];
    host.pass(&more);
    assert!(lab.from4("10.1.0.20") && lab.from4("10.1.0.30") && lab.from6("2001:db8::30"));
    assert!(!lab.from4("10.1.0.1") && !lab.arp("10.1.0.1"), "the gateway is never to be had");
}

#[test]
fn without_dhcp_a_guest_has_what_is_nobody_elses_in_the_subnet() {
    let Some(lab) = Lab::new() else { return };
    let mut plan = with_guest(Some(("10.1.0.0/24", false)), Some(("2001:db8:1::/64", false)), &[]);
    let mut network = (*plan.networks[0]).clone();
    let mut kept = reservation(mac(9), "10.1.0.9");
    kept.ipv6 = Some(v6("2001:db8:1::9"));
    managed(&mut network).reservations.push(kept);
    plan.networks = vec![network.into()];
    lab.apply(&plan);
    assert!(lab.from4("10.1.0.50") && lab.arp("10.1.0.50"));
    for others in ["10.1.0.1", "10.1.0.9", "10.2.0.50"] {
        assert!(!lab.from4(others) && !lab.arp(others), "{others}");
    }
    assert!(lab.from6("2001:db8:1::abcd") && lab.advertises("2001:db8:1::abcd"));
    for others in ["2001:db8:1::1", "2001:db8:1::9", "2001:db8:2::abcd", "fe80::1"] {
        assert!(!lab.from6(others) && !lab.advertises(others), "{others}");
    }
    assert!(lab.passes(&Frame::duplicate_detection(mac(GUEST), v6("2001:db8:1::abcd"))));
}

#[test]
fn with_dhcpv6_a_guest_has_what_it_was_lent() {
    let Some(lab) = Lab::new() else { return };
    let mut plan = with_guest(None, Some(("2001:db8:1::/64", true)), &["2001:db8:1::7"]);
    plan.leases.push(lease(1001, Some(mac(9)), "2001:db8:1::8"));
    lab.apply(&plan);
    assert!(lab.from6("2001:db8:1::7") && lab.advertises("2001:db8:1::7"));
    assert!(lab.from6("fe80::1:1") && lab.advertises("fe80::1:1"));
    for others in ["2001:db8:1::8", "2001:db8:1::9", "2001:db8:1::1", "fe80::1"] {
        assert!(!lab.from6(others) && !lab.advertises(others), "{others}");
    }
    // Lent to somebody who did not say who it is: to any of them.
    plan.leases.push(lease(1001, None, "2001:db8:1::a"));
    lab.apply(&plan);
    assert!(lab.from6("2001:db8:1::a") && lab.advertises("2001:db8:1::a"));
    assert!(!lab.from4("10.1.0.7"), "there is no IPv4 in it");
}

#[test]
fn a_guest_is_no_server_and_no_router() {
    let Some(lab) = Lab::new() else { return };
    let frames = [
        Frame::udp4(mac(GUEST), (v4("10.1.0.7"), 67), (Ipv4Addr::BROADCAST, 68)),
        Frame::udp6(mac(GUEST), (v6("fe80::1:1"), 547), (ALL_NODES, 546)),
        Frame::router_advertisement(mac(GUEST), v6("fe80::1:1")),
    ];
    let mut plan = with_guest(Some(("10.1.0.0/24", true)), Some(("2001:db8:1::/64", false)), &["10.1.0.7"]);
    lab.apply(&plan);
    for frame in &frames {
        assert!(!lab.passes(frame), "{frame:?}");
    }
    // A network without subnets is its guests' own, but for that.
    let bare = with_guest(None, None, &[]);
    lab.apply(&bare);
    assert!(lab.from4("192.0.2.77") && lab.arp("192.0.2.77") && lab.from6("2001:db8:9::1"));
    assert!(lab.advertises("2001:db8:9::1") && !lab.passes(&frames[0]) && !lab.passes(&frames[2]));
    // Whoever is to be one has its check switched off.
    plan.ports[0].spoof_check = false;
    lab.apply(&plan);
    assert!(frames.iter().all(|frame| lab.passes(frame)) && lab.from4("10.1.0.1"));
}

#[test]
fn outside_of_managed_networks_the_mac_is_looked_at() {
    let Some(lab) = Lab::new() else { return };
    let stranger = Mac([0x52, 0x54, 0, 0, 9, 9]);
    let mut plan = plan(Stance::Hypervisor, Vec::new());
    plan.ports.push(port(1001, mac(GUEST)));
    for attachment in [Attachment::Host(HostNetwork::Upstream), plan.ports[0].attachment.clone()] {
        plan.ports[0].attachment = attachment;
        lab.apply(&plan);
        assert!(lab.from4("203.0.113.5") && lab.arp("203.0.113.5") && lab.from6("2001:db8::5"));
        assert!(lab.passes(&Frame::router_advertisement(mac(GUEST), v6("fe80::1:1"))));
        assert!(!lab.passes(&Frame::udp4(stranger, (v4("203.0.113.5"), 4000), (Ipv4Addr::BROADCAST, 4000))));
        assert!(!lab.passes(&Frame::arp_reply(mac(GUEST), stranger, v4("203.0.113.5"))));
    }
    plan.ports[0].addresses = vec![address("203.0.113.5")];
    lab.apply(&plan);
    assert!(lab.from4("203.0.113.5") && lab.arp("203.0.113.5"));
    assert!(!lab.from4("203.0.113.6") && !lab.arp("203.0.113.6") && !lab.from6("2001:db8::5"));
}
