//! Fences, and what becomes of the VMs of fenced nodes.

use crate::command::{Command, MigrationEvent};
use crate::fence::{FencePhase, OnReturn, ProofKind};
use crate::node::Reachability;
use crate::phase::{VmPhase, vm_phase};
use crate::task::TaskState;
use crate::testing::{Cluster, name};
use crate::vm::{MigrationMethod, ObservedPhase, Power};

fn begin(node: &str) -> Command {
    Command::BeginFence { node: name(node), reason: "it is silent".into() }
}

fn accept(node: &str, epoch: u64) -> Command {
    Command::AcceptProof { node: name(node), epoch, kind: ProofKind::Power }
}

fn hear(cluster: &mut Cluster, node: &str) {
    cluster.ok(Command::SetReachability { node: name(node), reachability: Reachability::Reachable });
}

fn phase(cluster: &Cluster, node: &str) -> Option<FencePhase> {
    cluster.world.node(&name(node)).unwrap().status.fence.as_ref().map(|fence| fence.phase)
}

/// hv1, hv2 and hv3, with `vms` running on hv2.
fn cluster(vms: &[&str]) -> Cluster {
    let mut cluster = Cluster::of(&["hv1", "hv2", "hv3"]);
    for vm in vms {
        cluster.running(vm, "hv2");
    }
    cluster
}

fn fenced(vms: &[&str]) -> Cluster {
    let mut cluster = cluster(vms);
    cluster.unreachable("hv2");
    cluster.ok(begin("hv2"));
    cluster.ok(accept("hv2", 1));
    cluster
}

#[test]
fn nothing_leaves_a_node_before_the_proof() {
    let mut cluster = cluster(&["a", "b"]);
    let before = cluster.map();
    cluster.unreachable("hv2");
    cluster.ok(begin("hv2"));
    assert_eq!(cluster.ok(Command::Recover), 0, "no proof: nothing moves");
    assert_eq!(cluster.map(), before);
    assert_eq!(cluster.rule(Command::StartVm { name: name("a"), node: Some(name("hv1")) }), "vm-must-be-off");
    assert!(!cluster.vm("a").is_proven_off());
    assert!(cluster.world.node(&name("hv2")).unwrap().is_denied_lease(), "from the first step on");
}

#[test]
fn with_the_proof_all_its_vms_are_placed_in_the_same_decision() {
    let cluster = fenced(&["a", "b"]);
    assert_eq!(cluster.map(), "hv1: a | hv2: | hv3: b");
    for vm in ["a", "b"] {
        let vm = cluster.vm(vm);
        // One for being given up, one for the new place: a guest of the old epoch is ended wherever it turns up.
        assert_eq!(vm.placement.as_ref().unwrap().epoch, 3);
        assert!(vm.should_run() && vm.waits.is_none() && vm.boot_generation == 2);
        assert_eq!(vm.migrated_from, Some(name("hv2")));
    }
    assert_eq!(phase(&cluster, "hv2"), Some(FencePhase::Fenced));
}

#[test]
fn a_proof_is_for_its_own_fence_only() {
    let mut cluster = cluster(&["a"]);
    cluster.unreachable("hv2");
    assert_eq!(cluster.rule(accept("hv2", 1)), "fence-under-way");
    cluster.ok(begin("hv2"));
    assert_eq!(cluster.rule(accept("hv2", 2)), "fence-under-way");
    hear(&mut cluster, "hv2");
    cluster.ok(Command::CallOffFence { node: name("hv2") });
    assert_eq!(phase(&cluster, "hv2"), None);
    // A proof that was on its way comes too late.
    assert_eq!(cluster.rule(accept("hv2", 1)), "fence-under-way");
    cluster.unreachable("hv2");
    cluster.ok(begin("hv2"));
    assert_eq!(cluster.rule(accept("hv2", 1)), "fence-under-way", "of the fence before");
    cluster.ok(accept("hv2", 2));
    assert_eq!(cluster.ok(accept("hv2", 2)), 0, "twice is once");
    assert_eq!(cluster.ok(begin("hv2")), 0);
}

