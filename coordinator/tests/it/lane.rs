//! Acknowledged commands survive, none is done twice, and callers share entries.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pvc_coordinator::core::{Changed, SubmitError};
use pvc_model::{Command, RejectionKind};

use super::cluster::{Cluster, name};

pub fn token(text: &str) -> Command {
    Command::CreateApiToken {
        name: name(text),
        role: pvc_model::Role::Viewer,
        lifetime_seconds: 0,
        description: String::new(),
        secret_hash: "22".repeat(32),
    }
}

#[tokio::test(start_paused = true)]
async fn two_hundred_creates_survive_the_leader() {
    let cluster = Arc::new(Cluster::three().await);
    let mut creates = tokio::task::JoinSet::new();
    for i in 0..200 {
        let cluster = Arc::clone(&cluster);
        creates.spawn(async move {
            tokio::time::sleep(Duration::from_millis(i % 40)).await;
            cluster.insist(token(&format!("t{i}")), &format!("request-{i}")).await
        });
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    let (id, _) = cluster.leader().await;
    cluster.kill(id).await;
    let answers = creates.join_all().await;
    let (_, leader) = cluster.leader().await;
    let world = leader.linearizable_world().await.expect("a world");
    assert_eq!(world.tokens.len(), 200);
    for answer in answers {
        let key = answer.reply.expect("a reply");
        let stored = &world.tokens[&key.name];
        assert_eq!(stored.meta.revision, answer.revision, "{key} was made once and not changed since");
    }
}

#[tokio::test(start_paused = true)]
async fn callers_share_an_entry() {
    let cluster = Cluster::three().await;
    let (_, leader) = cluster.leader().await;
    let rounds = leader.lane_stats().rounds.load(Ordering::Relaxed);
    let submits = (0..500).map(|i| leader.submit(token(&format!("t{i}")), "admin/test", None));
    let results = futures::future::join_all(submits).await;
    assert!(results.iter().all(Result::is_ok));
    let rounds = leader.lane_stats().rounds.load(Ordering::Relaxed) - rounds;
    assert!(rounds <= 3, "500 commands took {rounds} entries");
}

#[tokio::test(start_paused = true)]
async fn a_name_goes_to_one_of_two_in_a_round() {
    let cluster = Cluster::three().await;
    let (_, leader) = cluster.leader().await;
    let (a, b) = tokio::join!(
        leader.submit(token("same"), "admin/a", None),
        leader.submit(token("same"), "admin/b", None)
    );
    let refused = [a, b].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    match refused.as_slice() {
        [SubmitError::Rejected(rejection)] => assert_eq!(rejection.kind, RejectionKind::AlreadyExists),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_id_is_done_once() {
    let cluster = Cluster::three().await;
    let (_, leader) = cluster.leader().await;
    let id = || Some("once".to_owned());
    let (a, b) = tokio::join!(
        leader.submit(token("one"), "admin/a", id()),
        leader.submit(token("one"), "admin/a", id())
    );
    let c = leader.submit(token("one"), "admin/a", id()).await;
    let [a, b, c] = [a, b, c].map(|answer| answer.expect("committed"));
    assert_eq!((a.revision, a.revision), (b.revision, c.revision));
    assert_eq!((&a.reply, &a.reply), (&b.reply, &c.reply));
}

#[tokio::test(start_paused = true)]
async fn a_follower_refuses_and_names_the_leader() {
    let cluster = Cluster::three().await;
    let (id, _) = cluster.leader().await;
    let (_, follower) = cluster.coordinators.iter().find(|(other, _)| **other != id).expect("a follower");
    follower.linearizable_world().await.expect("a world");
    let error = follower.submit(token("one"), "admin/a", None).await.expect_err("refused");
    assert_eq!(error, SubmitError::NotLeader { leader: Some(name("hv1")) });
}

#[tokio::test(start_paused = true)]
async fn a_watch_resumes_without_a_hole() {
    let cluster = Cluster::three().await;
    let (id, leader) = cluster.leader().await;
    let start = leader.world().revision;
    for i in 0..5 {
        leader.submit(token(&format!("t{i}")), "admin/a", None).await.expect("committed");
    }
    let (_, follower) = cluster.coordinators.iter().find(|(other, _)| **other != id).expect("a follower");
    follower.linearizable_world().await.expect("a world");
    let mut seen = Vec::new();
    let mut from = start;
    while seen.len() < 5 {
        // Begun anew after each event, on the other coordinator.
        let mut watch = follower.watch(from).expect("a watch");
        if let Changed::Objects { revision, changes, world } = watch.next().await.expect("an event") {
            assert!(world.revision >= revision);
            seen.extend(changes.into_iter().map(|change| change.key.name.to_string()));
            from = revision;
        }
    }
    assert_eq!(seen, ["t0", "t1", "t2", "t3", "t4"]);
}
