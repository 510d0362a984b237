use pvc_model::command::Command::*;
use pvc_model::guard::Isolation;
use pvc_model::phase::VmPhase;
use pvc_model::task::TaskState;
use pvc_model::vm::Placement;
use pvc_model::{Object, Timestamp};

use super::{Lab, name, spec};
use crate::hypervisor::{EndReason, GuestSpec, Hypervisor, Stamp, VirtType};

#[tokio::test(start_paused = true)]
async fn started_shut_down_restarted_stopped() {
    let lab = Lab::of(&["hv1"]).await;
    lab.running("a", "hv1").await;
    lab.assert_task(TaskState::Succeeded);
    lab.ok(RestartVm { name: name("a"), grace_seconds: 0 });
    lab.pass(5.0).await;
    lab.assert_task(TaskState::Succeeded);
    assert_eq!((lab.boots("a"), lab.phase("a")), (2, VmPhase::Running));
    lab.ok(ShutdownVm { name: name("a"), grace_seconds: 0 });
    lab.pass(1.0).await;
    assert_eq!(lab.phase("a"), VmPhase::ShuttingDown);
    lab.pass(4.0).await;
    lab.assert_task(TaskState::Succeeded);
    assert_eq!((lab.writer("a").as_str(), lab.phase("a")), ("", VmPhase::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_deaf_guest_is_switched_off_after_its_grace() {
    let lab = Lab::of(&["hv1"]).await;
    lab.running("a", "hv1").await;
    lab.hosts.faults(&name("hv1"), |f| f.deaf_guests = true);
    lab.ok(ShutdownVm { name: name("a"), grace_seconds: 20 });
    lab.pass(19.0).await;
    assert_eq!((lab.writer("a").as_str(), lab.phase("a")), ("hv1", VmPhase::ShuttingDown));
    lab.pass(3.0).await;
    assert_eq!((lab.writer("a").as_str(), lab.phase("a")), ("", VmPhase::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_crashing_guest_backs_off_and_ends_failed_with_the_reason() {
    let mut lab = Lab::of(&["hv1"]).await;
    lab.running("a", "hv1").await;
    let uid = lab.vm("a").uid();
    for _ in 0..3 {
        lab.hosts.end_guest(uid, EndReason::Crashed);
        lab.pass(0.3).await;
        assert!(matches!(lab.phase("a"), VmPhase::Backoff | VmPhase::Failed), "{:?}", lab.phase("a"));
        lab.pass(6.0).await;
    }
    assert_eq!(lab.phase("a"), VmPhase::Failed);
    assert_eq!(lab.reason("a"), "the guest crashed; given up after 2 restarts");
    assert_eq!(lab.boots("a"), 3);

    // A new daemon does not try again what the old one gave up.
    lab.kill_agent(0);
    lab.boot_agent(0);
    lab.pass(30.0).await;
    assert_eq!((lab.boots("a"), lab.phase("a")), (3, VmPhase::Failed));
    lab.ok(StartVm { name: name("a"), node: None });
    lab.pass(3.0).await;
    assert_eq!((lab.boots("a"), lab.phase("a")), (4, VmPhase::Running));
}

#[tokio::test(start_paused = true)]
async fn what_the_nodes_guard_has_ended_is_no_crash() {
    let lab = Lab::of(&["hv1"]).await;
    lab.running("a", "hv1").await;
    lab.ok(UpdateNode {
        name: name("hv1"),
        schedulable: None,
        on_return: None,
        on_shutdown: None,
        isolation: Some(Isolation::Stop),
        expected_revision: 0,
    });
    lab.pass(1.0).await;
    for cut in 1..5 {
        lab.leader.cut("hv1");
        lab.pass(12.6).await;
        lab.hosts.kill_guests(&name("hv1"));
        lab.pass(1.0).await;
        assert_eq!(lab.writer("a"), "", "nothing is started without a lease");
        lab.leader.heal("hv1");
        lab.pass(4.0).await;
        assert_eq!((lab.writer("a").as_str(), lab.phase("a")), ("hv1", VmPhase::Running), "cut {cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_can_not_start_says_why() {
    let lab = Lab::of(&["hv1"]).await;
    lab.hosts.faults(&name("hv1"), |f| f.fail_starts = 100);
    lab.create("a");
    lab.ok(StartVm { name: name("a"), node: None });
    lab.pass(20.0).await;
    assert_eq!(lab.phase("a"), VmPhase::Failed);
    assert!(lab.reason("a").contains("given up after 2 restarts"), "{}", lab.reason("a"));
    lab.assert_task(TaskState::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_node_without_its_lease_starts_nothing_and_stops_nothing() {
    let lab = Lab::of(&["hv1"]).await;
    lab.running("a", "hv1").await;
    let uid = lab.vm("a").uid();
    lab.leader.cut("hv1");
    lab.pass(5.0).await;
    lab.hosts.end_guest(uid, EndReason::Crashed);
    lab.pass(60.0).await;
    assert_eq!((lab.writer("a").as_str(), lab.boots("a")), ("", 1));
    lab.leader.heal("hv1");
    lab.pass(10.0).await;
    assert_eq!((lab.writer("a").as_str(), lab.boots("a")), ("hv1", 2));
}

#[tokio::test(start_paused = true)]
async fn guests_run_on_for_a_day_without_coordinators() {
    let lab = Lab::of(&["hv1", "hv2"]).await;
    lab.running("a", "hv1").await;
    lab.leader.cut("hv1");
    lab.leader.cut("hv2");
    tokio::time::sleep(std::time::Duration::from_secs(24 * 3600)).await;
    assert_eq!((lab.writer("a").as_str(), lab.boots("a")), ("hv1", 1));
}

#[tokio::test(start_paused = true)]
async fn killing_the_daemon_touches_no_guest() {
    let mut lab = Lab::of(&["hv1", "hv2"]).await;
    lab.running("a", "hv1").await;
    for _ in 0..3 {
        lab.kill_agent(0);
        lab.pass(30.0).await;
        lab.boot_agent(0);
        lab.pass(5.0).await;
    }
    assert_eq!((lab.writer("a").as_str(), lab.boots("a"), lab.phase("a")), ("hv1", 1, VmPhase::Running));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_nobody_answered_is_not_done_twice() {
    let lab = Lab::of(&["hv1"]).await;
    lab.hosts.faults(&name("hv1"), |f| f.lose_starts = 1);
    lab.create("a");
    lab.ok(StartVm { name: name("a"), node: None });
    lab.pass(60.0).await;
    assert_eq!((lab.writer("a").as_str(), lab.boots("a"), lab.phase("a")), ("hv1", 1, VmPhase::Running));
}

#[tokio::test(start_paused = true)]
async fn a_silent_hypervisor_makes_nobody_believe_that_the_guest_is_gone() {
    let lab = Lab::of(&["hv1", "hv2"]).await;
    lab.running("a", "hv1").await;
    lab.hosts.faults(&name("hv1"), |f| f.unreachable = true);
    lab.ok(StopVm { name: name("a") });
    lab.pass(30.0).await;
    lab.assert_task(TaskState::Running);
    assert!(!lab.vm("a").is_proven_off());
    assert!(lab.leader.world().nodes[&name("hv1")].status.facts.problem.contains("does not answer"));
    lab.hosts.faults(&name("hv1"), |f| f.unreachable = false);
    lab.pass(10.0).await;
    lab.assert_task(TaskState::Succeeded);
    assert_eq!(lab.leader.world().nodes[&name("hv1")].status.facts.problem, "");
}

/// Boots a guest behind the agents' backs.
async fn boot_by_hand(lab: &Lab, node: &str, vm: &pvc_model::Vm, epoch: u64) {
    let guest = GuestSpec {
        uid: vm.uid(),
        name: vm.meta.name.clone(),
        stamp: Stamp { epoch, boot_generation: 1, spec_generation: 1 },
        spec: vm.spec.clone(),
        disks: vec![],
        nics: vec![],
        console_log: "/console/x.log".into(),
        virt_type: VirtType::Qemu,
    };
    lab.hosts.hypervisor(&name(node)).start(&guest).await.expect("boots");
}

#[tokio::test(start_paused = true)]
async fn a_guest_of_an_older_placement_is_ended_when_its_node_returns() {
    let mut lab = Lab::of(&["hv1", "hv2"]).await;
    lab.create("a");
    // It ran on hv2 at epoch 1, until hv2 was fenced and it was placed on hv1; the fence failed to end it
    // before the guest was started, say. What matters here: hv2 must end its old one.
    lab.kill_agent(1);
    let vm = lab.vm("a");
    boot_by_hand(&lab, "hv2", &vm, 1).await;
    let mut placed = vm.clone();
    placed.placement = Some(Placement { node: name("hv1"), epoch: 2 });
    lab.leader.put(Object::Vm(placed));
    lab.boot_agent(1);
    lab.pass(10.0).await;
    assert_eq!(lab.writer("a"), "");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_the_cluster_does_not_know_is_left_alone() {
    let mut lab = Lab::of(&["hv1"]).await;
    lab.create("a");
    let mut stranger = lab.vm("a");
    stranger.meta.uid = pvc_model::Uid::from_random(99);
    stranger.meta.created = Timestamp(0);
    boot_by_hand(&lab, "hv1", &stranger, 7).await;
    lab.pass(60.0).await;
    lab.kill_agent(0);
    lab.boot_agent(0);
    lab.pass(60.0).await;
    assert_eq!(lab.hosts.writers(stranger.uid()), [name("hv1")]);
}

#[tokio::test(start_paused = true)]
async fn many_start_and_none_twice_though_answers_are_lost() {
    let lab = Lab::of(&["hv1", "hv2", "hv3"]).await;
    for index in 0..30 {
        let vm = format!("vm{index}");
        let mut spec = spec();
        spec.memory_mib = 16;
        lab.ok(CreateVm { name: name(&vm), spec });
        lab.ok(StartVm { name: name(&vm), node: None });
    }
    lab.leader.lose_answers(20);
    lab.pass(30.0).await;
    for index in 0..30 {
        let vm = format!("vm{index}");
        assert_eq!((lab.phase(&vm), lab.boots(&vm)), (VmPhase::Running, 1), "{vm}");
    }
}
