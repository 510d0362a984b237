//! People's rules, on what is really routed: two client networks, a coordinator between them, and somebody outside.

use std::io::ErrorKind;

use pvc_model::network::acl::{AclRule, Direction};
use pvc_model::network::host::{HostPlan, Stance};
use pvc_network::firewall;

use crate::lab::{NEVER, Ns, SOON, runtime};
use crate::plans::{mac, managed, network, plan, raw, rule, site, subnet, vni};

/// Where the outside is.
const OUTSIDE: &str = "192.0.2.2";
const OUTSIDE_V6: &str = "2001:db8:f::2";

pub struct Lab {
    pub host: Ns,
    /// In network 1001: 10.1.0.7, 2001:db8:1::7.
    pub first: Ns,
    /// In network 1002: 10.2.0.7.
    pub second: Ns,
    pub outside: Ns,
    /// Another host of the cluster: 10.255.0.2.
    pub other: Ns,
}

impl Lab {
    pub fn new() -> Option<Lab> {
        let host = Ns::new()?;
        let (outside, other) = (Ns::new()?, Ns::new()?);
        host.bridge("vmbr1001");
        host.bridge("vmbr1002");
        host.cable("upstream0", &outside, "eth0");
        host.cable("cluster0", &other, "eth0");
        host.run(|| {
            crate::lab::set("net/ipv4/ip_forward", "1");
            crate::lab::set("net/ipv6/conf/all/forwarding", "1");
        });
        host.ip(&[
            "addr add 10.1.0.1/24 dev vmbr1001",
            "addr add 2001:db8:1::1/64 dev vmbr1001",
            "addr add 10.2.0.1/24 dev vmbr1002",
            "addr add 192.0.2.1/24 dev upstream0",
            "addr add 2001:db8:f::1/64 dev upstream0",
            "addr add 10.255.0.1/16 dev cluster0",
        ]);
        let first = host.guest("vmbr1001", mac(1));
        let second = host.guest("vmbr1002", mac(2));
        let at = |ns: &Ns, addresses: &[(&str, &str)]| {
            for (address, router) in addresses {
                ns.ip(&[&format!("addr add {address} dev eth0"), &format!("route add default via {router}")]);
            }
        };
        at(&first, &[("10.1.0.7/24", "10.1.0.1"), ("2001:db8:1::7/64", "2001:db8:1::1")]);
        at(&second, &[("10.2.0.7/24", "10.2.0.1")]);
        at(&outside, &[("192.0.2.2/24", "192.0.2.1"), ("2001:db8:f::2/64", "2001:db8:f::1")]);
        at(&other, &[("10.255.0.2/16", "10.255.0.1")]);
        Some(Lab { host, first, second, outside, other })
    }

    /// A coordinator's plan, with these rules of the first network and of the second.
    pub fn plan(first: &[AclRule], second: &[AclRule]) -> HostPlan {
        let mut networks = [
            network(1001, Some(subnet("10.1.0.0/24", true)), Some(subnet("2001:db8:1::/64", false))),
            network(1002, Some(subnet("10.2.0.0/24", true)), None),
        ];
        managed(&mut networks[0]).acl.rules = first.to_vec();
        managed(&mut networks[1]).acl.rules = second.to_vec();
        plan(Stance::Primary, networks.into())
    }

    fn apply(&self, first: &[&str], second: &[&str]) {
        let rules = |texts: &[&str]| texts.iter().map(|text| rule(text)).collect::<Vec<_>>();
        self.host.firewall(site()).pass(&Lab::plan(&rules(first), &rules(second)));
    }
}

const CONNECTED: Option<Result<(), ErrorKind>> = Some(Ok(()));
const REFUSED: Option<Result<(), ErrorKind>> = Some(Err(ErrorKind::ConnectionRefused));
const SILENCE: Option<Result<(), ErrorKind>> = None;

#[test]
fn rules_decide_about_what_comes_in() {
    let Some(lab) = Lab::new() else { return };
    for port in [22, 23, 80, 443] {
        lab.first.listen(&format!("0.0.0.0:{port}"));
    }
    let to = |port: u16, patience| lab.outside.connects(&format!("10.1.0.7:{port}"), patience);
    lab.apply(&[], &[]);
    assert_eq!(to(22, SOON), CONNECTED, "what no rule speaks of is let through");

    lab.apply(&["in 1 tcp 22,80 accept", "in 2 tcp 443 reject", "in 9 any from 192.0.2.0/24 drop"], &[]);
    assert_eq!((to(22, SOON), to(80, SOON), to(443, SOON)), (CONNECTED, CONNECTED, REFUSED));
    assert_eq!(to(23, NEVER), SILENCE);
    assert!(!lab.outside.pings("10.1.0.7", NEVER), "not by any protocol");
    // It is the first network's alone; and what its guests ask for is answered.
    lab.second.listen("0.0.0.0:23");
    lab.outside.listen("0.0.0.0:23");
    assert_eq!(lab.outside.connects("10.2.0.7:23", SOON), CONNECTED);
    assert_eq!(lab.first.connects("192.0.2.2:23", SOON), CONNECTED);
    assert!(lab.first.pings(OUTSIDE, SOON));
}

