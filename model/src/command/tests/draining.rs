use crate::command::Command::*;
use crate::command::{ClusterPatch, MigrationEvent, SpecPatch};
use crate::name::Name;
use crate::task::{Task, TaskKind, TaskState};
use crate::testing::{Cluster, name, spec};
use crate::vm::ObservedPhase;

fn flush(node: &str) -> crate::Command {
    FlushNode { node: name(node), stop_unmovable: false }
}

fn ready(node: &str) -> crate::Command {
    ReadyNode { node: name(node), no_return: false }
}

fn advance(c: &mut Cluster, task: &Task) {
    c.ok(AdvanceTask { name: task.meta.name.clone() });
}

fn node_task(c: &Cluster) -> Task {
    let of_nodes = c.world.tasks.values().filter(|t| {
        matches!(t.kind, TaskKind::NodeFlush { .. } | TaskKind::NodeReady { .. } | TaskKind::ClusterBalance)
    });
    Task::clone(of_nodes.max_by_key(|t| (t.started, t.meta.revision)).expect("there is one"))
}

/// VMs in migration now.
fn moving(c: &Cluster) -> Vec<String> {
    let moving = c.world.vms.values().filter(|vm| vm.migration.is_some());
    moving.map(|vm| vm.meta.name.to_string()).collect()
}

/// Lets a live migration arrive.
fn arrive(c: &mut Cluster, vm: &str) {
    let migration = c.vm(vm).migration.expect("it migrates");
    c.now += 1_000;
    c.tells(migration.to.as_str(), vm, MigrationEvent::Ready);
    c.tells(migration.from.as_str(), vm, MigrationEvent::Arrived);
    c.sees(vm, ObservedPhase::Running);
}

fn fail(c: &mut Cluster, vm: &str) {
    let migration = c.vm(vm).migration.expect("it migrates");
    c.tells(migration.to.as_str(), vm, MigrationEvent::Failed);
}

fn loaded() -> Cluster {
    let mut c = Cluster::of(&["hv1", "hv2", "hv3"]);
    for vm in ["a", "b", "c", "d", "e"] {
        c.running(vm, "hv1");
    }
    c
}

#[test]
fn a_node_is_emptied_two_at_a_time_and_filled_again() {
    let mut c = loaded();
    c.create("off");
    c.ok(StartVm { name: name("off"), node: Some(name("hv1")) });
    c.sees("off", ObservedPhase::Running);
    c.ok(StopVm { name: name("off") });
    c.sees("off", ObservedPhase::Stopped);
    c.now += 1;
    c.ok(flush("hv1"));
    assert!(c.world.nodes[&name("hv1")].spec.maintenance);
    assert_eq!(moving(&c), ["a", "b"], "at most two leave it at once");
    assert_eq!(c.vm("off").placement.map(|p| p.node), Some(name("hv3")), "what is off moves by word");
    c.sees("off", ObservedPhase::Stopped);
    assert_eq!(node_task(&c).message, "5 of 5 VMs left, 2 on their way");
    arrive(&mut c, "a");
    assert_eq!(moving(&c), ["b", "c"], "the next begins as soon as one has arrived");
    let rule = c.rule(MigrateVm { name: name("a"), node: Some(name("hv1")), method: None });
    assert_eq!(rule, "target-takes-vm", "nothing new is placed there");
    for vm in ["b", "c", "d", "e"] {
        arrive(&mut c, vm);
    }
    let task = node_task(&c);
    assert_eq!((task.state, task.message.as_str()), (TaskState::Succeeded, "it is empty"));
    assert!(c.world.vms_placed_on(&name("hv1")).next().is_none());
    assert_eq!(c.vm("a").migrated_from, Some(name("hv1")));

    c.now += 1;
    c.ok(ready("hv1"));
    assert!(!c.world.nodes[&name("hv1")].spec.maintenance);
    assert_eq!(moving(&c).len(), 2);
    while let Some(vm) = moving(&c).first().cloned() {
        arrive(&mut c, &vm);
    }
    let task = node_task(&c);
    assert_eq!((task.kind.as_str(), task.state), ("node.ready", TaskState::Succeeded));
    assert_eq!(c.map(), "hv1: a b c d e off | hv2: | hv3:");
    assert_eq!(c.vm("off").migrated_from, None);
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    let mut c = loaded();
    c.ok(flush("hv1"));
    let task = node_task(&c);
    arrive(&mut c, "a");
    for _ in 0..3 {
        c.now += 10_000;
        let changed = c.ok(AdvanceTask { name: task.meta.name.clone() });
        assert_eq!(changed, 0, "{}", node_task(&c).message);
    }
}

