//! After a restore or a recovery: guests are found where they run, nothing is started, ended or deleted.

use std::collections::BTreeSet;

use crate::change::Object;
use crate::command::Command::*;
use crate::command::CountedGuest;
use crate::node::NodeRole;
use crate::phase::{VmPhase, vm_phase};
use crate::task::TaskState;
use crate::testing::{Cluster, disk, name, spec};
use crate::vm::{ObservedPhase, Power};
use crate::volume::VolumePhase;

const BACKUP: &str = "abc";

/// A cluster with VM `on` running at hv1, `off` off at hv2 and `never` never placed; and its backup.
fn original() -> (Cluster, Vec<Object>) {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    c.running("on", "hv1");
    c.running("off", "hv2");
    c.ok(StopVm { name: name("off") });
    c.sees("off", ObservedPhase::Stopped);
    c.create("never");
    let mut with_disk = spec();
    with_disk.disks = vec![disk("data", 1 << 20)];
    c.ok(CreateVm { name: name("disky"), spec: with_disk });
    c.work_volumes();
    let vms = c.world.vms.values().map(|vm| Object::Vm((**vm).clone()));
    let volumes = c.world.volumes.values().map(|volume| Object::Volume((**volume).clone()));
    let nodes = c.world.nodes.values().map(|node| Object::Node((**node).clone()));
    let backup = vms.chain(volumes).chain(nodes).collect();
    (c, backup)
}

fn begin(nodes: &[&str]) -> crate::Command {
    BeginRestore {
        backup: BACKUP.into(),
        cluster_id: "old".into(),
        revision: 77,
        nodes: nodes.iter().map(|node| name(node)).collect(),
    }
}

/// The backup in a cluster that was just founded, with nodes hv1 and hv3; hv2 has not joined.
fn restored() -> (Cluster, Cluster) {
    let (original, backup) = original();
    let mut c = Cluster::of(&["hv1", "hv3"]);
    c.ok(begin(&["hv1", "hv2"]));
    c.ok(RestoreObjects { backup: BACKUP.into(), objects: backup });
    c.ok(EndRestore { backup: BACKUP.into() });
    (original, c)
}

fn count(c: &mut Cluster, node: &str, guests: &[CountedGuest]) -> usize {
    let incarnation = c.world.incarnation();
    c.ok(CountGuests { node: name(node), session: 1, incarnation, guests: guests.to_vec() })
}

fn guest(c: &Cluster, vm: &str, epoch: u64) -> CountedGuest {
    CountedGuest { uid: c.vm(vm).uid(), epoch, boot_generation: 1, spec_generation: 1 }
}

#[test]
fn a_guest_is_adopted_where_it_runs_and_goes_on() {
    let (original, mut c) = restored();
    assert_eq!(vm_phase(&c.world, &c.vm("on")).0, VmPhase::Unknown);
    // It has moved to hv3 and was started again there since the backup.
    let mut moved = guest(&c, "on", 4);
    moved.boot_generation = 3;
    moved.spec_generation = 5;
    count(&mut c, "hv3", &[moved]);
    let vm = c.vm("on");
    assert!(c.world.is_confirmed(&vm));
    let placement = vm.placement.clone().expect("placed");
    assert_eq!((placement.node.as_str(), placement.epoch), ("hv3", 4));
    assert!(vm.should_run());
    assert_eq!(vm.boot_generation, 3, "a higher one would restart it, a lower one would be a lie");
    assert!(vm.spec_generation > 5, "the guest's spec is newer than what is known of it");
    assert_eq!(vm.uid(), original.vm("on").uid());
    c.sees("on", ObservedPhase::Running);
    assert_eq!(vm_phase(&c.world, &c.vm("on")).0, VmPhase::Running);
}

#[test]
fn a_vm_that_was_off_in_the_backup_and_runs_now_is_not_ended() {
    let (_, mut c) = restored();
    let started = guest(&c, "off", 2);
    count(&mut c, "hv1", &[started]);
    let vm = c.vm("off");
    assert_eq!((vm.desired, vm.placed_on(&name("hv1"))), (Power::On, true));
}

