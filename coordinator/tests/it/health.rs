//! What is wrong with a coordinator's store becomes a fault that names it, whoever leads, and goes by itself;
//! on virtual time.

use std::time::Duration;

use pvc_coordinator::core::{Coordinator, Heartbeat};
use pvc_model::health::{SYNC_LIMIT_DEFAULT, StoreHealth};
use pvc_model::node::NodeRole;
use pvc_model::{Command, Name};
use tokio::time::sleep;

use super::cluster::{Cluster, beat, name};

const GIB: u64 = 1 << 30;

fn well() -> StoreHealth {
    StoreHealth {
        sync_limit: SYNC_LIMIT_DEFAULT,
        disk_bytes: 100 * GIB,
        free_bytes: 50 * GIB,
        ..StoreHealth::default()
    }
}

fn slow() -> StoreHealth {
    StoreHealth { syncs: 40, sync_p99: Duration::from_millis(400), ..well() }
}

/// A coordinator that does not lead, and what it says.
struct Follower {
    node: Name,
    sequence: u64,
}

impl Follower {
    async fn of(cluster: &Cluster) -> Follower {
        let (leader, core) = cluster.leader().await;
        let world = core.world();
        let node = world.nodes.values().find(|node| node.status.member_id != leader).expect("a follower");
        Follower { node: node.meta.name.clone(), sequence: 0 }
    }

