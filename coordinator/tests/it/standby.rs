//! A dead voter's place goes to a standby by itself, on virtual time; and when it must not.

use std::collections::BTreeSet;
use std::time::Duration;

use pvc_model::Command;
use pvc_model::command::{ClusterPatch, replaced_fault};
use pvc_model::node::NodeRole;
use raft_store::MemberId;
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, beat, name};

/// What the issue asks for.
const REPLACED_WITHIN: Duration = Duration::from_secs(30);

/// Waits until exactly these vote; how long it took.
async fn vote(cluster: &Cluster, expected: &BTreeSet<MemberId>) -> Duration {
    let begun = Instant::now();
    while cluster.voters().await != *expected {
        assert!(begun.elapsed() < Duration::from_secs(300), "{:?} vote", cluster.voters().await);
        sleep(Duration::from_millis(100)).await;
    }
    begun.elapsed()
}

fn without(voters: &BTreeSet<MemberId>, dead: MemberId, by: MemberId) -> BTreeSet<MemberId> {
    voters.iter().copied().filter(|id| *id != dead).chain([by]).collect()
}

async fn node_of(cluster: &Cluster, id: MemberId) -> pvc_model::Name {
    let world = cluster.leader().await.1.world();
    let node = world.nodes.values().find(|node| node.status.member_id == id).expect("a node");
    node.meta.name.clone()
}

async fn set(cluster: &Cluster, seconds: u32) {
    let patch = ClusterPatch { replace_voter_after_seconds: Some(seconds), ..ClusterPatch::default() };
    let command = Command::UpdateCluster { patch, expected_revision: 0 };
    cluster.insist(command, &format!("set-{seconds}")).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_follower_is_replaced_and_stands_by_when_it_is_back() {
    let mut cluster = Cluster::three().await;
    let standby = cluster.stand_by("hv4").await;
    let voters = cluster.voters().await;
    let (leader_id, leader) = cluster.leader().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.voters().await, voters, "nobody is replaced who is well");
    let dead = *voters.iter().find(|id| **id != leader_id).expect("a follower");
    let node = node_of(&cluster, dead).await;
    cluster.kill(dead).await;
    let took = vote(&cluster, &without(&voters, dead, standby)).await;
    assert!(took < REPLACED_WITHIN, "{took:?}");
    assert!(took > Duration::from_secs(14), "not before it was silent for 15 s: {took:?}");
    let world = leader.world();
    assert!(world.nodes[&node].spec.standby && !world.nodes[&name("hv4")].spec.standby);
    let fault = &world.faults[&replaced_fault(&node)];
    assert!(fault.message.contains("hv4") && !fault.help.is_empty(), "{fault:?}");
    let told = |entry: &raft_store::Audited| entry.summary.contains("replace the silent voter");
    assert!(leader.store().audit(0, 50).iter().any(told), "it is in the audit");

    // It comes back with its data: a standby, which has everything, and no election for it.
    let term = leader.leading();
    let back = cluster.open(dead, node.as_str()).await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(leader.leading(), term);
    assert!(back.world().nodes.contains_key(&name("hv4")));
    assert!(!leader.world().faults.contains_key(&replaced_fault(&node)), "told no longer");
    assert_eq!(cluster.voters().await, without(&voters, dead, standby));
    // And takes a place itself when another dies.
    let next = *voters.iter().find(|id| ![leader_id, dead].contains(id)).expect("another");
    cluster.kill(next).await;
    let took = vote(&cluster, &[leader_id, dead, standby].into()).await;
    assert!(took < REPLACED_WITHIN, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_replaced_by_the_next_one() {
    let mut cluster = Cluster::three().await;
    let standby = cluster.stand_by("hv4").await;
    let voters = cluster.voters().await;
    let (dead, _) = cluster.leader().await;
    cluster.kill(dead).await;
    let took = vote(&cluster, &without(&voters, dead, standby)).await;
    assert!(took < REPLACED_WITHIN, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn people_may_switch_it_off() {
    let mut cluster = Cluster::three().await;
    let standby = cluster.stand_by("hv4").await;
    set(&cluster, 0).await;
    let voters = cluster.voters().await;
    let (leader, _) = cluster.leader().await;
    let dead = *voters.iter().find(|id| **id != leader).expect("a follower");
    cluster.kill(dead).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(cluster.voters().await, voters);
    set(&cluster, 60).await;
    vote(&cluster, &without(&voters, dead, standby)).await;
}

#[tokio::test(start_paused = true)]
async fn our_own_network_replaces_nobody() {
    let mut cluster = Cluster::three().await;
    cluster.stand_by("hv4").await;
    for node in ["hv5", "hv6"] {
        cluster.enrol(node, NodeRole::Hypervisor).await;
    }
    let (leader_id, leader) = cluster.leader().await;
    let voters = cluster.voters().await;
    for sequence in 1..20 {
        for node in ["hv5", "hv6"] {
            leader.heartbeat(&name(node), beat(sequence)).expect("heard");
        }
        sleep(Duration::from_millis(500)).await;
    }
    // A voter and both hypervisors, half of all nodes, fall silent at once.
    let cut = *voters.iter().find(|id| **id != leader_id).expect("a follower");
    let store = cluster.cut(cut);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.voters().await, voters);
    cluster.join(cut, store);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.voters().await, voters);
}

/// The decision is committed, and its leader dies before Raft's members follow: the next one goes on.
#[tokio::test(start_paused = true)]
async fn a_replacement_that_was_cut_off_is_finished_by_the_next_leader() {
    let mut cluster = Cluster::three().await;
    let standby = cluster.stand_by("hv4").await;
    let voters = cluster.voters().await;
    let (old, leader) = cluster.leader().await;
    let dead = *voters.iter().find(|id| **id != old).expect("a follower");
    let command = Command::ReplaceVoter { dead: node_of(&cluster, dead).await, by: name("hv4") };
    leader.submit(command, "test", None).await.expect("decided");
    cluster.kill(old).await;
    let begun = Instant::now();
    while cluster.voters().await.contains(&dead) || !cluster.voters().await.contains(&standby) {
        assert!(begun.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(100)).await;
    }
}
