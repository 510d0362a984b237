//! An idle cluster commits nothing.

use std::time::Duration;

use super::cluster::{Cluster, beat, name};

#[tokio::test(start_paused = true)]
async fn an_idle_cluster_commits_nothing() {
    let cluster = Cluster::three().await;
    let (_, leader) = cluster.leader().await;
    let mut sequence = 0;
    let mut live = async |seconds: u64| {
        for _ in 0..seconds * 2 {
            sequence += 1;
            leader.heartbeat(&name("hv1"), beat(sequence)).expect("acknowledged");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    live(10).await;
    let settled = leader.store().status().borrow().last_log;
    live(600).await;
    assert_eq!(leader.store().status().borrow().last_log, settled);
}
