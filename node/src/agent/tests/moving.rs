use pvc_model::command::Command::{self, *};
use pvc_model::phase::VmPhase;
use pvc_model::task::TaskState;
use pvc_model::vm::MigrationMethod;

use super::{Lab, name};
use crate::hypervisor::EndReason;

fn migrate(to: &str) -> Command {
    MigrateVm { name: name("a"), node: Some(name(to)), method: None }
}

async fn lab() -> Lab {
    let lab = Lab::of(&["hv1", "hv2", "hv3"]).await;
    lab.running("a", "hv1").await;
    lab
}

#[tokio::test(start_paused = true)]
async fn live_there_and_back() {
    let lab = lab().await;
    lab.ok(migrate("hv2"));
    lab.pass(8.0).await;
    lab.assert_task(TaskState::Succeeded);
    assert!(lab.task().message.starts_with("paused for 80 ms"), "{}", lab.task().message);
    assert_eq!((lab.writer("a").as_str(), lab.boots("a"), lab.phase("a")), ("hv2", 1, VmPhase::Running));
    lab.ok(UnmigrateVm { name: name("a"), method: None });
    lab.pass(8.0).await;
    lab.assert_task(TaskState::Succeeded);
    assert_eq!((lab.writer("a").as_str(), lab.boots("a"), lab.phase("a")), ("hv1", 1, VmPhase::Running));
    // And its power still obeys: the epochs of both placements are behind it.
    lab.ok(StopVm { name: name("a") });
    lab.pass(3.0).await;
    lab.assert_task(TaskState::Succeeded);
    assert_eq!(lab.writer("a"), "");
}

#[tokio::test(start_paused = true)]
async fn by_shutdown_and_start() {
    let lab = lab().await;
    lab.ok(MoveVm { name: name("a"), node: name("hv3"), method: Some(MigrationMethod::Shutdown) });
    lab.pass(8.0).await;
    lab.assert_task(TaskState::Succeeded);
    assert_eq!((lab.writer("a").as_str(), lab.boots("a")), ("hv3", 2));
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_half_way_runs_on() {
    let lab = lab().await;
    lab.hosts.faults(&name("hv1"), |f| f.fail_migrations = 1);
    lab.ok(migrate("hv2"));
    lab.pass(10.0).await;
    lab.assert_task(TaskState::Failed);
    assert_eq!((lab.writer("a").as_str(), lab.boots("a"), lab.phase("a")), ("hv1", 1, VmPhase::Running));
    lab.ok(migrate("hv2"));
    lab.pass(10.0).await;
    lab.assert_task(TaskState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn cancelled_in_the_middle() {
    let lab = lab().await;
    lab.ok(migrate("hv2"));
    lab.pass(1.5).await;
    lab.ok(CancelTask { name: lab.task().meta.name });
    lab.pass(5.0).await;
    lab.assert_task(TaskState::Cancelled);
    assert_eq!((lab.writer("a").as_str(), lab.boots("a"), lab.phase("a")), ("hv1", 1, VmPhase::Running));
}

#[tokio::test(start_paused = true)]
async fn either_daemon_may_die_on_the_way() {
    for (victim, after) in [(0, 0.1), (0, 1.0), (0, 2.5), (1, 0.1), (1, 1.0), (1, 2.5)] {
        let mut lab = lab().await;
        lab.ok(migrate("hv2"));
        lab.pass(after).await;
        lab.kill_agent(victim);
        lab.pass(4.0).await;
        lab.boot_agent(victim);
        lab.pass(30.0).await;
        let told = format!("daemon {victim} killed after {after} s");
        assert_eq!((lab.boots("a"), lab.phase("a")), (1, VmPhase::Running), "{told}");
        assert_eq!(lab.writer("a"), lab.vm("a").placement.expect("placed").node.to_string(), "{told}");
        assert!(lab.vm("a").migration.is_none(), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_lost_by_the_hypervisor_is_found_out() {
    let lab = lab().await;
    lab.hosts.faults(&name("hv1"), |f| f.lose_migrations = 1);
    lab.ok(migrate("hv2"));
    lab.pass(15.0).await;
    lab.assert_task(TaskState::Succeeded);
    assert_eq!((lab.writer("a").as_str(), lab.boots("a")), ("hv2", 1));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_dies_on_the_way_is_started_where_it_was() {
    let lab = lab().await;
    lab.ok(migrate("hv2"));
    lab.pass(1.5).await;
    lab.hosts.end_guest(lab.vm("a").uid(), EndReason::Crashed);
    lab.pass(40.0).await;
    lab.assert_task(TaskState::Failed);
    assert_eq!((lab.writer("a").as_str(), lab.phase("a")), ("hv1", VmPhase::Running));
}

#[tokio::test(start_paused = true)]
async fn a_target_without_a_lease_accepts_nothing() {
    let lab = lab().await;
    lab.leader.cut("hv2");
    lab.pass(4.0).await;
    lab.ok(migrate("hv2"));
    lab.pass(20.0).await;
    assert_eq!((lab.writer("a").as_str(), lab.phase("a")), ("hv1", VmPhase::Migrating));
    lab.ok(CancelTask { name: lab.task().meta.name });
    lab.pass(1.0).await;
    lab.assert_task(TaskState::Cancelled);
}
