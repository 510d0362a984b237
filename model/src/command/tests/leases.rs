//! Leases as the primary reports them, and the fabric.

use super::networks::{cluster, create, managed, network, vni};
use crate::command::Command::{self, *};
use crate::command::Ending;
use crate::command::NetworkCommand::*;
use crate::name::Name;
use crate::network::Reservation;
use crate::network::fabric::{ASN_DEFAULT, PEERS_MAX, Peer};
use crate::network::lease::{Lease, LeaseReport};
use crate::testing::{Cluster, name};
use crate::time::Timestamp;
use crate::vm::Mac;

const DAY: u64 = 24 * 3600;

fn mac(last: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, last])
}

fn lease(c: &Cluster, address: &str, last: u8, seconds: u64) -> LeaseReport {
    LeaseReport {
        network: vni(1001),
        address: address.parse().expect("an address"),
        mac: Some(mac(last)),
        hostname: Some(name(&format!("guest{last}"))),
        client_id: "01:52".into(),
        iaid: None,
        expires: Timestamp(c.now).plus_seconds(seconds),
    }
}

fn report(epoch: u64, put: Vec<LeaseReport>, gone: Vec<Name>) -> Command {
    network(ReportLeases { node: name("hv1"), session: 1, epoch, put, gone })
}

fn elect(c: &mut Cluster, node: &str, epoch: u64) {
    c.ok(ElectPrimary { node: name(node), epoch, ending: Ending::Lapsed, reason: "a test".into() });
}

/// hv1 is the primary, at epoch 1.
fn with_primary() -> Cluster {
    let mut c = cluster();
    elect(&mut c, "hv1", 0);
    c
}

fn lent(c: &Cluster) -> Vec<String> {
    c.world.leases_of(vni(1001)).map(|lease| lease.address.to_string()).collect()
}

#[test]
fn the_primary_alone_tells_what_is_lent() {
    let mut c = cluster();
    let one = vec![lease(&c, "10.1.0.100", 1, DAY)];
    assert_eq!(c.rule(report(0, one.clone(), vec![])), "primary-epoch", "there is none");
    elect(&mut c, "hv1", 0);
    assert_eq!(c.rule(report(0, one.clone(), vec![])), "primary-epoch");
    assert_eq!(c.rule(report(2, one.clone(), vec![])), "primary-epoch");
    let old = ReportLeases { node: name("hv1"), session: 0, epoch: 1, put: one.clone(), gone: vec![] };
    assert_eq!(c.rule(network(old)), "stale-session");
    assert_eq!(c.ok(report(1, one.clone(), vec![])), 1);
    assert_eq!(c.ok(report(1, one.clone(), vec![])), 0, "nothing has changed: nothing is committed");
    elect(&mut c, "hv2", 1);
    let two = vec![lease(&c, "10.1.0.101", 2, DAY)];
    assert_eq!(c.rule(report(1, two.clone(), vec![])), "primary-epoch", "another one has the role now");
    assert_eq!(c.rule(report(2, two, vec![])), "primary-epoch", "the epoch is another node's");
    assert_eq!(lent(&c), ["10.1.0.100"]);
}

#[test]
fn several_come_and_go_in_one_report() {
    let mut c = with_primary();
    let put = vec![
        lease(&c, "10.1.0.100", 1, DAY),
        lease(&c, "2001:db8:1::100", 1, DAY),
        // No longer, or never, addresses of that network.
        lease(&c, "10.7.0.1", 3, DAY),
        LeaseReport { network: vni(9), ..lease(&c, "10.1.0.102", 4, DAY) },
    ];
    assert_eq!(c.ok(report(1, put, vec![])), 2);
    assert_eq!(lent(&c), ["10.1.0.100", "2001:db8:1::100"]);
    let gone = |address: &str| Lease::name(vni(1001), address.parse().expect("an address"));
    let put = vec![lease(&c, "10.1.0.101", 2, DAY)];
    c.ok(report(1, put, vec![gone("10.1.0.100"), gone("10.1.0.199")]));
    assert_eq!(lent(&c), ["10.1.0.101", "2001:db8:1::100"]);
    assert_eq!(c.ok(report(1, vec![], vec![gone("10.1.0.100")])), 0);
    let many = (0..1001).map(|_| lease(&c, "10.1.0.103", 5, DAY)).collect();
    assert_eq!(c.rule(report(1, many, vec![])), "leases-at-most");
    assert_eq!(c.rule(network(DeleteLease { name: gone("10.1.0.100") })), "must-exist");
    c.ok(network(DeleteLease { name: gone("10.1.0.101") }));
    assert_eq!(lent(&c), ["2001:db8:1::100"]);
}

#[test]
fn a_guest_that_renews_all_the_time_commits_hardly_ever() {
    let mut c = with_primary();
    c.ok(report(1, vec![lease(&c, "10.1.0.100", 1, 3600)], vec![]));
    let mut commits = 0;
    for _ in 0..1800 {
        c.now += 1000;
        commits += c.ok(report(1, vec![lease(&c, "10.1.0.100", 1, 3600)], vec![]));
    }
    assert!((1..=6).contains(&commits), "{commits} in half an hour");
    // What is stored is never far from what is.
    let stored = c.world.leases_of(vni(1001)).next().expect("it is lent").expires;
    assert!(stored.0 > c.now + 3600 * 900, "it would end too early");
    // Another NIC has it now: that is told at once.
    assert_eq!(c.ok(report(1, vec![lease(&c, "10.1.0.100", 2, 3600)], vec![])), 1);
}

