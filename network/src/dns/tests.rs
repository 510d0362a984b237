use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use pvc_model::network::host::HostPlan;
use pvc_model::network::lease::Lease;
use pvc_model::network::{Managed, Network, NetworkKind, NetworkSpec, Reservation, Subnet, Vni};
use pvc_model::{Meta, Name, Timestamp, name::Uid};

use super::reverse;
use super::serials::Serials;
use super::snapshot::Snapshot;
use super::zones::{Content, Kind, zones};

fn meta(name: Name, revision: u64) -> Meta {
    let at = Timestamp(revision);
    Meta { name, uid: Uid::from_random(1), revision, created: at, updated: at }
}

fn network(vni: u32, revision: u64, domain: &str, subnets: &[(&str, &str)]) -> Network {
    let subnet = |v4: bool| {
        let found = subnets.iter().find(|(net, _)| net.contains('.') == v4)?;
        Some(Subnet { subnet: found.0.parse().unwrap(), gateway: found.1.parse().ok(), dhcp: None })
    };
    let managed = Managed {
        domain: domain.into(),
        name_servers: vec![],
        ntp_servers: vec![],
        ipv4: subnet(true),
        ipv6: subnet(false),
        reservations: vec![],
        acl: Default::default(),
    };
    let vni = Vni::new(vni).unwrap();
    let kind = NetworkKind::Managed(managed);
    let spec = NetworkSpec { description: "a".parse().unwrap(), mtu: None, kind };
    Network { meta: meta(vni.name(), revision), vni, spec }
}

fn reserve(network: &mut Network, mac: &str, address: &str, hostname: &str) {
    let NetworkKind::Managed(managed) = &mut network.spec.kind else { panic!() };
    managed.reservations.push(Reservation {
        mac: mac.parse().unwrap(),
        ipv4: address.parse().ok(),
        ipv6: address.parse().ok(),
        hostname: hostname.parse().unwrap(),
    });
}

fn lease(vni: u32, revision: u64, mac: &str, address: &str, hostname: &str) -> Arc<Lease> {
    let (network, address): (_, IpAddr) = (Vni::new(vni).unwrap(), address.parse().unwrap());
    Arc::new(Lease {
        meta: meta(Lease::name(network, address), revision),
        network,
        address,
        mac: mac.parse().ok(),
        hostname: hostname.parse().ok(),
        client_id: mac.into(),
        iaid: None,
        expires: Timestamp(1_000_000),
    })
}

fn plan(networks: Vec<Network>, leases: Vec<Arc<Lease>>) -> HostPlan {
    let coordinators = [("hv2", "192.0.2.2"), ("hv1", "192.0.2.1")];
    let coordinators = coordinators.map(|(name, address)| (name.parse().unwrap(), address.parse().unwrap()));
    let networks = networks.into_iter().map(Arc::new).collect();
    HostPlan { networks, leases, coordinators: coordinators.into(), ..HostPlan::default() }
}

/// "name KIND content", of one zone, without the name servers.
fn records(zone: &Content) -> Vec<String> {
    let lines = zone.records.iter().flat_map(|(name, records)| {
        records.iter().map(move |(kind, content)| (kind, format!("{name} {} {content}", kind.as_str())))
    });
    let ours = lines.filter(|(kind, line)| **kind != Kind::Ns && !line.starts_with("ns"));
    ours.map(|(_, line)| line).collect()
}

#[test]
fn reverse_zones_cover_a_subnet_and_nothing_else() {
    for (subnet, expected) in [
        ("10.1.2.0/24", &["2.1.10.in-addr.arpa"][..]),
        ("10.1.0.0/16", &["1.10.in-addr.arpa"]),
        ("10.0.0.0/8", &["10.in-addr.arpa"]),
        ("10.1.6.0/23", &["6.1.10.in-addr.arpa", "7.1.10.in-addr.arpa"]),
        (
            "172.16.0.0/14",
            &["16.172.in-addr.arpa", "17.172.in-addr.arpa", "18.172.in-addr.arpa", "19.172.in-addr.arpa"],
        ),
        ("10.1.2.128/25", &["2.1.10.in-addr.arpa"]),
        ("10.1.2.4/30", &["2.1.10.in-addr.arpa"]),
        ("fd00::/16", &["0.0.d.f.ip6.arpa"]),
        ("fd00:1::/32", &["1.0.0.0.0.0.d.f.ip6.arpa"]),
        ("fd00::/31", &["0.0.0.0.0.0.d.f.ip6.arpa", "1.0.0.0.0.0.d.f.ip6.arpa"]),
        ("fd00:1:2:3::/64", &["3.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa"]),
    ] {
        let subnet: ipnet::IpNet = subnet.parse().unwrap();
        assert_eq!(reverse::zones(subnet), expected, "{subnet}");
    }
    assert_eq!(reverse::zones("10.0.0.0/9".parse().unwrap()).len(), 128);
    // 31 nibbles.
    let shared = reverse::zones("fd00::4/126".parse().unwrap());
    assert_eq!((shared.len(), shared[0].split('.').count()), (1, 31 + 2));
    assert_eq!(reverse::zones("fd00:0:0:8::/61".parse().unwrap()).len(), 8);
    assert_eq!(reverse::pointer("10.1.2.3".parse().unwrap()), "3.2.1.10.in-addr.arpa");
    let six = reverse::pointer("fd00::1".parse().unwrap());
    assert!(six.starts_with("1.0.0.") && six.ends_with(".0.0.d.f.ip6.arpa") && six.len() == 72, "{six}");
}