#[test]
fn a_drain_that_cannot_fit_is_refused_before_anything_moves() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    for (vm, memory_mib) in [("big", 3000), ("small", 128), ("there", 3000)] {
        let mut large = spec();
        large.memory_mib = memory_mib;
        c.ok(CreateVm { name: name(vm), spec: large });
    }
    c.running_as_made("big", "hv1");
    c.running_as_made("small", "hv1");
    c.running_as_made("there", "hv2");
    let refused = c.run(flush("hv1")).expect_err("there is no room");
    assert_eq!(refused.rule, "drain-fits");
    assert_eq!(
        refused.detail,
        "1 of its VMs fit nowhere else: vm/big: no node takes it: hv1 is to be emptied; hv2 has 584 MiB free, \
         the VM needs 3000 MiB"
    );
    assert!(!c.world.nodes[&name("hv1")].spec.maintenance && moving(&c).is_empty());

    // Asked to, it is shut down until the node is ready.
    c.ok(FlushNode { node: name("hv1"), stop_unmovable: true });
    assert!(c.vm("big").release);
    arrive(&mut c, "small");
    assert_eq!(node_task(&c).state, TaskState::Running, "big has not been seen off yet");
    c.sees("big", ObservedPhase::Stopped);
    let task = node_task(&c);
    let told = "it is empty; shut down until it is ready: vm/big";
    assert_eq!((task.state, task.message.as_str()), (TaskState::Succeeded, told));
    let restart = c.run(RestartVm { name: name("big"), grace_seconds: 1 });
    assert_eq!(restart.expect_err("its task would wait for the node").rule, "vm-must-run");
    c.now += 1;
    c.ok(ready("hv1"));
    assert!(c.vm("big").should_run());
    assert!(!c.vm("big").is_proven_off(), "the node's old word that it is off proves nothing any more");
}

#[test]
fn a_dead_node_and_the_last_one_are_not_emptied() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    c.running("a", "hv1");
    c.unreachable("hv1");
    let refused = c.run(flush("hv1")).expect_err("it is dead");
    assert_eq!(refused.rule, "node-reachable");
    assert!(refused.help.contains("pvc node fence hv1"), "{refused}");
    let mut c = Cluster::of(&["hv1", "hv2"]);
    c.ok(flush("hv2"));
    assert_eq!(c.rule(flush("hv1")), "last-node");
}

#[test]
fn two_administrators_follow_one_task() {
    let mut c = loaded();
    c.ok(flush("hv1"));
    let task = node_task(&c);
    assert_eq!(c.ok(flush("hv1")), 0, "the second is answered with the first one's task");
    let refused = c.run(ready("hv1")).expect_err("it is being emptied");
    assert_eq!(refused.rule, "node-busy");
    assert!(refused.detail.contains(task.meta.name.as_str()), "{refused}");
}

#[test]
fn a_cancelled_flush_moves_nothing_more() {
    let mut c = loaded();
    c.ok(flush("hv1"));
    let task = node_task(&c);
    c.ok(CancelTask { name: task.meta.name.clone() });
    assert_eq!(node_task(&c).state, TaskState::Cancelled);
    assert!(!c.world.nodes[&name("hv1")].spec.maintenance);
    arrive(&mut c, "a");
    arrive(&mut c, "b");
    assert!(moving(&c).is_empty());
    c.now += 1;
    c.ok(ready("hv1"));
    arrive(&mut c, "a");
    arrive(&mut c, "b");
    assert_eq!(c.map(), "hv1: a b c d e | hv2: | hv3:");
}

#[test]
fn a_failed_move_is_tried_again_but_not_at_once() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    c.running("a", "hv1");
    c.ok(flush("hv1"));
    let task = node_task(&c);
    fail(&mut c, "a");
    advance(&mut c, &task);
    assert!(moving(&c).is_empty());
    assert!(node_task(&c).message.contains("could not be moved 1 times"), "{}", node_task(&c).message);
    c.now += 11_000;
    advance(&mut c, &task);
    assert_eq!(moving(&c), ["a"]);
    arrive(&mut c, "a");
    assert_eq!(node_task(&c).state, TaskState::Succeeded);
}

#[test]
fn two_drains_at_once_do_not_count_on_the_same_room() {
    let mut c = Cluster::of(&["hv1", "hv2", "hv3"]);
    for (vm, node) in [("a", "hv1"), ("b", "hv2")] {
        let mut large = spec();
        large.memory_mib = 2000;
        c.ok(CreateVm { name: name(vm), spec: large });
        c.running_as_made(vm, node);
    }
    c.ok(flush("hv1"));
    assert_eq!(c.vm("a").migration.expect("it migrates").to, name("hv3"), "the emptier one");
    assert_eq!(c.rule(flush("hv2")), "drain-fits");
}

