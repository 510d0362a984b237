//! A cluster that remembers an older past: the guests go on, whatever it believed of them.

use pvc_model::command::Command::*;
use pvc_model::phase::VmPhase;

use super::{Lab, name};

fn recover(lab: &Lab, past: pvc_model::World) {
    lab.leader.rewind(past);
    lab.ok(BeginRecovery { recoveries: 1, members: [1].into() });
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_has_moved_since_is_not_started_a_second_time() {
    let lab = Lab::of(&["hv1", "hv2"]).await;
    lab.running("a", "hv1").await;
    let past = lab.leader.world();
    lab.ok(MigrateVm { name: name("a"), node: Some(name("hv2")), method: None });
    lab.pass(20.0).await;
    assert_eq!(lab.writer("a"), "hv2");
    recover(&lab, past);
    lab.pass(10.0).await;
    assert_eq!((lab.writer("a").as_str(), lab.boots("a")), ("hv2", 1), "the same guest, where it was");
    assert_eq!(lab.phase("a"), VmPhase::Running);
    assert!(lab.vm("a").placed_on(&name("hv2")));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_was_started_or_restarted_since_goes_on() {
    let lab = Lab::of(&["hv1"]).await;
    lab.create("off");
    lab.running("on", "hv1").await;
    let past = lab.leader.world();
    lab.ok(StartVm { name: name("off"), node: None });
    lab.ok(RestartVm { name: name("on"), grace_seconds: 0 });
    lab.pass(10.0).await;
    recover(&lab, past);
    lab.pass(20.0).await;
    assert_eq!((lab.boots("off"), lab.phase("off")), (1, VmPhase::Running));
    assert_eq!((lab.boots("on"), lab.phase("on")), (2, VmPhase::Running));
}

/// A node that is cut off may run it: nobody else starts it. When the node is back, it is found there.
#[tokio::test(start_paused = true)]
async fn what_a_silent_node_may_run_is_waited_for() {
    let lab = Lab::of(&["hv1", "hv2"]).await;
    lab.running("a", "hv1").await;
    let past = lab.leader.world();
    lab.ok(MigrateVm { name: name("a"), node: Some(name("hv2")), method: None });
    lab.pass(20.0).await;
    lab.leader.cut("hv2");
    recover(&lab, past);
    lab.pass(60.0).await;
    lab.ok(SettleUnfound);
    lab.pass(60.0).await;
    assert_eq!((lab.writer("a").as_str(), lab.boots("a")), ("hv2", 1));
    lab.leader.heal("hv2");
    lab.pass(10.0).await;
    assert_eq!((lab.phase("a"), lab.writer("a").as_str()), (VmPhase::Running, "hv2"));
}

/// In mid-migration nobody can say where a guest is: it is counted when it has arrived.
#[tokio::test(start_paused = true)]
async fn a_guest_in_mid_migration_is_counted_when_it_has_arrived() {
    let lab = Lab::of(&["hv1", "hv2"]).await;
    lab.running("a", "hv1").await;
    let past = lab.leader.world();
    lab.ok(MigrateVm { name: name("a"), node: Some(name("hv2")), method: None });
    // Until it is on its way, and no longer.
    let migrating = |lab: &Lab| {
        let migration = lab.vm("a").migration.clone();
        migration.is_some_and(|m| m.phase == pvc_model::vm::MigrationPhase::Transferring)
    };
    for _ in 0..100 {
        if migrating(&lab) {
            break;
        }
        lab.pass(0.05).await;
    }
    assert!(migrating(&lab));
    recover(&lab, past);
    lab.pass(40.0).await;
    lab.ok(SettleUnfound);
    lab.pass(10.0).await;
    assert_eq!((lab.boots("a"), lab.phase("a")), (1, VmPhase::Running));
    assert!(lab.vm("a").placed_on(&name(&lab.writer("a"))));
}

#[tokio::test(start_paused = true)]
async fn what_is_found_nowhere_is_started_by_a_person_alone() {
    let mut lab = Lab::of(&["hv1"]).await;
    lab.running("a", "hv1").await;
    let past = lab.leader.world();
    lab.ok(StopVm { name: name("a") });
    lab.pass(5.0).await;
    recover(&lab, past);
    lab.pass(5.0).await;
    lab.ok(SettleUnfound);
    lab.pass(60.0).await;
    assert_eq!((lab.boots("a"), lab.phase("a")), (1, VmPhase::Failed));
    lab.kill_agent(0);
    lab.boot_agent(0);
    lab.pass(60.0).await;
    assert_eq!((lab.boots("a"), lab.phase("a")), (1, VmPhase::Failed), "nor by a new daemon");
    lab.ok(StartVm { name: name("a"), node: None });
    lab.pass(5.0).await;
    assert_eq!((lab.boots("a"), lab.phase("a")), (2, VmPhase::Running));
}

/// The lost coordinators come back and give orders: the node does not listen.
#[tokio::test(start_paused = true)]
async fn coordinators_of_the_past_find_no_ear() {
    let lab = Lab::of(&["hv1"]).await;
    lab.running("a", "hv1").await;
    let past = lab.leader.world();
    recover(&lab, past.clone());
    lab.pass(10.0).await;
    assert_eq!(lab.phase("a"), VmPhase::Running);
    lab.leader.rewind(past);
    lab.ok(StopVm { name: name("a") });
    lab.create("b");
    lab.ok(StartVm { name: name("b"), node: None });
    lab.pass(60.0).await;
    assert_eq!((lab.writer("a").as_str(), lab.boots("a"), lab.boots("b")), ("hv1", 1, 0));
}
