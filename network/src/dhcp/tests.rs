use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use pvc_model::network::host::HostPlan;
use pvc_model::network::lease::{Lease, LeaseReport};
use pvc_model::network::{DhcpRange, Managed, Network, NetworkKind, NetworkSpec, Reservation, Subnet, Vni};
use pvc_model::{Meta, Timestamp, name::Uid};

use super::config::{Place, Rendered, render};
use super::events::Book;
use super::wire::{Asked, Call, Change, Family, LeaseEvent};

fn subnet(net: &str, gateway: &str, range: Option<(&str, &str)>) -> Subnet {
    let range = range.map(|(first, last)| DhcpRange {
        first: first.parse().unwrap(),
        last: last.parse().unwrap(),
        lease_seconds: 600,
    });
    Subnet { subnet: net.parse().unwrap(), gateway: gateway.parse().ok(), dhcp: range }
}

fn network(vni: u32, ipv4: Option<Subnet>, ipv6: Option<Subnet>) -> Network {
    let managed = Managed {
        domain: "a.test".into(),
        name_servers: vec![],
        ntp_servers: vec!["10.0.0.9".parse().unwrap(), "fd00::9".parse().unwrap()],
        ipv4,
        ipv6,
        reservations: vec![Reservation {
            mac: "52:54:00:00:00:01".parse().unwrap(),
            ipv4: "10.0.0.7".parse().ok(),
            ipv6: "fd00::7".parse().ok(),
            hostname: "db".parse().unwrap(),
        }],
        acl: Default::default(),
    };
    let vni = Vni::new(vni).unwrap();
    let meta = Meta {
        name: vni.name(),
        uid: Uid::from_random(1),
        revision: 1,
        created: Timestamp(0),
        updated: Timestamp(0),
    };
    let spec =
        NetworkSpec { description: "a".parse().unwrap(), mtu: None, kind: NetworkKind::Managed(managed) };
    Network { meta, vni, spec }
}

fn plan(networks: Vec<Network>) -> HostPlan {
    HostPlan { cluster: 7, networks: networks.into_iter().map(Arc::new).collect(), ..HostPlan::default() }
}

fn rendered(family: Family, plan: &HostPlan) -> Rendered {
    let mtus = HashMap::from([("vmbr5".to_owned(), 1450)]);
    let (hosts_dir, script) = (Path::new("/h"), Path::new("/s"));
    render(family, plan, &Place { hosts_dir, script, user: None, mtus: &mtus })
}

fn lines(rendered: &Rendered, begin: &str) -> Vec<String> {
    rendered.conf.lines().filter(|line| line.starts_with(begin)).map(str::to_owned).collect()
}

#[test]
fn a_network_of_both_families_is_told_to_both_servers() {
    let v4 = subnet("10.0.0.0/24", "10.0.0.1", Some(("10.0.0.100", "10.0.0.199")));
    let v6 = subnet("fd00::/64", "fd00::1", Some(("fd00::100", "fd00::1ff")));
    let plan = plan(vec![network(5, Some(v4), Some(v6))]);
    let four = rendered(Family::V4, &plan);
    assert_eq!(lines(&four, "dhcp-range"), ["dhcp-range=set:n5,10.0.0.100,10.0.0.199,255.255.255.0,600"]);
    assert_eq!(
        lines(&four, "dhcp-option"),
        [
            "dhcp-option=tag:n5,option:router,10.0.0.1",
            "dhcp-option=tag:n5,option:dns-server,10.0.0.1",
            "dhcp-option=tag:n5,option:ntp-server,10.0.0.9",
            "dhcp-option=tag:n5,option:mtu,1450",
        ]
    );
    assert_eq!(four.hosts["5-525400000001"], "52:54:00:00:00:01,10.0.0.7,db\n");
    let six = rendered(Family::V6, &plan);
    assert_eq!(lines(&six, "dhcp-range"), ["dhcp-range=set:n5,fd00::100,fd00::1ff,64,600"]);
    assert_eq!(
        lines(&six, "dhcp-option"),
        [
            "dhcp-option=tag:n5,option6:dns-server,[fd00::1]",
            "dhcp-option=tag:n5,option6:ntp-server,[fd00::9]",
            "dhcp-option=tag:n5,option6:domain-search,a.test",
        ]
    );
    assert_eq!(six.hosts["5-525400000001"], "52:54:00:00:00:01,[fd00::7],db\n");
}

