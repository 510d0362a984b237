//! The primary on virtual time: elected, followed when its lease has certainly lapsed, handed over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pvc_coordinator::core::{Coordinator, SubmitError};
use pvc_model::command::PrimaryReport;
use pvc_model::node::NodeFacts;
use pvc_model::primary::{LEASE, Primary, PrimaryPhase};
use pvc_model::{Command, Name};
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, beat, name};

const NODES: [&str; 3] = ["hv1", "hv2", "hv3"];

/// The heartbeats of all three, to whoever leads.
struct Beating {
    silent: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Beating {
    fn begin(cluster: &Cluster) -> Beating {
        let silent: Arc<Mutex<BTreeSet<&'static str>>> = Arc::default();
        let beating = Beating { silent: silent.clone() };
        let all: Vec<Coordinator> = cluster.coordinators.values().cloned().collect();
        tokio::spawn(async move {
            for sequence in 1.. {
                for node in NODES.into_iter().filter(|node| !silent.lock().contains(node)) {
                    for there in &all {
                        drop(there.heartbeat(&name(node), beat(sequence)));
                    }
                }
                sleep(Duration::from_millis(500)).await;
            }
        });
        beating
    }

    fn silence(&self, node: &Name) {
        let known = NODES.into_iter().find(|known| name(known) == *node).expect("one of three");
        self.silent.lock().insert(known);
    }

    fn all_again(&self) {
        self.silent.lock().clear();
    }
}

async fn primary(cluster: &Cluster) -> Primary {
    cluster.leader().await.1.world().primary().cloned().expect("there is one")
}

/// Waits until another one than `old` is the primary; how long it took.
async fn followed(cluster: &Cluster, old: &Primary) -> (Primary, Duration) {
    let begun = Instant::now();
    loop {
        let now = primary(cluster).await;
        if now.epoch > old.epoch {
            return (now, begun.elapsed());
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{now:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn started() -> (Cluster, Beating, Primary) {
    let cluster = Cluster::three().await;
    let beating = Beating::begin(&cluster);
    sleep(Duration::from_secs(15)).await;
    let first = primary(&cluster).await;
    assert_eq!(first.phase, PrimaryPhase::Holding);
    (cluster, beating, first)
}

#[tokio::test(start_paused = true)]
async fn a_silent_primary_is_followed_within_three_seconds_and_stays_followed() {
    let (cluster, beating, first) = started().await;
    let (_, leader) = cluster.leader().await;
    let revision = leader.world().revision;
    sleep(Duration::from_secs(120)).await;
    assert_eq!(leader.world().revision, revision, "nothing is committed while all is well");

    // Its last heartbeat is at most half a second old.
    beating.silence(&first.node);
    let (second, took) = followed(&cluster, &first).await;
    assert!(took > LEASE - Duration::from_millis(500) && took < Duration::from_secs(3), "{took:?}");
    assert!(second.node != first.node && second.epoch == first.epoch + 1);
    assert_eq!(second.phase, PrimaryPhase::Holding, "a lapsed lease is waited for no longer");
    beating.all_again();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(primary(&cluster).await, second, "it does not go back");
}

#[tokio::test(start_paused = true)]
async fn whoever_flaps_is_not_chosen() {
    let (cluster, beating, first) = started().await;
    let leading = cluster.leader().await.1.leader().expect("it leads");
    assert_ne!(leading, first.node, "the first primary is one that does not lead");
    let flapping = NODES.map(name).into_iter().find(|n| *n != first.node && *n != leading);
    let flapping = flapping.expect("there are three");
    beating.silence(&flapping);
    sleep(Duration::from_secs(5)).await;
    beating.all_again();
    sleep(Duration::from_secs(3)).await;
    beating.silence(&first.node);
    let (second, _) = followed(&cluster, &first).await;
    assert_eq!(second.node, leading, "{flapping} was back for three seconds only");
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_waits_for_a_whole_lease() {
    let (cluster, beating, first) = started().await;
    let (id, _) = cluster.leader().await;
    beating.silence(&first.node);
    sleep(Duration::from_millis(1500)).await;
    cluster.kill(id).await;
    cluster.leader().await;
    let (_, took) = followed(&cluster, &first).await;
    assert!(took >= LEASE, "the lease may have been acknowledged by the old leader: {took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// A heartbeat that comes while its sender is being followed: nothing that is acknowledged may be older than the
/// election, or the old lease would live again beside the new primary.
#[tokio::test(start_paused = true)]
async fn a_late_heartbeat_wakes_no_lease() {
    let (cluster, beating, first) = started().await;
    let (_, leader) = cluster.leader().await;
    let ids: Vec<_> = cluster.coordinators.keys().copied().collect();
    ids.iter().for_each(|id| cluster.disk(*id).set_sync_delay(Duration::from_millis(20)));
    beating.silence(&first.node);
    sleep(Duration::from_secs(1)).await;
    let last = leader.heartbeats().heard(&first.node).expect("it was heard");
    sleep(LEASE + Duration::from_millis(52) - last).await;
    assert_eq!(leader.world().primary(), Some(&first), "the election is on its way to the disks");
    for sequence in 10_000..10_200 {
        let acknowledged = leader.heartbeat(&first.node, beat(sequence));
        if let Ok(ack) = acknowledged {
            let world = leader.world();
            let elected = world.primary().is_some_and(|now| now.epoch > first.epoch);
            let at = world.cluster.as_ref().map_or(0, |cluster| cluster.meta.revision);
            assert!(elected && ack.revision >= at, "acknowledged at {}: {:?}", ack.revision, world.primary());
            return;
        }
        assert!(matches!(acknowledged, Err(SubmitError::NotLeader { .. })), "{acknowledged:?}");
        sleep(Duration::from_millis(1)).await;
    }
    panic!("it is never acknowledged again");
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_ends_by_itself() {
    let (cluster, _beating, first) = started().await;
    let (_, leader) = cluster.leader().await;
    let to = NODES.map(name).into_iter().find(|node| *node != first.node).expect("another");
    let ask = || Command::HandOverPrimary { from: None, to: Some(to.clone()) };
    // The target never says that it is ready.
    leader.submit(ask(), "admin/test", None).await.expect("asked");
    sleep(Duration::from_secs(9)).await;
    assert_eq!(primary(&cluster).await.phase, PrimaryPhase::HandingOver { to: to.clone() });
    sleep(Duration::from_secs(2)).await;
    let kept = primary(&cluster).await;
    assert_eq!((kept.epoch, kept.phase), (first.epoch, PrimaryPhase::Holding));
    assert!(kept.reason.contains("not ready in time"), "{}", kept.reason);
    // The old one never says that it has let go: a lease later it has.
    leader.submit(ask(), "admin/test", None).await.expect("asked");
    leader.report_primary(&to, 1, first.epoch, PrimaryReport::Ready).await.expect("said");
    assert_eq!(primary(&cluster).await.phase, PrimaryPhase::TakingOver { from: first.node.clone() });
    sleep(LEASE).await;
    assert_eq!(primary(&cluster).await.phase, PrimaryPhase::TakingOver { from: first.node });
    sleep(Duration::from_millis(200)).await;
    let now = primary(&cluster).await;
    assert_eq!((now.node, now.phase), (to, PrimaryPhase::Holding));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_worked_on_gives_the_role_away() {
    let (cluster, _beating, first) = started().await;
    let (_, leader) = cluster.leader().await;
    for node in NODES {
        let facts = NodeFacts { cpus: 4, memory_mib: 4096, ..NodeFacts::default() };
        leader.report(&name(node), 1, vec![], vec![], Some(facts), None).await.expect("reported");
    }
    let flush = Command::FlushNode { node: first.node.clone(), stop_unmovable: false };
    leader.submit(flush, "admin/test", None).await.expect("flushed");
    sleep(Duration::from_secs(1)).await;
    let asked = primary(&cluster).await;
    let PrimaryPhase::HandingOver { to } = asked.phase else { panic!("{asked:?}") };
    assert!(asked.node == first.node && to != first.node);
    assert_eq!(asked.reason, format!("{} is in maintenance", first.node));
    leader.report_primary(&to, 1, first.epoch, PrimaryReport::Ready).await.expect("said");
    leader.report_primary(&first.node, 1, first.epoch + 1, PrimaryReport::Released).await.expect("said");
    let now = primary(&cluster).await;
    assert_eq!((&now.node, &now.phase), (&to, &PrimaryPhase::Holding));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(primary(&cluster).await, now, "it does not go back");
}

/// Nobody is asked without end.
#[tokio::test(start_paused = true)]
async fn a_holder_that_is_worked_on_and_finds_no_successor_is_asked_once_a_minute() {
    let (cluster, _beating, first) = started().await;
    let (_, leader) = cluster.leader().await;
    leader.leave_node(&first.node, 1, 900).await.expect_err("no session has begun");
    let facts = NodeFacts { cpus: 4, memory_mib: 4096, ..NodeFacts::default() };
    leader.report(&first.node, 1, vec![], vec![], Some(facts), None).await.expect("reported");
    leader.leave_node(&first.node, 1, 900).await.expect("heard");
    sleep(Duration::from_secs(15)).await;
    let kept = primary(&cluster).await;
    assert_eq!((&kept.node, &kept.phase), (&first.node, &PrimaryPhase::Holding), "nobody was ready");
    let revision = leader.world().revision;
    sleep(Duration::from_secs(40)).await;
    assert_eq!(leader.world().revision, revision);
    sleep(Duration::from_secs(10)).await;
    assert!(matches!(primary(&cluster).await.phase, PrimaryPhase::HandingOver { .. }));
}
