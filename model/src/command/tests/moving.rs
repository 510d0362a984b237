use crate::command::Command::{self, *};
use crate::command::MigrationEvent::*;
use crate::task::TaskState::{Cancelled, Failed, Running, Succeeded};
use crate::testing::{Cluster, name};
use crate::vm::{MigrationMethod, MigrationPhase, ObservedPhase};

fn cluster() -> Cluster {
    let mut c = Cluster::of(&["hv1", "hv2", "hv3"]);
    c.running("a", "hv1");
    c
}

fn migrate(to: &str) -> Command {
    MigrateVm { name: name("a"), node: Some(name(to)), method: None }
}

fn move_to(to: &str) -> Command {
    MoveVm { name: name("a"), node: name(to), method: None }
}

#[test]
fn away_and_home_again() {
    let mut c = cluster();
    c.ok(migrate("hv2"));
    assert_eq!(c.map(), "hv1: a | hv2: | hv3:", "it stays where it is until it has arrived");
    c.tells("hv2", "a", Ready);
    assert_eq!(c.vm("a").migration.map(|m| m.phase), Some(MigrationPhase::Transferring));
    c.tells("hv1", "a", Arrived);
    assert_eq!(c.map(), "hv1: | hv2: a | hv3:");
    c.assert_task("a", Succeeded);
    assert_eq!(c.task_of("a").message, "paused for 84 ms");
    assert_eq!(c.vm("a").migrated_from, Some(name("hv1")));
    assert_eq!(c.vm("a").placement.map(|p| p.epoch), Some(2));

    // On to a third node: home is still the first.
    c.ok(migrate("hv3"));
    c.tells("hv3", "a", Ready);
    c.tells("hv3", "a", Arrived);
    assert_eq!(c.vm("a").migrated_from, Some(name("hv1")));

    c.ok(UnmigrateVm { name: name("a"), method: None });
    c.tells("hv1", "a", Ready);
    c.tells("hv3", "a", Arrived);
    assert_eq!(c.map(), "hv1: a | hv2: | hv3:");
    assert_eq!(c.vm("a").migrated_from, None);
    assert_eq!(c.rule(UnmigrateVm { name: name("a"), method: None }), "vm-must-be-away");
}

#[test]
fn moved_for_good() {
    let mut c = cluster();
    c.ok(move_to("hv2"));
    c.tells("hv2", "a", Ready);
    c.tells("hv2", "a", Arrived);
    assert_eq!((c.vm("a").spec.home, c.vm("a").migrated_from), (Some(name("hv2")), None));
    assert_eq!(c.rule(move_to("hv2")), "target-differs");
}

#[test]
fn moving_to_where_it_was_migrated_makes_that_its_home() {
    let mut c = cluster();
    c.ok(migrate("hv2"));
    c.tells("hv2", "a", Ready);
    c.tells("hv2", "a", Arrived);
    c.ok(move_to("hv2"));
    c.assert_task("a", Succeeded);
    assert_eq!((c.vm("a").spec.home, c.vm("a").migrated_from), (Some(name("hv2")), None));
}

#[test]
fn failures_leave_it_at_the_source() {
    let mut c = cluster();
    c.ok(migrate("hv2"));
    c.tells("hv2", "a", crate::command::MigrationEvent::Failed);
    c.assert_task("a", Failed);
    assert_eq!(c.task_of("a").message, "node hv2 can't take it: no memory");

    c.ok(migrate("hv2"));
    c.tells("hv2", "a", Ready);
    c.tells("hv1", "a", crate::command::MigrationEvent::Failed);
    c.assert_task("a", Failed);
    assert_eq!(c.map(), "hv1: a | hv2: | hv3:");
    assert_eq!(c.vm("a").placement.map(|p| p.epoch), Some(1));
}

#[test]
fn cancelled_before_and_during_the_transfer() {
    let mut c = cluster();
    c.ok(migrate("hv2"));
    c.ok(CancelTask { name: c.task_of("a").meta.name });
    c.assert_task("a", Cancelled);

    c.ok(migrate("hv2"));
    c.tells("hv2", "a", Ready);
    c.ok(CancelTask { name: c.task_of("a").meta.name });
    c.assert_task("a", Running);
    assert!(c.vm("a").migration.is_some_and(|m| m.cancel));
    c.tells("hv1", "a", crate::command::MigrationEvent::Failed);
    c.assert_task("a", Cancelled);

    // Too late: it had arrived.
    c.ok(migrate("hv2"));
    c.tells("hv2", "a", Ready);
    c.ok(CancelTask { name: c.task_of("a").meta.name });
    c.tells("hv2", "a", Arrived);
    c.assert_task("a", Succeeded);
}

