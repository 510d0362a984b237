use super::fixture::{self, check_plan, recover_from};
use crate::command::Command;
use crate::name::Name;
use crate::testing::{Cluster, name, spec};

fn create(cluster: &mut Cluster, vm: &str, memory_mib: u64) {
    let mut spec = spec();
    spec.memory_mib = memory_mib;
    cluster.ok(Command::CreateVm { name: name(vm), spec });
}

fn start(cluster: &mut Cluster, vm: &str) -> Result<usize, crate::Rejection> {
    cluster.run(Command::StartVm { name: name(vm), node: None })
}

#[test]
fn the_emptiest_node_is_taken() {
    let mut cluster = Cluster::of(&["hv1", "hv2", "hv3"]);
    for vm in ["a", "b", "c", "d"] {
        create(&mut cluster, vm, 512);
        start(&mut cluster, vm).expect("placed");
    }
    assert_eq!(cluster.map(), "hv1: a d | hv2: b | hv3: c");
}

#[test]
fn home_comes_first() {
    let mut cluster = Cluster::of(&["hv1", "hv2"]);
    let mut homed = spec();
    homed.home = Some(name("hv2"));
    cluster.ok(Command::CreateVm { name: name("a"), spec: homed.clone() });
    cluster.ok(Command::CreateVm { name: name("b"), spec: homed });
    start(&mut cluster, "a").expect("placed");
    start(&mut cluster, "b").expect("placed");
    assert_eq!(cluster.map(), "hv1: | hv2: a b");
}

#[test]
fn a_refusal_names_every_node_and_why() {
    let mut cluster = Cluster::of(&["hv1", "hv2", "hv3"]);
    create(&mut cluster, "big", 3000);
    start(&mut cluster, "big").expect("placed");
    cluster.ok(Command::UpdateNode {
        name: name("hv2"),
        schedulable: Some(false),
        on_return: None,
        isolation: None,
        on_shutdown: None,
        expected_revision: 0,
    });
    cluster.unreachable("hv3");
    create(&mut cluster, "other", 600);
    let refusal = start(&mut cluster, "other").expect_err("no node takes it");
    assert_eq!(refusal.rule, "a-node-takes-vm");
    assert_eq!(
        refusal.detail,
        "no node takes it: hv1 has 584 MiB free, the VM needs 600 MiB; \
         hv2 takes no new VMs (not schedulable); hv3 is not reachable"
    );
}

#[test]
fn a_vm_larger_than_any_node_is_refused_when_it_is_defined() {
    let mut cluster = Cluster::of(&["hv1"]);
    let mut huge = spec();
    huge.memory_mib = 3585;
    let refusal = cluster.run(Command::CreateVm { name: name("huge"), spec: huge }).expect_err("too large");
    assert_eq!(refusal.rule, "fits-a-node");
    assert!(refusal.detail.contains("hv1, has 3584 MiB"), "{}", refusal.detail);
    create(&mut cluster, "fits", 3584);
    start(&mut cluster, "fits").expect("fits to the last MiB");
}

#[test]
fn vcpus_have_a_limit_too() {
    let mut cluster = Cluster::of(&["hv1"]);
    let mut wide = spec();
    wide.vcpus = 40;
    cluster.ok(Command::CreateVm { name: name("a"), spec: wide.clone() });
    cluster.ok(Command::CreateVm { name: name("b"), spec: wide });
    start(&mut cluster, "a").expect("40 of 64");
    let refusal = start(&mut cluster, "b").expect_err("80 of 64");
    assert!(refusal.detail.contains("has 40 of at most 64 vCPUs placed"), "{}", refusal.detail);
}

#[test]
fn a_dead_nodes_vms_are_spread() {
    check_plan("hv1 8G: a=2G b=2G | hv2 8G: ", "recover hv1", "a->hv2 b->hv2");
    check_plan("hv1 8G: a=2G b=2G | hv2 8G: | hv3 8G: ", "recover hv1", "a->hv2 b->hv3");
    check_plan("hv1 8G: a=2G b=1G | hv2 8G: c=4G | hv3 8G: ", "recover hv1", "a->hv3 b->hv3");
    check_plan("hv1 8G: | hv2 8G: ", "recover hv1", "nothing");
}