#[test]
fn a_network_has_names_both_ways() {
    let mut net = network(1, 5, "a.test", &[("10.0.0.0/24", "10.0.0.1"), ("fd00::/64", "fd00::1")]);
    reserve(&mut net, "52:54:00:00:00:01", "10.0.0.7", "db");
    let leases = vec![
        lease(1, 6, "52:54:00:00:00:02", "10.0.0.100", "web"),
        lease(1, 7, "52:54:00:00:00:02", "fd00::100", "web"),
        lease(1, 8, "52:54:00:00:00:03", "10.0.0.101", "-"),
    ];
    let zones = zones(&plan(vec![net], leases));
    assert_eq!(
        zones.keys().collect::<Vec<_>>(),
        ["0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", "0.0.10.in-addr.arpa", "a.test",]
            .map(|zone| zone.to_owned())
            .iter()
            .collect::<Vec<_>>()
    );
    assert_eq!(
        records(&zones["a.test"]),
        [
            "db.a.test A 10.0.0.7",
            "gateway.a.test A 10.0.0.1",
            "gateway.a.test AAAA fd00::1",
            "web.a.test A 10.0.0.100",
            "web.a.test AAAA fd00::100",
        ]
    );
    assert_eq!(
        records(&zones["0.0.10.in-addr.arpa"]),
        [
            "1.0.0.10.in-addr.arpa PTR gateway.a.test",
            "100.0.0.10.in-addr.arpa PTR web.a.test",
            "7.0.0.10.in-addr.arpa PTR db.a.test",
        ]
    );
    // The name servers are the coordinators, in the order of their names, in all zones.
    let servers = &zones["0.0.10.in-addr.arpa"].records["0.0.10.in-addr.arpa"];
    assert!(servers.iter().eq(&[(Kind::Ns, "ns1.a.test".to_owned()), (Kind::Ns, "ns2.a.test".to_owned())]));
    assert!(zones["a.test"].records["ns1.a.test"].contains(&(Kind::A, "192.0.2.1".to_owned())));
    assert_eq!(zones["a.test"].authority(9), "ns1.a.test. hostmaster.a.test. 9 300 60 604800 5");
}

#[test]
fn a_name_belongs_to_one() {
    let mut net = network(1, 5, "a.test", &[("10.0.0.0/24", "10.0.0.1"), ("fd00::/64", "fd00::1")]);
    reserve(&mut net, "52:54:00:00:00:01", "10.0.0.7", "db");
    let leases = vec![
        // Renewed last, but it had the name first.
        lease(1, 6, "52:54:00:00:00:02", "10.0.0.100", "web"),
        lease(1, 9, "52:54:00:00:00:03", "10.0.0.99", "web"),
        lease(1, 9, "52:54:00:00:00:03", "fd00::99", "web"),
        lease(1, 6, "52:54:00:00:00:04", "10.0.0.98", "db"),
        // The one that it is reserved for, with its other family.
        lease(1, 9, "52:54:00:00:00:01", "fd00::7", "db"),
        lease(1, 6, "52:54:00:00:00:05", "10.0.0.97", "gateway"),
        lease(1, 6, "52:54:00:00:00:05", "10.0.0.96", "ns1"),
        // Nobody's network, and an address that the network has no more.
        lease(2, 6, "52:54:00:00:00:06", "10.0.0.95", "lost"),
        lease(1, 6, "52:54:00:00:00:06", "10.9.0.95", "lost"),
    ];
    let zones = zones(&plan(vec![net], leases));
    assert_eq!(
        records(&zones["a.test"]),
        [
            "db.a.test A 10.0.0.7",
            "db.a.test AAAA fd00::7",
            "gateway.a.test A 10.0.0.1",
            "gateway.a.test AAAA fd00::1",
            "web.a.test A 10.0.0.100",
        ]
    );
    assert_eq!(records(&zones["0.0.10.in-addr.arpa"]).len(), 3);
}