#[test]
fn a_node_that_is_heard_is_not_fenced_and_a_proven_fence_is_not_called_off() {
    let mut cluster = cluster(&["a"]);
    assert_eq!(cluster.rule(begin("hv2")), "fence-silent");
    let mut cluster = fenced(&["a"]);
    hear(&mut cluster, "hv2");
    assert_eq!(cluster.ok(Command::CallOffFence { node: name("hv2") }), 0);
    assert_eq!(phase(&cluster, "hv2"), Some(FencePhase::Fenced));
}

#[test]
fn what_fits_nowhere_waits_with_the_reason_and_is_placed_when_it_can_be() {
    let mut cluster = Cluster::of(&["hv1", "hv2"]);
    cluster.running("a", "hv2");
    cluster.ok(Command::UpdateNode {
        name: name("hv1"),
        schedulable: Some(false),
        on_return: None,
        isolation: None,
        on_shutdown: None,
        expected_revision: 0,
    });
    cluster.unreachable("hv2");
    cluster.ok(begin("hv2"));
    cluster.ok(accept("hv2", 1));
    let vm = cluster.vm("a");
    assert!(vm.is_proven_off() && !vm.should_run());
    let (phase, reason) = vm_phase(&cluster.world, &vm);
    assert_eq!(phase, VmPhase::Pending);
    assert!(reason.contains("hv1 takes no new VMs") && reason.contains("hv2 is fenced"), "{reason}");
    assert_eq!(cluster.ok(Command::Recover), 0, "nothing new");
    cluster.ok(Command::UpdateNode {
        name: name("hv1"),
        schedulable: Some(true),
        on_return: None,
        isolation: None,
        on_shutdown: None,
        expected_revision: 0,
    });
    assert_ne!(cluster.ok(Command::Recover), 0);
    assert_eq!(cluster.map(), "hv1: a | hv2:");
    cluster.sees("a", ObservedPhase::Running);
}

#[test]
fn it_waits_for_its_own_node_too() {
    let mut cluster = Cluster::of(&["hv1", "hv2"]);
    cluster.running("a", "hv2");
    cluster.unreachable("hv1");
    cluster.unreachable("hv2");
    cluster.ok(begin("hv2"));
    cluster.ok(accept("hv2", 1));
    let given_up = cluster.vm("a").placement.unwrap().epoch;
    hear(&mut cluster, "hv2");
    assert_eq!(cluster.rule(Command::EndFence { name: name("hv2") }), "fence-returned");
    cluster.ok(Command::FenceReturned { node: name("hv2") });
    cluster.ok(Command::Recover);
    assert!(cluster.vm("a").waits.is_some(), "it is back, and not ready");
    cluster.ok(Command::EndFence { name: name("hv2") });
    let vm = cluster.vm("a");
    assert!(vm.should_run() && vm.waits.is_none());
    assert_eq!((cluster.map().as_str(), vm.placement.unwrap().epoch), ("hv1: | hv2: a", given_up));
}

#[test]
fn its_vms_come_home_with_it_where_that_is_wanted() {
    for (on_return, home) in [(OnReturn::Automatic, false), (OnReturn::Home, true)] {
        let mut cluster = fenced(&["a"]);
        cluster.ok(Command::UpdateNode {
            name: name("hv2"),
            schedulable: None,
            on_return: Some(on_return),
            isolation: None,
            on_shutdown: None,
            expected_revision: 0,
        });
        cluster.sees("a", ObservedPhase::Running);
        hear(&mut cluster, "hv2");
        cluster.ok(Command::FenceReturned { node: name("hv2") });
        assert_eq!(cluster.vm("a").migration, None, "not before it is trusted");
        cluster.ok(Command::EndFence { name: name("hv2") });
        let to = cluster.vm("a").migration.map(|migration| migration.to);
        assert_eq!(to, home.then(|| name("hv2")), "{on_return:?}");
    }
}