#[test]
fn who_belongs_together_leaves_together() {
    let mut c = Cluster::of(&["hv1", "hv2", "hv3"]);
    c.running("a", "hv1");
    c.running("b", "hv1");
    let vms: std::collections::BTreeSet<Name> = [name("a"), name("b")].into();
    let rule = crate::rule::RuleSpec {
        kind: crate::rule::RuleKind::Together,
        strength: crate::rule::Strength::Must,
        vms,
        tag: None,
        nodes: Default::default(),
    };
    c.ok(CreateRule { name: name("t"), spec: rule });
    let migrate = MigrateVm { name: name("a"), node: Some(name("hv2")), method: None };
    assert_eq!(c.rule(migrate), "target-takes-vm", "one alone would be parted from the other");
    c.ok(flush("hv1"));
    arrive(&mut c, "a");
    arrive(&mut c, "b");
    assert_eq!(c.map(), "hv1: | hv2: a b | hv3:");
}

#[test]
fn nothing_starts_after_which_a_death_could_not_be_borne() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    let patch = |admission| UpdateCluster {
        patch: ClusterPatch { admission: Some(admission), ..ClusterPatch::default() },
        expected_revision: 0,
    };
    for vm in ["a", "b"] {
        let mut large = spec();
        large.memory_mib = 2000;
        c.ok(CreateVm { name: name(vm), spec: large });
    }
    c.ok(patch(crate::cluster::Admission::Refuse));
    c.running_as_made("a", "hv1");
    let refused = c.run(StartVm { name: name("b"), node: None }).expect_err("hv1's death could not be borne");
    assert_eq!(refused.rule, "one-node-may-die");
    assert_eq!(refused.detail, "if node hv1 died, vm/a would find no room on the others: 2000 MiB are short");
    // A VM that nobody recovers needs no room.
    let left = SpecPatch { recover: Some(false), ..SpecPatch::default() };
    for vm in ["a", "b"] {
        let patch = Box::new(left.clone());
        c.ok(UpdateVm { name: name(vm), patch, expected_revision: 0 });
    }
    c.ok(StartVm { name: name("b"), node: None });
    c.ok(patch(crate::cluster::Admission::Off));
}

#[test]
fn balancing_ends_where_no_step_is_worth_it() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    for vm in ["a", "b", "c", "d"] {
        let mut middling = spec();
        middling.memory_mib = 800;
        c.ok(CreateVm { name: name(vm), spec: middling });
        c.running_as_made(vm, "hv1");
    }
    c.ok(BalanceCluster);
    assert_eq!(moving(&c), ["a", "b"]);
    arrive(&mut c, "a");
    arrive(&mut c, "b");
    let task = node_task(&c);
    assert_eq!((task.state, task.message.as_str()), (TaskState::Succeeded, "no step is worth it any more"));
    assert_eq!(c.map(), "hv1: c d | hv2: a b");
    assert_eq!(c.vm("a").migrated_from, None, "it is not away: it has moved");
    assert_eq!(c.vm("a").spec.home, None);
    c.now += 1;
    c.ok(BalanceCluster);
    assert_eq!(node_task(&c).state, TaskState::Succeeded);
    assert!(moving(&c).is_empty());
}

#[test]
fn maintenance_comes_before_balancing() {
    let mut c = loaded();
    c.ok(flush("hv1"));
    assert_eq!(c.rule(BalanceCluster), "maintenance-first");
}

/// After a recovery a guest may run where nobody knows: a VM that seems to be off must not get another place.
#[test]
fn what_is_still_looked_for_is_not_moved() {
    let mut c = loaded();
    c.ok(StopVm { name: name("e") });
    c.sees("e", ObservedPhase::Stopped);
    c.ok(BeginRecovery { recoveries: 1, members: [1].into() });
    assert!(!c.world.is_confirmed(&c.vm("e")));
    let refused = c.run(flush("hv1")).expect_err("its guests are looked for");
    assert!(refused.detail.contains("it is not known yet where its guest is"), "{refused}");
    let before = (c.vm("a"), c.vm("e"));
    c.ok(FlushNode { node: name("hv1"), stop_unmovable: true });
    c.now += 3_600_000;
    let task = node_task(&c);
    advance(&mut c, &task);
    assert_eq!((c.vm("a"), c.vm("e")), before);
    assert_eq!(node_task(&c).state, TaskState::Running, "it is not empty before that is known");
    assert!(moving(&c).is_empty());
}