#[test]
fn what_is_not_found_stays_off_until_all_have_spoken_and_a_person_starts_it() {
    let (_, mut c) = restored();
    let start = StartVm { name: name("on"), node: Some(name("hv3")) };
    assert_eq!(c.rule(start.clone()), "vm-confirmed");
    count(&mut c, "hv1", &[]);
    count(&mut c, "hv3", &[]);
    c.ok(SettleUnfound);
    assert_eq!(c.rule(start.clone()), "vm-confirmed", "hv2 has not spoken: it may run there");
    assert_eq!(c.rule(ConfirmNodeOff { node: name("hv3") }), "node-awaited");
    c.ok(ConfirmNodeOff { node: name("hv2") });
    c.ok(SettleUnfound);
    let vm = c.vm("on");
    assert_eq!(vm_phase(&c.world, &vm).0, VmPhase::Failed, "wanted on, and not started by itself");
    assert!(vm.is_proven_off());
    assert_eq!(vm_phase(&c.world, &c.vm("never")).0, VmPhase::Stopped);
    assert_eq!(c.vm("off").desired, Power::Off);
    let epoch = vm.placement.expect("kept").epoch;
    c.ok(start);
    assert_eq!(c.vm("on").placement.expect("placed").epoch, epoch + 1, "epochs go on from what is known");
    c.sees("on", ObservedPhase::Running);
    c.assert_task("on", TaskState::Succeeded);
    assert_eq!(c.ok(SettleUnfound), 0, "nothing is left to do");
}

#[test]
fn a_reachable_node_speaks_for_itself() {
    let (_, mut c) = restored();
    assert_eq!(c.rule(ConfirmNodeOff { node: name("hv1") }), "node-silent");
}

#[test]
fn an_old_count_and_an_old_guest_say_nothing() {
    let (_, mut c) = restored();
    let found = guest(&c, "on", 1);
    let stale = CountGuests { node: name("hv1"), session: 1, incarnation: 0, guests: vec![found.clone()] };
    assert_eq!(c.ok(stale), 0);
    let late = CountGuests { node: name("hv1"), session: 0, incarnation: 1, guests: vec![] };
    assert_eq!(c.rule(late), "stale-session");
    // On another node, of an epoch before the backup's: that guest was given up before.
    let outdated = CountedGuest { epoch: 0, ..found };
    count(&mut c, "hv3", &[outdated]);
    assert!(!c.world.is_confirmed(&c.vm("on")));
}

#[test]
fn two_guests_of_one_vm_are_told_and_left_alone() {
    let (_, mut c) = restored();
    let here = guest(&c, "on", 1);
    count(&mut c, "hv1", std::slice::from_ref(&here));
    let before = c.vm("on");
    count(&mut c, "hv3", &[here]);
    assert_eq!(c.vm("on"), before);
    assert!(c.world.faults.contains_key(&name("vm-found-twice.on")));
}

#[test]
fn a_restore_may_be_repeated_and_only_into_an_empty_cluster() {
    let (_, backup) = original();
    let mut c = Cluster::of(&["hv1"]);
    c.ok(begin(&["hv1"]));
    assert_eq!(c.rule(CreateVm { name: name("on"), spec: spec() }), "restore-under-way");
    let restore = |objects| RestoreObjects { backup: BACKUP.into(), objects };
    c.ok(restore(backup[..2].to_vec()));
    // A node that counts now would find strangers.
    assert_eq!(count(&mut c, "hv1", &[]), 0);
    assert_eq!(c.ok(begin(&["hv1"])), 0, "it goes on");
    c.ok(restore(backup.clone()));
    c.ok(EndRestore { backup: BACKUP.into() });
    assert_eq!(c.rule(restore(backup.clone())), "restore-under-way", "nothing is restored twice");
    assert_eq!(c.world.incarnation(), 1);
    let other = BeginRestore {
        backup: "other".into(),
        cluster_id: "old".into(),
        revision: 78,
        nodes: BTreeSet::new(),
    };
    assert_eq!(c.rule(other.clone()), "restored-once");
    let mut used = Cluster::of(&["hv1"]);
    used.create("mine");
    assert_eq!(used.rule(other), "cluster-must-be-empty");
}

