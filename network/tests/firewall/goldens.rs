//! The tables as text, whole: a change of them is to be seen. One that is meant to be is written by `PVC_WRITE_GOLDENS=1`, and
//! then looked at.

use std::path::Path;

use pvc_model::network::acl::Direction;
use pvc_model::network::host::{HostPlan, Stance};
use pvc_model::network::{Attachment, HostNetwork};
use pvc_network::firewall;

use crate::plans::{address, lease, mac, managed, network, plan, port, raw, reservation, rule, subnet};

fn is_golden(name: &str, plan: &HostPlan) {
    let internal = ["10.255.0.0/16".parse().expect("a network")];
    let script = firewall::script(plan, &internal);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/firewall/goldens").join(name);
    if std::env::var_os("PVC_WRITE_GOLDENS").is_some() {
        std::fs::write(&path, &script).expect("the golden is written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(script == golden, "{} is not what is made now:\n{script}", path.display());
}

#[test]
fn a_coordinator_with_rules() {
    let mut first = network(1001, Some(subnet("10.1.0.0/24", true)), Some(subnet("2001:db8:1::/64", false)));
    let rules = &mut managed(&mut first).acl.rules;
    rules.push(rule("in 20 tcp 22,8000-8010,8005-8020 from 192.0.2.0/24 to 10.1.0.5/32 accept"));
    rules.push(rule("in 10 icmp accept"));
    rules.push(rule("in 30 any from 0.0.0.0/0 reject"));
    rules.push(rule("in 40 tcp from 2001:db8::/32 from 2001:db8:1::/48 reject"));
    rules.push(rule("out 10 udp 53 to 9.9.9.9/32 accept"));
    rules.push(raw(Direction::Out, 20, "tcp flags & (fin|syn|rst|ack) == syn limit rate 10/second accept"));
    rules.push(raw(Direction::Out, 30, "counter drop"));
    // These can't be, and are not there.
    rules.push(raw(Direction::Out, 40, "accept; flush ruleset"));
    rules.push(rule("out 50 any 80 accept"));
    rules.push(rule("out 60 tcp 90-80 accept"));
    rules.push(rule("out 70 any from 10.0.0.0/8 to 2001:db8::/32 accept"));
    let mut second = network(1002, Some(subnet("10.2.0.0/24", false)), None);
    managed(&mut second).ntp_servers.push(address("10.2.0.1"));
    is_golden("coordinator.nft", &plan(Stance::Standby, vec![first, second]));
}

#[test]
fn a_hypervisor_with_guests() {
    let mut served = network(1001, Some(subnet("10.1.0.0/24", true)), Some(subnet("2001:db8:1::/64", false)));
    managed(&mut served).reservations.push(reservation(mac(2), "10.1.0.2"));
    let mut fixed = network(1002, Some(subnet("10.2.0.0/24", false)), Some(subnet("2001:db8:2::/64", true)));
    managed(&mut fixed).reservations.push(reservation(mac(9), "10.2.0.9"));
    let mut plan = plan(Stance::Hypervisor, vec![served, fixed, network(1003, None, None)]);
    let lent = [
        (1001, Some(mac(1)), "10.1.0.7"),
        (1002, Some(mac(3)), "2001:db8:2::7"),
        (1002, None, "2001:db8:2::8"),
    ];
    plan.leases = lent.map(|(vni, mac, address)| lease(vni, mac, address)).into();
    plan.ports = vec![port(1001, mac(1)), port(1001, mac(2)), port(1002, mac(3)), port(1003, mac(4))];
    // A gateway's address may stand in what is given, and is still not to be had.
    plan.ports[0].addresses = vec![address("10.1.0.99"), address("10.1.0.1")];
    let mut upstream = port(1, mac(5));
    upstream.attachment = Attachment::Host(HostNetwork::Upstream);
    let mut given = port(1, mac(6));
    given.attachment = Attachment::Bridge("br0".to_owned());
    given.addresses = vec![address("203.0.113.6")];
    let mut free = port(1001, mac(7));
    free.spoof_check = false;
    plan.ports.extend([upstream, given, free]);
    is_golden("hypervisor.nft", &plan);
}

#[test]
fn a_host_without_networks_has_no_tables() {
    assert_eq!(firewall::script(&plan(Stance::Primary, Vec::new()), &[]), "");
}

#[test]
fn a_hand_over_changes_nothing() {
    let of = |stance| {
        let network = network(1001, Some(subnet("10.1.0.0/24", true)), None);
        firewall::script(&plan(stance, vec![network]), &[])
    };
    for stance in [Stance::Ready, Stance::Primary, Stance::CutOff] {
        assert_eq!(of(stance), of(Stance::Standby), "{stance:?}");
    }
}
