use crate::command::Command::*;
use crate::command::MigrationEvent;
use crate::leaving::OnShutdown;
use crate::node::{NodeFacts, Reachability};
use crate::plan;
use crate::task::{Task, TaskKind, TaskState};
use crate::testing::{Cluster, name, spec};
use crate::vm::ObservedPhase;

fn shuts_down(node: &str) -> crate::Command {
    LeaveNode { node: name(node), session: 1, within_seconds: 900 }
}

fn policy(c: &mut Cluster, node: &str, on_shutdown: OnShutdown) {
    c.ok(UpdateNode {
        name: name(node),
        schedulable: None,
        on_return: None,
        on_shutdown: Some(on_shutdown),
        isolation: None,
        expected_revision: 0,
    });
}

/// Its daemon starts again.
fn boots(c: &mut Cluster, node: &str) {
    let facts = NodeFacts { cpus: 4, memory_mib: 4096, ..NodeFacts::default() };
    let (vms, volumes) = (vec![], vec![]);
    c.ok(Report { node: name(node), session: 2, vms, volumes, facts: Some(facts) });
}

fn hear(c: &mut Cluster, node: &str) {
    c.ok(SetReachability { node: name(node), reachability: Reachability::Reachable });
}

fn task(c: &Cluster) -> Task {
    let of_nodes = c.world.tasks.values().filter(|t| {
        matches!(
            t.kind,
            TaskKind::NodeShutdown { .. } | TaskKind::NodeReady { .. } | TaskKind::NodeFlush { .. }
        )
    });
    Task::clone(of_nodes.max_by_key(|t| (t.started, t.meta.revision)).expect("there is one"))
}

fn is_empty(c: &Cluster, node: &str) -> bool {
    let leaving = c.world.nodes[&name(node)].status.leaving.as_ref();
    leaving.expect("its host is being shut down").empty
}

fn transfer(c: &mut Cluster, vm: &str) {
    let migration = c.vm(vm).migration.expect("it migrates");
    c.tells(migration.to.as_str(), vm, MigrationEvent::Ready);
}

fn arrive(c: &mut Cluster, vm: &str) {
    c.now += 1_000;
    transfer(c, vm);
    let from = c.vm(vm).migration.expect("it migrates").from;
    c.tells(from.as_str(), vm, MigrationEvent::Arrived);
    c.sees(vm, ObservedPhase::Running);
}

#[test]
fn its_vms_move_away_and_return_with_it() {
    let mut c = Cluster::of(&["hv1", "hv2", "hv3"]);
    c.running("a", "hv3");
    c.running("b", "hv3");
    c.ok(shuts_down("hv3"));
    assert!(!is_empty(&c, "hv3"));
    let rule = c.rule(MigrateVm { name: name("a"), node: Some(name("hv3")), method: None });
    assert!(["vm-busy", "target-takes-vm"].contains(&rule), "nothing new is placed there: {rule}");
    assert_eq!(c.ok(shuts_down("hv3")), 0, "said again, it changes nothing");
    arrive(&mut c, "a");
    assert!(!is_empty(&c, "hv3"), "one is left");
    arrive(&mut c, "b");
    assert!(is_empty(&c, "hv3"));
    assert_eq!((task(&c).kind.as_str(), task(&c).state), ("node.shutdown", TaskState::Succeeded));
    c.unreachable("hv3");
    c.now += 600_000;
    assert_eq!(
        c.run(shuts_down("hv3")),
        Ok(0),
        "the word of a daemon that is gone is late, and changes nothing"
    );

    boots(&mut c, "hv3");
    let node = &c.world.nodes[&name("hv3")];
    assert!(node.is_excused(std::time::Duration::from_secs(600)), "it was not heard yet");
    hear(&mut c, "hv3");
    assert_eq!(c.world.nodes[&name("hv3")].status.leaving, None);
    arrive(&mut c, "a");
    arrive(&mut c, "b");
    assert_eq!((task(&c).kind.as_str(), task(&c).state), ("node.ready", TaskState::Succeeded));
    assert_eq!(c.map(), "hv1: | hv2: | hv3: a b");
}

#[test]
fn what_fits_nowhere_is_shut_down_and_started_when_it_is_back() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    for (vm, memory_mib) in [("big", 3000), ("small", 128), ("there", 3000)] {
        let mut large = spec();
        large.memory_mib = memory_mib;
        c.ok(CreateVm { name: name(vm), spec: large });
    }
    c.running_as_made("big", "hv1");
    c.running_as_made("small", "hv1");
    c.running_as_made("there", "hv2");
    c.ok(shuts_down("hv1"));
    assert!(c.vm("big").release && c.vm("small").migration.is_some());
    arrive(&mut c, "small");
    let intent = c.vm("big").intent;
    for _ in 0..3 {
        c.now += 10_000;
        assert_eq!(c.ok(AdvanceTask { name: task(&c).meta.name }), 0, "{}", task(&c).message);
    }
    assert_eq!(c.vm("big").intent, intent, "it is asked once");
    c.sees("big", ObservedPhase::Stopped);
    assert!(is_empty(&c, "hv1"));
    boots(&mut c, "hv1");
    assert!(c.vm("big").should_run());
}

