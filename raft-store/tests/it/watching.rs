//! Watches through the life of a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use raft_store::{
    Checkpoint, Entry, Event, Key, Limits, Store, Transaction, WatchEnd, WatchError, WatchEvent, Watcher,
};

use crate::network::{Cluster, key, put};

async fn names(watcher: &mut Watcher, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    while names.len() < count {
        if let WatchEvent::Changes { events, .. } = watcher.next().await.unwrap() {
            names.extend(events.iter().map(|event| event.key.name.to_string()));
        }
    }
    names
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_resumed_at_another_member_without_a_hole() {
    let cluster = Cluster::of(3).await;
    let start = cluster.store(1).linearizable().await.unwrap().revision;
    for i in 0..10 {
        cluster.write(put(&format!("n{i}"), "1")).await;
    }
    cluster.settle().await;
    let mut first = cluster.store(2).watch(start).unwrap();
    let half = names(&mut first, 5).await;
    let mut at = start;
    let mut again = cluster.store(2).watch(start).unwrap();
    for _ in 0..5 {
        at = again.next().await.unwrap().revision();
    }
    let mut second = cluster.store(3).watch(at).unwrap();
    let rest = names(&mut second, 5).await;
    let all: Vec<String> = (0..10).map(|i| format!("n{i}")).collect();
    assert_eq!([half, rest].concat(), all);
    let bookmark = second.next().await.unwrap();
    assert!(matches!(bookmark, WatchEvent::Bookmark { revision } if revision >= at));
}

#[tokio::test(start_paused = true)]
async fn a_member_without_a_leader_ends_its_watches() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await.0.options().me.id;
    let follower = cluster.stores().into_iter().find(|s| s.options().me.id != leader).unwrap();
    let from = follower.view().revision;
    let mut watcher = follower.watch(from).unwrap();
    cluster.network.cut(follower.options().me.id);
    let end = loop {
        match watcher.next().await {
            Ok(WatchEvent::Bookmark { .. }) => {}
            other => break other,
        }
    };
    assert_eq!(end, Err(WatchEnd::LostLeader));
    assert_eq!(follower.watch(from).unwrap_err(), WatchError::NoLeader);
    cluster.network.heal(follower.options().me.id);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(follower.watch(from).is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_election_alone_ends_no_watch_on_the_others() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await.0.options().me.id;
    let follower = cluster.stores().into_iter().find(|s| s.options().me.id != leader).unwrap();
    let mut watcher = follower.watch(follower.view().revision).unwrap();
    cluster.crash(leader).await;
    cluster.write(put("after", "1")).await;
    assert_eq!(names(&mut watcher, 1).await, ["after"]);
}

/// The keys of one group are always written together, with the same value.
const PARTS: [&str; 3] = ["a", "b", "c"];
const GROUPS: u64 = 4;

/// What a watcher makes of the events: its own copy of the state.
#[derive(Default)]
struct Copy {
    entries: BTreeMap<Key, Entry>,
    at: u64,
    /// Times that it had to list again, and that it went on elsewhere.
    listed: u64,
    resumed: u64,
}

impl Copy {
    async fn list(&mut self, store: &Store) {
        // One that is cut off can't say what is current; its own view will do to go on from.
        let view = store.view();
        if view.revision >= self.at {
            self.entries = view.iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
            self.at = view.revision;
            self.listed += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    fn take(&mut self, revision: u64, events: &[Event]) {
        assert!(revision > self.at, "revision {revision} after {}", self.at);
        for event in events {
            let known = self.entries.get(&event.key);
            assert_eq!(known, event.old.as_ref(), "a change of {} was missed before {revision}", event.key);
            match &event.new {
                Some(entry) => self.entries.insert(event.key.clone(), entry.clone()),
                None => self.entries.remove(&event.key),
            };
        }
        for group in 0..GROUPS {
            let part = |part: &&str| self.entries.get(&key(&format!("g{group}-{part}"))).map(|e| &e.value);
            let values: Vec<_> = PARTS.iter().map(part).collect();
            assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "torn at {revision}: {values:?}");
        }
        self.at = revision;
    }
}

async fn follow(
    stores: impl Fn() -> Vec<Store>,
    first: usize,
    stop: Arc<AtomicBool>,
    until: Arc<AtomicU64>,
) -> Copy {
    let mut copy = Copy::default();
    let mut turn = first;
    loop {
        turn += 1;
        let all = stores();
        let store = &all[turn % all.len()];
        let mut watcher = match store.watch(copy.at) {
            Ok(watcher) => watcher,
            Err(WatchError::Compacted { .. }) => {
                copy.list(store).await;
                continue;
            }
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        copy.resumed += 1;
        loop {
            match watcher.next().await {
                Ok(WatchEvent::Changes { revision, events }) => copy.take(revision, &events),
                Ok(WatchEvent::Bookmark { revision }) => {
                    assert!(revision >= copy.at);
                    copy.at = revision;
                }
                Err(_) => break,
            }
            // Now and then it goes elsewhere of its own will.
            if copy.at % 97 == first as u64 {
                break;
            }
            if stop.load(Ordering::Relaxed) && copy.at >= until.load(Ordering::Relaxed) {
                return copy;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn watches_are_whole_across_leaders_compaction_and_snapshots() {
    // Few events are kept, and little log: a watcher that was away must list again, a member gets snapshots.
    let limits = Limits { ring_events: 60, ..Limits::default() };
    let checkpoint = Checkpoint { entries: 20, keep: 5, ..Checkpoint::default() };
    let mut cluster = Cluster::limited(3, checkpoint, limits.clone()).await;
    let outside = || Cluster {
        network: cluster.network.clone(),
        disks: cluster.disks.clone(),
        checkpoint: cluster.checkpoint.clone(),
        limits: limits.clone(),
    };
    let (stop, until) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(u64::MAX)));
    let watchers: Vec<_> = (0..6)
        .map(|first| {
            let (shared, stop, until) = (outside(), stop.clone(), until.clone());
            tokio::spawn(async move { follow(move || shared.stores(), first, stop, until).await })
        })
        .collect();
    let writers: Vec<_> = (0..GROUPS)
        .map(|group| {
            let (shared, stop) = (outside(), stop.clone());
            tokio::spawn(async move {
                let mut count = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let keys = PARTS.iter().map(|part| key(&format!("g{group}-{part}")));
                    let request_id = Some(format!("{group}-{count}"));
                    let transaction = if count % 10 == 9 {
                        Transaction { deletes: keys.collect(), request_id, ..Transaction::default() }
                    } else {
                        let value = Bytes::from(count.to_string());
                        let puts = keys.map(|key| (key, value.clone())).collect();
                        Transaction { puts, request_id, ..Transaction::default() }
                    };
                    shared.write(transaction).await;
                    count += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                count
            })
        })
        .collect();
    for round in 0..24_u64 {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let leader = cluster.leader().await.0.options().me.id;
        let other = 1 + (leader + round % 2) % 3;
        match round % 4 {
            0 => {
                cluster.crash(leader).await;
                tokio::time::sleep(Duration::from_secs(3)).await;
                cluster.start(leader).await;
            }
            1 => {
                cluster.network.cut(other);
                tokio::time::sleep(Duration::from_secs(8)).await;
                cluster.network.heal(other);
            }
            2 => drop(cluster.store(leader).transfer_leadership(other).await),
            _ => {
                cluster.crash(other).await;
                tokio::time::sleep(Duration::from_secs(6)).await;
                cluster.start(other).await;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    cluster.write(put("last", "1")).await;
    cluster.settle().await;
    let view = cluster.leader().await.0.linearizable().await.unwrap();
    until.store(view.revision, Ordering::Relaxed);
    let state: BTreeMap<_, _> = view.iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
    let (mut listed, mut resumed) = (0, 0);
    for watcher in watchers {
        let copy = tokio::time::timeout(Duration::from_secs(120), watcher).await.unwrap().unwrap();
        assert_eq!(copy.entries, state);
        listed += copy.listed;
        resumed += copy.resumed;
    }
    println!(
        "{written} writes; watches begun {resumed} times, listed again {listed} times; {} snapshots",
        cluster.network.snapshots()
    );
    assert!(written > 1000 && resumed > 50 && listed > 0);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_never_reads_hurts_nobody() {
    const WRITES: usize = 10_000;
    let cluster = Cluster::of(3).await;
    let (leader, term) = cluster.leader().await;
    let from = leader.linearizable().await.unwrap().revision;
    cluster.settle().await;
    let mut lazy: Vec<Watcher> = cluster.stores().iter().map(|store| store.watch(from).unwrap()).collect();
    let others: Vec<_> = (0..100)
        .map(|i| {
            let mut watcher = cluster.stores()[i % 3].watch(from).unwrap();
            tokio::spawn(async move { names(&mut watcher, WRITES).await })
        })
        .collect();
    let writers = (0..20).map(|writer| {
        let leader = leader.clone();
        async move {
            for count in 0..WRITES / 20 {
                leader.propose(term, vec![put(&format!("w{writer}-{count}"), "1")], 1).await.unwrap();
            }
        }
    });
    futures::future::join_all(writers).await;
    let mut first = None;
    for watcher in others {
        let seen = tokio::time::timeout(Duration::from_secs(60), watcher).await.unwrap().unwrap();
        assert_eq!(seen.len(), WRITES);
        assert_eq!(first.get_or_insert_with(|| seen.clone()), &seen, "all in the same order");
    }
    for watcher in &mut lazy {
        let mut kept = 0;
        let end = loop {
            match watcher.next().await {
                Ok(_) => kept += 1,
                Err(end) => break end,
            }
        };
        assert_eq!(end, WatchEnd::TooSlow);
        assert!(kept <= Limits::default().watcher_queue, "{kept} events were kept for it");
    }
}