#[test]
fn people_decide_about_a_vm_that_waits() {
    let mut cluster = Cluster::of(&["hv1", "hv2"]);
    for vm in ["a", "b", "c"] {
        cluster.running(vm, "hv2");
    }
    cluster.ok(Command::Disarm { reason: "new switches".into() });
    cluster.unreachable("hv2");
    assert_eq!(cluster.rule(begin("hv2")), "recovery-armed");
    cluster.ok(Command::FenceNode { name: name("hv2"), confirmed_off: true, force: false });
    assert!(cluster.vm("a").waits.unwrap().reason.contains("disarmed"));
    cluster.ok(Command::StartVm { name: name("a"), node: None });
    assert_eq!(cluster.map(), "hv1: a | hv2: b c");
    cluster.ok(Command::StopVm { name: name("b") });
    cluster.ok(Command::Recover);
    cluster.assert_task("b", TaskState::Succeeded);
    cluster.ok(Command::Arm);
    assert_eq!(cluster.map(), "hv1: a c | hv2: b", "b is off, and c is recovered");
    assert_eq!(cluster.vm("b").desired, Power::Off);
}

#[test]
fn a_persons_word_is_taken_for_a_silent_node_only() {
    let mut cluster = cluster(&["a"]);
    let fence = |confirmed_off, force| Command::FenceNode { name: name("hv2"), confirmed_off, force };
    assert_eq!(cluster.rule(fence(true, false)), "fence-silent");
    assert_eq!(cluster.rule(fence(true, true)), "fence-silent");
    assert_eq!(cluster.rule(fence(false, false)), "fence-silent");
    cluster.unreachable("hv2");
    cluster.ok(fence(true, false));
    let node = cluster.world.node(&name("hv2")).unwrap().clone();
    let proof = node.status.fence.as_ref().unwrap().proof.clone().unwrap();
    assert_eq!((proof.kind, proof.by.as_str()), (ProofKind::Operator, "admin/test"));
    assert_eq!(cluster.rule(fence(true, false)), "not-fenced-yet");
    assert_ne!(cluster.vm("a").placement.unwrap().node, name("hv2"));
}

#[test]
fn a_migration_whose_source_is_fenced_is_decided_by_its_target() {
    for arrives in [true, false] {
        let mut cluster = cluster(&["a"]);
        let method = Some(MigrationMethod::Live);
        cluster.ok(Command::MigrateVm { name: name("a"), node: Some(name("hv3")), method });
        cluster.tells("hv3", "a", MigrationEvent::Ready);
        cluster.unreachable("hv2");
        cluster.ok(begin("hv2"));
        cluster.ok(accept("hv2", 1));
        let vm = cluster.vm("a");
        assert!(
            vm.migration.as_ref().unwrap().source_absent && !vm.is_proven_off(),
            "the target may have it"
        );
        if arrives {
            cluster.tells("hv3", "a", MigrationEvent::Arrived);
            assert_eq!(cluster.ok(Command::Recover), 0);
            assert_eq!(cluster.map(), "hv1: | hv2: | hv3: a");
            assert_eq!(cluster.vm("a").boot_generation, 1, "it was never started anew");
        } else {
            cluster.tells("hv3", "a", MigrationEvent::Absent);
            cluster.ok(Command::Recover);
            let vm = cluster.vm("a");
            assert!(vm.should_run() && vm.boot_generation == 2);
            assert_ne!(vm.placement.unwrap().node, name("hv2"));
        }
    }
}

#[test]
fn a_migration_whose_target_is_fenced_is_decided_by_its_source() {
    for event in [MigrationEvent::Failed, MigrationEvent::Arrived, MigrationEvent::Absent] {
        let mut cluster = cluster(&["a"]);
        let method = Some(MigrationMethod::Live);
        cluster.ok(Command::MigrateVm { name: name("a"), node: Some(name("hv3")), method });
        cluster.tells("hv3", "a", MigrationEvent::Ready);
        cluster.unreachable("hv3");
        cluster.ok(begin("hv3"));
        cluster.ok(accept("hv3", 1));
        assert!(!cluster.vm("a").is_proven_off());
        assert_eq!(
            cluster.map(),
            "hv1: | hv2: a | hv3:",
            "nothing is started anew before the source has spoken"
        );
        cluster.tells("hv2", "a", event);
        cluster.ok(Command::Recover);
        let vm = cluster.vm("a");
        assert!(vm.migration.is_none() && vm.should_run(), "{event:?}");
        let elsewhere = vm.placement.as_ref().unwrap().node != name("hv2");
        assert_eq!(elsewhere, event == MigrationEvent::Arrived, "{event:?}");
    }
}

