//! Three members: writes, reads, the leader's loss, idempotence, the guard of the term.

use std::time::Duration;

use raft_store::{Outcome, Precondition, ProposeError, ReadError, Role};

use crate::network::{Cluster, key, put};

fn applied(outcome: &Outcome) -> (u64, bool) {
    match outcome {
        Outcome::Applied { revision, duplicate, .. } => (*revision, *duplicate),
        conflict => panic!("{conflict:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_read_from_every_member() {
    let cluster = Cluster::of(3).await;
    let (revision, _) = applied(&cluster.write(put("a", "1")).await);
    for store in cluster.stores() {
        let view = store.linearizable().await.unwrap();
        assert!(view.revision >= revision);
        assert_eq!(view.get(&key("a")).unwrap().value, "1");
        assert_eq!(view.outcome("put-a-1").unwrap().0, revision);
    }
}

#[tokio::test(start_paused = true)]
async fn one_proposal_is_one_revision_and_each_transaction_stands_alone() {
    let cluster = Cluster::of(1).await;
    let (leader, term) = cluster.leader().await;
    let mut refused = put("b", "1");
    refused.preconditions = vec![Precondition::Absent(key("a"))];
    let outcomes = leader.propose(term, vec![put("a", "1"), refused, put("c", "1")], 0).await.unwrap();
    assert_eq!(applied(&outcomes[0]).0, applied(&outcomes[2]).0);
    assert!(matches!(&outcomes[1], Outcome::Conflict { actual, .. } if *actual == applied(&outcomes[0]).0));
    let view = leader.view();
    assert_eq!(view.list("vm", "").map(|(k, _)| k.name.to_string()).collect::<Vec<_>>(), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::of(3).await;
    for round in 0..5 {
        let name = format!("n{round}");
        let (revision, duplicate) = applied(&cluster.write(put(&name, "1")).await);
        assert!(!duplicate);
        let id = cluster.leader().await.0.options().me.id;
        cluster.crash(id).await;
        let start = tokio::time::Instant::now();
        assert_eq!(applied(&cluster.write(put(&name, "1")).await), (revision, true), "same id, same answer");
        let gap = start.elapsed();
        assert!(gap < Duration::from_secs(3), "writes were back after {gap:?}");
        cluster.start(id).await;
        cluster.settle().await;
    }
    for store in cluster.stores() {
        assert_eq!(store.view().len(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_off_leader_neither_writes_nor_reads() {
    let cluster = Cluster::of(3).await;
    let (old, term) = cluster.leader().await;
    let id = old.options().me.id;
    cluster.network.cut(id);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (new, new_term) = cluster.leader().await;
    assert!(new.options().me.id != id && new_term > term);
    assert!(!old.quorum_acked_within(Duration::from_secs(2)));
    assert!(new.quorum_acked_within(Duration::from_secs(2)));
    let write =
        tokio::time::timeout(Duration::from_secs(2), old.propose(term, vec![put("a", "old")], 0)).await;
    assert!(!matches!(write, Ok(Ok(_))), "{write:?}");
    let read = tokio::time::timeout(Duration::from_secs(10), old.linearizable()).await;
    assert!(!matches!(read, Ok(Ok(_))), "{read:?}");
    cluster.write(put("a", "new")).await;
    cluster.network.heal(id);
    cluster.settle().await;
    assert_eq!(old.linearizable().await.unwrap().get(&key("a")).unwrap().value, "new");
    assert_eq!(old.status().borrow().role, Role::Follower);
}

#[tokio::test(start_paused = true)]
async fn a_proposal_for_another_term_is_refused() {
    let cluster = Cluster::of(3).await;
    let (leader, term) = cluster.leader().await;
    assert_eq!(leader.propose(term + 1, vec![put("a", "1")], 0).await, Err(ProposeError::StaleTerm));
    assert_eq!(leader.propose(term - 1, vec![put("a", "1")], 0).await, Err(ProposeError::StaleTerm));
    let follower = cluster.stores().into_iter().find(|s| s.leadership().borrow().is_none()).unwrap();
    let expected = ProposeError::NotLeader { leader: Some(leader.options().me.clone()) };
    assert_eq!(follower.propose(term, vec![put("a", "1")], 0).await, Err(expected));
    assert!(leader.linearizable().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_idle_cluster_commits_nothing() {
    let cluster = Cluster::of(3).await;
    cluster.write(put("a", "1")).await;
    cluster.settle().await;
    // The status follows by a moment.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let figures = |s: &raft_store::Store| (s.status().borrow().fsync.log_syncs, s.status().borrow().last_log);
    let before: Vec<_> = cluster.stores().iter().map(figures).collect();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let after: Vec<_> = cluster.stores().iter().map(figures).collect();
    assert_eq!(before, after);
}

#[tokio::test(start_paused = true)]
async fn concurrent_proposals_share_their_syncs() {
    let cluster = Cluster::of(1).await;
    cluster.disks[&1].set_sync_delay(Duration::from_millis(5));
    let (leader, term) = cluster.leader().await;
    let before = leader.status().borrow().fsync.log_syncs;
    let writes = (0..200).map(|i| {
        let leader = leader.clone();
        async move { leader.propose(term, vec![put(&format!("n{i}"), "1")], 0).await.unwrap() }
    });
    futures::future::join_all(writes).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let syncs = leader.status().borrow().fsync.log_syncs - before;
    assert!((1..=20).contains(&syncs), "200 writes took {syncs} syncs");
}

#[tokio::test(start_paused = true)]
async fn without_a_quorum_a_read_says_so() {
    let mut cluster = Cluster::of(3).await;
    let id = cluster.leader().await.0.options().me.id;
    let others: Vec<u64> = (1..=3).filter(|other| *other != id).collect();
    for other in &others {
        cluster.crash(*other).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let read = cluster.store(id).linearizable().await;
    assert!(matches!(read, Err(ReadError::NoQuorum | ReadError::NoLeader)), "{read:?}");
    for other in others {
        cluster.start(other).await;
    }
    cluster.write(put("a", "1")).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_stops_its_member_and_says_why() {
    let mut cluster = Cluster::of(3).await;
    let (leader, _) = cluster.leader().await;
    let id = leader.options().me.id;
    cluster.disks[&id].set_full(true);
    assert!(!applied(&cluster.write(put("a", "1")).await).1 || cluster.stores().len() == 3);
    let status = leader.status().borrow().clone();
    assert!(status.is_fatal(), "{status:?}");
    assert!(status.alarms[0].to_string().contains("full"), "{:?}", status.alarms);
    cluster.crash(id).await;
    cluster.disks[&id].set_full(false);
    cluster.start(id).await;
    cluster.settle().await;
    assert_eq!(cluster.store(id).view().get(&key("a")).unwrap().value, "1");
}

#[tokio::test(start_paused = true)]
async fn the_same_seeds_elect_the_same_leader_at_the_same_time() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let cluster = Cluster::of(3).await;
        cluster.crash(1).await;
        let start = tokio::time::Instant::now();
        let (leader, term) = cluster.leader().await;
        seen.push((leader.options().me.id, term, start.elapsed()));
    }
    assert_eq!(seen[0], seen[1]);
}
