use std::collections::BTreeSet;

use crate::command::Command::*;
use crate::command::SpecPatch;
use crate::network::{Attachment, HostNetwork, Vni};
use crate::nic::{NICS_MAX, Nic, NicChange, NicModel, Rate};
use crate::testing::{Cluster, bridged_network, name, spec};
use crate::vm::{Mac, ObservedPhase};

fn cluster() -> Cluster {
    Cluster::of(&["hv1", "hv2"])
}

fn bridged(bridge: &str) -> Nic {
    Nic::new(Attachment::Bridge(bridge.into()))
}

fn on(attachment: Attachment, mac: Option<Mac>) -> Nic {
    Nic { mac, ..Nic::new(attachment) }
}

fn upstream() -> Attachment {
    Attachment::Host(HostNetwork::Upstream)
}

fn mac(last: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, last])
}

fn update(vm: &str, patch: SpecPatch) -> crate::Command {
    UpdateVm { name: name(vm), patch: Box::new(patch), expected_revision: 0 }
}

fn add(vm: &str, nic: Nic) -> crate::Command {
    update(vm, SpecPatch { add_nics: vec![nic], ..SpecPatch::default() })
}

fn change(vm: &str, change: NicChange) -> crate::Command {
    update(vm, SpecPatch { change_nics: vec![change], ..SpecPatch::default() })
}

fn remove(vm: &str, mac: Mac) -> crate::Command {
    update(vm, SpecPatch { remove_nics: [mac].into(), ..SpecPatch::default() })
}

#[test]
fn every_nic_gets_an_address_of_its_own() {
    let mut c = cluster();
    for vm in ["a", "b"] {
        let mut spec = spec();
        spec.nics = vec![bridged("vmbr0"); 2];
        c.ok(CreateVm { name: name(vm), spec });
    }
    let macs: BTreeSet<Mac> =
        c.world.vms.values().flat_map(|v| v.spec.nics.iter().map(|n| n.mac.expect("given"))).collect();
    assert_eq!(macs.len(), 4);
    assert!(macs.iter().all(|m| m.0[..3] == [0x52, 0x54, 0x00]));

    let mut thief = spec();
    thief.nics = vec![on(upstream(), c.vm("a").spec.nics[0].mac)];
    assert_eq!(c.rule(CreateVm { name: name("c"), spec: thief.clone() }), "mac-unique");
    thief.nics.push(thief.nics[0].clone());
    assert_eq!(c.rule(CreateVm { name: name("c"), spec: thief }), "mac-once");
}

#[test]
fn an_address_is_free_again_once_its_nic_is_gone() {
    let mut c = cluster();
    c.create("a");
    c.create("b");
    c.ok(add("a", on(upstream(), Some(mac(1)))));
    assert_eq!(c.world.mac_user(mac(1)), Some(&name("a")));
    let refusal = c.run(add("b", on(upstream(), Some(mac(1))))).expect_err("taken");
    assert_eq!(
        (refusal.rule, refusal.detail.as_str()),
        ("mac-unique", "the address 52:54:00:00:00:01 is vm/a's")
    );
    c.ok(RenameVm { name: name("a"), new_name: name("z"), expected_revision: 0 });
    assert_eq!(c.world.mac_user(mac(1)), Some(&name("z")));
    c.ok(remove("z", mac(1)));
    assert_eq!(c.world.mac_user(mac(1)), None);
    c.ok(add("b", on(upstream(), Some(mac(1)))));
    c.ok(DeleteVm { name: name("b"), delete_volumes: false, expected_revision: 0 });
    assert_eq!(c.world.mac_user(mac(1)), None);
}

#[test]
fn who_uses_a_network_is_known() {
    let (mut c, vni) = (cluster(), Vni::new(1001).expect("a number"));
    let network = || Attachment::Network(vni);
    c.create("c");
    assert_eq!(c.rule(add("c", on(network(), None))), "network-must-exist");
    c.ok(bridged_network(vni));
    for vm in ["b", "a"] {
        c.create(vm);
        c.ok(add(vm, on(network(), None)));
    }
    c.ok(add("a", on(network(), Some(mac(1)))));
    assert_eq!(c.world.network_users(vni), [name("a"), name("b")]);
    c.ok(RenameVm { name: name("b"), new_name: name("z"), expected_revision: 0 });
    assert_eq!(c.world.network_users(vni), [name("a"), name("z")]);
    c.ok(remove("a", mac(1)));
    assert_eq!(c.world.network_users(vni), [name("a"), name("z")], "it has another one there");
    let last = c.vm("a").spec.nics[0].mac.expect("given");
    c.ok(change("a", NicChange { attachment: Some(upstream()), ..NicChange::of(last) }));
    c.ok(DeleteVm { name: name("z"), delete_volumes: false, expected_revision: 0 });
    assert!(c.world.network_users(vni).is_empty());
}