#[test]
fn a_guest_that_is_nowhere_is_started_at_the_source_only_when_both_say_so() {
    let mut c = cluster();
    c.ok(migrate("hv2"));
    c.tells("hv2", "a", Ready);
    // Not there yet: that says nothing while the source may still send it.
    c.tells("hv2", "a", Absent);
    c.tells("hv1", "a", Absent);
    c.assert_task("a", Running);
    assert!(!c.vm("a").is_proven_off());
    c.tells("hv2", "a", Absent);
    c.assert_task("a", Failed);
    assert!(c.vm("a").should_run() && c.vm("a").placed_on(&name("hv1")));
}

#[test]
fn words_out_of_turn_change_nothing() {
    let mut c = cluster();
    c.ok(migrate("hv2"));
    let before = c.vm("a");
    for (node, event) in [("hv1", Ready), ("hv2", Arrived), ("hv1", Arrived), ("hv3", Ready), ("hv1", Absent)]
    {
        c.tells(node, "a", event);
        assert_eq!(c.vm("a"), before, "{node} {event:?}");
    }
    c.tells("hv2", "a", Ready);
    let before = c.vm("a");
    for (node, event) in [("hv2", Ready), ("hv2", crate::command::MigrationEvent::Failed), ("hv3", Arrived)] {
        c.tells(node, "a", event);
        assert_eq!(c.vm("a"), before, "{node} {event:?}");
    }
}

#[test]
fn a_target_that_never_gets_ready_is_given_up() {
    let mut c = cluster();
    c.ok(migrate("hv2"));
    let task = c.task_of("a").meta.name;
    c.now += 60_000;
    assert_eq!(c.ok(AdvanceTask { name: task.clone() }), 0);
    c.now += 1;
    c.ok(AdvanceTask { name: task });
    c.assert_task("a", Failed);
    assert!(c.vm("a").migration.is_none());
}

#[test]
fn by_shutdown() {
    let mut c = cluster();
    c.ok(MoveVm { name: name("a"), node: name("hv3"), method: Some(MigrationMethod::Shutdown) });
    assert!(c.vm("a").release);
    assert_eq!(c.map(), "hv1: a | hv2: | hv3:");
    c.sees("a", ObservedPhase::ShuttingDown);
    assert_eq!(c.map(), "hv1: a | hv2: | hv3:");
    c.sees("a", ObservedPhase::Stopped);
    assert_eq!(c.map(), "hv1: | hv2: | hv3: a");
    assert_eq!(c.task_of("a").stage_name(), "start");
    c.sees("a", ObservedPhase::Running);
    c.assert_task("a", Succeeded);
    assert_eq!(c.vm("a").spec.home, Some(name("hv3")));
}

#[test]
fn a_stopped_vm_moves_by_word() {
    let mut c = cluster();
    c.ok(StopVm { name: name("a") });
    assert_eq!(c.rule(migrate("hv2")), "vm-must-run");
    assert_eq!(c.rule(move_to("hv2")), "vm-busy");
    c.sees("a", ObservedPhase::Stopped);
    c.ok(move_to("hv2"));
    c.assert_task("a", Succeeded);
    assert_eq!(c.map(), "hv1: | hv2: a | hv3:");
}

#[test]
fn refused_targets_and_sources() {
    let mut c = cluster();
    assert_eq!(c.rule(migrate("hv1")), "target-differs");
    assert_eq!(c.rule(migrate("hv9")), "must-exist");
    c.unreachable("hv2");
    assert_eq!(c.rule(migrate("hv2")), "target-takes-vm");
    c.unreachable("hv1");
    assert_eq!(c.rule(migrate("hv3")), "source-reachable");
}

#[test]
fn power_is_not_touched_in_mid_migration() {
    let mut c = cluster();
    c.ok(migrate("hv2"));
    assert_eq!(c.rule(StopVm { name: name("a") }), "vm-busy");
    assert_eq!(c.rule(ShutdownVm { name: name("a"), grace_seconds: 0 }), "vm-busy");
    assert_eq!(c.rule(DisableVm { name: name("a"), grace_seconds: 0, force: true }), "vm-busy");
    assert_eq!(c.rule(DeleteVm { name: name("a"), delete_volumes: false, expected_revision: 0 }), "vm-busy");
    assert_eq!(c.rule(DeleteNode { name: name("hv2"), expected_revision: 0 }), "node-must-be-empty");
}
