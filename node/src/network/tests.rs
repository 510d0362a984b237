//! Plans, and when there is a new one.

use std::sync::Arc;
use std::time::Duration;

use pvc_model::network::host::{HostPlan, Stance};
use pvc_model::node::NodeRole;
use pvc_model::primary::{Primary, PrimaryPhase};
use pvc_model::{Name, Node, Timestamp};
use tokio::sync::watch;

use super::{Parts, host_plan, planner};
use crate::agent::lease::{LEASE, Lease};
use crate::agent::tests::leader::Leader;
use crate::agent::tests::name;
use crate::agent::view::NodeView;

fn node(role: NodeRole) -> Node {
    let leader = Leader::new();
    leader.enrol(&name("hv1"));
    let mut node = Node::clone(&leader.world().nodes[&name("hv1")]);
    node.spec.role = role;
    node
}

fn view(role: NodeRole, holder: &str, phase: PrimaryPhase) -> NodeView {
    let (node_name, reason) = (name(holder), String::new());
    let primary = Primary { node: node_name, epoch: 7, since: Timestamp(0), phase, reason };
    let mut view = NodeView::default();
    (view.revision, view.node, view.primary) = (1, Some(node(role)), Some(primary));
    view
}

fn stance(view: &NodeView, covered: bool) -> Stance {
    host_plan(&name("hv1"), 1, view, covered).stance
}

#[test]
fn a_host_stands_as_its_role_its_lease_and_the_newest_epoch_say() {
    let to = |node: &str| PrimaryPhase::HandingOver { to: name(node) };
    let from = |node: &str| PrimaryPhase::TakingOver { from: name(node) };
    let coordinator = |holder, phase| view(NodeRole::Coordinator, holder, phase);
    assert_eq!(stance(&coordinator("hv1", PrimaryPhase::Holding), true), Stance::Primary);
    assert_eq!(stance(&coordinator("hv1", PrimaryPhase::Holding), false), Stance::CutOff);
    assert_eq!(stance(&coordinator("hv1", to("hv2")), true), Stance::Primary, "it serves until another does");
    assert_eq!(stance(&coordinator("hv2", to("hv1")), true), Stance::Ready);
    assert_eq!(
        stance(&coordinator("hv1", from("hv2")), true),
        Stance::Primary,
        "the two overlap, rather than neither"
    );
    assert_eq!(stance(&coordinator("hv2", from("hv1")), true), Stance::Standby);
    assert_eq!(stance(&coordinator("hv2", PrimaryPhase::Holding), false), Stance::Standby);
    assert_eq!(stance(&view(NodeRole::Hypervisor, "hv2", PrimaryPhase::Holding), true), Stance::Hypervisor);
}

struct Lab {
    lease: Lease,
    views: watch::Sender<Arc<NodeView>>,
    plan: super::SharedPlan,
}

fn lab() -> Lab {
    let (views, view) = watch::channel(Arc::default());
    let lease = Lease::default();
    let (plan, _) = planner(Parts { me: name("hv1"), cluster: 1, lease: lease.clone(), view });
    Lab { lease, views, plan }
}

async fn until(plan: &mut super::SharedPlan, mut what: impl FnMut(&HostPlan) -> bool) {
    let reached = plan.wait_for(|plan| plan.as_deref().is_some_and(&mut what));
    tokio::time::timeout(Duration::from_secs(5), reached).await.expect("in time").expect("it runs");
}

#[tokio::test(start_paused = true)]
async fn the_plan_follows_the_lease_too() {
    let mut lab = lab();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(lab.plan.borrow().is_none(), "nothing before the node was told of itself");
    lab.lease.renew(tokio::time::Instant::now(), 1);
    lab.views.send_replace(Arc::new(view(NodeRole::Coordinator, "hv1", PrimaryPhase::Holding)));
    until(&mut lab.plan, |plan| plan.stance == Stance::Primary).await;
    let begun = tokio::time::Instant::now();
    until(&mut lab.plan, |plan| plan.stance == Stance::CutOff).await;
    assert!(begun.elapsed() <= LEASE + Duration::from_millis(10), "{:?}", begun.elapsed());
    lab.lease.renew(tokio::time::Instant::now(), 1);
    until(&mut lab.plan, |plan| plan.stance == Stance::Primary).await;
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_hands_over_keeps_the_gateways_for_a_moment_and_one_that_was_followed_does_not() {
    let mut lab = lab();
    let holding = |holder| Arc::new(view(NodeRole::Coordinator, holder, PrimaryPhase::Holding));
    lab.lease.renew(tokio::time::Instant::now(), 1);
    lab.views.send_replace(holding("hv1"));
    until(&mut lab.plan, |plan| plan.stance == Stance::Primary).await;
    let from = PrimaryPhase::TakingOver { from: name("hv1") };
    lab.views.send_replace(Arc::new(view(NodeRole::Coordinator, "hv2", from)));
    until(&mut lab.plan, |plan| plan.stance == Stance::Leaving).await;
    let begun = tokio::time::Instant::now();
    lab.views.send_replace(holding("hv2"));
    until(&mut lab.plan, |plan| plan.stance == Stance::Standby).await;
    let took = begun.elapsed();
    assert!(took <= super::OVERLAP + Duration::from_millis(10), "{took:?}");
    assert!(took >= super::OVERLAP / 2, "{took:?}");

    lab.views.send_replace(holding("hv1"));
    until(&mut lab.plan, |plan| plan.stance == Stance::CutOff).await;
    lab.views.send_replace(holding("hv2"));
    lab.plan.mark_unchanged();
    until(&mut lab.plan, |plan| matches!(plan.stance, Stance::Standby | Stance::Leaving)).await;
    assert_eq!(lab.plan.borrow().as_ref().map(|plan| plan.stance), Some(Stance::Standby));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_concern_the_networks_is_no_new_plan() {
    let mut lab = lab();
    let mut view = view(NodeRole::Coordinator, "hv2", PrimaryPhase::Holding);
    lab.views.send_replace(Arc::new(view.clone()));
    until(&mut lab.plan, |_| true).await;
    lab.plan.mark_unchanged();
    view.revision += 1;
    lab.views.send_replace(Arc::new(view.clone()));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!lab.plan.has_changed().expect("it runs"));
    view.coordinators = vec![(Name::clone(&name("hv2")), "192.0.2.2:7741".to_owned())];
    lab.views.send_replace(Arc::new(view));
    until(&mut lab.plan, |plan| plan.coordinators.len() == 1).await;
}