#[test]
fn the_same_asked_again_changes_nothing() {
    let mut c = cluster();
    c.create("a");
    let nic = on(upstream(), Some(mac(1)));
    c.ok(add("a", nic.clone()));
    assert_eq!(c.ok(add("a", nic.clone())), 0);
    assert_eq!(c.rule(add("a", Nic { link_up: false, ..nic })), "nic-once");
    let down = NicChange { link_up: Some(false), ..NicChange::of(mac(1)) };
    assert_eq!(c.ok(change("a", down.clone())), 1);
    assert_eq!(c.ok(change("a", down)), 0);
    assert_eq!(c.rule(change("a", NicChange::of(mac(2)))), "nic-must-exist");
    c.ok(remove("a", mac(1)));
    assert_eq!(c.rule(remove("a", mac(1))), "nic-must-exist");
}

#[test]
fn only_what_is_given_is_changed() {
    let mut c = cluster();
    c.create("a");
    let rate = Rate { average_kbit: 1000, peak_kbit: None, burst_kib: None };
    let address = "192.0.2.7".parse().expect("an address");
    c.ok(add("a", Nic { rate_in: Some(rate), addresses: vec![address], ..on(upstream(), Some(mac(1))) }));
    c.ok(change("a", NicChange { spoof_check: Some(false), ..NicChange::of(mac(1)) }));
    let nic = c.vm("a").spec.nics[0].clone();
    assert_eq!((nic.rate_in, nic.spoof_check, nic.addresses), (Some(rate), false, vec![address]));
    let lifted = NicChange { rate_in: Some(None), addresses: Some(vec![]), ..NicChange::of(mac(1)) };
    c.ok(change("a", lifted));
    let nic = c.vm("a").spec.nics[0].clone();
    assert_eq!((nic.rate_in, nic.addresses.len()), (None, 0));
}

#[test]
fn a_running_guest_takes_all_but_another_model() {
    let mut c = cluster();
    c.running("a", "hv1");
    let before = c.vm("a").clone();
    c.ok(add("a", on(upstream(), Some(mac(1)))));
    c.ok(change("a", NicChange { link_up: Some(false), ..NicChange::of(mac(1)) }));
    assert_eq!(c.vm("a").spec_generation, before.spec_generation);
    c.ok(change("a", NicChange { model: Some(NicModel::E1000e), ..NicChange::of(mac(1)) }));
    assert_eq!(c.vm("a").spec_generation, before.spec_generation + 1);
    c.ok(remove("a", mac(1)));
    assert_eq!(c.vm("a").spec_generation, before.spec_generation + 1);
    assert_eq!(c.vm("a").intent, before.intent, "it is to do nothing about its power");
    assert_eq!(c.vm("a").observed.as_ref().map(|o| o.phase), Some(ObservedPhase::Running));
}

#[test]
fn a_networks_bridge_is_reached_by_the_network() {
    let mut c = cluster();
    c.create("a");
    let refusal = c.run(add("a", bridged("vmbr1001"))).expect_err("refused");
    assert_eq!(refusal.rule, "bridge-not-ours");
    assert_eq!(refusal.help, "attach it to network 1001 in place of the bridge");
    for free in ["vmbr0", "vmbr01", "vmbr", "vmbr1001x"] {
        c.ok(add("a", bridged(free)));
    }
}

#[test]
fn nics_are_not_without_number() {
    let mut c = cluster();
    let mut many = spec();
    many.nics = vec![bridged("br0"); NICS_MAX + 1];
    assert_eq!(c.rule(CreateVm { name: name("a"), spec: many.clone() }), "nics-at-most");
    many.nics.pop();
    c.ok(CreateVm { name: name("a"), spec: many });
}
