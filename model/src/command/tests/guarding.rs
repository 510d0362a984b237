//! Guards: when the leader may rely on one, and what it proves.

use std::time::Duration;

use crate::command::Command;
use crate::fence::{FencePhase, ProofKind};
use crate::guard::{Guard, GuardKind, Isolation};
use crate::node::{Node, NodeFacts};
use crate::testing::{Cluster, name};

fn guard() -> Guard {
    Guard { kind: GuardKind::Process, device: String::new(), strike_after: Duration::from_secs(10) }
}

fn isolate(isolation: Isolation) -> Command {
    Command::UpdateNode {
        name: name("hv2"),
        schedulable: None,
        on_return: None,
        on_shutdown: None,
        isolation: Some(isolation),
        expected_revision: 0,
    }
}

fn word(session: u64, after: u64, guard: Option<Guard>) -> Command {
    Command::ReportGuard { node: name("hv2"), session, after, guard }
}

fn begin() -> Command {
    Command::BeginFence { node: name("hv2"), reason: "it is silent".into() }
}

fn lapsed(epoch: u64) -> Command {
    Command::AcceptProof { node: name("hv2"), epoch, kind: ProofKind::Lease }
}

fn hv2(cluster: &Cluster) -> &Node {
    &cluster.world.nodes[&name("hv2")]
}

/// VM a runs on hv2, whose guard is armed.
fn armed() -> Cluster {
    let mut c = Cluster::of(&["hv1", "hv2", "hv3"]);
    c.running("a", "hv2");
    c.ok(isolate(Isolation::Stop));
    c.ok(word(1, 0, Some(guard())));
    c
}

#[test]
fn a_lapsed_lease_proves_that_an_armed_guard_has_struck() {
    let mut c = armed();
    assert_eq!(hv2(&c).relied_guard(), Some(&guard()));
    c.unreachable("hv2");
    c.ok(begin());
    assert_eq!(c.map(), "hv1: | hv2: a | hv3:");
    c.ok(lapsed(1));
    assert_eq!(c.map(), "hv1: a | hv2: | hv3:");
    let fence = hv2(&c).status.fence.clone().unwrap();
    assert_eq!((fence.phase, fence.proof.unwrap().kind), (FencePhase::Fenced, ProofKind::Lease));
}

#[test]
fn without_an_armed_guard_a_lapsed_lease_proves_nothing() {
    let mut c = Cluster::of(&["hv1", "hv2", "hv3"]);
    c.running("a", "hv2");
    let before = c.map();
    c.ok(isolate(Isolation::Stop));
    c.unreachable("hv2");
    c.ok(begin());
    assert_eq!(c.rule(lapsed(1)), "guard-armed", "it was never armed");
    let mut c = armed();
    c.ok(word(1, 1, None));
    c.unreachable("hv2");
    c.ok(begin());
    assert_eq!(c.rule(lapsed(1)), "guard-armed", "its node has taken its word back");
    let mut c = armed();
    c.ok(isolate(Isolation::Keep));
    c.unreachable("hv2");
    c.ok(begin());
    assert_eq!(c.rule(lapsed(1)), "guard-armed", "its guests are to run on");
    assert_eq!(c.map(), before);
    c.ok(Command::AcceptProof { node: name("hv2"), epoch: 1, kind: ProofKind::Power });
    assert_eq!(c.map(), "hv1: a | hv2: | hv3:", "another proof is as good as ever");
}

#[test]
fn a_word_of_before_is_not_believed_however_late_it_comes() {
    let mut c = armed();
    assert_eq!(c.ok(word(1, 1, Some(guard()))), 0, "no news");
    c.ok(word(1, 1, None));
    assert_eq!(c.rule(word(1, 1, Some(guard()))), "guard-word-newest");
    assert_eq!(c.rule(word(1, 0, Some(guard()))), "guard-word-newest");
    // It takes back a word that has not come yet: that one must not count any more either.
    c.ok(word(1, 2, None));
    assert_eq!(c.rule(word(1, 2, Some(guard()))), "guard-word-newest");
    assert_eq!(hv2(&c).status.guard, None);
    c.ok(word(1, 3, Some(guard())));
    assert_eq!(hv2(&c).status.guard, Some(guard()));
}

#[test]
fn a_daemon_that_begins_anew_is_not_relied_upon_before_it_says_so() {
    let mut c = armed();
    let facts = Some(NodeFacts { cpus: 4, memory_mib: 4096, ..NodeFacts::default() });
    let report =
        |session, facts| Command::Report { node: name("hv2"), session, vms: vec![], volumes: vec![], facts };
    c.ok(report(1, facts.clone()));
    assert!(hv2(&c).status.guard.is_some(), "the same session");
    c.ok(report(2, facts));
    assert_eq!(hv2(&c).status.guard, None, "its host may have been off since, and its guard is not armed");
    assert_eq!(c.rule(word(1, 1, Some(guard()))), "stale-session");
    assert_eq!(c.rule(word(3, 2, Some(guard()))), "session-begun");
    assert_eq!(c.rule(word(2, 1, Some(guard()))), "guard-word-newest");
    c.ok(word(2, 2, Some(guard())));
}

#[test]
fn only_a_guard_that_is_wanted_and_strikes_in_time_is_taken() {
    let mut c = Cluster::of(&["hv1", "hv2", "hv3"]);
    assert_eq!(c.rule(word(1, 0, Some(guard()))), "isolation-stop");
    c.ok(isolate(Isolation::Stop));
    let late = Guard { strike_after: Duration::from_secs(61), ..guard() };
    assert_eq!(c.rule(word(1, 0, Some(late))), "guard-in-time");
    assert_eq!(hv2(&c).status.guard, None);
}

#[test]
fn after_a_recovery_no_guard_is_relied_upon() {
    let mut c = armed();
    c.ok(Command::BeginRecovery { recoveries: 1, members: [1].into() });
    assert_eq!(hv2(&c).status.guard, None);
    assert_eq!(c.rule(word(1, 1, Some(guard()))), "guard-word-newest");
}
