//! Plans, and when there is a new one.

use std::sync::Arc;
use std::time::Duration;

use pvc_model::command::{Command, Ending};
use pvc_model::network::acl::Acl;
use pvc_model::network::host::{HostPlan, Stance};
use pvc_model::network::lease::LeaseReport;
use pvc_model::network::{Managed, Network, NetworkKind, NetworkSpec, Subnet, Vni};
use pvc_model::node::{NodeRole, Reachability};
use pvc_model::primary::{Primary, PrimaryPhase};
use pvc_model::vm::Mac;
use pvc_model::{Meta, Name, Node, Object, Timestamp};
use pvc_network::dhcp::{Change, LeaseEvent};
use tokio::sync::watch;

use super::{Parts, Teller, host_plan, planner};
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

/// Nothing but a network with addresses to lend, and hv1 the primary for the first time.
fn lending() -> Leader {
    let leader = Leader::new();
    for (id, node) in (1..).zip(["hv1", "hv2"].map(name)) {
        leader.enrol(&node);
        let mut voter = Node::clone(&leader.world().nodes[&node]);
        (voter.spec.role, voter.status.member_id) = (NodeRole::Coordinator, id);
        voter.status.reachability = Reachability::Reachable;
        leader.put(Object::Node(voter));
    }
    let vni = Vni::new(5).expect("a number");
    let ipv4 = Subnet {
        subnet: "10.0.0.0/24".parse().expect("a subnet"),
        gateway: "10.0.0.1".parse().ok(),
        dhcp: None,
    };
    let managed = Managed {
        domain: "net5.test".to_owned(),
        name_servers: Vec::new(),
        ntp_servers: Vec::new(),
        ipv4: Some(ipv4),
        ipv6: None,
        reservations: Vec::new(),
        acl: Acl::default(),
    };
    let spec = NetworkSpec { description: name("net5"), mtu: None, kind: NetworkKind::Managed(managed) };
    let meta = Meta { name: vni.name(), ..leader.world().nodes[&name("hv1")].meta.clone() };
    leader.put(Object::Network(Network { meta, vni, spec }));
    leader
}

fn elect(leader: &Leader, node: &str) {
    let epoch = leader.world().primary().map_or(0, |primary| primary.epoch);
    let elected =
        Command::ElectPrimary { node: name(node), epoch, ending: Ending::Lapsed, reason: "test".to_owned() };
    leader.submit(elected).expect("it is elected");
}

fn lent(host: u8) -> LeaseEvent {
    let lease = LeaseReport {
        network: Vni::new(5).expect("a number"),
        address: [10, 0, 0, host].into(),
        mac: Some(Mac([0x52, 0x54, 0, 0, 0, host])),
        hostname: None,
        client_id: String::new(),
        iaid: None,
        expires: Timestamp(2_000_000_000),
    };
    LeaseEvent { change: Change::Add, lease }
}

/// A host that was the primary, and is so again, has had a successor between: the address may be another guest's by now.
#[tokio::test(start_paused = true)]
async fn what_was_lent_in_an_earlier_reign_is_not_told_as_of_a_later_one() {
    let leader = lending();
    elect(&leader, "hv1");
    let (tell, told) = tokio::sync::mpsc::channel(8);
    let (_views, view) = watch::channel(Arc::default());
    let teller = Teller { me: name("hv1"), link: Arc::new(leader.link(&name("hv1"))), view };
    tokio::spawn(teller.run(told.into()));
    tell.send((1, lent(10))).await.expect("it listens");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(leader.world().leases.len(), 1);

    leader.cut("hv1");
    tell.send((1, lent(11))).await.expect("it listens");
    tokio::time::sleep(Duration::from_secs(2)).await;
    elect(&leader, "hv2");
    elect(&leader, "hv1");
    tell.send((3, lent(12))).await.expect("it listens");
    leader.heal("hv1");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let stored: Vec<_> = leader.world().leases.values().map(|lease| lease.address.to_string()).collect();
    assert_eq!(stored, ["10.0.0.10", "10.0.0.12"]);
}
