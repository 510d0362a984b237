//! Two versions in one cluster: one coordinator after the other is replaced by one of a newer build, under
//! writes. The older build is pretended by what it says that it can.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pvc_coordinator::core::{CoordinatorOptions, SubmitError};
use pvc_model::Command;
use pvc_model::feature::{LevelError, Levels};
use pvc_model::node::NodeFacts;
use pvc_model::vm::VmSpec;
use raft_store::MemberId;
use tokio::time::{sleep, timeout};

use super::cluster::{Cluster, name};

const OLD: Levels = Levels { oldest: 1, newest: 1 };
const NEW: Levels = Levels { oldest: 1, newest: 2 };

/// A node's daemon was started anew and says what it can.
async fn reports(cluster: &Cluster, node: &str, session: u64, levels: Levels) -> Result<(), SubmitError> {
    let facts =
        NodeFacts { level: levels.newest, version: format!("0.{}", levels.newest), ..Default::default() };
    loop {
        let (_, leader) = cluster.leader().await;
        match leader.report(&name(node), session, vec![], vec![], Some(facts.clone()), None).await {
            Ok(_) => return Ok(()),
            Err(rejected @ SubmitError::Rejected(_)) => return Err(rejected),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_level_rises_once_when_the_last_of_all_nodes_is_upgraded() {
    let mut cluster = Cluster::three_with(CoordinatorOptions { levels: OLD, ..Default::default() }).await;
    for node in ["hv1", "hv2", "hv3"] {
        reports(&cluster, node, 1, OLD).await.expect("reported");
    }
    let written = AtomicU64::new(0);
    for node in ["hv2", "hv3", "hv1"] {
        let id = member(&cluster, node).await;
        // Writes go on all the while.
        let upgrade = async {
            sleep(Duration::from_secs(2)).await;
            cluster.kill(id).await;
            sleep(Duration::from_secs(3)).await;
        };
        tokio::select! {
            () = upgrade => {}
            () = write(&cluster, &written) => {}
        }
        cluster.options.levels = NEW;
        cluster.open(id, node).await;
        reports(&cluster, node, 2, NEW).await.expect("reported");
        if node != "hv1" {
            // A new one leads: it could do more itself.
            sleep(Duration::from_secs(5)).await;
            let (leads, leader) = cluster.leader().await;
            if leads != id {
                leader.store().transfer_leadership(id).await.expect("handed over");
                sleep(Duration::from_secs(5)).await;
            }
            let (leads, leader) = cluster.leader().await;
            assert_eq!(leads, id);
            sleep(Duration::from_secs(30)).await;
            assert_eq!(leader.world().level(), 1, "{node} alone raises nothing");
        }
    }
    let (_, leader) = cluster.leader().await;
    let mut worlds = leader.worlds();
    let raised = timeout(Duration::from_secs(10), worlds.wait_for(|world| world.level() == 2));
    raised.await.expect("raised by itself").expect("a world");
    sleep(Duration::from_secs(30)).await;
    let raises = |entry: &&raft_store::Audited| entry.summary.contains("feature level");
    assert_eq!(leader.store().audit(0, 1000).iter().filter(raises).count(), 1, "one commit");
    let count = written.load(Ordering::Relaxed);
    assert!(count > 20, "{count} writes");
    assert_eq!(leader.world().vms.len() as u64, count, "every acknowledged write is there");

    // The old build is refused: as a node,
    let refused = reports(&cluster, "hv2", 3, OLD).await.expect_err("refused");
    let SubmitError::Rejected(rejection) = refused else { panic!("{refused}") };
    assert_eq!((rejection.rule, rejection.subject.as_str()), ("feature-level", "node/hv2"));
    assert_eq!(leader.world().nodes[&name("hv2")].status.facts.level, 2, "what it can stays as it was said");
    // and as a coordinator.
    let leads = leader.leader().expect("its name");
    let node = if leads == name("hv2") { "hv3" } else { "hv2" };
    let id = member(&cluster, node).await;
    cluster.kill(id).await;
    cluster.options.levels = OLD;
    let refused = match cluster.try_open(id, node).await {
        Err(refused) => refused,
        // Its copy was older than the raise.
        Ok(core) => timeout(Duration::from_secs(10), core.outdated()).await.expect("it must not go on"),
    };
    assert_eq!(refused, LevelError::TooOld { cluster: 2, newest: 1 });
}

async fn member(cluster: &Cluster, node: &str) -> MemberId {
    cluster.leader().await.1.world().nodes[&name(node)].status.member_id
}

/// Creates VMs, one after the other, until it is dropped. Counts those that were acknowledged.
async fn write(cluster: &Cluster, written: &AtomicU64) {
    loop {
        let number = written.load(Ordering::Relaxed);
        let command = Command::CreateVm { name: name(&format!("vm{number}")), spec: VmSpec::new(1, 128) };
        cluster.insist(command, &format!("create-{number}")).await;
        written.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(50)).await;
    }
}

/// A node that has not said what it can holds the level back, and is named.
#[tokio::test(start_paused = true)]
async fn a_node_that_was_never_heard_holds_the_level_back() {
    let cluster = Cluster::three_with(CoordinatorOptions { levels: NEW, ..Default::default() }).await;
    for node in ["hv1", "hv2"] {
        reports(&cluster, node, 1, NEW).await.expect("reported");
    }
    sleep(Duration::from_secs(60)).await;
    let (_, leader) = cluster.leader().await;
    let outlook = pvc_model::feature::outlook(&leader.world());
    assert_eq!((leader.world().level(), outlook.best), (1, 2));
    assert_eq!(outlook.held_by, [name("hv3")]);
    reports(&cluster, "hv3", 1, NEW).await.expect("reported");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(leader.world().level(), 2);
}