#[test]
fn they_are_shut_down_where_people_want_that() {
    let mut c = Cluster::of(&["hv1", "hv2", "hv3"]);
    policy(&mut c, "hv1", OnShutdown::Stop);
    c.running("a", "hv1");
    c.running("b", "hv1");
    c.ok(shuts_down("hv1"));
    assert!(c.vm("a").migration.is_none() && c.vm("a").release && c.vm("b").release);
    c.sees("a", ObservedPhase::Stopped);
    assert!(!is_empty(&c, "hv1"));
    c.sees("b", ObservedPhase::Stopped);
    assert!(is_empty(&c, "hv1"));
    c.unreachable("hv1");
    let (phase, why) = crate::phase::vm_phase(&c.world, &c.vm("a"));
    assert_eq!((phase, why.as_str()), (crate::phase::VmPhase::Stopped, "until node hv1 takes VMs again"));
    // A person need not wait for it.
    c.ok(StartVm { name: name("a"), node: None });
    assert_eq!(c.vm("a").placement.map(|p| p.node), Some(name("hv2")));
    boots(&mut c, "hv1");
    hear(&mut c, "hv1");
    assert!(c.vm("b").should_run());
    assert_eq!(c.map(), "hv1: b | hv2: a | hv3:");
}

#[test]
fn they_stay_where_people_want_that() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    policy(&mut c, "hv1", OnShutdown::Keep);
    c.running("a", "hv1");
    let before = c.vm("a");
    c.ok(shuts_down("hv1"));
    assert_eq!(c.vm("a"), before);
    assert!(!is_empty(&c, "hv1"), "its silence is excused for a while only");
    assert!(!plan::is_released(&c.vm("a")));
    boots(&mut c, "hv1");
    assert!(c.vm("a").should_run());
}

#[test]
fn what_could_not_leave_in_time_is_shut_down() {
    let mut c = Cluster::of(&["hv1", "hv2", "hv3"]);
    for vm in ["a", "b", "c"] {
        c.running(vm, "hv1");
    }
    c.ok(shuts_down("hv1"));
    let name_of_task = task(&c).meta.name;
    transfer(&mut c, "a");
    transfer(&mut c, "b");
    c.now += 599_000;
    c.ok(AdvanceTask { name: name_of_task.clone() });
    assert!(!c.vm("c").release);
    c.now += 1_000;
    c.ok(AdvanceTask { name: name_of_task });
    assert!(c.vm("c").release, "{}", task(&c).message);
    assert!(!c.vm("a").release && c.vm("a").migration.is_some(), "what is on its way arrives");
    arrive(&mut c, "a");
    arrive(&mut c, "b");
    c.sees("c", ObservedPhase::Stopped);
    assert!(is_empty(&c, "hv1"));
}

#[test]
fn a_person_may_call_the_moving_off() {
    let mut c = Cluster::of(&["hv1", "hv2", "hv3"]);
    for vm in ["a", "b", "c"] {
        c.running(vm, "hv1");
    }
    c.ok(shuts_down("hv1"));
    c.ok(CancelTask { name: task(&c).meta.name });
    assert_eq!(task(&c).state, TaskState::Cancelled);
    let leaving = c.world.nodes[&name("hv1")].status.leaving.clone().expect("it goes down all the same");
    assert_eq!((leaving.policy, leaving.empty), (OnShutdown::Keep, false));
}

#[test]
fn a_maintenance_stays_one() {
    let mut c = Cluster::of(&["hv1", "hv2", "hv3"]);
    c.running("a", "hv1");
    c.ok(FlushNode { node: name("hv1"), stop_unmovable: false });
    let flush = task(&c).meta.name;
    c.now += 1;
    c.ok(shuts_down("hv1"));
    assert_eq!(c.world.tasks[&flush].state, TaskState::Cancelled);
    assert_eq!(task(&c).kind.as_str(), "node.shutdown");
    arrive(&mut c, "a");
    assert!(is_empty(&c, "hv1"));
    boots(&mut c, "hv1");
    let node = &c.world.nodes[&name("hv1")];
    assert!(node.spec.maintenance && node.status.leaving.is_none());
    assert_eq!(task(&c).kind.as_str(), "node.shutdown", "nothing returns before a person says so");
}

/// Its guests were not gone when it fell silent: it is fenced, and then those that waited for it are recovered too.
#[test]
fn one_that_did_not_get_ready_is_fenced_like_any_other() {
    let mut c = Cluster::of(&["hv1", "hv2", "hv3"]);
    policy(&mut c, "hv1", OnShutdown::Stop);
    c.running("a", "hv1");
    c.running("b", "hv1");
    c.ok(shuts_down("hv1"));
    c.sees("a", ObservedPhase::Stopped);
    c.unreachable("hv1");
    assert!(!c.world.nodes[&name("hv1")].is_excused(std::time::Duration::from_secs(3)));
    c.ok(BeginFence { node: name("hv1"), reason: "it is silent".into() });
    c.ok(AcceptProof { node: name("hv1"), epoch: 1, kind: crate::fence::ProofKind::Power });
    assert_eq!(c.world.vms_placed_on(&name("hv1")).count(), 0, "{}", c.map());
    assert!(c.vm("a").should_run() && c.vm("b").should_run());
    boots(&mut c, "hv1");
    hear(&mut c, "hv1");
    assert_eq!(c.world.nodes[&name("hv1")].status.leaving, None);
    assert!(c.world.nodes[&name("hv1")].is_fenced());
}

#[test]
fn a_daemon_that_is_over_announces_nothing() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    boots(&mut c, "hv1");
    assert_eq!(c.rule(shuts_down("hv1")), "stale-session");
    let early = LeaveNode { node: name("hv1"), session: 3, within_seconds: 900 };
    assert_eq!(c.rule(early), "session-begins-with-facts");
}

/// The network fails for a moment while its guests leave: that is no return.
#[test]
fn a_moment_of_silence_calls_nothing_back() {
    let mut c = Cluster::of(&["hv1", "hv2", "hv3"]);
    c.running("a", "hv1");
    c.ok(shuts_down("hv1"));
    c.unreachable("hv1");
    hear(&mut c, "hv1");
    assert!(c.world.nodes[&name("hv1")].status.leaving.is_some());
    arrive(&mut c, "a");
    assert!(is_empty(&c, "hv1"));
}
