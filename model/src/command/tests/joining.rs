use crate::command::ClusterPatch;
use crate::command::Command::*;
use crate::node::{NodeFacts, NodeRole, Reachability};
use crate::role::Role;
use crate::testing::{Cluster, name};

fn report(node: &str, session: u64, facts: bool) -> crate::Command {
    let facts = facts.then(NodeFacts::default);
    Report { node: name(node), session, vms: vec![], volumes: vec![], facts }
}

#[test]
fn a_token_is_spent_once_but_an_interrupted_join_may_go_on() {
    let mut c = Cluster::of(&["hv1"]);
    c.join("hv2", "192.0.2.2:7371", NodeRole::Coordinator).expect("joins");
    let id = c.world.nodes[&name("hv2")].status.member_id;
    assert!(id > 0);
    let token = name("t-hv2");
    let again = c.redeem(&token, "hv2", "192.0.2.2:7371", NodeRole::Coordinator);
    assert_eq!(c.ok(again), 0, "the same node with the same key: nothing new");
    let other = c.redeem(&token, "hv3", "192.0.2.3:7371", NodeRole::Hypervisor);
    assert_eq!(c.rule(other), "token-unused");
    assert_eq!(c.world.nodes[&name("hv2")].status.member_id, id);
}

#[test]
fn tokens_that_are_refused() {
    let mut c = Cluster::of(&["hv1"]);
    let join = |n: &str, only: Option<&str>| CreateJoinToken {
        name: name(n),
        lifetime_seconds: 60,
        node: only.map(name),
        secret_hash: "hash".into(),
    };
    c.ok(join("t1", Some("hv2")));
    assert_eq!(c.rule(join("t1", None)), "name-taken");
    assert_eq!(c.rule(join("t2", Some("hv1"))), "name-taken");
    let wrong_node = c.redeem(&name("t1"), "hv3", "192.0.2.3:7371", NodeRole::Hypervisor);
    assert_eq!(c.rule(wrong_node), "token-for-node");
    let unknown = c.redeem(&name("t9"), "hv3", "192.0.2.3:7371", NodeRole::Hypervisor);
    assert_eq!(c.rule(unknown), "token-known");
    let good = c.redeem(&name("t1"), "hv2", "192.0.2.2:7371", NodeRole::Hypervisor);
    let mut wrong_secret = good.clone();
    if let RedeemJoinToken { secret_hash, .. } = &mut wrong_secret {
        *secret_hash = "other".into();
    }
    assert_eq!(c.rule(wrong_secret), "token-known");
    c.now += 60_000;
    assert_eq!(c.rule(good), "token-not-expired");

    c.ok(CreateApiToken {
        name: name("ci"),
        role: Role::Viewer,
        lifetime_seconds: 0,
        description: String::new(),
        secret_hash: "hash".into(),
    });
    let api = c.redeem(&name("ci"), "hv2", "192.0.2.2:7371", NodeRole::Hypervisor);
    assert_eq!(c.rule(api), "token-kind");
    c.ok(RevokeToken { name: name("ci") });
    assert_eq!(c.rule(RevokeToken { name: name("ci") }), "must-exist");
}

#[test]
fn a_node_name_and_an_address_are_given_once() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    c.ok(CreateJoinToken { name: name("t"), lifetime_seconds: 0, node: None, secret_hash: "hash".into() });
    let taken = c.redeem(&name("t"), "hv2", "192.0.2.7:7371", NodeRole::Hypervisor);
    assert_eq!(c.rule(taken), "name-taken");
    let address = c.world.nodes[&name("hv2")].status.address.clone();
    let same_address = c.redeem(&name("t"), "hv3", &address, NodeRole::Hypervisor);
    assert_eq!(c.rule(same_address), "node-address-unique");
}

#[test]
fn founding_is_done_once() {
    let mut c = Cluster::of(&["hv1"]);
    let found = |n: &str, id| FoundNode { name: name(n), address: "a:1".into(), member_id: id };
    assert_eq!(c.ok(found("hv1", 1)), 0);
    assert_eq!(c.rule(found("hv1", 2)), "node-name-unique");
    assert_eq!(c.rule(found("hv2", 2)), "found-once");
}

#[test]
fn an_old_session_has_no_say() {
    let mut c = Cluster::of(&["hv1"]);
    assert_eq!(c.rule(report("hv1", 2, false)), "session-begins-with-facts");
    c.ok(report("hv1", 2, true));
    assert_eq!(c.rule(report("hv1", 1, true)), "stale-session");
    assert_eq!(c.ok(report("hv1", 2, true)), 0, "nothing new costs nothing");
    assert_eq!(c.rule(report("hv9", 1, true)), "must-exist");
}

