//! Who changed what, as members remember it.

use std::time::Duration;

use raft_store::{Checkpoint, Precondition, Store};

use crate::network::{Cluster, key, put};

fn told(store: &Store) -> Vec<String> {
    store.audit(0, 1000).iter().map(|audited| format!("{}: {}", audited.actor, audited.summary)).collect()
}

#[tokio::test(start_paused = true)]
async fn every_member_tells_what_was_done_and_nothing_else() {
    let cluster = Cluster::of(3).await;
    cluster.write(put("a", "1")).await;
    cluster.write(put("a", "1")).await;
    let mut refused = put("b", "1");
    refused.preconditions = vec![Precondition::Absent(key("a"))];
    cluster.write(refused).await;
    let mut unspoken = put("c", "1");
    unspoken.summary.clear();
    cluster.write(unspoken).await;
    cluster.write(put("d", "1")).await;
    cluster.settle().await;
    for store in cluster.stores() {
        assert_eq!(told(&store), ["test: put d", "test: put a"]);
    }
    let newest = cluster.store(2).audit(0, 1).remove(0);
    assert_eq!(newest.at_ms, 1_000_000);
    let older = cluster.store(3).audit(newest.revision, 1).remove(0);
    assert_eq!(
        (&*older.summary, older.revision),
        ("put a", cluster.store(1).view().outcome("put-a-1").unwrap().0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_started_tells_what_its_log_holds() {
    let mut cluster = Cluster::with(3, Checkpoint { entries: 20, keep: 10, ..Checkpoint::default() }).await;
    for i in 0..100 {
        cluster.write(put(&format!("n{i}"), "1")).await;
    }
    cluster.settle().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let all: Vec<String> = (0..100).rev().map(|i| format!("test: put n{i}")).collect();
    assert_eq!(told(&cluster.store(2)), all, "what left the log is still remembered");
    cluster.crash(2).await;
    let store = cluster.start(2).await;
    cluster.settle().await;
    let status = store.status().borrow().clone();
    let remembered = told(&store);
    assert!(status.purged.is_some_and(|purged| purged > 50), "{status:?}");
    assert!((10..100).contains(&remembered.len()), "{} remembered", remembered.len());
    assert_eq!(remembered, all[..remembered.len()], "without a hole or a double where the checkpoint is");
}
