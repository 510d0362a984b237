//! Watches through the life of a cluster.

use std::time::Duration;

use raft_store::{WatchEnd, WatchError, WatchEvent, Watcher};

use crate::network::{Cluster, put};

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
