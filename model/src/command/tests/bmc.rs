//! Which BMC a node may be said to have, and when its power may be taken away by hand.

use super::super::{Command, PowerOrder};
use crate::bmc::{Bmc, BmcAdapter, Sealed};
use crate::node::NodeFacts;
use crate::rejection::Rejection;
use crate::testing::{Cluster, name};

const HV1: &str = "00000000-0000-4000-8000-000000000001";
const HV2: &str = "00000000-0000-4000-8000-000000000002";
const OTHER: &str = "00000000-0000-4000-8000-000000000009";

fn bmc(address: &str, identity: &str) -> Bmc {
    Bmc {
        address: address.into(),
        user: "ADMIN".into(),
        password: Sealed(vec![1, 2, 3]),
        adapter: BmcAdapter::Auto,
        identity: identity.into(),
        trusted: false,
    }
}

fn set(cluster: &mut Cluster, node: &str, bmc: Bmc) -> Result<(), Rejection> {
    let command = Command::SetNodeBmc { name: name(node), bmc: Box::new(bmc), expected_revision: 0 };
    cluster.run(command).map(drop)
}

/// hv1 and hv2 have told their system UUIDs; hv3 can't tell.
fn cluster() -> Cluster {
    let mut cluster = Cluster::of(&["hv1", "hv2", "hv3"]);
    for (node, uuid) in [("hv1", HV1), ("hv2", HV2)] {
        let facts = NodeFacts { system_uuid: uuid.into(), cpus: 4, memory_mib: 4096, ..NodeFacts::default() };
        let (node, vms, volumes) = (name(node), vec![], vec![]);
        cluster.ok(Command::Report { node, session: 1, vms, volumes, facts: Some(facts) });
    }
    cluster
}

fn stored(cluster: &Cluster, node: &str) -> Option<Bmc> {
    cluster.world.nodes[&name(node)].spec.bmc.clone()
}

#[test]
fn it_is_stored_with_its_address_in_full_and_cleared_again() {
    let mut cluster = cluster();
    set(&mut cluster, "hv1", bmc("10.0.0.21", HV1)).expect("its own");
    assert_eq!(stored(&cluster, "hv1"), Some(bmc("10.0.0.21:623", HV1)));
    // Anew, with the same address: a changed password.
    set(&mut cluster, "hv1", bmc("10.0.0.21:623", HV1)).expect("again");
    let before = cluster.world.revision;
    cluster.ok(Command::ClearNodeBmc { name: name("hv1"), expected_revision: before });
    assert_eq!(stored(&cluster, "hv1"), None);
    let revision = cluster.world.revision;
    cluster.ok(Command::ClearNodeBmc { name: name("hv1"), expected_revision: 0 });
    assert_eq!(cluster.world.revision, revision, "where there is none, nothing is changed");
}

#[test]
fn what_can_be_no_bmc_of_the_node_is_refused() {
    let without_user = || Bmc { user: String::new(), ..bmc("10.0.0.22", "") };
    let trusted = |bmc: Bmc| Bmc { trusted: true, ..bmc };
    for (node, bmc, rule) in [
        ("hv9", bmc("10.0.0.22", ""), "must-exist"),
        ("hv2", bmc("10.0.0", ""), "bmc-address"),
        ("hv2", without_user(), "bmc-user"),
        ("hv2", Bmc { user: "a b".into(), ..without_user() }, "bmc-user"),
        ("hv2", Bmc { user: "a".repeat(17), ..without_user() }, "bmc-user"),
        // In another spelling.
        ("hv2", bmc("10.0.0.21:623", HV2), "bmc-address-unique"),
        ("hv2", trusted(bmc("10.0.0.21", HV2)), "bmc-address-unique"),
        // Wired to another node: no word helps, and it matters not that this node can't tell who it is.
        ("hv2", bmc("10.0.0.22", HV1), "bmc-of-another-node"),
        ("hv2", trusted(bmc("10.0.0.22", HV1)), "bmc-of-another-node"),
        ("hv3", trusted(bmc("10.0.0.23", HV2)), "bmc-of-another-node"),
        ("hv2", bmc("10.0.0.22", OTHER), "bmc-of-this-node"),
    ] {
        let mut cluster = cluster();
        set(&mut cluster, "hv1", self::bmc("10.0.0.21", HV1)).expect("its own");
        let shown = format!("{node} {bmc:?}");
        let refusal = set(&mut cluster, node, bmc).expect_err(&shown);
        assert_eq!(refusal.rule, rule, "{shown}: {refusal}");
        assert!(node == "hv9" || stored(&cluster, node).is_none(), "{shown}: nothing is stored");
    }
}

#[test]
fn where_one_of_them_cannot_tell_it_is_taken() {
    for (node, bmc) in [
        ("hv2", bmc("10.0.0.22", "")),
        ("hv3", bmc("10.0.0.23", "")),
        ("hv3", bmc("10.0.0.23", OTHER)),
        ("hv2", Bmc { trusted: true, ..bmc("10.0.0.22", OTHER) }),
    ] {
        set(&mut cluster(), node, bmc.clone()).unwrap_or_else(|refusal| panic!("{node} {bmc:?}: {refusal}"));
    }
}

#[test]
fn a_changed_node_is_not_overwritten() {
    let mut cluster = cluster();
    let bmc = Box::new(bmc("10.0.0.21", HV1));
    let stale = Command::SetNodeBmc { name: name("hv1"), bmc, expected_revision: 1 };
    assert_eq!(cluster.run(stale).expect_err("stale").rule, "expected-revision");
    let stale = Command::ClearNodeBmc { name: name("hv1"), expected_revision: 1 };
    assert_eq!(cluster.run(stale).expect_err("stale").rule, "expected-revision");
}

#[test]
fn power_is_not_taken_from_under_a_vm() {
    let mut cluster = cluster();
    let off = |node: &str, force| Command::OrderPower { node: name(node), order: PowerOrder::Off, force };
    cluster.ok(off("hv2", false));
    cluster.create("web1");
    cluster.ok(Command::StartVm { name: name("web1"), node: Some(name("hv2")) });
    let refusal = cluster.run(off("hv2", false)).expect_err("web1 is there");
    assert!(refusal.rule == "node-must-be-empty" && refusal.detail.ends_with(": web1"), "{refusal}");
    let cycle = Command::OrderPower { node: name("hv2"), order: PowerOrder::Cycle, force: false };
    assert_eq!(cluster.rule(cycle), "node-must-be-empty");
    cluster.ok(Command::OrderPower { node: name("hv2"), order: PowerOrder::On, force: false });
    cluster.ok(off("hv2", true));
    cluster.ok(off("hv1", false));
    assert_eq!(cluster.rule(off("hv9", true)), "must-exist");
}
