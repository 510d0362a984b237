//! The proof `lease` on virtual time: when the leader takes a node's guard to have struck, and when it does not.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_coordinator::core::{Coordinator, CoordinatorOptions, Probe, SubmitError};
use pvc_model::Command;
use pvc_model::fence::{Fence, FencePhase, HostSign, ProofKind};
use pvc_model::guard::{Guard, GuardKind, Isolation};
use pvc_model::node::{NodeFacts, NodeRole};
use pvc_model::primary::LEASE;
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, beat, name};

const STRIKE_AFTER: Duration = Duration::from_secs(10);

/// Hosts that answer, or do not.
#[derive(Debug)]
struct Sign(HostSign);

#[async_trait]
impl Probe for Sign {
    async fn sign(&self, _: &str) -> HostSign {
        self.0
    }
}

/// The heartbeats of hv9, to all coordinators; when the last one was sent that was acknowledged.
struct Node {
    silent: Arc<Mutex<bool>>,
    acknowledged: Arc<Mutex<Instant>>,
}

impl Node {
    fn begin(cluster: &Cluster) -> Node {
        let silent: Arc<Mutex<bool>> = Arc::default();
        let acknowledged = Arc::new(Mutex::new(Instant::now()));
        let node = Node { silent: silent.clone(), acknowledged: acknowledged.clone() };
        let all: Vec<Coordinator> = cluster.coordinators.values().cloned().collect();
        tokio::spawn(async move {
            for sequence in 1.. {
                for other in ["hv1", "hv2", "hv3"] {
                    all.iter().for_each(|there| drop(there.heartbeat(&name(other), beat(sequence))));
                }
                for there in all.iter().filter(|_| !*silent.lock()) {
                    if there.heartbeat(&name("hv9"), beat(sequence)).is_ok() {
                        *acknowledged.lock() = Instant::now();
                    }
                }
                sleep(Duration::from_millis(500)).await;
            }
        });
        node
    }

    fn falls_silent(&self) {
        *self.silent.lock() = true;
    }
}

fn guard() -> Guard {
    Guard { kind: GuardKind::Process, device: String::new(), strike_after: STRIKE_AFTER }
}

fn isolate(isolation: Isolation) -> Command {
    Command::UpdateNode {
        name: name("hv9"),
        schedulable: None,
        on_return: None,
        on_shutdown: None,
        isolation: Some(isolation),
        expected_revision: 0,
    }
}

/// hv9 is heard, and its guard is armed where it is to be.
async fn cluster(sign: HostSign, armed: bool) -> (Cluster, Node) {
    let options = CoordinatorOptions { probe: Arc::new(Sign(sign)), ..CoordinatorOptions::default() };
    let cluster = Cluster::three_with(options).await;
    cluster.enrol("hv9", NodeRole::Hypervisor).await;
    let node = Node::begin(&cluster);
    let (_, leader) = cluster.leader().await;
    let facts = Some(NodeFacts { cpus: 4, memory_mib: 4096, ..NodeFacts::default() });
    leader.report(&name("hv9"), 1, vec![], vec![], facts, None).await.expect("a session");
    leader.submit(isolate(Isolation::Stop), "admin/test", None).await.expect("a setting");
    if armed {
        leader.report_guard(&name("hv9"), 1, 0, Some(guard())).await.expect("believed");
    }
    sleep(Duration::from_secs(5)).await;
    assert!(leader.world().nodes[&name("hv9")].is_reachable());
    (cluster, node)
}

async fn fence(cluster: &Cluster) -> Option<Fence> {
    cluster.leader().await.1.world().nodes[&name("hv9")].status.fence.clone()
}

/// Waits until it is fenced; when that was.
async fn fenced(cluster: &Cluster) -> Instant {
    let until = Instant::now() + Duration::from_secs(90);
    loop {
        let fence = fence(cluster).await;
        // One that is heard and empty is back in the same moment.
        if let Some(proof) = fence.and_then(|fence| fence.proof) {
            assert_eq!(proof.kind, ProofKind::Lease);
            return Instant::now();
        }
        assert!(Instant::now() < until, "it is not fenced");
        sleep(Duration::from_millis(5)).await;
    }
}

