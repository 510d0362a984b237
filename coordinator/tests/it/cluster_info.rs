//! The cluster as a whole: how it is, who votes and leads, who did what.

use std::time::Duration;

use pvc_coordinator::services::ClusterInfo;
use pvc_model::Role;
use pvc_model::node::NodeRole;
use pvc_model::vm::ObservedPhase;
use pvc_proto::v1;
use pvc_proto::v1::cluster_service_server::ClusterService;
use pvc_proto::v1::vm_service_server::VmService;
use tonic::Code;

use super::cluster::name;
use super::desk::{Desk, admin, from, help, refused, rule};

async fn status(info: &ClusterInfo) -> v1::ClusterStatus {
    let request = admin(v1::GetClusterStatusRequest {});
    info.get_cluster_status(request).await.expect("a status").into_inner()
}

fn transfer(node: &str) -> tonic::Request<v1::TransferLeadershipRequest> {
    admin(v1::TransferLeadershipRequest { node: node.to_owned() })
}

fn voter(node: &str, voter: bool) -> tonic::Request<v1::SetVoterRequest> {
    admin(v1::SetVoterRequest { node: node.to_owned(), voter, ..Default::default() })
}

#[tokio::test(start_paused = true)]
async fn everybody_is_told_who_they_are() {
    let desk = Desk::open().await;
    let info = desk.info().await;
    let who = async |identity: &str, role| {
        let answer =
            info.who_am_i(from(identity, role, v1::WhoAmIRequest {})).await.expect("an answer").into_inner();
        (answer.identity.clone(), answer.role(), answer.answered_by)
    };
    let here = || "hv1".to_owned();
    assert_eq!(who("token/ci", Some(Role::Viewer)).await, ("token/ci".into(), v1::Role::Viewer, here()));
    assert_eq!(who("node/hv2", Some(Role::Node)).await, ("node/hv2".into(), v1::Role::Node, here()));
    assert_eq!(who("service/api", None).await, ("service/api".into(), v1::Role::Unspecified, here()));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_well_says_so() {
    let desk = Desk::open().await;
    desk.define("web1", &[]).await;
    desk.run("web1", "hv2").await;
    desk.define("web2", &[]).await;
    let told = status(&desk.info().await).await;
    assert_eq!((told.healthy, told.problems.as_slice()), (true, &[][..]));
    assert_eq!((told.cluster_id.as_str(), told.leader.as_str()), ("test-cluster", "hv1"));
    assert_eq!((told.nodes, told.nodes_reachable, told.vms, told.vms_running), (3, 3, 2, 1));
    let mut members: Vec<_> = told.members.iter().map(|m| (m.node.as_str(), m.voter, m.leader)).collect();
    members.sort_unstable();
    assert_eq!(members, [("hv1", true, true), ("hv2", true, false), ("hv3", true, false)]);
    let store = told.store.expect("a store");
    assert!(told.members.iter().all(|m| m.matched == store.last_log && m.address.starts_with(&m.node)));
    assert!(store.term > 0 && store.commits > 0 && store.committed == store.last_log);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_well_is_told_in_words() {
    let desk = Desk::open().await;
    desk.define("web1", &[]).await;
    desk.run("web1", "hv2").await;
    desk.says("web1", ObservedPhase::Failed, "no kernel").await;
    desk.silence("hv3").await;
    desk.cluster.enrol("hv4", NodeRole::Coordinator).await;
    let info = desk.info().await;
    // That it is silent, and that it has no BMC by which it could be fenced.
    info.shared.core.worlds().wait_for(|world| world.faults.len() == 2).await.expect("two faults");
    let told = status(&info).await;
    assert!(!told.healthy);
    let says =
        |told: &v1::ClusterStatus, word: &str| told.problems.iter().any(|problem| problem.contains(word));
    assert!(says(&told, "node hv3 has been silent"), "{:?}", told.problems);
    assert!(says(&told, "vm/web1 has failed: no kernel"), "{:?}", told.problems);
    assert!(says(&told, "pvc cluster voter add hv4"), "{:?}", told.problems);
    assert_eq!((told.nodes, told.nodes_reachable, told.vms_failed, told.faults), (4, 2, 1, 2));

    let faults =
        info.list_faults(admin(v1::ListFaultsRequest::default())).await.expect("faults").into_inner().faults;
    let named = |fault: &v1::Fault| fault.meta.clone().expect("meta").name;
    let names: Vec<_> = faults.iter().map(named).collect();
    assert_eq!(names, ["fence-stuck.hv3", "node-unreachable.hv3"]);
    assert!(faults.iter().all(|fault| fault.state() == v1::FaultState::New));
    let fault = names[1].clone();
    let ack = v1::AckFaultRequest { name: fault, request_id: String::new() };
    let seen = info.ack_fault(admin(ack)).await.expect("acknowledged").into_inner();
    assert_eq!((seen.state(), seen.acknowledged_by.as_str()), (v1::FaultState::Acknowledged, "admin/root"));
    assert!(says(&status(&info).await, "(acknowledged by admin/root)"));
    let unknown = v1::AckFaultRequest { name: "nothing".into(), request_id: String::new() };
    assert_eq!(refused(info.ack_fault(admin(unknown)).await), (Code::NotFound, "must-exist".into()));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_a_quorum_can_still_be_asked_how_it_is() {
    let desk = Desk::open().await;
    let info = desk.info().await;
    let (leader, _) = desk.cluster.leader().await;
    for id in desk.cluster.coordinators.keys().filter(|id| **id != leader) {
        desk.cluster.kill(*id).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let told = status(&info).await;
    assert!(!told.healthy);
    assert!(
        told.problems.iter().any(|problem| problem.contains("nothing can be changed")),
        "{:?}",
        told.problems
    );
}

#[tokio::test(start_paused = true)]
async fn leadership_goes_where_it_is_asked_to() {
    let desk = Desk::open().await;
    let info = desk.info().await;
    let told = info.transfer_leadership(transfer("hv3")).await.expect("handed over").into_inner();
    assert_eq!(told.leader, "hv3");
    let (_, leader) = desk.cluster.leader().await;
    assert_eq!(leader.leader(), Some(name("hv3")));
    let elsewhere = info.transfer_leadership(transfer("")).await.expect_err("it leads no more");
    assert_eq!((elsewhere.code(), rule(&elsewhere).as_str()), (Code::Unavailable, "not-leader"));

    let info = desk.info().await;
    let told = info.transfer_leadership(transfer("hv3")).await.expect("it leads already").into_inner();
    assert_eq!(told.leader, "hv3");
    let told = info.transfer_leadership(transfer("")).await.expect("handed over").into_inner();
    assert_ne!(told.leader, "hv3");
    desk.define("after", &[]).await;
}

#[tokio::test(start_paused = true)]
async fn leadership_goes_to_nobody_who_can_not_take_it() {
    let desk = Desk::open().await;
    desk.cluster.enrol("hv4", NodeRole::Hypervisor).await;
    let info = desk.info().await;
    assert_eq!(refused(info.transfer_leadership(transfer("hv4")).await).1, "leader-votes");
    assert_eq!(
        refused(info.transfer_leadership(transfer("hv9")).await),
        (Code::NotFound, "must-exist".into())
    );
    let dead = info.shared.core.world().nodes[&name("hv3")].status.member_id;
    desk.cluster.kill(dead).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(refused(info.transfer_leadership(transfer("hv3")).await).1, "leader-answers");
    let told = info.transfer_leadership(transfer("")).await.expect("handed over").into_inner();
    assert_eq!(told.leader, "hv2");
}

#[tokio::test(start_paused = true)]
async fn votes_are_given_and_taken() {
    let mut desk = Desk::open().await;
    let id = desk.cluster.enrol("hv4", NodeRole::Coordinator).await;
    let info = desk.info().await;
    let early = info.set_voter(voter("hv4", true)).await.expect_err("its pvcd does not run");
    assert_eq!((early.code(), rule(&early).as_str()), (Code::Unavailable, "member-reachable"));
    desk.cluster.open(id, "hv4").await;
    let voters = |told: v1::ClusterStatus| {
        let mut voters: Vec<String> = told.members.into_iter().filter(|m| m.voter).map(|m| m.node).collect();
        voters.sort_unstable();
        voters
    };
    let four = ["hv1", "hv2", "hv3", "hv4"];
    for _ in 0..2 {
        info.set_voter(voter("hv4", true)).await.expect("it votes, however often it is asked");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let told = status(&info).await;
        assert!(told.problems.iter().any(|p| p.contains("4 coordinators vote")), "{:?}", told.problems);
        assert_eq!(voters(told), four);
    }
    for _ in 0..2 {
        info.set_voter(voter("hv2", false)).await.expect("it votes no more, however often it is asked");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(voters(status(&info).await), ["hv1", "hv3", "hv4"]);
    }
    let node = info.shared.core.world().nodes[&name("hv2")].clone();
    assert_eq!((node.spec.role, node.status.member_id), (NodeRole::Hypervisor, 0));
    let again = info.set_voter(voter("hv2", true)).await.expect_err("refused");
    assert_eq!((again.code(), rule(&again).as_str()), (Code::FailedPrecondition, "coordinator-by-joining"));
    assert!(help(&again).contains("pvc-bootstrap join --role coordinator"), "{}", help(&again));
    assert_eq!(refused(info.set_voter(voter("hv9", true)).await).0, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_loses_its_vote_hands_over_first() {
    let desk = Desk::open().await;
    let old = desk.info().await;
    let sent_on = old.set_voter(voter("hv1", false)).await.expect_err("its successor does it");
    assert_eq!((sent_on.code(), rule(&sent_on).as_str()), (Code::Unavailable, "not-leader"));
    assert!(sent_on.metadata().contains_key("pvc-leader"), "the client is told whom to ask");
    let new = desk.info().await;
    assert_ne!(new.shared.node, name("hv1"));
    new.set_voter(voter("hv1", false)).await.expect("it votes no more");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = status(&new).await;
    assert!(told.members.iter().all(|member| member.node != "hv1"), "{:?}", told.members);
    desk.define("after", &[]).await;
}

#[tokio::test(start_paused = true)]
async fn the_audit_tells_who_did_what() {
    let desk = Desk::open().await;
    let info = desk.info().await;
    let vms = desk.vms().await;
    let create = |vm: &str| v1::CreateVmRequest {
        name: vm.into(),
        spec: Some(super::desk::spec()),
        ..Default::default()
    };
    let alice = |message| from("admin/alice", Some(Role::Admin), message);
    vms.create_vm(alice(create("web1"))).await.expect("defined");
    let refused_one = vms.create_vm(alice(create("web1"))).await;
    assert!(refused_one.is_err());
    let start = v1::StartVmRequest { name: "web1".into(), node: "hv2".into(), ..Default::default() };
    vms.start_vm(from("token/ci", Some(Role::Operator), start)).await.expect("started");
    desk.says("web1", ObservedPhase::Running, "").await;
    let audit = |before_revision, page_size| admin(v1::ListAuditRequest { before_revision, page_size });
    let follower = ClusterInfo::new(desk.following().await);
    let mut told = Vec::new();
    for info in [&info, &follower] {
        let entries = info.list_audit(audit(0, 2)).await.expect("an audit").into_inner().entries;
        let lines: Vec<String> = entries.iter().map(|e| format!("{}: {}", e.actor, e.summary)).collect();
        assert_eq!(
            lines,
            ["token/ci: start vm/web1", "admin/alice: define vm/web1"],
            "reports are nobody's deeds"
        );
        told = entries;
    }
    assert!(told[0].revision > told[1].revision && told[0].time.is_some());
    let before = info.list_audit(audit(told[1].revision, 1)).await.expect("an audit").into_inner().entries;
    assert!(before.iter().all(|entry| entry.revision < told[1].revision) && !before.is_empty());
    assert_eq!(refused(info.list_audit(audit(0, 1001)).await).1, "out-of-range");
}
