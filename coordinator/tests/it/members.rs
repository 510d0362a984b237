//! Coordinators come and go under 64 writers: no write fails beyond its retry, none is done twice, and all that were
//! acknowledged are there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use pvc_coordinator::core::{Coordinator, CoordinatorOptions, SubmitError};
use pvc_model::node::NodeRole;
use pvc_model::{Command, Role};
use raft_store::{Member, MembersError};
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{Cluster, name};

const WRITERS: usize = 64;
/// An election and a retry.
const RETRIED_WITHIN: Duration = Duration::from_secs(8);

type Handles = Arc<RwLock<Vec<Coordinator>>>;

fn leading(handles: &Handles) -> Option<Coordinator> {
    handles.read().iter().find(|coordinator| coordinator.leading().is_some()).cloned()
}

/// Asks whoever leads, with the same request id, until there is an answer. Done twice it would be refused:
/// the name would be taken.
async fn write(handles: &Handles, token: &str) {
    let command = Command::CreateApiToken {
        name: name(token),
        role: Role::Viewer,
        lifetime_seconds: 0,
        description: String::new(),
        secret_hash: "00".repeat(32),
    };
    let begun = Instant::now();
    loop {
        if let Some(leader) = leading(handles) {
            let submit = leader.submit(command.clone(), "admin/test", Some(token.to_owned()));
            match timeout(Duration::from_secs(2), submit).await {
                Ok(Ok(_)) => break,
                Ok(Err(SubmitError::Rejected(rejection))) => panic!("{rejection}"),
                Ok(Err(_)) | Err(_) => {}
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() < RETRIED_WITHIN, "{token} took {:?}", begun.elapsed());
}

/// Asks whoever leads to change the members, until it is done.
async fn change<F>(handles: &Handles, ask: impl Fn(Coordinator) -> F)
where
    F: Future<Output = Result<(), MembersError>>,
{
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "the members do not change");
        let Some(leader) = leading(handles) else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        match ask(leader).await {
            Ok(())
            | Err(
                MembersError::AlreadyVoter { .. }
                | MembersError::NoSuchMember { .. }
                | MembersError::KnownId { .. },
            ) => return,
            Err(MembersError::Busy | MembersError::NotLeader { .. } | MembersError::Lagging { .. }) => {
                sleep(Duration::from_millis(100)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_to_three_to_five_to_three_voters_under_writers() {
    let mut cluster = Cluster::founded(CoordinatorOptions::default()).await;
    let handles: Handles = Arc::new(RwLock::new(vec![cluster.coordinators[&1].clone()]));
    let stop = Arc::new(AtomicBool::new(false));
    let writers = (0..WRITERS).map(|writer| {
        let (handles, stop) = (handles.clone(), stop.clone());
        tokio::spawn(async move {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                write(&handles, &format!("w{writer}-{count}")).await;
                count += 1;
                sleep(Duration::from_millis(200)).await;
            }
            count
        })
    });
    let writers: Vec<_> = writers.collect();

    let mut members = vec![1];
    for node in ["hv2", "hv3", "hv4", "hv5"] {
        let id = cluster.enrol(node, NodeRole::Coordinator).await;
        let opened = cluster.open(id, node).await;
        handles.write().push(opened);
        let member = Member::new(id, format!("{node}:7443"));
        change(&handles, |leader| {
            let member = member.clone();
            async move { leader.store().add_learner(member).await }
        })
        .await;
        change(&handles, |leader| async move { leader.store().promote(id).await }).await;
        members.push(id);
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(cluster.voters().await.len(), 5);
    // The founder, which may well lead, and one more.
    for id in &members[..2] {
        change(&handles, |leader| async move { leader.store().remove(*id).await }).await;
        sleep(Duration::from_secs(3)).await;
        handles.write().retain(|coordinator| coordinator.store().options().me.id != *id);
        cluster.kill(*id).await;
        cluster.coordinators.remove(id);
    }
    sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        let count: usize = writer.await.expect("no write failed");
        assert!(count > 10, "nobody was left out: {count}");
        written += count;
    }
    assert_eq!(cluster.voters().await, members[2..].iter().copied().collect());
    for coordinator in cluster.coordinators.values() {
        let world = coordinator.linearizable_world().await.expect("a world");
        assert_eq!(world.tokens.len(), written, "all that were acknowledged, each once");
    }
}
