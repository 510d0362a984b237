//! Members come and go while writers write; ids are for life; a wiped disk never votes again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use raft_store::{Alarm, Checkpoint, MembersError, OpenError, Outcome, Precondition, Store};

use crate::network::{CLUSTER, Cluster, key, member, put};

const WRITERS: usize = 64;
/// A write waits no longer than an election and a retry.
const RETRIED_WITHIN: Duration = Duration::from_secs(6);

#[tokio::test(start_paused = true)]
async fn one_to_three_to_five_to_three_under_writers() {
    let mut cluster = Cluster::of(1).await;
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let shared = Arc::new(Cluster {
        network: cluster.network.clone(),
        disks: cluster.disks.clone(),
        checkpoint: cluster.checkpoint.clone(),
        limits: cluster.limits.clone(),
    });
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (cluster, stop, written) = (shared.clone(), stop.clone(), written.clone());
            tokio::spawn(async move {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    let mut transaction = put(&format!("w{writer}-{count}"), "1");
                    // Applied a second time, by whatever retry, it would be a conflict.
                    transaction.preconditions = vec![Precondition::Absent(transaction.puts[0].0.clone())];
                    let begun = tokio::time::Instant::now();
                    let outcome = cluster.write(transaction).await;
                    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
                    assert!(begun.elapsed() < RETRIED_WITHIN, "acknowledged after {:?}", begun.elapsed());
                    count += 1;
                    written.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(40)).await;
                }
                count
            })
        })
        .collect();
    for id in 2..=5 {
        cluster.add_voter(id).await;
    }
    let status = cluster.leader().await.0.status().borrow().clone();
    assert_eq!(status.members.iter().filter(|m| m.voter).count(), 5);
    for id in [1, 2] {
        let leader = loop {
            let (leader, _) = cluster.leader().await;
            match leader.remove(id).await {
                Ok(()) => break leader,
                Err(MembersError::Busy | MembersError::NotLeader { .. }) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(other) => panic!("{other}"),
            }
        };
        assert!(leader.view().is_known_member(id));
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.crash(id).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut counts: Vec<u64> = Vec::new();
    for writer in writers {
        counts.push(writer.await.unwrap());
    }
    assert!(counts.iter().all(|count| *count > 0), "nobody was left out: {counts:?}");
    cluster.settle().await;
    let (leader, _) = cluster.leader().await;
    assert_eq!(leader.status().borrow().members.iter().filter(|m| m.voter).count(), 3);
    assert!(written.load(Ordering::Relaxed) > 100, "{counts:?}");
    for store in cluster.stores() {
        assert_eq!(store.view().len() as u64, written.load(Ordering::Relaxed));
    }
    assert_eq!(leader.add_learner(member(1)).await, Err(MembersError::KnownId { id: 1 }));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_lags_or_is_new_gets_a_snapshot() {
    let mut cluster = Cluster::with(3, Checkpoint { entries: 20, keep: 5, ..Checkpoint::default() }).await;
    let (old, _) = cluster.leader().await;
    let old = old.options().me.id;
    let lagging = (1..=3).find(|id| *id != old).unwrap();
    cluster.crash(lagging).await;
    for i in 0..100 {
        cluster.write(put(&format!("n{i}"), "1")).await;
    }
    // A leader keeps its log for a peer that it was streaming to; the next leader has purged it.
    cluster.crash(old).await;
    cluster.start(old).await;
    cluster.start(lagging).await;
    cluster.settle().await;
    if cluster.leader().await.0.options().me.id == old {
        let next = (1..=3).find(|id| *id != old && *id != lagging).unwrap();
        cluster.leader().await.0.transfer_leadership(next).await.unwrap();
        cluster.settle().await;
    }
    cluster.settle().await;
    let before = cluster.network.snapshots();
    cluster.add_voter(4).await;
    cluster.settle().await;
    assert!(cluster.network.snapshots() > before);
    for store in cluster.stores() {
        assert_eq!(store.view().len(), 100);
    }
    cluster.crash(4).await;
    cluster.start(4).await;
    cluster.settle().await;
    assert_eq!(cluster.store(4).view().len(), 100, "the installed snapshot is durable");
}

#[tokio::test(start_paused = true)]
async fn a_wiped_member_never_takes_part_under_its_old_number() {
    let mut cluster = Cluster::of(3).await;
    cluster.write(put("a", "1")).await;
    let leader = cluster.leader().await.0.options().me.id;
    let wiped = (1..=3).find(|id| *id != leader).unwrap();
    cluster.crash(wiped).await;
    cluster.disks[&wiped].wipe();
    cluster.start(wiped).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(cluster.store(wiped).status().borrow().last_log, 0, "nothing reaches it");
    cluster.crash(leader).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let leads = cluster.stores().iter().any(|store| store.leadership().borrow().is_some());
    assert!(!leads, "the wiped member must not make a quorum");
    cluster.start(leader).await;
    cluster.write(put("b", "1")).await;
    let (store, _) = cluster.leader().await;
    assert_eq!(store.add_learner(member(wiped)).await, Err(MembersError::KnownId { id: wiped }));
    store.remove(wiped).await.unwrap();
    cluster.crash(wiped).await;
    cluster.add_voter(9).await;
    cluster.settle().await;
    assert_eq!(cluster.store(9).view().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_would_cost_the_quorum_is_refused() {
    let cluster = Cluster::of(3).await;
    let (leader, _) = cluster.leader().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader.options().me.id).collect();
    cluster.crash(others[0]).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let refused = leader.remove(others[1]).await;
    assert_eq!(refused, Err(MembersError::WouldLoseQuorum { id: others[1], alive: 1, voters: 2 }));
    leader.remove(others[0]).await.unwrap();
    assert_eq!(leader.remove(99).await, Err(MembersError::NoSuchMember { id: 99 }));
    assert_eq!(leader.promote(others[1]).await, Err(MembersError::AlreadyVoter { id: others[1] }));
}

#[tokio::test(start_paused = true)]
async fn the_last_voter_stays() {
    let cluster = Cluster::of(1).await;
    let (leader, _) = cluster.leader().await;
    assert_eq!(leader.remove(1).await, Err(MembersError::LastVoter { id: 1 }));
    assert!(matches!(leader.add_learner(member(2)).await, Err(MembersError::Unreachable { .. })));
    assert!(leader.found().await.is_err(), "a cluster is founded once");
}

#[tokio::test(start_paused = true)]
async fn leadership_is_handed_over() {
    let cluster = Cluster::of(3).await;
    cluster.write(put("a", "1")).await;
    cluster.settle().await;
    let (leader, _) = cluster.leader().await;
    let to = (1..=3).find(|id| *id != leader.options().me.id).unwrap();
    let start = tokio::time::Instant::now();
    leader.transfer_leadership(to).await.unwrap();
    let mut leadership = cluster.store(to).leadership();
    leadership.wait_for(Option::is_some).await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(600), "{:?}", start.elapsed());
    cluster.write(put("b", "1")).await;
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_lost_its_disk_is_told_from_one_that_kept_it() {
    let mut cluster = Cluster::of(3).await;
    cluster.settle().await;
    let leader = cluster.leader().await.0;
    let wiped = (1..=3).find(|id| *id != leader.options().me.id).unwrap();
    assert_eq!(leader.confirm(wiped).await, Ok(()));
    cluster.crash(wiped).await;
    cluster.disks.insert(wiped, Default::default());
    cluster.start(wiped).await;
    let told = leader.confirm(wiped).await;
    assert!(matches!(told, Err(MembersError::LostData { .. })), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_state_is_rebuilt_from_a_peer() {
    let mut cluster = Cluster::with(3, Checkpoint { entries: 20, keep: 0, ..Checkpoint::default() }).await;
    for i in 0..100 {
        cluster.write(put(&format!("n{i}"), "1")).await;
    }
    cluster.settle().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.crash(2).await;
    cluster.disks[&2].lose_checkpoint();
    let store = cluster.start(2).await;
    cluster.settle().await;
    assert_eq!(store.view().len(), 100);
    let alarms = store.status().borrow().alarms.clone();
    assert!(matches!(alarms[..], [Alarm::StateRebuilt { .. }]), "{alarms:?}");
}

#[tokio::test(start_paused = true)]
async fn a_backup_becomes_a_new_cluster() {
    let mut cluster = Cluster::of(3).await;
    for i in 0..10 {
        cluster.write(put(&format!("n{i}"), "1")).await;
    }
    let mut backup = Vec::new();
    let (revision, length) = cluster.leader().await.0.export(&mut backup).await.unwrap();
    assert_eq!(length as usize, backup.len());

    let mut other = Cluster {
        network: Default::default(),
        disks: Default::default(),
        checkpoint: Checkpoint::default(),
        limits: Default::default(),
    };
    let mut options = other.options(7);
    let same = Store::import(&options, &backup[..]).await;
    assert!(matches!(same, Err(OpenError::Rebuild(_))), "the same cluster id is refused");
    options.cluster_id = "restored".into();
    assert_eq!(Store::import(&options, &backup[..]).await.unwrap(), revision);
    assert!(matches!(Store::import(&options, &backup[..]).await, Err(OpenError::NotEmpty)));
    let store = Store::open(options, other.network.transport(7)).await.unwrap();
    let mut leadership = store.leadership();
    let term = leadership.wait_for(Option::is_some).await.unwrap().unwrap().term;
    assert_eq!(store.view().len(), 10);
    assert_eq!(store.view().get(&key("n3")), cluster.leader().await.0.view().get(&key("n3")));
    let outcome = store.propose(term, vec![put("more", "1")], 0).await.unwrap().remove(0);
    assert!(matches!(outcome, raft_store::Outcome::Applied { revision: r, .. } if r > revision));

    let mut foreign = cluster.options(3);
    foreign.cluster_id = "another".into();
    let error = Store::open(foreign, cluster.network.transport(3)).await.err().unwrap();
    assert!(matches!(&error, OpenError::ForeignCluster { found, .. } if found == CLUSTER), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_member_holds_the_log_no_longer_than_the_status_says() {
    let mut cluster = Cluster::with(3, Checkpoint { entries: 10, keep: 5, ..Checkpoint::default() }).await;
    let leader = cluster.leader().await.0;
    let dead = (1..=3).find(|id| *id != leader.options().me.id).unwrap();
    cluster.crash(dead).await;
    for i in 0..100 {
        cluster.write(put(&format!("n{i}"), "1")).await;
    }
    let held = |s: &raft_store::Status| s.log_held.as_ref().is_some_and(|held| held.member.id == dead);
    let mut status = leader.status();
    let purged = |s: &raft_store::Status| s.purged.is_some_and(|purged| purged > 50);
    let told = status.wait_for(|s| held(s) || purged(s));
    let told = tokio::time::timeout(Duration::from_secs(60), told).await.is_ok();
    assert!(told, "{:?}", leader.status().borrow());
    assert!(!status.borrow().is_fatal());
    cluster.start(dead).await;
    cluster.settle().await;
    for i in 0..100 {
        cluster.write(put(&format!("n{i}"), "2")).await;
    }
    let free = |s: &raft_store::Status| s.log_held.is_none() && purged(s);
    tokio::time::timeout(Duration::from_secs(60), status.wait_for(free)).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_standby_takes_a_dead_voters_place_in_one_step() {
    let mut cluster = Cluster::of(3).await;
    cluster.start(4).await;
    let leader = cluster.leader().await.0;
    leader.add_learner(member(4)).await.unwrap();
    let dead = (1..=3).find(|id| *id != leader.options().me.id).unwrap();
    cluster.crash(dead).await;
    cluster.write(put("a", "1")).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (leader, _) = cluster.leader().await;
    leader.replace(dead, 4).await.unwrap();
    let voters = |store: &Store| -> Vec<u64> {
        let status = store.status();
        let status = status.borrow();
        status.members.iter().filter(|m| m.voter).map(|m| m.member.id).collect()
    };
    let expected: Vec<u64> = (1..=4).filter(|id| *id != dead).collect();
    assert_eq!(voters(&leader), expected);
    assert_eq!(leader.replace(dead, 4).await, Err(MembersError::NotVoter { id: dead }));
    // The dead one comes back with its data: it follows, and does not vote.
    cluster.write(put("b", "1")).await;
    cluster.start(dead).await;
    cluster.settle().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.store(dead).view().len(), 2);
    assert_eq!(voters(&cluster.leader().await.0), expected);
    assert_eq!(cluster.leader().await.0.confirm(dead).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_voter_is_not_replaced_by_one_that_lags_or_where_the_quorum_is_gone() {
    let mut cluster = Cluster::of(3).await;
    cluster.start(4).await;
    let leader = cluster.leader().await.0;
    leader.add_learner(member(4)).await.unwrap();
    cluster.settle().await;
    cluster.crash(4).await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader.options().me.id).collect();
    for i in 0..200 {
        cluster.write(put(&format!("n{i}"), "1")).await;
    }
    let refused = leader.replace(others[0], 4).await;
    assert!(matches!(refused, Err(MembersError::Lagging { id: 4, .. })), "{refused:?}");
    cluster.start(4).await;
    cluster.settle().await;
    for other in &others {
        cluster.crash(*other).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let refused = leader.replace(others[0], 4).await;
    let lost = matches!(refused, Err(MembersError::WouldLoseQuorum { .. } | MembersError::NotLeader { .. }));
    assert!(lost, "{refused:?}");
}

/// A voter that was removed and starts again with its old data: nobody votes for it, nobody follows it, and
/// the others do not even notice.
#[tokio::test(start_paused = true)]
async fn a_removed_voter_does_not_come_back_with_its_old_data() {
    let mut cluster = Cluster::of(3).await;
    cluster.write(put("a", "1")).await;
    cluster.settle().await;
    let leader = cluster.leader().await.0;
    let removed = (1..=3).find(|id| *id != leader.options().me.id).unwrap();
    cluster.crash(removed).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    leader.remove(removed).await.unwrap();
    cluster.write(put("b", "1")).await;
    let before = leader.status().borrow().clone();
    let back = cluster.start(removed).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let after = leader.status().borrow().clone();
    assert_eq!((after.term, after.leader), (before.term, before.leader), "no election");
    assert!(back.view().get(&key("b")).is_none(), "it gets nothing");
    assert_eq!(leader.add_learner(member(removed)).await, Err(MembersError::KnownId { id: removed }));
    cluster.write(put("c", "1")).await;
}