/// What the guard needs, by a clock that is slow by a hundredth, and the time to end what it strikes.
fn certain() -> Duration {
    (LEASE + STRIKE_AFTER).mul_f64(1.01) + Duration::from_secs(2)
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_fenced_when_its_guard_has_certainly_struck() {
    let (cluster, node) = cluster(HostSign::Silent, true).await;
    sleep(Duration::from_millis(130)).await;
    node.falls_silent();
    let last = *node.acknowledged.lock();
    let took = fenced(&cluster).await - last;
    assert!(took >= certain(), "{took:?}");
    assert!(took < Duration::from_secs(16), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_answers_is_waited_for_no_longer_than_its_guests_live() {
    let (cluster, node) = cluster(HostSign::Answers, true).await;
    node.falls_silent();
    let last = *node.acknowledged.lock();
    let took = fenced(&cluster).await - last;
    assert!(took >= certain() && took < Duration::from_secs(16), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_waits_from_its_own_beginning() {
    let (cluster, node) = cluster(HostSign::Silent, true).await;
    let (id, old) = cluster.leader().await;
    node.falls_silent();
    sleep(Duration::from_secs(9)).await;
    assert!(fence(&cluster).await.is_some(), "it is being fenced");
    drop(old);
    cluster.kill(id).await;
    let (_, leader) = cluster.leader().await;
    assert!(leader.leading().is_some());
    let began = Instant::now();
    let took = fenced(&cluster).await - began;
    let overlap = CoordinatorOptions::default().lease;
    assert!(took + Duration::from_millis(20) >= certain() + overlap, "{took:?}");
    assert!(took < Duration::from_secs(18), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_hands_over_may_have_acknowledged_a_little_longer() {
    let (cluster, node) = cluster(HostSign::Silent, true).await;
    let (id, old) = cluster.leader().await;
    let to = cluster.coordinators.keys().copied().find(|other| *other != id).expect("there are three");
    old.store().transfer_leadership(to).await.expect("it hands over");
    let other = loop {
        let (now, other) = cluster.leader().await;
        if now != id {
            break other;
        }
        sleep(Duration::from_millis(1)).await;
    };
    node.falls_silent();
    assert!(other.leading().is_some());
    let last = *node.acknowledged.lock();
    let took = fenced(&cluster).await - last;
    assert!(took >= certain(), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn without_an_armed_guard_time_proves_nothing() {
    let (cluster, node) = cluster(HostSign::Silent, false).await;
    let (_, leader) = cluster.leader().await;
    sleep(Duration::from_secs(30)).await;
    assert!(leader.world().faults.contains_key(&name("guard-missing.hv9")));
    node.falls_silent();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(fence(&cluster).await.map(|fence| fence.phase), Some(FencePhase::Fencing));
    assert!(leader.world().faults.contains_key(&name("fence-stuck.hv9")));
    let refused = leader.submit(
        Command::AcceptProof { node: name("hv9"), epoch: 1, kind: ProofKind::Lease },
        "pvc",
        None,
    );
    assert!(matches!(refused.await, Err(SubmitError::Rejected(refusal)) if refusal.rule == "guard-armed"));
}

#[tokio::test(start_paused = true)]
async fn set_back_in_the_middle_it_proves_nothing_any_more() {
    let (cluster, node) = cluster(HostSign::Silent, true).await;
    let (_, leader) = cluster.leader().await;
    node.falls_silent();
    sleep(Duration::from_secs(8)).await;
    leader.submit(isolate(Isolation::Keep), "admin/test", None).await.expect("a setting");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(fence(&cluster).await.map(|fence| fence.phase), Some(FencePhase::Fencing));
}

/// A person has a node fenced that is heard: it gets no lease from then on, and that is what counts.
#[tokio::test(start_paused = true)]
async fn heartbeats_that_are_refused_prolong_nothing() {
    let (cluster, node) = cluster(HostSign::Answers, true).await;
    let (_, leader) = cluster.leader().await;
    let force = Command::FenceNode { name: name("hv9"), confirmed_off: false, force: true };
    leader.submit(force, "admin/test", None).await.expect("wanted");
    sleep(Duration::from_secs(1)).await;
    let last = *node.acknowledged.lock();
    let took = fenced(&cluster).await - last;
    assert!(took >= certain() && took < Duration::from_secs(16), "{took:?}");
}
