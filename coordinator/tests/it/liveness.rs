//! Who is heard and who is not, on virtual time.

use std::collections::BTreeSet;
use std::time::Duration;

use pvc_coordinator::core::Coordinator;
use pvc_model::node::{NodeRole, Reachability};

use super::cluster::{Cluster, beat, name};
use super::lane::token;

async fn beats(leader: &Coordinator, node: &str, from: u64, count: u64) {
    for sequence in from..from + count {
        leader.heartbeat(&name(node), beat(sequence)).expect("acknowledged");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn reachability(coordinator: &Coordinator, node: &str) -> Reachability {
    coordinator.world().nodes[&name(node)].status.reachability
}

#[tokio::test(start_paused = true)]
async fn silence_is_noticed_after_the_grace_and_forgiven_at_once() {
    let cluster = Cluster::three().await;
    let (_, leader) = cluster.leader().await;
    assert_eq!(reachability(&leader, "hv1"), Reachability::NeverSeen);
    beats(&leader, "hv1", 1, 10).await;
    assert_eq!(reachability(&leader, "hv1"), Reachability::Reachable);
    tokio::time::sleep(Duration::from_millis(2000)).await;
    assert_eq!(reachability(&leader, "hv1"), Reachability::Reachable, "within the grace");
    tokio::time::sleep(Duration::from_millis(2000)).await;
    assert_eq!(reachability(&leader, "hv1"), Reachability::Unreachable);
    assert!(leader.world().faults.contains_key(&name("node-unreachable.hv1")));
    beats(&leader, "hv1", 11, 2).await;
    assert_eq!(reachability(&leader, "hv1"), Reachability::Reachable);
    assert!(leader.world().faults.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_election_makes_nobody_unreachable() {
    let cluster = Cluster::three().await;
    cluster.enrol("hv9", NodeRole::Hypervisor).await;
    let (id, leader) = cluster.leader().await;
    beats(&leader, "hv9", 1, 4).await;
    let before = leader.world().nodes[&name("hv9")].clone();
    assert_eq!(before.status.reachability, Reachability::Reachable);
    cluster.kill(id).await;
    let (_, leader) = cluster.leader().await;
    beats(&leader, "hv9", 5, 20).await;
    // Untouched: it was never said to be anything else in between.
    assert_eq!(leader.world().nodes[&name("hv9")], before);
}

/// What was judged while the lane was busy must not be carried out after the node was heard again.
#[tokio::test(start_paused = true)]
async fn a_judgement_that_waited_is_judged_again() {
    let cluster = Cluster::three().await;
    let (id, leader) = cluster.leader().await;
    beats(&leader, "hv1", 1, 4).await;
    let others: Vec<_> = cluster.coordinators.keys().copied().filter(|other| *other != id).collect();
    let cut: Vec<_> = others.into_iter().map(|other| (other, cluster.cut(other))).collect();
    // The lane waits for a quorum with this one; the silence that is noticed meanwhile waits behind it.
    let busy = leader.clone();
    let write = tokio::spawn(async move { busy.submit(token("t1"), "admin/test", None).await });
    tokio::time::sleep(Duration::from_millis(4200)).await;
    assert!(leader.heartbeat(&name("hv1"), beat(10)).is_err(), "heard, and not acknowledged");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = leader.world().nodes[&name("hv1")].clone();
    // One first: it lacks the entry that waits, and is elected by nobody. Both together might elect one of them.
    let mut cut = cut.into_iter();
    let mut join = || cut.next().map(|(other, store)| cluster.join(other, store)).expect("two were cut");
    join();
    write.await.expect("no panic").expect("committed at last");
    join();
    beats(&leader, "hv1", 11, 4).await;
    assert_eq!(leader.world().nodes[&name("hv1")], before, "it was never given up");
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_a_quorum_acknowledges_nothing() {
    let cluster = Cluster::three().await;
    let (id, leader) = cluster.leader().await;
    beats(&leader, "hv1", 1, 2).await;
    for other in cluster.coordinators.keys().filter(|other| **other != id) {
        cluster.kill(*other).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(leader.heartbeat(&name("hv1"), beat(10)).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_node_hears_of_its_own_and_of_nothing_else() {
    let cluster = Cluster::three().await;
    let (_, leader) = cluster.leader().await;
    let mut stream = leader.assignments(&name("hv1"), BTreeSet::new()).await.expect("assignments");
    let first = stream.next().await.expect("the first message");
    assert!(first.full && first.node.is_some());
    cluster.enrol("hv8", NodeRole::Hypervisor).await;
    let next = stream.next().await.expect("a bookmark");
    assert!(!next.full && next.node.is_none() && next.revision > first.revision);
    assert!(leader.assignments(&name("nobody"), BTreeSet::new()).await.is_err());
}