#[test]
fn a_guest_takes_no_name_that_is_anothers() {
    let mut c = with_primary();
    let kept =
        Reservation { mac: mac(1), ipv4: Some([10, 1, 0, 10].into()), ipv6: None, hostname: name("guest2") };
    c.ok(network(AddReservation { network: name("lan"), reservation: kept, expected_revision: 0 }));
    let owner = LeaseReport { hostname: Some(name("guest2")), ..lease(&c, "10.1.0.10", 1, DAY) };
    c.ok(report(1, vec![lease(&c, "10.1.0.100", 2, DAY), owner], vec![]));
    let names: Vec<_> = c.world.leases_of(vni(1001)).map(|lease| lease.hostname.clone()).collect();
    assert_eq!(names, [Some(name("guest2")), None]);
}

#[test]
fn leases_go_with_their_addresses_and_long_after_their_end() {
    let mut c = with_primary();
    c.ok(create(1002, managed("dmz", "10.2.0.0/24 via 10.2.0.1", "")));
    let other = LeaseReport { network: vni(1002), ..lease(&c, "10.2.0.100", 9, DAY) };
    let put = vec![lease(&c, "10.1.0.100", 1, 3600), lease(&c, "10.1.0.200", 2, 3600), other];
    c.ok(report(1, put, vec![]));
    let spec = Box::new(managed("lan", "10.1.0.0/25 via 10.1.0.1", ""));
    c.ok(network(UpdateNetwork { name: name("lan"), spec, expected_revision: 0 }));
    assert_eq!(lent(&c), ["10.1.0.100"]);
    assert_eq!(c.ok(Prune), 0);
    c.now += 7 * 3600 * 1000 - 1000;
    assert_eq!(c.ok(Prune), 0, "its end is six hours ago, almost");
    c.now += 2000;
    assert_eq!(c.ok(Prune), 1);
    assert_eq!(c.ok(Prune), 0);
    assert!(lent(&c).is_empty());
    c.ok(network(DeleteNetwork { name: name("dmz"), expected_revision: 0 }));
    assert!(c.world.leases.is_empty());
}

#[test]
fn the_leases_of_one_network_are_found_among_those_of_others() {
    let mut c = with_primary();
    for (number, third) in [(100, 2), (10010, 3), (1000, 4)] {
        c.ok(create(number, managed(&format!("n{number}"), &format!("10.{third}.0.0/24"), "")));
        let address = format!("10.{third}.0.7");
        let put = vec![LeaseReport { network: vni(number), ..lease(&c, &address, 1, DAY) }];
        c.ok(report(1, put, vec![]));
    }
    c.ok(report(1, vec![lease(&c, "10.1.0.100", 1, DAY), lease(&c, "2001:db8:1::7", 1, DAY)], vec![]));
    assert_eq!(lent(&c), ["10.1.0.100", "2001:db8:1::7"]);
    for (number, address) in [(100, "10.2.0.7"), (10010, "10.3.0.7"), (1000, "10.4.0.7")] {
        let found: Vec<_> = c.world.leases_of(vni(number)).map(|lease| lease.address.to_string()).collect();
        assert_eq!(found, [address]);
    }
    assert_eq!(c.world.leases_of(vni(1)).count(), 0);
}

fn peer(called: &str, address: &str, asn: u32) -> Command {
    let address = address.parse().expect("an address");
    network(AddPeer { peer: Peer { name: name(called), address, asn, bfd: true } })
}

fn set(asn: Option<u32>, secondaries: Option<&[&str]>) -> Command {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect();
    let zone_secondaries = secondaries.map(addresses);
    network(UpdateFabric { asn, zone_secondaries, forwarders: None, expected_revision: 0 })
}

#[test]
fn the_fabric_is_one_that_can_work() {
    let mut c = cluster();
    c.ok(peer("rtr1", "198.51.100.1", 65001));
    assert_eq!(c.ok(peer("rtr1", "198.51.100.1", 65001)), 0, "asked for again");
    for (rule, command) in [
        ("peer-once", peer("rtr1", "198.51.100.2", 65001)),
        ("peer-once", peer("rtr2", "198.51.100.1", 65001)),
        ("peer-asn", peer("rtr2", "198.51.100.2", ASN_DEFAULT)),
        ("asn-range", peer("rtr2", "198.51.100.2", 0)),
        ("asn-range", peer("rtr2", "198.51.100.2", 65_535)),
        ("peer-address", peer("rtr2", "10.1.0.9", 65001)),
        ("peer-address", peer("rtr2", "192.0.2.1", 65001)),
        ("peer-address", peer("rtr2", "224.0.0.1", 65001)),
        ("peer-asn", set(Some(65001), None)),
        ("asn-range", set(Some(u32::MAX), None)),
        ("asn-range", set(Some(23_456), None)),
        ("server-once", set(None, Some(&["192.0.2.53", "192.0.2.53"]))),
        ("server-address", set(None, Some(&["0.0.0.0"]))),
        ("must-exist", network(RemovePeer { name: name("rtr9") })),
    ] {
        let shown = format!("{command:?}");
        assert_eq!(c.rule(command), rule, "{shown}");
    }
    c.ok(set(Some(4_200_000_001), Some(&["192.0.2.53"])));
    assert_eq!(c.ok(set(None, None)), 0);
    let fabric = c.world.settings().fabric;
    assert_eq!((fabric.asn, fabric.peers.len(), fabric.zone_secondaries.len()), (4_200_000_001, 1, 1));
    c.ok(set(None, Some(&[])));
    assert!(c.world.settings().fabric.zone_secondaries.is_empty());
    for number in 1..PEERS_MAX {
        c.ok(peer(&format!("x{number}"), &format!("203.0.113.{number}"), 65002));
    }
    assert_eq!(c.rule(peer("more", "203.0.113.99", 65002)), "peers-at-most");
    c.ok(network(RemovePeer { name: name("rtr1") }));
}