#[test]
fn the_higher_priority_comes_first_then_the_larger_then_the_name() {
    check_plan("hv1 8G: a=2G b=2G!900 | hv2 2G: ", "recover hv1", "b->hv2; a waits");
    check_plan("hv1 8G: a=1G b=2G | hv2 2G: ", "recover hv1", "b->hv2; a waits");
    check_plan("hv1 8G: b=2G a=2G | hv2 2G: ", "recover hv1", "a->hv2; b waits");
    check_plan("hv1 8G: a=3G!900 b=1G | hv2 2G: ", "recover hv1", "b->hv2; a waits");
}

#[test]
fn several_dead_nodes_are_one_plan() {
    check_plan(
        "hv1 8G: a=2G | hv2 8G: b=2G!200 | hv3 2G: | hv4 8G: c=7G",
        "recover hv1 hv2",
        "b->hv3; a waits",
    );
}

#[test]
fn only_what_is_to_run_and_to_be_recovered_is_placed() {
    check_plan("hv1 8G: (a=2G) b=2G~ c=2G | hv2 8G: ", "recover hv1", "c->hv2; b waits");
}

#[test]
fn limits_homes_and_closed_nodes_hold_in_a_recovery() {
    check_plan("hv1 8G: a=1G@hv1,hv3 | hv2 8G: | hv3 2G: b=1G", "recover hv1", "a->hv3");
    check_plan("hv1 8G: a=1G^hv3 | hv2 8G: | hv3 2G: b=1G", "recover hv1", "a->hv3");
    check_plan("hv1 8G: a=1G | hv2 8G closed: | hv3 8G down: ", "recover hv1", "a waits");
    check_plan("hv1 8G: a=1Gx40 b=1Gx40 | hv2 8G: ", "recover hv1", "a->hv2; b waits");
}

#[test]
fn what_waits_says_why() {
    let world = fixture::world("hv1 8G: a=3G b=1G~ | hv2 2G: | hv3 8G closed: | hv4 8G down: ");
    let plan = fixture::plan(&world, "recover hv1");
    let reasons: Vec<_> = plan.waiting.iter().map(|(vm, why)| format!("{vm}: {why}")).collect();
    assert_eq!(
        reasons,
        [
            "a: no node takes it: hv1 is fenced; hv2 has 2048 MiB free, the VM needs 3072 MiB; \
             hv3 takes no new VMs (not schedulable); hv4 is not reachable",
            "b: it is not recovered by itself; `pvc vm start b` starts it elsewhere",
        ]
    );
}

#[test]
fn many_nodes_are_counted_and_not_named() {
    let mut cluster = "hv00 8G: a=3G".to_string();
    for node in 1..40 {
        let word = if node % 2 == 0 { "down" } else { "" };
        cluster.push_str(&format!(" | hv{node:02} 2G {word}: "));
    }
    let plan = fixture::plan(&fixture::world(&cluster), "recover hv00");
    assert_eq!(
        plan.waiting[0].1,
        "no node takes it: 1 node is fenced; 20 nodes have too little memory free; 19 nodes are not \
         reachable"
    );
}

/// A plan costs one pass, not one for each VM: with a pass for each it takes minutes.
#[test]
#[allow(clippy::disallowed_methods, reason = "how long it really takes; this room has no other clock")]
fn ten_thousand_vms_are_planned_at_once() {
    let mut cluster = String::new();
    for node in 0..200 {
        let vms: Vec<_> = (0..50).map(|vm| format!("v{node}-{vm}=1G")).collect();
        cluster.push_str(&format!("hv{node:03} 62G: {} | ", vms.join(" ")));
    }
    let world = fixture::world(cluster.trim_end_matches("| "));
    let half: Vec<Name> = world.nodes.keys().take(100).cloned().collect();
    let began = std::time::Instant::now();
    let plan = recover_from(&world, &half);
    let took = began.elapsed();
    assert_eq!((plan.moves.len(), plan.waiting.len()), (1_200, 3_800));
    assert!(took.as_secs() < 5, "a plan took {took:?}");
}

