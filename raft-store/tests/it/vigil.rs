//! A leader whose process is dead is replaced at once; one that is only silent, or that a single follower
//! can't reach, is not.

use std::time::Duration;

use tokio::time::Instant;

use crate::network::{Cluster, put};

/// How long a silent leader is waited for at the least, by default.
fn patience() -> Duration {
    let timing = raft_store::Timing::default();
    timing.election_max + timing.election_min
}

/// From now until another than `before` leads.
async fn replaced(cluster: &Cluster, before: u64) -> Duration {
    let start = Instant::now();
    loop {
        let (leader, _) = cluster.leader().await;
        if leader.options().me.id != before {
            return start.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_replaced_before_any_timeout() {
    for voters in [3, 5] {
        let cluster = Cluster::of(voters).await;
        cluster.write(put("a", "1")).await;
        cluster.settle().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let id = cluster.leader().await.0.options().me.id;
        let terms = cluster.leader().await.1;
        let crash = Instant::now();
        cluster.crash(id).await;
        replaced(&cluster, id).await;
        let took = crash.elapsed();
        assert!(took < patience() / 2, "{voters} voters: {took:?}");
        assert_eq!(cluster.leader().await.1, terms + 1, "one election was enough");
        cluster.write(put("a", "2")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_leader_is_waited_for() {
    let cluster = Cluster::of(3).await;
    cluster.write(put("a", "1")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let id = cluster.leader().await.0.options().me.id;
    cluster.network.cut(id);
    let took = replaced(&cluster, id).await;
    let timing = raft_store::Timing::default();
    assert!(took >= patience() - timing.heartbeat, "{took:?}");
    assert!(took < timing.election_max * 4, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_follower_alone_deposes_nobody() {
    let cluster = Cluster::of(3).await;
    cluster.write(put("a", "1")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (leader, term) = cluster.leader().await;
    let id = leader.options().me.id;
    let other = (1..=3).find(|other| *other != id).unwrap();
    // A wrong rule of a firewall, say: it refuses what comes from one of them. Entries still come through.
    cluster.network.refuse(other, id);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(cluster.leader().await.1, term);
    cluster.write(put("a", "2")).await;
    cluster.settle().await;
}
