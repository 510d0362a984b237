//! What guests may have of the hosts: a gateway's services, and nothing else.

use pvc_model::network::host::Stance;

use crate::lab::{NEVER, SOON};
use crate::plans::{address, managed, network, plan, site, subnet};
use crate::routing::Lab;

/// Where pvcd is asked.
const MANAGEMENT: u16 = 7741;

#[test]
fn a_gateway_serves_its_guests_and_nothing_else_does() {
    let Some(lab) = Lab::new() else { return };
    lab.host.listen(&format!("[::]:{MANAGEMENT}"));
    lab.host.listen("0.0.0.0:53");
    for port in [53, 67, 123, 161] {
        lab.host.echo(&format!("[::]:{port}"));
    }
    let addresses = ["10.1.0.1", "10.2.0.1", "10.255.0.1", "192.0.2.1", "[2001:db8:1::1]", "[2001:db8:f::1]"];
    let is_open =
        |address: &str, patience| lab.first.connects(&format!("{address}:{MANAGEMENT}"), patience).is_some();
    assert!(addresses.iter().all(|address| is_open(address, SOON)), "without the firewall all is open");

    let mut plan = Lab::plan(&[], &[]);
    lab.host.firewall(site()).pass(&plan);
    for address in addresses {
        assert!(!is_open(address, NEVER), "{address}");
    }
    assert!(lab.first.pings("10.1.0.1", SOON) && lab.first.pings("2001:db8:1::1", SOON));
    assert!(lab.first.asks("10.1.0.1:53", SOON) && lab.first.asks("[2001:db8:1::1]:53", SOON));
    assert!(lab.first.connects("10.1.0.1:53", SOON).is_some(), "DNS by TCP");
    assert!(lab.first.asks("10.1.0.1:67", SOON), "a lease is renewed");
    assert!(!lab.first.asks("10.1.0.1:161", NEVER) && !lab.first.asks("10.1.0.1:123", NEVER));
    // Another network's gateway is none of this one's.
    assert!(!lab.first.asks("10.2.0.1:53", NEVER) && !lab.first.pings("10.2.0.1", NEVER));
    assert!(!lab.first.pings("192.0.2.1", NEVER) && !lab.first.pings("10.255.0.1", NEVER));
    // What the host itself asks of guests is answered.
    lab.first.listen("0.0.0.0:22");
    assert!(lab.host.pings("10.1.0.7", SOON) && lab.host.connects("10.1.0.7:22", SOON).is_some());

    // Time, where it is told that the gateway has it.
    let mut network = (*plan.networks[0]).clone();
    managed(&mut network).ntp_servers.push(address("10.1.0.1"));
    plan.networks[0] = network.into();
    lab.host.firewall(site()).pass(&plan);
    assert!(lab.first.asks("10.1.0.1:123", SOON) && !lab.second.asks("10.2.0.1:123", NEVER));
}

#[test]
fn hosts_are_not_reached_through_the_fabric() {
    let Some(lab) = Lab::new() else { return };
    let management = format!("10.255.0.2:{MANAGEMENT}");
    lab.other.listen(&management);
    lab.other.listen("10.255.0.2:22");
    assert!(lab.first.connects(&management, SOON).is_some());
    lab.host.firewall(site()).pass(&Lab::plan(&[], &[]));
    assert!(lab.first.connects(&management, NEVER).is_none());
    assert!(lab.outside.connects(&management, SOON).is_some(), "others are not clients");
    // A host that no one has told of, in the cluster's network.
    lab.other.ip(&["addr add 10.255.7.7/16 dev eth0"]);
    lab.other.listen("10.255.7.7:22");
    assert!(lab.first.connects("10.255.7.7:22", NEVER).is_none());
    // What it asks of a guest itself is answered.
    lab.first.listen("0.0.0.0:22");
    assert!(lab.other.connects("10.1.0.7:22", SOON).is_some());
}

#[test]
fn a_coordinator_knows_clients_that_come_another_way() {
    let Some(lab) = Lab::new() else { return };
    // The other host is a coordinator as well, and has the firewall. The first host routes to it what it should not.
    lab.other.listen(&format!("10.255.0.2:{MANAGEMENT}"));
    let to = format!("10.255.0.2:{MANAGEMENT}");
    assert!(lab.first.connects(&to, SOON).is_some());
    lab.other.firewall(site()).pass(&Lab::plan(&[], &[]));
    assert!(lab.first.connects(&to, NEVER).is_none());
    assert!(lab.host.connects(&to, SOON).is_some(), "hosts speak to each other");
}

#[test]
fn bridges_that_nobody_knows_lead_nowhere() {
    let Some(lab) = Lab::new() else { return };
    let one = network(1002, Some(subnet("10.2.0.0/24", true)), None);
    lab.host.firewall(site()).pass(&plan(Stance::Primary, vec![one.clone()]));
    assert!(!lab.first.pings("192.0.2.2", NEVER) && !lab.first.pings("10.1.0.1", NEVER));
    assert!(!lab.outside.pings("10.1.0.7", NEVER) && lab.outside.pings("10.2.0.7", SOON));
    // Neither way: not even what needs no answer.
    let (guest, outside) = ("10.1.0.7:4000", "192.0.2.2:4000");
    assert!(!lab.first.tells(&lab.outside, outside, NEVER) && !lab.outside.tells(&lab.first, guest, NEVER));
    assert!(
        lab.second.tells(&lab.outside, outside, SOON)
            && lab.outside.tells(&lab.second, "10.2.0.7:4000", SOON)
    );
    // A hypervisor routes nothing, and has nothing for guests; what they send each other it does not touch, even where
    // the kernel shows it frames as if they were routed.
    lab.host.run(|| crate::lab::set("net/bridge/bridge-nf-call-iptables", "1"));
    let neighbour = lab.host.guest("vmbr1002", crate::plans::mac(3));
    neighbour.ip(&["addr add 10.2.0.8/24 dev eth0"]);
    lab.host.firewall(site()).pass(&plan(Stance::Hypervisor, vec![one]));
    assert!(!lab.second.pings("192.0.2.2", NEVER) && !lab.second.pings("10.2.0.1", NEVER));
    assert!(!lab.outside.pings("10.2.0.7", NEVER) && neighbour.pings("10.2.0.7", SOON));
}
