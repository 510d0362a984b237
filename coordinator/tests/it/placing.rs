//! Where VMs run, as people ask for it: affinity rules, maintenance, balancing, room for a death, and why.

use std::time::Duration;

use pvc_coordinator::services::{ClusterInfo, Nodes, Rules};
use pvc_model::vm::ObservedPhase;
use pvc_proto::v1;
use pvc_proto::v1::cluster_service_server::ClusterService;
use pvc_proto::v1::node_service_server::NodeService;
use pvc_proto::v1::rule_service_server::RuleService;
use pvc_proto::v1::vm_service_server::VmService;
use tonic::Code;

use super::cluster::name;
use super::desk::{Desk, admin, next, refused, spec};

async fn rules(desk: &Desk) -> Rules {
    Rules(desk.leading().await)
}

async fn nodes(desk: &Desk) -> Nodes {
    Nodes(desk.leading().await)
}

pub(super) fn apart(rule: &str, vms: &[&str]) -> v1::CreateRuleRequest {
    let spec = v1::RuleSpec {
        kind: v1::RuleKind::Apart.into(),
        vms: vms.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    v1::CreateRuleRequest { name: rule.to_owned(), spec: Some(spec), ..Default::default() }
}

fn texts(explained: &v1::Explanation) -> Vec<String> {
    explained.findings.iter().map(|one| format!("{}: {}", one.topic, one.text)).collect()
}

#[tokio::test(start_paused = true)]
async fn rules_are_kept_listed_and_watched() {
    let desk = Desk::open().await;
    for vm in ["a", "b"] {
        desk.define(vm, &[]).await;
        desk.run(vm, "hv1").await;
    }
    let rules = rules(&desk).await;
    let made = rules.create_rule(admin(apart("r", &["a", "b"]))).await.expect("made").into_inner();
    assert_eq!(made.broken_by, ["vm/a on hv1", "vm/b on hv1"], "it is taken, and says that it is broken");
    assert_eq!(
        refused(rules.create_rule(admin(apart("s", &["a"]))).await),
        (Code::InvalidArgument, "rule-names-vms".into())
    );
    let about = v1::ListRulesRequest { vm: "a".into(), ..Default::default() };
    let listed = rules.list_rules(admin(about)).await.expect("a list").into_inner().rules;
    assert_eq!((listed.len(), listed[0].applies_to.len()), (1, 2));
    let watch = rules.watch_rules(admin(v1::WatchRulesRequest::default())).await.expect("a watch");
    let mut watch = watch.into_inner();
    assert_eq!(next(&mut watch).await.expect("the rule").kind(), v1::ChangeKind::Created);
    assert_eq!(next(&mut watch).await.expect("a bookmark").kind(), v1::ChangeKind::Bookmark);
    let remove = v1::DeleteRuleRequest { name: "r".into(), ..Default::default() };
    rules.delete_rule(admin(remove)).await.expect("removed");
    assert_eq!(next(&mut watch).await.expect("the end of it").kind(), v1::ChangeKind::Deleted);
}

#[tokio::test(start_paused = true)]
async fn a_flush_is_previewed_done_and_explained() {
    let desk = Desk::open().await;
    desk.define("a", &[]).await;
    desk.run("a", "hv1").await;
    let nodes = nodes(&desk).await;
    let ask = v1::PlanFlushRequest { name: "hv1".into(), ..Default::default() };
    let plan = nodes.plan_flush(admin(ask)).await.expect("a plan").into_inner();
    assert_eq!((plan.moves.len(), plan.moves[0].to.as_str(), plan.memory_mib), (1, "hv2", 128));
    let flush = || v1::FlushNodeRequest { name: "hv1".into(), ..Default::default() };
    let task = nodes.flush_node(admin(flush())).await.expect("begun").into_inner();
    assert_eq!((task.kind.as_str(), task.subject.as_str()), ("node.flush", "node/hv1"));
    let again = nodes.flush_node(admin(flush())).await.expect("the same").into_inner();
    assert_eq!(again.meta, task.meta, "the second administrator follows the first one's task");

    let why = v1::ExplainNodeRequest { name: "hv1".into(), ..Default::default() };
    let told = texts(&nodes.explain_node(admin(why)).await.expect("told").into_inner());
    assert!(told.iter().any(|line| line.starts_with("maintenance: ")), "{told:?}");
    let why = v1::ExplainVmRequest { name: "a".into(), ..Default::default() };
    let told = texts(&desk.vms().await.explain_vm(admin(why)).await.expect("told").into_inner());
    assert!(
        told.contains(&"node hv1: it is here; as a new place the node is in maintenance".into()),
        "{told:?}"
    );

    let ready = v1::ReadyNodeRequest { name: "hv1".into(), ..Default::default() };
    assert_eq!(refused(nodes.ready_node(admin(ready)).await), (Code::FailedPrecondition, "node-busy".into()));
}

#[tokio::test(start_paused = true)]
async fn missing_room_for_a_death_is_a_fault_that_goes_by_itself() {
    let desk = Desk::open().await;
    let (_, leader) = desk.cluster.leader().await;
    // Three nodes of 3584 MiB for VMs, each with one that fits beside no other.
    for (vm, node) in [("a", "hv1"), ("b", "hv2"), ("c", "hv3")] {
        let large = v1::VmSpec { memory_mib: 2000, ..spec() };
        let request = v1::CreateVmRequest { name: vm.to_owned(), spec: Some(large), ..Default::default() };
        desk.vms().await.create_vm(admin(request)).await.expect("defined");
        desk.run(vm, node).await;
    }
    let mut worlds = leader.worlds();
    let stands = |world: &pvc_model::World| world.faults.contains_key(&name("capacity-short"));
    let raised = tokio::time::timeout(Duration::from_secs(60), worlds.wait_for(stands)).await;
    let message = raised.expect("in time").expect("raised").faults[&name("capacity-short")].message.clone();
    assert_eq!(message, "if node hv1 died, vm/a would find no room on the others: 2000 MiB are short");
    desk.vms()
        .await
        .stop_vm(admin(v1::StopVmRequest { name: "c".into(), ..Default::default() }))
        .await
        .expect("stops");
    desk.says("c", ObservedPhase::Stopped, "").await;
    let gone = tokio::time::timeout(Duration::from_secs(60), worlds.wait_for(|world| !stands(world))).await;
    gone.expect("in time").expect("cleared");

    let info: ClusterInfo = desk.info().await;
    let refuse = v1::UpdateClusterRequest { admission: v1::Admission::Refuse.into(), ..Default::default() };
    info.update_cluster(admin(refuse)).await.expect("set");
    let start = v1::StartVmRequest { name: "c".into(), ..Default::default() };
    assert_eq!(
        refused(desk.vms().await.start_vm(admin(start)).await),
        (Code::ResourceExhausted, "one-node-may-die".into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_balance_is_shown_and_carried_out() {
    let desk = Desk::open().await;
    for vm in ["a", "b"] {
        let large = v1::VmSpec { memory_mib: 1000, ..spec() };
        let request = v1::CreateVmRequest { name: vm.to_owned(), spec: Some(large), ..Default::default() };
        desk.vms().await.create_vm(admin(request)).await.expect("defined");
        desk.run(vm, "hv1").await;
    }
    let info = desk.info().await;
    let plan =
        info.plan_balance(admin(v1::PlanBalanceRequest::default())).await.expect("a plan").into_inner();
    let steps: Vec<_> = plan.steps.iter().map(|s| format!("{} {} {}", s.vm, s.from, s.to)).collect();
    assert_eq!(steps, ["a hv1 hv2"]);
    assert_eq!(plan.steps[0].gain, "55.8 → 27.9 % of memory where it is, 0.0 → 27.9 % where it goes");
    let task =
        info.balance_cluster(admin(v1::BalanceClusterRequest::default())).await.expect("begun").into_inner();
    assert_eq!((task.kind.as_str(), task.subject.as_str()), ("cluster.balance", "cluster"));
    assert_eq!(task.message, "1 on their way, 0 steps to come");
}
