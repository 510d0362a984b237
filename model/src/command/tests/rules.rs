use std::collections::BTreeSet;

use crate::command::Command::*;
use crate::command::SpecPatch;
use crate::name::Name;
use crate::rule::{RuleKind, RuleSpec, Strength, broken_by};
use crate::testing::{Cluster, name, spec};
use crate::vm::ObservedPhase;

fn names(texts: &[&str]) -> BTreeSet<Name> {
    texts.iter().map(|text| name(text)).collect()
}

fn rule(kind: RuleKind, vms: &[&str], nodes: &[&str]) -> RuleSpec {
    RuleSpec { kind, strength: Strength::Must, vms: names(vms), tag: None, nodes: names(nodes) }
}

fn create(rule_name: &str, spec: RuleSpec) -> crate::Command {
    CreateRule { name: name(rule_name), spec }
}

fn cluster() -> Cluster {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    c.create("a");
    c.create("b");
    c
}

#[test]
fn a_rule_names_what_there_is() {
    let mut c = cluster();
    assert_eq!(c.rule(create("r", rule(RuleKind::Apart, &["a"], &[]))), "rule-names-vms");
    assert_eq!(c.rule(create("r", rule(RuleKind::Apart, &["a", "b"], &["hv1"]))), "rule-names-nodes");
    assert_eq!(c.rule(create("r", rule(RuleKind::OnNodes, &["a"], &[]))), "rule-names-nodes");
    assert_eq!(c.rule(create("r", rule(RuleKind::Apart, &["a", "z"], &[]))), "vm-must-exist");
    assert_eq!(c.rule(create("r", rule(RuleKind::OnNodes, &["a"], &["hv9"]))), "node-must-exist");
    let both = RuleSpec { tag: Some(name("web")), ..rule(RuleKind::Apart, &["a", "b"], &[]) };
    assert_eq!(c.rule(create("r", both)), "rule-names-vms");
    c.ok(create("r", rule(RuleKind::Apart, &["a", "b"], &[])));
    assert_eq!(c.rule(create("r", rule(RuleKind::Apart, &["a", "b"], &[]))), "name-taken");
}

#[test]
fn a_must_rule_holds_when_vms_start_and_move() {
    let mut c = cluster();
    c.ok(create("r", rule(RuleKind::Apart, &["a", "b"], &[])));
    c.ok(StartVm { name: name("a"), node: Some(name("hv1")) });
    c.sees("a", ObservedPhase::Running);
    let refused = c.run(StartVm { name: name("b"), node: Some(name("hv1")) }).expect_err("a is there");
    assert_eq!(refused.detail, "node hv1 has vm/a, from which affinity/r keeps it apart");
    c.ok(StartVm { name: name("b"), node: None });
    c.sees("b", ObservedPhase::Running);
    assert_eq!(c.map(), "hv1: a | hv2: b");
    let migrate = MigrateVm { name: name("b"), node: Some(name("hv1")), method: None };
    assert_eq!(c.rule(migrate), "target-takes-vm");
    c.ok(DeleteRule { name: name("r"), expected_revision: 0 });
    c.ok(MigrateVm { name: name("b"), node: Some(name("hv1")), method: None });
}

#[test]
fn a_rule_that_is_broken_now_is_taken_and_says_so() {
    let mut c = cluster();
    c.running_as_made("a", "hv1");
    c.running_as_made("b", "hv1");
    c.ok(create("r", rule(RuleKind::Apart, &["a", "b"], &[])));
    let broken = |c: &Cluster, text: &str| broken_by(&c.world, c.world.rule(&name(text)).expect("there"));
    assert_eq!(broken(&c, "r"), ["vm/a on hv1", "vm/b on hv1"]);
    c.ok(create("s", rule(RuleKind::NotOnNodes, &["a"], &["hv2"])));
    assert!(broken(&c, "s").is_empty());
}

#[test]
fn contradicting_rules_are_refused_whoever_brings_them() {
    let mut c = cluster();
    c.ok(create("t", rule(RuleKind::Together, &["a", "b"], &[])));
    let refused = c.run(create("x", rule(RuleKind::Apart, &["a", "b"], &[]))).expect_err("contradicts");
    assert_eq!(refused.rule, "rules-agree");
    assert!(refused.detail.contains("affinity/t") && refused.detail.contains("affinity/x"), "{refused}");
    let should = RuleSpec { strength: Strength::Should, ..rule(RuleKind::Apart, &["a", "b"], &[]) };
    c.ok(create("x", should.clone()));
    let must = RuleSpec { strength: Strength::Must, ..should };
    assert_eq!(c.rule(UpdateRule { name: name("x"), spec: must, expected_revision: 0 }), "rules-agree");

    // A tag and a node limit may contradict a rule as well.
    c.ok(create("on", rule(RuleKind::OnNodes, &["a"], &["hv1"])));
    let limit = SpecPatch { node_limit: Some(names(&["hv2"])), ..SpecPatch::default() };
    let update = |patch| UpdateVm { name: name("a"), patch: Box::new(patch), expected_revision: 0 };
    assert_eq!(c.rule(update(limit)), "rules-agree");
    let tagged =
        RuleSpec { vms: names(&[]), tag: Some(name("east")), ..rule(RuleKind::OnNodes, &[], &["hv2"]) };
    c.ok(create("east", tagged));
    let tag = SpecPatch { add_tags: names(&["east"]), ..SpecPatch::default() };
    assert_eq!(c.rule(update(tag)), "rules-agree");
    let mut new = spec();
    new.tags = names(&["east"]);
    new.node_limit = names(&["hv1"]);
    assert_eq!(c.rule(CreateVm { name: name("c"), spec: new }), "rules-agree");
}

#[test]
fn rules_follow_names_and_end_with_their_vms() {
    let mut c = cluster();
    c.ok(create("r", rule(RuleKind::Apart, &["a", "b"], &[])));
    c.ok(create("s", rule(RuleKind::OnNodes, &["a"], &["hv1"])));
    c.ok(RenameVm { name: name("a"), new_name: name("z"), expected_revision: 0 });
    let vms = |c: &Cluster, rule: &str| c.world.rule(&name(rule)).map(|r| r.spec.vms.clone());
    assert_eq!(vms(&c, "r"), Ok(names(&["b", "z"])));
    c.ok(DeleteVm { name: name("z"), delete_volumes: false, expected_revision: 0 });
    assert_eq!(vms(&c, "r"), Ok(names(&["b"])));
    assert!(vms(&c, "s").is_err(), "it named z alone");
}

#[test]
fn a_node_that_a_rule_names_stays() {
    let mut c = cluster();
    c.ok(create("s", rule(RuleKind::OnNodes, &["a"], &["hv2"])));
    let remove = || DeleteNode { name: name("hv2"), expected_revision: 0 };
    assert_eq!(c.rule(remove()), "node-in-no-rule");
    c.ok(DeleteRule { name: name("s"), expected_revision: 0 });
    c.ok(remove());
}