#[test]
fn ipv6_is_served_as_its_prefix_allows() {
    let of = |net: &str, gateway: &str, range: Option<(&str, &str)>| {
        let rendered = rendered(Family::V6, &plan(vec![network(6, None, Some(subnet(net, gateway, range)))]));
        (lines(&rendered, "dhcp-range").join(";"), rendered.complaints.len())
    };
    let slaac = "dhcp-range=set:n6,fd00:0:0:1::,static,64,172800";
    assert_eq!(of("fd00:0:0:1::/64", "fd00:0:0:1::1", None), (slaac.into(), 0));
    assert_eq!(of("fd00::/48", "fd00:0:0:1::1", None), (slaac.into(), 0));
    assert_eq!(of("fd00::/112", "fd00::1", None), ("dhcp-range=set:n6,fd00::,static,112,172800".into(), 0));
    let range = Some(("fd00::10", "fd00::20"));
    assert_eq!(of("fd00::/48", "fd00::1", range), ("dhcp-range=set:n6,fd00::10,fd00::20,64,600".into(), 0));
    assert_eq!(of("fd00::/112", "fd00::1", range), ("dhcp-range=set:n6,fd00::10,fd00::20,112,600".into(), 0));
    assert_eq!(of("fd00::/48", "fd00:0:0:1::1", range), (String::new(), 1), "the gateway is in another /64");
    assert_eq!(of("fd00::/64", "none", range), (String::new(), 0), "nobody is there to serve it");
}

/// The store keeps 4,000 leases of a network; one address of each family is reserved, so 1,999 of each are left.
#[test]
fn no_more_is_lent_than_is_kept() {
    let v4 = subnet("10.0.0.0/16", "10.0.0.1", Some(("10.0.1.0", "10.0.255.199")));
    let v6 = subnet("fd00::/64", "fd00::1", Some(("fd00::1:0", "fd00::ffff:ffff:ffff")));
    let plan = plan(vec![network(5, Some(v4), Some(v6))]);
    let four = lines(&rendered(Family::V4, &plan), "dhcp-range");
    assert_eq!(four, ["dhcp-range=set:n5,10.0.1.0,10.0.8.206,255.255.0.0,600"]);
    let six = lines(&rendered(Family::V6, &plan), "dhcp-range");
    assert_eq!(six, ["dhcp-range=set:n5,fd00::1:0,fd00::1:7ce,64,600"]);
}

#[test]
fn a_network_that_cannot_be_written_down_harms_no_other() {
    let v4 = || Some(subnet("10.0.0.0/24", "10.0.0.1", Some(("10.0.0.100", "10.0.0.199"))));
    let mut bad = network(7, v4(), None);
    if let NetworkKind::Managed(managed) = &mut bad.spec.kind {
        managed.domain = "a.test\nuser=root".into();
    }
    let rendered = rendered(Family::V4, &plan(vec![bad, network(8, v4(), None)]));
    assert_eq!((rendered.networks, rendered.complaints.len()), (1, 1));
    assert!(!rendered.conf.contains("user=root"));
    assert_eq!(lines(&rendered, "interface"), ["interface=vmbr8"]);
}

/// A message's options: kind and content.
fn options(message: &[u8]) -> BTreeMap<u8, Vec<u8>> {
    let mut options = BTreeMap::new();
    let mut rest = &message[16..];
    while let [kind, units, ..] = rest {
        let (option, more) = rest.split_at(usize::from(*units) * 8);
        options.insert(*kind, option[2..].to_vec());
        rest = more;
    }
    options
}

