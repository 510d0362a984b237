//! Client networks as the first version stored them, what may not be said of them, and that the model knows how large they
//! get in the store.

use proptest::prelude::*;
use prost::Message;
use pvc_model::network::acl::{Acl, AclRule, Action, Direction, Matches, PortRange, Protocol};
use pvc_model::network::fabric::{Fabric, Peer};
use pvc_model::network::lease::{Lease, LeaseReport};
use pvc_model::network::{
    DhcpRange, Managed, Network, NetworkKind, NetworkSpec, Reservation, Subnet, Vni, check,
};
use pvc_model::vm::Mac;
use pvc_model::{Object, Timestamp};
use pvc_proto::convert::{At, acl_rule, lease_report, network_spec, reservation, vni};
use pvc_proto::{internal, v1};

use crate::generate_network;
use crate::goldens::{check, meta, name};

fn lan() -> Network {
    let typed = Matches::Typed {
        protocol: Protocol::Tcp,
        sources: vec!["192.0.2.0/24".parse().unwrap(), "198.51.100.7/32".parse().unwrap()],
        destinations: vec!["10.1.0.10/32".parse().unwrap()],
        ports: vec![PortRange { first: 22, last: 22 }, PortRange { first: 8000, last: 8080 }],
        action: Action::Reject,
    };
    let rule = |text: &str, direction, order, matches| AclRule {
        name: name(text),
        direction,
        order,
        description: format!("what {text} is for"),
        matches,
    };
    let raw = Matches::Raw("icmp type echo-request limit rate over 10/second drop".into());
    let managed = Managed {
        domain: "lan.example.org".into(),
        name_servers: vec!["10.9.0.53".parse().unwrap()],
        ntp_servers: vec!["2001:db8::123".parse().unwrap()],
        ipv4: Some(Subnet {
            subnet: "10.1.0.0/24".parse().unwrap(),
            gateway: Some("10.1.0.1".parse().unwrap()),
            dhcp: Some(DhcpRange {
                first: "10.1.0.100".parse().unwrap(),
                last: "10.1.0.199".parse().unwrap(),
                lease_seconds: 3600,
            }),
        }),
        ipv6: Some(Subnet { subnet: "2001:db8:1::/64".parse().unwrap(), gateway: None, dhcp: None }),
        reservations: vec![Reservation {
            mac: Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
            ipv4: Some("10.1.0.10".parse().unwrap()),
            ipv6: Some("2001:db8:1::10".parse().unwrap()),
            hostname: name("web1"),
        }],
        acl: Acl {
            rules: vec![rule("ssh", Direction::In, 10, typed), rule("ping", Direction::Out, 20, raw)],
        },
    };
    let spec = NetworkSpec { description: name("lan"), mtu: Some(1450), kind: NetworkKind::Managed(managed) };
    Network { meta: meta("1001"), vni: Vni::new(1001).unwrap(), spec }
}

#[test]
fn goldens() {
    check("network.bin", Object::Network(lan()));
    let kind = NetworkKind::Bridged { device: Some("eth1".into()) };
    let spec = NetworkSpec { description: name("office"), mtu: None, kind };
    check(
        "network-bridged.bin",
        Object::Network(Network { meta: meta("100"), vni: Vni::new(100).unwrap(), spec }),
    );
    check(
        "lease.bin",
        Object::Lease(Lease {
            meta: meta("1001-0a010064"),
            network: Vni::new(1001).unwrap(),
            address: "10.1.0.100".parse().unwrap(),
            mac: Some(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x57])),
            hostname: Some(name("db1")),
            client_id: "01:52:54:00:12:34:57".into(),
            iaid: Some("T7".into()),
            expires: Timestamp(1_795_000_005_000),
        }),
    );
}

/// The one that the cluster's golden has.
pub fn fabric() -> Fabric {
    Fabric {
        asn: 4_200_000_001,
        peers: vec![Peer {
            name: name("rtr1"),
            address: "192.0.2.1".parse().unwrap(),
            asn: 65001,
            bfd: true,
        }],
        zone_secondaries: vec!["192.0.2.53".parse().unwrap()],
        forwarders: vec!["2001:db8::53".parse().unwrap()],
    }
}