    /// Tells it every half second, as nodes do.
    async fn says(&mut self, cluster: &Cluster, health: &StoreHealth, seconds: u64) {
        for _ in 0..seconds * 2 {
            let (_, leader) = cluster.leader().await;
            self.sequence += 1;
            let beat = Heartbeat { store: Some(health.clone()), ..beat(self.sequence) };
            // After a silence it is being fenced, and that is called off when it is heard.
            if let Err(error) = leader.heartbeat(&self.node, beat) {
                assert!(error.to_string().contains("it is fenced"), "{error}");
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    fn fault(&self, core: &Coordinator, kind: &str) -> Option<String> {
        let world = core.world();
        let fault = world.faults.get(&name(&format!("{kind}.{}", self.node)))?;
        assert_eq!(fault.subject, format!("node/{}", self.node));
        Some(fault.message.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_is_named_and_cleared_when_it_is_fast_again() {
    let cluster = Cluster::three().await;
    let (_, leader) = cluster.leader().await;
    let mut follower = Follower::of(&cluster).await;
    // A slow moment is no slow disk.
    follower.says(&cluster, &slow(), 40).await;
    follower.says(&cluster, &StoreHealth { syncs: 40, ..well() }, 30).await;
    follower.says(&cluster, &slow(), 40).await;
    assert_eq!(follower.fault(&leader, "disk-slow"), None);
    follower.says(&cluster, &slow(), 40).await;
    let told = follower.fault(&leader, "disk-slow").expect("a fault");
    assert!(told.contains(follower.node.as_str()) && told.contains("400 ms"), "{told}");

    // What lasts costs no commit, whatever the figures do.
    let committed = leader.store().status().borrow().last_log;
    let slower = StoreHealth { sync_p99: Duration::from_millis(900), ..slow() };
    follower.says(&cluster, &slower, 60).await;
    let between = StoreHealth { sync_p99: Duration::from_millis(70), ..slow() };
    follower.says(&cluster, &between, 80).await;
    assert_eq!(leader.store().status().borrow().last_log, committed);
    assert!(follower.fault(&leader, "disk-slow").is_some());
    follower.says(&cluster, &StoreHealth { syncs: 40, ..well() }, 80).await;
    assert_eq!(follower.fault(&leader, "disk-slow"), None);
}

/// Nobody writes any more: the fault goes after a while, and its going does not bring it back.
#[tokio::test(start_paused = true)]
async fn a_slow_disk_that_is_not_used_is_forgotten() {
    let cluster = Cluster::three().await;
    let (_, leader) = cluster.leader().await;
    let mut follower = Follower::of(&cluster).await;
    follower.says(&cluster, &slow(), 80).await;
    assert!(follower.fault(&leader, "disk-slow").is_some());
    let idle = StoreHealth { syncs: 2, ..slow() };
    follower.says(&cluster, &idle, 500).await;
    assert!(follower.fault(&leader, "disk-slow").is_some());
    follower.says(&cluster, &idle, 150).await;
    assert_eq!(follower.fault(&leader, "disk-slow"), None);
    let committed = leader.store().status().borrow().last_log;
    follower.says(&cluster, &idle, 200).await;
    assert_eq!(leader.store().status().borrow().last_log, committed, "an idle cluster commits nothing");
}

/// The leader's own disk, by what its own log really took.
#[tokio::test(start_paused = true)]
async fn a_leader_names_its_own_slow_disk() {
    let cluster = Cluster::three().await;
    let (id, leader) = cluster.leader().await;
    cluster.disk(id).set_sync_delay(Duration::from_millis(150));
    for round in 0..60 {
        let command = Command::RaiseFault {
            name: name(&format!("load-{round}")),
            subject: "test".into(),
            message: "a write".into(),
            help: String::new(),
        };
        leader.submit(command, "test", None).await.expect("committed");
        sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(leader.leading().map(|_| ()), Some(()), "it leads on");
    let node = leader.leader().expect("its name");
    let world = leader.world();
    let fault = world.faults.get(&name(&format!("disk-slow.{node}"))).expect("a fault");
    assert!(fault.message.contains("150 ms"), "{}", fault.message);
    let named: Vec<_> = world.faults.keys().filter(|fault| fault.as_str().starts_with("disk-slow")).collect();
    assert_eq!(named.len(), 1, "the others' disks are not slow: {named:?}");
}

#[tokio::test(start_paused = true)]
async fn a_followers_alarms_are_raised_by_the_leader_and_go_when_it_says_so() {
    let cluster = Cluster::three().await;
    let (old, leader) = cluster.leader().await;
    let mut follower = Follower::of(&cluster).await;
    let ill = StoreHealth {
        rebuilt: "it did not open".into(),
        failed: "the disk failed: no space".into(),
        free_bytes: GIB,
        ..well()
    };
    follower.says(&cluster, &ill, 1).await;
    // Its last words hold while it is silent,
    sleep(Duration::from_secs(8)).await;
    for (kind, words) in [("store-rebuilt", "it did not open"), ("store-failed", "no space")] {
        let told = follower.fault(&leader, kind).expect(kind);
        assert!(told.contains(words), "{told}");
    }
    sleep(Duration::from_secs(600)).await;
    assert!(follower.fault(&leader, "store-failed").is_some());
    // also when a third one leads, who never heard them.
    let said_it = leader.world().nodes[&follower.node].status.member_id;
    let third = cluster.coordinators.keys().find(|id| ![old, said_it].contains(id)).expect("a third");
    leader.store().transfer_leadership(*third).await.expect("handed over");
    let leader = loop {
        match cluster.leader().await {
            (id, leader) if id == *third => break leader,
            _ => sleep(Duration::from_millis(100)).await,
        }
    };
    sleep(Duration::from_secs(30)).await;
    assert!(follower.fault(&leader, "store-rebuilt").is_some());
    follower.says(&cluster, &well(), 15).await;
    for kind in ["store-rebuilt", "store-failed"] {
        assert_eq!(follower.fault(&leader, kind), None, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fills_up_is_told_before_it_is_full() {
    let cluster = Cluster::three().await;
    let (_, leader) = cluster.leader().await;
    let mut follower = Follower::of(&cluster).await;
    follower.says(&cluster, &StoreHealth { free_bytes: 9 * GIB, ..well() }, 25).await;
    let told = follower.fault(&leader, "disk-filling").expect("a fault");
    assert!(told.contains("9216 MiB are free"), "{told}");
    follower.says(&cluster, &StoreHealth { free_bytes: 11 * GIB, ..well() }, 60).await;
    assert!(follower.fault(&leader, "disk-filling").is_some(), "just above the limit is not well yet");
    follower.says(&cluster, &StoreHealth { free_bytes: 20 * GIB, ..well() }, 25).await;
    assert_eq!(follower.fault(&leader, "disk-filling"), None);
}

/// A coordinator that is none any more takes its faults with it.
#[tokio::test(start_paused = true)]
async fn a_node_that_gave_its_vote_back_has_no_faults_of_a_coordinator() {
    let cluster = Cluster::three().await;
    let (_, leader) = cluster.leader().await;
    let mut follower = Follower::of(&cluster).await;
    follower.says(&cluster, &StoreHealth { free_bytes: 0, ..well() }, 25).await;
    assert!(follower.fault(&leader, "disk-filling").is_some());
    let command = Command::SetNodeRole { node: follower.node.clone(), role: NodeRole::Hypervisor };
    leader.submit(command, "test", None).await.expect("a hypervisor");
    sleep(Duration::from_secs(11)).await;
    assert_eq!(follower.fault(&leader, "disk-filling"), None);
}