#[test]
fn routers_say_how_guests_get_their_addresses() {
    let of = |net: &str, gateway: &str, range: Option<(&str, &str)>| {
        let network = network(6, None, Some(subnet(net, gateway, range)));
        super::advert::advertisement(&network, [2, 0, 0, 0, 0, 9], 1450)
    };
    let range = Some(("fd00::100", "fd00::1ff"));
    let message = of("fd00::/64", "fd00::1", range).unwrap();
    // Checksum by the kernel; by DHCPv6; a router for 9000 seconds.
    assert_eq!(message[..8], [134, 0, 0, 0, 64, 0xc0, 0x23, 0x28]);
    let told = options(&message);
    assert_eq!(told[&1], [2, 0, 0, 0, 0, 9]);
    assert_eq!(told[&5], [0, 0, 0, 0, 5, 170], "the MTU");
    assert_eq!(told[&3][..2], [64, 0x80], "on the link, not for addresses of their own");
    assert_eq!(told[&25][6..], "fd00::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    assert_eq!(told[&31][6..], *b"\x01a\x04test\0");

    let alone = of("fd00::/48", "fd00:0:0:5::1", None).unwrap();
    assert_eq!(alone[5], 0x40);
    let prefix = &options(&alone)[&3];
    assert_eq!(prefix[..2], [64, 0xc0]);
    assert_eq!(prefix[14..22], [0xfd, 0, 0, 0, 0, 0, 0, 5], "the /64 that the gateway is in");
    // Too long for that.
    assert_eq!(options(&of("fd00::/112", "fd00::1", None).unwrap())[&3][..2], [112, 0x80]);
    assert_eq!(of("fd00::/64", "none", range), None);
}

fn call(args: &[&str], env: &[(&str, &str)]) -> Call {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Call { args: args.iter().map(|arg| (*arg).to_owned()).collect(), env }
}

fn network_of(address: IpAddr) -> Option<Vni> {
    let ours = ["10.0.0.0/24", "fd00::/64"]
        .iter()
        .any(|net| net.parse::<ipnet::IpNet>().unwrap().contains(&address));
    ours.then(|| Vni::new(5).unwrap())
}

const V4_ENV: [(&str, &str); 3] = [
    ("DNSMASQ_INTERFACE", "vmbr5"),
    ("DNSMASQ_CLIENT_ID", "01:52:54:00:00:00:01"),
    ("DNSMASQ_LEASE_EXPIRES", "2000000000"),
];

#[test]
fn calls_are_believed_as_far_as_they_parse() {
    let good = ["dhcp4", "add", "52:54:00:00:00:01", "10.0.0.7", "Web1"];
    let Ok(Asked::Event { event, partial: false }) = call(&good, &V4_ENV).parse(network_of) else { panic!() };
    assert_eq!(event.change, Change::Add);
    assert_eq!(event.lease.hostname, "web1".parse().ok());
    assert_eq!(event.lease.expires, Timestamp(2_000_000_000_000));
    assert_eq!(call(&["dhcp6", "init"], &[]).parse(network_of), Ok(Asked::Init(Family::V6)));
    // A name that is none is none.
    let Ok(Asked::Event { event, .. }) =
        call(&["dhcp4", "old", good[2], good[3], "a_b"], &V4_ENV).parse(network_of)
    else {
        panic!()
    };
    assert_eq!(event.lease.hostname, None);

    let elsewhere = [("DNSMASQ_INTERFACE", "vmbr6"), V4_ENV[2]];
    let strange_id = [V4_ENV[0], ("DNSMASQ_CLIENT_ID", "01:5\n"), V4_ENV[2]];
    let six = ["dhcp6", "add", "00:03:00:01:52:54:00:00:00:01", "fd00::7", ""];
    for (args, env) in [
        (&["dhcp4"][..], &V4_ENV[..]),
        (&["dhcp5", "add", good[2], good[3]], &V4_ENV),
        (&["dhcp4", "tftp", good[2], good[3]], &V4_ENV),
        (&["dhcp4", "add", good[2]], &V4_ENV),
        (&["dhcp4", "add", "06-52:54:00:00:00:01", good[3]], &V4_ENV),
        (&["dhcp4", "add", good[2], "10.9.0.7"], &V4_ENV),
        (&["dhcp4", "add", good[2], "fd00::7"], &V4_ENV),
        (&good, &elsewhere),
        (&good, &strange_id),
        (&good, &V4_ENV[..2]),
        (&six, &V4_ENV),
        (&["dhcp6", "add", "not a duid", "fd00::7"], &[("DNSMASQ_IAID", "1"), V4_ENV[2]]),
    ] {
        assert!(call(args, env).parse(network_of).is_err(), "{args:?} {env:?}");
    }
}

fn stored(lent: &LeaseReport) -> Arc<Lease> {
    let meta = Meta {
        name: Lease::name(lent.network, lent.address),
        uid: Uid::from_random(2),
        revision: 2,
        created: Timestamp(0),
        updated: Timestamp(0),
    };
    Arc::new(Lease::of(meta, lent))
}

fn event(change: Change, host: u8) -> LeaseEvent {
    let lease = LeaseReport {
        network: Vni::new(5).unwrap(),
        address: IpAddr::from([10, 0, 0, host]),
        mac: format!("52:54:00:00:00:{host:02}").parse().ok(),
        hostname: "web".parse().ok(),
        client_id: format!("01:52:54:00:00:00:{host:02}"),
        iaid: None,
        expires: Timestamp(2_000_000_000_000),
    };
    LeaseEvent { change, lease }
}

/// The book tells each thing once, forgets nothing that is on its way, and takes back what was removed.
#[test]
fn the_book_goes_by_the_plan_and_by_what_is_on_its_way_there() {
    let mut book = Book::default();
    let v4 = || Some(subnet("10.0.0.0/24", "10.0.0.1", Some(("10.0.0.2", "10.0.0.99"))));
    let mut plan = plan(vec![network(5, v4(), None)]);
    let now = Timestamp(1_000_000_000_000);
    let line = |host: u8| {
        format!("2000000000 52:54:00:00:00:{host:02} 10.0.0.{host} web 01:52:54:00:00:00:{host:02}\n")
    };
    assert!(book.plan(&plan, "00".into(), now).is_empty());
    assert_eq!(book.report(event(Change::Add, 10), false), Some(event(Change::Add, 10)));
    assert_eq!(book.init(Family::V4, now), line(10), "on its way");
    assert_eq!(book.init(Family::V6, now), "duid 00\n");

    // A plan from before it was stored takes nothing away.
    assert!(book.plan(&plan, "00".into(), now).is_empty());
    assert_eq!(book.init(Family::V4, now), line(10));
    plan.leases = vec![stored(&event(Change::Add, 10).lease), stored(&event(Change::Add, 11).lease)];
    assert!(book.plan(&plan, "00".into(), now).is_empty());
    assert_eq!(book.init(Family::V4, now), line(10) + &line(11));

    // What is stored is no news, also where dnsmasq has forgotten the client's identifier.
    assert_eq!(book.report(event(Change::Old, 10), false), None);
    let mut partial = event(Change::Old, 10);
    partial.lease.client_id.clear();
    assert_eq!(book.report(partial.clone(), true), None);
    assert!(book.report(partial, false).is_some(), "and this client has none now");
    assert!(book.report(event(Change::Old, 10), false).is_none());

    // Given back, and the plan does not know yet.
    assert!(book.report(event(Change::Del, 10), false).is_some());
    assert!(book.plan(&plan, "00".into(), now).is_empty());
    assert_eq!(book.init(Family::V4, now), line(11));

    // Removed by people: the servers must forget it. What was given back or has run out they have forgotten.
    plan.leases.clear();
    let removed = book.plan(&plan, "00".into(), now);
    assert_eq!(removed, [event(Change::Add, 11).lease]);
    assert_eq!(book.init(Family::V4, now), "");
    plan.leases = vec![stored(&event(Change::Add, 12).lease)];
    book.plan(&plan, "00".into(), now);
    assert_eq!(book.init(Family::V4, Timestamp(2_000_000_000_000)), "", "over");
    plan.leases.clear();
    assert!(book.plan(&plan, "00".into(), Timestamp(2_000_000_000_000)).is_empty());

    // Another has been the primary since: what it did not find in the store it may have lent to somebody else.
    assert!(book.report(event(Change::Add, 13), false).is_some());
    assert_eq!(book.init(Family::V4, now), line(13));
    plan.epoch += 2;
    book.plan(&plan, "00".into(), now);
    assert_eq!(book.init(Family::V4, now), "");
}

#[test]
fn a_call_crosses_the_socket_as_it_is() {
    let call = Call {
        args: vec!["dhcp4".into(), "a \"b\"\n".into()],
        env: BTreeMap::from([("A".into(), "ü".into())]),
    };
    let line = serde_json::to_string(&call).unwrap();
    assert!(!line.contains('\n'));
    assert_eq!(serde_json::from_str::<Call>(&line).unwrap(), call);
}