#[test]
fn a_migration_between_two_fenced_nodes_is_lost_and_started_anew() {
    let mut cluster = cluster(&["a"]);
    let method = Some(MigrationMethod::Live);
    cluster.ok(Command::MigrateVm { name: name("a"), node: Some(name("hv3")), method });
    cluster.tells("hv3", "a", MigrationEvent::Ready);
    for (node, epoch) in [("hv2", 1), ("hv3", 1)] {
        cluster.unreachable(node);
        cluster.ok(begin(node));
        cluster.ok(accept(node, epoch));
    }
    cluster.ok(Command::Recover);
    assert_eq!(cluster.map(), "hv1: a | hv2: | hv3:");
    cluster.assert_task("a", TaskState::Failed);
}

#[test]
fn tasks_of_a_fenced_nodes_vms_end_or_go_on_elsewhere() {
    let mut cluster = cluster(&["moving", "stopping"]);
    cluster.ok(Command::MigrateVm {
        name: name("moving"),
        node: Some(name("hv3")),
        method: Some(MigrationMethod::Shutdown),
    });
    cluster.ok(Command::ShutdownVm { name: name("stopping"), grace_seconds: 0 });
    cluster.create("starting");
    cluster.ok(Command::StartVm { name: name("starting"), node: Some(name("hv2")) });
    cluster.unreachable("hv2");
    cluster.ok(begin("hv2"));
    cluster.ok(accept("hv2", 1));
    cluster.assert_task("moving", TaskState::Failed);
    cluster.assert_task("stopping", TaskState::Succeeded);
    cluster.assert_task("starting", TaskState::Running);
    cluster.sees("starting", ObservedPhase::Running);
    cluster.assert_task("starting", TaskState::Succeeded);
    assert_ne!(cluster.vm("starting").placement.unwrap().node, name("hv2"));
}

#[test]
fn the_brake_holds_until_it_is_released_for_those_nodes_only() {
    let mut cluster = cluster(&[]);
    let nodes = |names: &[&str]| Command::SetBrake { nodes: names.iter().map(|n| name(n)).collect() };
    assert_eq!(cluster.rule(Command::ReleaseBrake), "brake-holds");
    cluster.ok(nodes(&["hv2", "hv3"]));
    assert!(cluster.world.brake().is_some());
    assert_eq!(cluster.ok(nodes(&["hv2", "hv3"])), 0, "nothing new");
    cluster.ok(Command::ReleaseBrake);
    assert!(cluster.world.brake().is_none());
    cluster.ok(nodes(&["hv3"]));
    assert!(cluster.world.brake().is_none(), "one of them is back");
    cluster.ok(nodes(&["hv1", "hv3"]));
    assert!(cluster.world.brake().is_some(), "hv1 was not released");
    cluster.ok(nodes(&[]));
    assert!(cluster.world.brake().is_none());
}

#[test]
fn maintenance_and_a_second_silence() {
    let mut cluster = fenced(&["a"]);
    hear(&mut cluster, "hv2");
    cluster.ok(Command::FenceReturned { node: name("hv2") });
    cluster.unreachable("hv2");
    cluster.ok(begin("hv2"));
    assert_eq!(phase(&cluster, "hv2"), Some(FencePhase::Fencing), "dead again before it was ready");
    cluster.ok(accept("hv2", 2));
    assert_eq!(phase(&cluster, "hv2"), Some(FencePhase::Fenced));
}

#[test]
fn a_fence_that_a_person_forces_is_not_called_off_by_a_heartbeat() {
    let mut cluster = cluster(&["a"]);
    cluster.ok(Command::FenceNode { name: name("hv2"), confirmed_off: false, force: true });
    assert_eq!(cluster.ok(Command::CallOffFence { node: name("hv2") }), 0);
    assert_eq!(phase(&cluster, "hv2"), Some(FencePhase::Fencing));
    // The person may think better of it, as long as nothing has happened.
    cluster.ok(Command::ReadyNode { node: name("hv2"), no_return: true });
    assert_eq!(phase(&cluster, "hv2"), None);
    cluster.ok(Command::FenceNode { name: name("hv2"), confirmed_off: false, force: true });
    cluster.ok(accept("hv2", 2));
    assert_ne!(cluster.vm("a").placement.unwrap().node, name("hv2"));
}