#[test]
fn neighbours_share_the_zone_that_they_are_parts_of() {
    let one = network(1, 5, "a.test", &[("10.0.0.0/25", "10.0.0.1")]);
    let two = network(2, 7, "b.test", &[("10.0.0.128/25", "10.0.0.129")]);
    let zones = zones(&plan(vec![one, two], vec![]));
    let shared = &zones["0.0.10.in-addr.arpa"];
    assert_eq!(
        records(shared),
        ["1.0.0.10.in-addr.arpa PTR gateway.a.test", "129.0.0.10.in-addr.arpa PTR gateway.b.test",]
    );
}

/// What a coordinator tells of the zone "a.test" at each plan.
struct Coordinator {
    serials: Serials,
    dir: tempfile::TempDir,
}

impl Coordinator {
    fn new() -> Coordinator {
        let dir = tempfile::tempdir().unwrap();
        Coordinator { serials: Serials::new(dir.path().join("deep/serials")), dir }
    }

    fn told(&mut self, zones: &BTreeMap<String, Content>, revision: u64) -> Option<u64> {
        self.serials.assign(zones, revision).unwrap().get("a.test").copied()
    }

    fn restart(&mut self) {
        self.serials = Serials::new(self.dir.path().join("deep/serials"));
    }
}

#[test]
fn serials_grow_with_the_content_and_only_then() {
    let net = || network(1, 5, "a.test", &[("10.0.0.0/24", "10.0.0.1")]);
    let web = |revision| lease(1, revision, "52:54:00:00:00:02", "10.0.0.100", "web");
    let other = |revision| lease(1, revision, "52:54:00:00:00:03", "10.0.0.101", "other");
    let of = |leases: Vec<Arc<Lease>>| zones(&plan(vec![net()], leases));
    let (mut one, mut two) = (Coordinator::new(), Coordinator::new());
    // Without a memory nothing lower than what others may have told.
    assert_eq!(one.told(&of(vec![]), 5), Some(5));
    assert_eq!(two.told(&of(vec![]), 7), Some(7));
    // Whatever was seen before a change has a lower serial than all that is seen after it, whoever has seen it.
    assert_eq!(one.told(&of(vec![web(8)]), 8), Some(8));
    assert_eq!(one.told(&of(vec![web(8), other(10)]), 11), Some(11));
    assert_eq!(two.told(&of(vec![web(8), other(10)]), 14), Some(14));
    // A renewal changes no name, and what happens elsewhere neither. A restart is no change.
    assert_eq!(one.told(&of(vec![web(20), other(10)]), 20), Some(11));
    one.restart();
    assert_eq!(one.told(&of(vec![web(20), other(10)]), 25), Some(11));
    // Removed: nothing that is left has a revision for that.
    assert_eq!(one.told(&of(vec![web(20)]), 30), Some(30));
    assert_eq!(one.told(&of(vec![web(20)]), 31), Some(30));
    // A store that was restored to an earlier state is no reason to go back.
    assert_eq!(one.told(&of(vec![]), 12), Some(31));
    // Gone, and back again.
    assert_eq!(one.told(&BTreeMap::new(), 40), None);
    one.restart();
    assert!(one.told(&of(vec![]), 41).is_some_and(|serial| serial > 31));
    // A memory that can't be read is none.
    std::fs::write(one.dir.path().join("deep/serials"), "{").unwrap();
    one.restart();
    assert_eq!(one.told(&of(vec![]), 50), Some(50));
}

#[test]
fn a_snapshot_finds_zones_and_what_lies_between() {
    let net = network(1, 5, "a.b.test", &[("fd00::/64", "fd00::1")]);
    let mut contents = zones(&plan(vec![net], vec![]));
    contents.insert("b.test".into(), Content::default());
    let serials = BTreeMap::from([("a.b.test".to_owned(), (1 << 32) + 3)]);
    let snapshot = Snapshot::new(contents, &serials);
    let (name, zone) = snapshot.around("gateway.a.b.test").unwrap();
    assert_eq!((name, zone.serial), ("a.b.test", 3));
    assert_eq!(snapshot.around("x.b.test").unwrap().0, "b.test");
    assert!(snapshot.around("test").is_none());
    assert_eq!(snapshot.by_id(zone.id).unwrap().0, "a.b.test");
    let (name, reverse) = snapshot.around("0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa").unwrap();
    let between = format!("0.0.{name}");
    assert_eq!(reverse.lookup(name, &between)[0].kind, "ENT");
    assert!(reverse.lookup(name, &format!("1.{name}")).is_empty());
    assert_eq!(zone.lookup("a.b.test", "a.b.test")[0].kind, "SOA");
    assert_eq!(zone.list("a.b.test").iter().filter(|record| record.kind == "SOA").count(), 1);
}