#[test]
fn an_order_is_kept() {
    let Some(lab) = Lab::new() else { return };
    lab.first.listen("0.0.0.0:22");
    lab.apply(&["in 2 tcp 22 drop", "in 1 tcp 22 accept"], &[]);
    assert_eq!(lab.outside.connects("10.1.0.7:22", SOON), CONNECTED);
    lab.apply(&["in 1 tcp 22 drop", "in 2 tcp 22 accept"], &[]);
    assert_eq!(lab.outside.connects("10.1.0.7:22", NEVER), SILENCE);
}

#[test]
fn one_networks_yes_is_not_anothers() {
    let Some(lab) = Lab::new() else { return };
    lab.second.listen("0.0.0.0:22");
    let connects = |patience| lab.first.connects("10.2.0.7:22", patience);
    lab.apply(&["out 1 tcp 22 accept"], &["in 1 tcp 22 drop"]);
    assert_eq!(connects(NEVER), SILENCE);
    lab.apply(&["out 1 tcp 22 drop"], &["in 1 tcp 22 accept"]);
    assert_eq!(connects(NEVER), SILENCE);
    // Nor can a raw one speak for more than its network.
    let raw = [raw(Direction::Out, 1, "accept")];
    lab.host.firewall(site()).pass(&Lab::plan(&raw, &[rule("in 1 tcp 22 drop")]));
    assert_eq!(connects(NEVER), SILENCE);
    lab.apply(&["out 1 tcp 22 accept"], &["in 1 tcp 22 accept"]);
    assert_eq!(connects(SOON), CONNECTED);
}

#[test]
fn ipv6_has_rules_too() {
    let Some(lab) = Lab::new() else { return };
    lab.first.listen("[::]:22");
    lab.first.listen("[::]:443");
    let to = |port: u16, patience| lab.outside.connects(&format!("[2001:db8:1::7]:{port}"), patience);
    lab.apply(&[], &[]);
    assert_eq!(to(22, SOON), CONNECTED);
    lab.apply(&["in 1 tcp 22 from 2001:db8:f::/64 drop", "in 2 tcp 443 to 2001:db8:1::7/128 reject"], &[]);
    assert_eq!((to(22, NEVER), to(443, SOON)), (SILENCE, REFUSED));
    lab.apply(&["out 1 icmpv6 drop"], &[]);
    assert!(!lab.first.pings(OUTSIDE_V6, NEVER) && lab.first.pings(OUTSIDE, SOON));
    assert_eq!(to(22, SOON), CONNECTED);
}

#[test]
fn rules_count_what_they_match() {
    let Some(lab) = Lab::new() else { return };
    lab.first.listen("0.0.0.0:22");
    let counted = |lab: &Lab| -> Vec<(Direction, String, u64)> {
        let counts = lab.host.run(|| runtime().block_on(firewall::counts(vni(1001))));
        let counts = counts.expect("nft tells").into_iter();
        counts.map(|count| (count.direction, count.rule.to_string(), count.packets)).collect()
    };
    let rules =
        [rule("in 1 tcp 22 accept"), rule("out 1 udp 53 drop"), raw(Direction::In, 2, "tcp dport 23 drop")];
    let mut host = lab.host.firewall(site());
    host.pass(&Lab::plan(&rules, &[]));
    assert_eq!(lab.outside.connects("10.1.0.7:22", SOON), CONNECTED);
    assert_eq!(lab.outside.connects("10.1.0.7:22", SOON), CONNECTED);
    let of = |direction, name: &str, packets| (direction, name.to_owned(), packets);
    let in_1 = of(Direction::In, "r1", 2);
    let expected = [in_1.clone(), of(Direction::In, "raw2", 0), of(Direction::Out, "r1", 0)];
    assert_eq!(counted(&lab), expected, "the first packet of each connection");
    // A change of its chain loses nothing of it, and neither does a daemon that starts.
    host.pass(&Lab::plan(&rules[..1], &[]));
    assert_eq!(counted(&lab), std::slice::from_ref(&in_1));
    lab.host.firewall(site()).pass(&Lab::plan(&rules[..1], &[]));
    assert_eq!(counted(&lab), [in_1]);
}