#[test]
fn must_rules_hold_in_a_recovery() {
    check_plan("hv1 8G: a=1G b=1G | hv2 8G: | hv3 4G: ; apart a b", "recover hv1", "a->hv2 b->hv3");
    check_plan("hv1 8G: a=1G b=1G | hv2 8G: ; apart a b", "recover hv1", "a->hv2; b waits");
    check_plan("hv1 8G: a=1G | hv2 8G: | hv3 4G: ; on a: hv1 hv3", "recover hv1", "a->hv3");
    check_plan("hv1 8G: a=1G | hv2 8G: | hv3 4G: ; not-on a: hv2", "recover hv1", "a->hv3");
    check_plan("hv1 8G: a=1G | hv2 8G: | hv3 4G: b=1G ; together a b", "recover hv1", "a->hv3");
}

#[test]
fn who_belongs_together_finds_a_place_together() {
    // Alone the larger would go to hv2, where there is no room for both.
    let cluster = "hv1 8G: a=2G b=1G | hv2 9G: x=6500M | hv3 8G: y=5G | hv4 2G: ; together a b";
    check_plan(cluster, "recover hv1", "a->hv3 b->hv3");
    // By way of a third; and the rules of each of them hold for all.
    let cluster = "hv1 8G: a=1G b=1G c=1G | hv2 8G: | hv3 4G: ; together a b; together b c; not-on c: hv2";
    check_plan(cluster, "recover hv1", "a->hv3 b->hv3 c->hv3");
    // There is no room for both: the first runs, the other waits to be with it.
    let cluster = "hv1 8G: a=2G!200 b=2G | hv2 3G: | hv3 3G: ; together a b";
    check_plan(cluster, "recover hv1", "a->hv2; b waits");
}

#[test]
fn should_rules_hold_where_that_costs_no_place() {
    check_plan("hv1 8G: a=1G b=1G | hv2 8G: | hv3 2G: ; apart? a b", "recover hv1", "a->hv2 b->hv3");
    check_plan("hv1 8G: a=1G b=1G | hv2 8G: ; apart? a b", "recover hv1", "a->hv2 b->hv2");
    check_plan("hv1 8G: a=1G^hv2 | hv2 8G: | hv3 2G: ; not-on? a: hv2", "recover hv1", "a->hv3");
    check_plan("hv1 8G: a=1G | hv2 8G: | hv3 2G: b=1G ; together? a b", "recover hv1", "a->hv3");
}

#[test]
fn a_rule_is_named_where_it_keeps_a_vm_waiting() {
    let world = fixture::world("hv1 8G: a=1G | hv2 8G: b=1G | hv3 8G: ; apart a b; not-on a: hv3");
    let plan = fixture::plan(&world, "recover hv1");
    assert_eq!(
        plan.waiting[0].1,
        "no node takes it: hv1 is fenced; hv2 has vm/b, from which affinity/r0 keeps it apart; \
         hv3 is excluded by affinity/r1"
    );
}

#[track_caller]
fn contradicts(cluster: &str, words: &str) {
    let found = super::contradiction(&fixture::world(cluster)).unwrap_or_default();
    assert_eq!(found, words, "{cluster}");
}

#[test]
fn contradictions_name_both() {
    let nodes = "hv1 8G: a=1G b=1G c=1G@hv1 | hv2 8G: ";
    let check = |rules: &str, words: &str| contradicts(&format!("{nodes}; {rules}"), words);
    check(
        "together a b; apart a b",
        "affinity/r1 (apart) and affinity/r0 (together) contradict each other about vm/a and vm/b",
    );
    check(
        "together a b; together b c; apart a c",
        "affinity/r2 (apart) and affinity/r0 (together) and affinity/r1 (together) contradict each other about \
         vm/a and vm/c",
    );
    check("on a: hv1; not-on a: hv1", "affinity/r0 (on hv1) and affinity/r1 (not on hv1) leave vm/a no node");
    check("not-on a: hv1 hv2", "affinity/r0 (not on hv1, hv2) leaves vm/a no node");
    check("on c: hv2", "affinity/r0 (on hv2) and the node limit of vm/c (hv1) leave vm/c no node");
    check(
        "on a: hv1; on b: hv2; together a b",
        "affinity/r0 (on hv1) and affinity/r1 (on hv2) with affinity/r2 (together) leave vm/a no node",
    );
    check(
        "on a b: hv1; apart a b",
        "affinity/r1 (apart) parts vm/a and vm/b, and affinity/r0 (on hv1) leaves both hv1 only",
    );
}