#[test]
fn nothing_that_was_under_way_goes_on_and_no_node_and_no_token_comes_back() {
    let (mut original, _) = original();
    original.ok(DeleteVm { name: name("disky"), delete_volumes: true, expected_revision: 0 });
    let volume = |c: &Cluster| c.world.volumes[&name("data")].status.phase;
    assert_eq!(volume(&original), VolumePhase::Deleting);
    let vms = original.world.vms.values().map(|vm| Object::Vm((**vm).clone()));
    let volumes = original.world.volumes.values().map(|volume| Object::Volume((**volume).clone()));
    let nodes = original.world.nodes.values().map(|node| Object::Node((**node).clone()));
    let tokens = original.world.tokens.values().map(|token| Object::Token((**token).clone()));
    let tasks = original.world.tasks.values().map(|task| Object::Task((**task).clone()));
    let backup: Vec<_> = vms.chain(volumes).chain(nodes).chain(tokens).chain(tasks).collect();
    let mut c = Cluster::of(&["hv1"]);
    let (nodes, tokens) = (c.world.nodes.len(), c.world.tokens.len());
    c.ok(begin(&["hv1"]));
    c.ok(RestoreObjects { backup: BACKUP.into(), objects: backup });
    c.ok(EndRestore { backup: BACKUP.into() });
    assert_eq!(volume(&c), VolumePhase::Ready, "its deletion is ordered anew, or never");
    assert!(!c.vm("disky").deleting);
    assert!(c.world.volumes.values().all(|volume| !volume.has_work()));
    assert_eq!((c.world.nodes.len(), c.world.tokens.len(), c.world.tasks.len()), (nodes, tokens, 0));
}

#[test]
fn a_recovery_looks_for_all_guests_and_takes_the_lost_ones_votes() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    c.join("hv9", "192.0.2.9:7371", NodeRole::Coordinator).expect("joins");
    c.running("a", "hv2");
    c.ok(ShutdownVm { name: name("a"), grace_seconds: 0 });
    let begin = BeginRecovery { recoveries: 1, members: [1].into() };
    c.ok(begin.clone());
    assert_eq!(c.ok(begin), 0, "once");
    let lost = &c.world.nodes[&name("hv9")];
    assert_eq!((lost.spec.role, lost.status.member_id), (NodeRole::Hypervisor, 0));
    assert_eq!(c.world.nodes[&name("hv1")].spec.role, NodeRole::Coordinator);
    c.assert_task("a", TaskState::Failed);
    assert!(!c.world.is_confirmed(&c.vm("a")));
    assert_eq!(c.world.cluster.as_ref().expect("there").status.awaited.len(), 3);
    // The order to shut it down is lost with the past: a guest that runs is left running.
    let found = guest(&c, "a", 1);
    count(&mut c, "hv2", &[found]);
    assert!(c.vm("a").should_run());
    c.create("b");
    assert!(c.world.is_confirmed(&c.vm("b")), "what is made now is known");
}

#[test]
fn many_guests_are_adopted_in_steps() {
    let mut c = Cluster::of(&["hv1"]);
    for number in 0..450 {
        c.create(&format!("vm{number}"));
    }
    c.ok(BeginRecovery { recoveries: 1, members: [1].into() });
    let all: Vec<_> = (0..450).map(|number| guest(&c, &format!("vm{number}"), 1)).collect();
    for _ in 0..3 {
        assert!(c.world.awaits(&name("hv1")));
        assert!(count(&mut c, "hv1", &all) <= 201);
    }
    assert!(!c.world.awaits(&name("hv1")));
    assert!(c.world.vms.values().all(|vm| vm.should_run()));
}
