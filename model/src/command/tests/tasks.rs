use crate::command::Command::*;
use crate::task::TaskState;
use crate::testing::{Cluster, name};
use crate::vm::ObservedPhase;

#[test]
fn old_tasks_and_dead_tokens_are_forgotten() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    c.running("a", "hv1");
    c.ok(RestartVm { name: name("a"), grace_seconds: 0 });
    assert_eq!((c.world.tasks.len(), c.world.tokens.len()), (2, 1));
    assert_eq!(c.ok(Prune), 0);
    c.now += 24 * 3600 * 1000 + 1;
    c.ok(Prune);
    assert_eq!((c.world.tasks.len(), c.world.tokens.len()), (2, 0));
    c.now += 30 * 24 * 3600 * 1000;
    c.ok(Prune);
    let left: Vec<_> = c.world.tasks.values().map(|t| t.state).collect();
    assert_eq!(left, [TaskState::Running], "what runs is never forgotten");
}

#[test]
fn faults_are_raised_once_acknowledged_and_cleared() {
    let mut c = Cluster::of(&["hv1"]);
    let raise = |message: &str| RaiseFault {
        name: name("node-unreachable.hv1"),
        subject: "node/hv1".into(),
        message: message.into(),
        help: String::new(),
    };
    assert_eq!(c.ok(raise("silent")), 1);
    assert_eq!(c.ok(raise("silent")), 0);
    c.ok(AckFault { name: name("node-unreachable.hv1") });
    assert_eq!(c.ok(raise("silent on every path")), 1);
    let fault = c.world.faults.values().next().cloned().expect("raised");
    assert_eq!(fault.acknowledged_by.as_deref(), Some("admin/test"));
    assert_eq!(c.ok(ClearFault { name: name("node-unreachable.hv1") }), 1);
    assert_eq!(c.ok(ClearFault { name: name("node-unreachable.hv1") }), 0);
    assert_eq!(c.rule(AckFault { name: name("node-unreachable.hv1") }), "must-exist");
}

#[test]
fn advancing_what_has_not_moved_changes_nothing() {
    let mut c = Cluster::of(&["hv1"]);
    c.create("a");
    c.ok(StartVm { name: name("a"), node: None });
    let task = c.task_of("a").meta.name;
    for _ in 0..3 {
        assert_eq!(c.ok(AdvanceTask { name: task.clone() }), 0);
    }
    c.sees("a", ObservedPhase::Running);
    assert_eq!(c.ok(AdvanceTask { name: task }), 0);
    assert_eq!(c.rule(AdvanceTask { name: name("nosuch") }), "must-exist");
}

#[test]
fn the_same_report_twice_changes_nothing() {
    let mut c = Cluster::of(&["hv1"]);
    c.running("a", "hv1");
    let revision = c.world.revision;
    c.sees("a", ObservedPhase::Running);
    assert_eq!(c.world.revision, revision);
}
