//! Any client network, lease and fabric that the model can hold.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use pvc_model::network::acl::{Acl, AclRule, Action, Direction, Matches, PortRange, Protocol};
use pvc_model::network::fabric::{Fabric, Peer};
use pvc_model::network::lease::Lease;
use pvc_model::network::{
    DhcpRange, Managed, Network, NetworkKind, NetworkSpec, Reservation, Subnet, VNI_MAX, Vni,
};
use pvc_model::vm::Mac;

use crate::generate::{meta, name, one_of, text, time};

fn vni() -> impl Strategy<Value = Vni> {
    (1..=VNI_MAX).prop_map(|number| Vni::new(number).unwrap())
}

fn mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 6]>().prop_map(|[first, a, b, c, d, e]| Mac([first & !1, a, b, c, d, e]))
}

fn net() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<Ipv4Addr>(), 0..=32u8).prop_map(|(address, prefix)| (IpAddr::V4(address), prefix));
    let v6 = (any::<Ipv6Addr>(), 0..=128u8).prop_map(|(address, prefix)| (IpAddr::V6(address), prefix));
    prop_oneof![v4, v6].prop_map(|(address, prefix)| IpNet::new(address, prefix).unwrap().trunc())
}

prop_compose! {
    fn subnet()(
        subnet in net(),
        gateway in option::of(any::<IpAddr>()),
        dhcp in option::of((any::<IpAddr>(), any::<IpAddr>(), 1..=u32::MAX)),
    ) -> Subnet {
        let dhcp = dhcp.map(|(first, last, lease_seconds)| DhcpRange { first, last, lease_seconds });
        Subnet { subnet, gateway, dhcp }
    }
}

prop_compose! {
    fn reservation()(
        mac in mac(),
        ipv4 in option::of(any::<Ipv4Addr>()),
        ipv6 in option::of(any::<Ipv6Addr>()),
        hostname in name(),
    ) -> Reservation {
        Reservation { mac, ipv4, ipv6, hostname }
    }
}

prop_compose! {
    fn typed()(
        protocol in one_of(&[
            Protocol::Any, Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Icmp, Protocol::Icmpv6,
        ]),
        sources in vec(net(), 0..4),
        destinations in vec(net(), 0..4),
        ports in vec((any::<u16>(), 1..=u16::MAX), 0..4),
        action in one_of(&[Action::Accept, Action::Drop, Action::Reject]),
    ) -> Matches {
        let ports = ports.into_iter().map(|(first, last)| PortRange { first, last }).collect();
        Matches::Typed { protocol, sources, destinations, ports, action }
    }
}

prop_compose! {
    fn rule()(
        name in name(),
        direction in one_of(&[Direction::In, Direction::Out]),
        order in any::<u32>(),
        description in text(),
        matches in prop_oneof![typed().boxed(), "[ -~]{1,40}".prop_map(Matches::Raw).boxed()],
    ) -> AclRule {
        AclRule { name, direction, order, description, matches }
    }
}

prop_compose! {
    fn managed()(
        domain in "[a-z.]{0,20}",
        servers in [vec(any::<IpAddr>(), 0..4), vec(any::<IpAddr>(), 0..4)],
        subnets in [option::of(subnet().boxed()), option::of(subnet().boxed())],
        reservations in vec(reservation().boxed(), 0..4),
        rules in vec(rule().boxed(), 0..4),
    ) -> NetworkKind {
        let [name_servers, ntp_servers] = servers;
        let [ipv4, ipv6] = subnets;
        let acl = Acl { rules };
        NetworkKind::Managed(Managed { domain, name_servers, ntp_servers, ipv4, ipv6, reservations, acl })
    }
}

prop_compose! {
    pub fn network()(
        meta in meta(),
        vni in vni(),
        description in name(),
        mtu in option::of(1..=u32::MAX),
        kind in prop_oneof![
            managed().boxed(),
            option::of("[a-z0-9]{1,15}").prop_map(|device| NetworkKind::Bridged { device }).boxed(),
        ],
    ) -> Network {
        Network { meta, vni, spec: NetworkSpec { description, mtu, kind } }
    }
}

prop_compose! {
    pub fn lease()(
        meta in meta(),
        network in vni(),
        address in any::<IpAddr>(),
        mac in option::of(mac()),
        hostname in option::of(name()),
        client_id in text(),
        iaid in option::of("T?[0-9]{1,10}"),
        expires in time(),
    ) -> Lease {
        Lease { meta, network, address, mac, hostname, client_id, iaid, expires }
    }
}

prop_compose! {
    fn peer()(name in name(), address in any::<IpAddr>(), asn in any::<u32>(), bfd in any::<bool>()) -> Peer {
        Peer { name, address, asn, bfd }
    }
}

prop_compose! {
    pub fn fabric()(
        asn in 1..=u32::MAX,
        peers in vec(peer().boxed(), 0..3),
        servers in [vec(any::<IpAddr>(), 0..3), vec(any::<IpAddr>(), 0..3)],
    ) -> Fabric {
        let [zone_secondaries, forwarders] = servers;
        Fabric { asn, peers, zone_secondaries, forwarders }
    }
}