#[test]
fn only_an_empty_hypervisor_is_removed() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    c.running("a", "hv2");
    let remove = |n: &str| DeleteNode { name: name(n), expected_revision: 0 };
    assert_eq!(c.rule(remove("hv2")), "node-must-be-empty");
    assert_eq!(c.rule(remove("hv1")), "node-must-not-vote");
    c.ok(StopVm { name: name("a") });
    c.sees("a", crate::vm::ObservedPhase::Stopped);
    c.ok(MoveVm { name: name("a"), node: name("hv1"), method: None });
    c.ok(remove("hv2"));
    assert_eq!(c.map(), "hv1: a");
}

#[test]
fn reachability_is_committed_only_when_it_changes() {
    let mut c = Cluster::of(&["hv1"]);
    let set = |r| SetReachability { node: name("hv1"), reachability: r };
    assert_eq!(c.ok(set(Reachability::Reachable)), 0);
    assert_eq!(c.ok(set(Reachability::Unreachable)), 1);
    assert_eq!(c.ok(set(Reachability::Unreachable)), 0);
}

#[test]
fn api_tokens_have_limits() {
    let mut c = Cluster::of(&["hv1"]);
    let make = |role, lifetime_seconds, description: String| CreateApiToken {
        name: name("ci"),
        role,
        lifetime_seconds,
        description,
        secret_hash: "hash".into(),
    };
    assert_eq!(c.rule(make(Role::Node, 0, String::new())), "token-role");
    assert_eq!(c.rule(make(Role::Admin, 59, String::new())), "token-lifetime");
    assert_eq!(c.rule(make(Role::Admin, u64::MAX, String::new())), "token-lifetime");
    assert_eq!(c.rule(make(Role::Admin, 0, "x".repeat(257))), "description-length");
    c.ok(make(Role::Admin, 0, String::new()));
    assert_eq!(c.rule(make(Role::Admin, 0, String::new())), "name-taken");
}

#[test]
fn a_vote_is_taken_away_for_good() {
    let mut c = Cluster::of(&["hv1"]);
    let role = |node: &str, role| SetNodeRole { node: name(node), role };
    assert_eq!(c.rule(role("hv1", NodeRole::Hypervisor)), "last-coordinator");
    c.join("hv2", "192.0.2.2:7371", NodeRole::Coordinator).expect("joins");
    assert_eq!(c.ok(role("hv2", NodeRole::Coordinator)), 0, "it is one already");
    assert_eq!(c.ok(role("hv2", NodeRole::Hypervisor)), 1);
    let node = &c.world.nodes[&name("hv2")];
    assert_eq!((node.spec.role, node.status.member_id), (NodeRole::Hypervisor, 0));
    assert_eq!(c.ok(role("hv2", NodeRole::Hypervisor)), 0);
    assert_eq!(c.rule(role("hv2", NodeRole::Coordinator)), "coordinator-by-joining");
    c.join("hv3", "192.0.2.3:7371", NodeRole::Hypervisor).expect("joins");
    assert_eq!(c.rule(role("hv3", NodeRole::Coordinator)), "coordinator-by-joining");
}

#[test]
fn a_standby_takes_a_voters_place_and_both_are_told() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    c.join("hv3", "192.0.2.9:7371", NodeRole::Coordinator).expect("joins");
    let standby = |c: &Cluster, node: &str| c.world.nodes[&name(node)].spec.standby;
    let replace = |dead: &str, by: &str| ReplaceVoter { dead: name(dead), by: name(by) };
    assert_eq!(c.rule(replace("hv1", "hv3")), "standby-replaces-voter");
    c.ok(SetStandby { node: name("hv3"), standby: true });
    assert_eq!(c.rule(SetStandby { node: name("hv2"), standby: true }), "coordinator-needed");
    c.ok(replace("hv1", "hv3"));
    assert!(standby(&c, "hv1") && !standby(&c, "hv3"));
    assert!(c.world.faults.contains_key(&crate::command::replaced_fault(&name("hv1"))));
    assert_eq!(c.rule(replace("hv1", "hv3")), "standby-replaces-voter", "once");
}

#[test]
fn settings_have_limits_and_a_default() {
    let mut c = Cluster::of(&["hv1"]);
    let set = |seconds| {
        let patch = ClusterPatch { replace_voter_after_seconds: seconds, ..ClusterPatch::default() };
        UpdateCluster { patch, expected_revision: 0 }
    };
    assert_eq!(c.world.settings().replace_voter_after_seconds, Some(15));
    assert_eq!(c.ok(set(None)), 0);
    assert_eq!(c.rule(set(Some(4))), "out-of-range");
    c.ok(set(Some(60)));
    assert_eq!(c.world.settings().replace_voter_after_seconds, Some(60));
    c.ok(set(Some(0)));
    assert_eq!(c.world.settings().replace_voter_after_seconds, None, "by people only");
}