#[test]
fn what_can_be_kept_is_no_contradiction() {
    let nodes = "hv1 8G: a=1G b=1G c=1G@hv1 | hv2 8G: ";
    for rules in [
        "together a b; apart b c",
        "together a b; apart? a b",
        "on? a: hv1; not-on a: hv1",
        "on a: hv1 hv2; not-on a: hv1",
        "on a: hv1; on b: hv2; apart a b",
    ] {
        contradicts(&format!("{nodes}; {rules}"), "");
    }
}

#[test]
fn a_node_is_emptied_as_a_dead_one_is() {
    check_plan("hv1 8G: a=2G b=2G (c=1G) | hv2 8G: | hv3 8G: ", "drain hv1", "a->hv2 b->hv3");
    check_plan("hv1 8G: a=2G b=7G | hv2 4G: ", "drain hv1", "a->hv2; b waits");
    check_plan("hv1 8G: a=2G | hv2 8G maintenance: | hv3 8G: ", "drain hv1", "a->hv3");
    // Who must leave another node in maintenance needs a place too.
    check_plan("hv1 8G: a=3G | hv2 8G maintenance: b=4G | hv3 6G: ", "drain hv1", "a waits");
}

#[test]
fn the_fullest_node_gives_to_the_emptiest() {
    check_plan("hv1 8G: a=2G b=2G | hv2 8G: ", "balance", "a->hv2");
    check_plan("hv1 8G: a=2G b=2G | hv2 8G: c=2G", "balance", "nothing");
    check_plan("hv1 8G: a=2G | hv2 8G: ", "balance", "nothing");
    // At home, or where nothing else takes it, it stays.
    check_plan("hv1 8G: a=2G^hv1 b=2G@hv1 | hv2 8G: ", "balance", "nothing");
    check_plan("hv1 8G: a=2G b=2G | hv2 8G maintenance: ", "balance", "nothing");
}

#[test]
fn broken_rules_are_put_right_first() {
    check_plan("hv1 8G: a=1G b=1G | hv2 8G: c=4G ; apart a b", "balance", "a->hv2");
    check_plan("hv1 8G: a=1G | hv2 8G: b=1G ; together a b", "balance", "a->hv2");
    check_plan("hv1 8G: a=1G | hv2 8G: ; not-on? a: hv1", "balance", "a->hv2");
    // A should rule is not worth a broken must rule, and no level is worth a broken should rule.
    check_plan("hv1 8G: a=1G | hv2 8G: ; not-on? a: hv1; on a: hv1", "balance", "nothing");
    check_plan("hv1 8G: a=2G b=2G | hv2 8G: ; on? a b: hv1", "balance", "nothing");
}

#[test]
fn a_shortage_names_the_node_and_who_would_wait() {
    let short = |cluster: &str| super::shortage(&fixture::world(cluster)).map(|short| short.to_string());
    assert_eq!(short("hv1 8G: a=2G | hv2 8G: b=2G"), None);
    assert_eq!(
        short("hv1 8G: a=5G b=1G | hv2 8G: c=3G"),
        Some("if node hv2 died, vm/c would find no room on the others: 3072 MiB are short".into())
    );
    // Tied to its node, left to a person, or alone in the world: no matter of room.
    assert_eq!(short("hv1 8G: a=5G@hv1 | hv2 8G: c=6G@hv2"), None);
    assert_eq!(short("hv1 8G: a=5G~ | hv2 8G: c=6G~"), None);
    assert_eq!(short("hv1 8G: a=5G"), None);
}