#[test]
fn what_no_network_can_be_is_refused_where_it_stands() {
    let at = At::new("network/1001");
    let at = at.field("spec");
    let managed = |change: fn(&mut v1::ManagedNetwork)| {
        let mut managed = v1::ManagedNetwork { domain: "lan.example".into(), ..Default::default() };
        change(&mut managed);
        v1::NetworkSpec { description: "lan".into(), managed: Some(managed), ..Default::default() }
    };
    let refused = |spec: v1::NetworkSpec| network_spec(&at, &spec).unwrap_err().to_string();
    let both = v1::NetworkSpec { bridged: Some(v1::BridgedNetwork::default()), ..managed(|_| {}) };
    assert!(refused(both).contains("[network-kind]"));
    assert!(
        refused(v1::NetworkSpec { description: "lan".into(), ..Default::default() })
            .contains("[network-kind]")
    );
    let subnet = |subnet: &str| Some(v1::Subnet { subnet: subnet.into(), ..Default::default() });
    let mut spec = managed(|_| {});
    spec.managed.as_mut().unwrap().ipv4 = subnet("10.1.0.0");
    assert_eq!(
        refused(spec),
        "network/1001: spec.managed.ipv4.subnet: \"10.1.0.0\" is no subnet like 10.1.0.0/24 or 2001:db8:1::/64 [bad-subnet]"
    );
    let gateway = managed(|managed| {
        let subnet = v1::Subnet { subnet: "10.1.0.0/24".into(), gateway: "10.1.0".into(), dhcp: None };
        managed.ipv4 = Some(subnet);
    });
    assert!(refused(gateway).starts_with("network/1001: spec.managed.ipv4.gateway: "));
    assert!(
        refused(managed(|managed| managed.ntp_servers = vec!["pool.ntp.org".into()]))
            .contains("ntp_servers[0]")
    );
    assert!(vni(&at, 0).is_err() && vni(&at, 16_777_215).is_err() && vni(&at, 16_777_214).is_ok());
    let mac = v1::Reservation { mac: "01:00:5e:00:00:01".into(), hostname: "a".into(), ..Default::default() };
    assert_eq!(reservation(&at, &mac).unwrap_err().rule, "bad-mac");
}

#[test]
fn a_rule_is_raw_or_typed() {
    let at = At::new("network/1001");
    let at = at.field("rule");
    let rule = v1::AclRule { name: "r".into(), direction: v1::AclDirection::In.into(), ..Default::default() };
    let refused = |rule: v1::AclRule| acl_rule(&at, &rule).unwrap_err().rule;
    assert_eq!(refused(rule.clone()), "must-be-set", "it has no action");
    assert_eq!(refused(v1::AclRule { raw: "accept".into(), action: 1, ..rule.clone() }), "acl-raw-alone");
    assert_eq!(refused(v1::AclRule { direction: 0, action: 1, ..rule.clone() }), "must-be-set");
    let ports = vec![v1::PortRange { first: 65_536, last: 0 }];
    assert_eq!(refused(v1::AclRule { ports, action: 1, ..rule.clone() }), "acl-ports");
    let typed = v1::AclRule {
        sources: vec!["10.1.0.7".into(), "2001:db8::/32".into()],
        ports: vec![v1::PortRange { first: 22, last: 0 }],
        action: v1::AclAction::Drop.into(),
        ..rule
    };
    let Matches::Typed { protocol, sources, ports, .. } = acl_rule(&at, &typed).unwrap().matches else {
        panic!("it is typed");
    };
    assert_eq!((protocol, ports[0]), (Protocol::Any, PortRange { first: 22, last: 22 }));
    assert_eq!(sources[0].to_string(), "10.1.0.7/32", "an address stands for itself");
}

#[test]
fn leases_arrive_as_they_were_reported() {
    let report = LeaseReport {
        network: Vni::new(1001).unwrap(),
        address: "2001:db8:1::100".parse().unwrap(),
        mac: None,
        hostname: Some(name("db1")),
        client_id: "00:01:00:01".into(),
        iaid: Some("7".into()),
        expires: Timestamp(1_795_000_005_000),
    };
    let wire = internal::v1::LeaseReport::from(&report);
    assert_eq!(lease_report(&At::new("request"), &wire), Ok(report));
    let long = internal::v1::LeaseReport { client_id: "a".repeat(766), ..wire };
    assert_eq!(lease_report(&At::new("request"), &long).unwrap_err().rule, "too-many");
}

proptest! {
    /// Else one that the model takes could be refused by the store.
    #[test]
    fn the_model_never_takes_a_network_for_smaller_than_it_is(network in generate_network::network()) {
        let bytes = v1::Network::from(&network).encoded_len();
        prop_assert!(bytes <= check::size(&network), "{bytes} bytes, and {} are thought of", check::size(&network));
    }
}
