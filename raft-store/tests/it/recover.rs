//! The quorum is lost for ever: the survivor goes on alone, with all that it had, and nothing of the lost
//! ones is ever believed again.

use std::path::Path;
use std::time::Duration;

use raft_store::{Engine, MembersError, OpenError, Options, Outcome, Recovery, Store};

use crate::network::{CLUSTER, Network, key, member, put};

const RECOVERED: &str = "test-cluster.1";

struct Lab {
    folder: tempfile::TempDir,
    network: Network,
}

impl Lab {
    fn options(&self, id: u64, cluster: &str) -> Options {
        let dir = self.folder.path().join(format!("m{id}"));
        let mut options = Options::new(Engine::Disk { dir }, member(id), cluster);
        options.timing.heartbeat = Duration::from_millis(50);
        options.timing.election_min = Duration::from_millis(300);
        options.timing.election_max = Duration::from_millis(600);
        options
    }

    async fn open(&self, id: u64, cluster: &str) -> Store {
        let store = Store::open(self.options(id, cluster), self.network.transport(id)).await.unwrap();
        self.network.connect(&store);
        store
    }

    fn recovery(&self, id: u64) -> Recovery {
        Recovery {
            dir: self.folder.path().join(format!("m{id}")),
            me: member(id),
            old_cluster_id: CLUSTER.into(),
            new_cluster_id: RECOVERED.into(),
        }
    }

    /// Three members with `writes` acknowledged, the last ten of them by 1 and 2 alone; then all are dead.
    async fn lost(writes: u64) -> Lab {
        let lab = Lab { folder: tempfile::tempdir().unwrap(), network: Network::default() };
        let first = lab.open(1, CLUSTER).await;
        first.found().await.unwrap();
        let mut stores = vec![first.clone()];
        for id in [2, 3] {
            stores.push(lab.open(id, CLUSTER).await);
            first.add_learner(member(id)).await.unwrap();
            first.promote(id).await.unwrap();
        }
        let term = first.leadership().borrow().unwrap().term;
        for i in 0..writes {
            if i == writes - 10 {
                // It has what was written so far: a quorum does without it.
                let so_far = first.view().revision;
                stores[2].applied(so_far, Duration::from_secs(20)).await.unwrap();
                lab.network.cut(3);
            }
            first.propose(term, vec![put(&format!("n{i}"), "1")], 1_700_000_000_000 + i).await.unwrap();
        }
        for id in 1..=3 {
            lab.network.disconnect(id);
        }
        for store in stores {
            store.kill().await;
        }
        lab.network.heal(3);
        lab
    }
}

async fn leads(store: &Store) -> u64 {
    let mut leadership = store.leadership();
    let led = tokio::time::timeout(Duration::from_secs(20), leadership.wait_for(Option::is_some)).await;
    led.expect("a sole member leads").unwrap().unwrap().term
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_goes_on_alone_and_the_lost_ones_are_refused_for_ever() {
    let lab = Lab::lost(40).await;
    let recovery = lab.recovery(2);
    let survivor = Store::survivor(&recovery).await.unwrap().expect("not recovered yet");
    assert_eq!(survivor.view.len(), 40, "what it has acknowledged, known to be committed or not");
    assert_eq!(survivor.last_write_ms, Some(1_700_000_000_039));
    assert_eq!(survivor.others, [member(1), member(3)]);
    // The one that was cut off has less, and says so.
    let behind = Store::survivor(&lab.recovery(3)).await.unwrap().expect("not recovered yet");
    assert!(behind.revision < survivor.revision && behind.view.len() == 30, "{}", behind.view.len());

    Store::recover(&recovery).await.unwrap();
    assert!(Store::survivor(&recovery).await.unwrap().is_none(), "done");
    Store::recover(&recovery).await.unwrap();
    assert!(recovery.kept().exists());
    let store = lab.open(2, RECOVERED).await;
    let term = leads(&store).await;
    assert_eq!(store.view().len(), 40);
    let again = store.propose(term, vec![put("n39", "1")], 0).await.unwrap().remove(0);
    assert!(matches!(again, Outcome::Applied { duplicate: true, .. }), "a client repeats: {again:?}");

    // Both lost ones come back: a quorum of the old three. They may believe so; here nothing arrives.
    // The status follows by a moment.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = store.status().borrow().clone();
    let (one, three) = (lab.open(1, CLUSTER).await, lab.open(3, CLUSTER).await);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = store.status().borrow().clone();
    assert_eq!((after.term, after.last_log), (before.term, before.last_log));
    assert!(after.members.iter().all(|m| m.member.id == 2));
    for old in [1, 3] {
        assert_eq!(store.add_learner(member(old)).await, Err(MembersError::KnownId { id: old }));
    }
    let new = Store::open(lab.options(4, RECOVERED), lab.network.transport(4)).await.unwrap();
    lab.network.connect(&new);
    store.add_learner(member(4)).await.unwrap();
    store.promote(4).await.unwrap();
    store.propose(term, vec![put("more", "1")], 0).await.unwrap();
    new.applied(store.view().revision, Duration::from_secs(10)).await.unwrap();
    assert_eq!(new.view().get(&key("more")).unwrap().value, "1");
    assert!(one.view().get(&key("more")).is_none() && three.view().get(&key("more")).is_none());

    // Data of the old cluster are refused under the new name, and the other way round.
    for store in [&one, &three, &store, &new] {
        store.kill().await;
    }
    let foreign = |found: &str, result: Result<Store, OpenError>| {
        assert!(matches!(&result, Err(OpenError::ForeignCluster { found: f, .. }) if f == found));
    };
    foreign(CLUSTER, Store::open(lab.options(1, RECOVERED), lab.network.transport(1)).await);
    foreign(RECOVERED, Store::open(lab.options(2, CLUSTER), lab.network.transport(2)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_that_was_cut_off_is_run_again() {
    let lab = Lab::lost(20).await;
    let recovery = lab.recovery(2);
    let beside = |suffix: &str| lab.folder.path().join(format!("m2.{suffix}"));
    // In the midst of making the new store.
    std::fs::create_dir_all(beside("recovered").join("log")).unwrap();
    std::fs::write(beside("recovered").join("log/rubbish"), "half").unwrap();
    Store::recover(&recovery).await.unwrap();
    assert!(!beside("recovered").exists());
    // Between the two renames.
    std::fs::rename(&recovery.dir, beside("recovered")).unwrap();
    Store::recover(&recovery).await.unwrap();
    let store = lab.open(2, RECOVERED).await;
    leads(&store).await;
    assert_eq!(store.view().len(), 20);
    store.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_survivor_is_refused() {
    let lab = Lab::lost(12).await;
    let recovery = lab.recovery(2);
    // Its daemon runs.
    let running = lab.open(2, CLUSTER).await;
    let refused = Store::recover(&recovery).await;
    assert!(matches!(&refused, Err(OpenError::InUse { .. })), "{refused:?}");
    running.kill().await;
    let nobody = Recovery { dir: lab.folder.path().join("m9"), ..recovery.clone() };
    assert!(matches!(Store::recover(&nobody).await, Err(OpenError::Io { .. })));
    let other = Recovery { me: member(3), ..recovery };
    assert!(matches!(Store::recover(&other).await, Err(OpenError::ForeignMember { .. })));
    assert!(Path::new(&lab.folder.path().join("m2/IDENTITY")).exists(), "nothing was touched");
}
