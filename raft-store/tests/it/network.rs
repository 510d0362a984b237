//! Members in one process over a network that can be cut, and what most tests do with them.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use raft_store::{
    Checkpoint, Engine, Key, Leadership, Limits, Member, MemberId, MemoryDisk, Options, Outcome,
    ProposeError, RpcKind, Store, Transaction, Transport, TransportError,
};
use tokio::io::AsyncRead;

#[derive(Default)]
struct Wires {
    stores: BTreeMap<MemberId, Store>,
    cut: BTreeSet<MemberId>,
    /// Who is refused by whom, as if nobody listened there.
    refused: BTreeSet<(MemberId, MemberId)>,
    calls: BTreeMap<RpcKind, u64>,
    snapshots: u64,
}

/// A network in memory; every clone is the same one.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<Wires>>);

struct Port {
    network: Network,
    me: MemberId,
}

impl Port {
    fn reach(&self, to: MemberId) -> Result<Store, TransportError> {
        let wires = self.network.0.lock();
        if wires.cut.contains(&self.me) || wires.cut.contains(&to) {
            return Err(TransportError::Unreachable("cut".into()));
        }
        if wires.refused.contains(&(self.me, to)) {
            return Err(TransportError::Refused);
        }
        wires.stores.get(&to).cloned().ok_or(TransportError::Refused)
    }
}

#[async_trait]
impl Transport for Port {
    async fn call(
        &self,
        target: &Member,
        kind: RpcKind,
        payload: Bytes,
        _: Duration,
    ) -> Result<Bytes, TransportError> {
        assert!(payload.len() <= raft_store::MAX_CALL_BYTES);
        *self.network.0.lock().calls.entry(kind).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let store = self.reach(target.id)?;
        let answer = store.handle(self.me, kind, payload).await;
        self.reach(target.id)?;
        answer.map_err(|e| TransportError::Remote(e.to_string()))
    }

    async fn send_snapshot(
        &self,
        target: &Member,
        header: Bytes,
        reader: Pin<Box<dyn AsyncRead + Send>>,
        _: Duration,
    ) -> Result<Bytes, TransportError> {
        self.network.0.lock().snapshots += 1;
        let store = self.reach(target.id)?;
        let answer = store.handle_snapshot(self.me, header, reader).await;
        answer.map_err(|e| TransportError::Remote(e.to_string()))
    }
}

impl Network {
    pub fn transport(&self, me: MemberId) -> Arc<dyn Transport> {
        Arc::new(Port { network: self.clone(), me })
    }

    pub fn connect(&self, store: &Store) {
        self.0.lock().stores.insert(store.options().me.id, store.clone());
    }

    pub fn disconnect(&self, id: MemberId) {
        self.0.lock().stores.remove(&id);
    }

    pub fn cut(&self, id: MemberId) {
        self.0.lock().cut.insert(id);
    }

    pub fn refuse(&self, from: MemberId, to: MemberId) {
        self.0.lock().refused.insert((from, to));
    }

    pub fn heal(&self, id: MemberId) {
        self.0.lock().cut.remove(&id);
    }

    pub fn snapshots(&self) -> u64 {
        self.0.lock().snapshots
    }
}

/// A cluster of members on memory disks.
pub struct Cluster {
    pub network: Network,
    pub disks: BTreeMap<MemberId, MemoryDisk>,
    pub checkpoint: Checkpoint,
    pub limits: Limits,
}

pub const CLUSTER: &str = "test-cluster";

impl Cluster {
    /// Founds a cluster on member 1 and adds the others up to `voters`.
    pub async fn of(voters: u64) -> Cluster {
        Cluster::with(voters, Checkpoint::default()).await
    }

    pub async fn with(voters: u64, checkpoint: Checkpoint) -> Cluster {
        Cluster::limited(voters, checkpoint, Limits::default()).await
    }

    pub async fn limited(voters: u64, checkpoint: Checkpoint, limits: Limits) -> Cluster {
        let mut cluster = Cluster { network: Network::default(), disks: BTreeMap::new(), checkpoint, limits };
        cluster.start(1).await.found().await.unwrap();
        for id in 2..=voters {
            cluster.add_voter(id).await;
        }
        cluster
    }

    /// Opens a member on its disk, an empty one the first time.
    pub async fn start(&mut self, id: MemberId) -> Store {
        let store = Store::open(self.options(id), self.network.transport(id)).await.unwrap();
        self.network.0.lock().stores.insert(id, store.clone());
        store
    }

    pub fn options(&mut self, id: MemberId) -> Options {
        let disk = self.disks.entry(id).or_default().clone();
        let mut options = Options::new(Engine::Memory(disk), member(id), CLUSTER);
        options.checkpoint = self.checkpoint.clone();
        options.limits = self.limits.clone();
        options.seed = Some(id * 7 + 1);
        options.peers = self.network.0.lock().stores.keys().map(|id| member(*id)).collect();
        options
    }

    pub async fn add_voter(&mut self, id: MemberId) {
        self.start(id).await;
        let leader = self.leader().await.0;
        leader.add_learner(member(id)).await.unwrap();
        leader.promote(id).await.unwrap();
    }

    /// Kills a member as a power cut would.
    pub async fn crash(&self, id: MemberId) {
        let store = self.network.0.lock().stores.remove(&id);
        self.disks[&id].crash();
        if let Some(store) = store {
            store.kill().await;
        }
    }

    pub fn store(&self, id: MemberId) -> Store {
        self.network.0.lock().stores[&id].clone()
    }

    pub fn stores(&self) -> Vec<Store> {
        self.network.0.lock().stores.values().cloned().collect()
    }

    /// The member that leads, once one does and is not cut off, and its term.
    pub async fn leader(&self) -> (Store, u64) {
        for _ in 0..2000 {
            for store in self.stores() {
                let id = store.options().me.id;
                let leads: Option<Leadership> = *store.leadership().borrow();
                let connected = !self.network.0.lock().cut.contains(&id);
                if let (Some(Leadership { term }), true) = (leads, connected) {
                    return (store, term);
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no leader in 20 s");
    }

    /// Proposes at whoever leads until an outcome is known; safe because of the request id.
    pub async fn write(&self, transaction: Transaction) -> Outcome {
        assert!(transaction.request_id.is_some());
        for _ in 0..200 {
            let (leader, term) = self.leader().await;
            let proposal = leader.propose(term, vec![transaction.clone()], 1_000_000);
            match tokio::time::timeout(Duration::from_secs(2), proposal).await {
                Ok(Ok(mut outcomes)) => return outcomes.remove(0),
                Ok(Err(ProposeError::Limit(limit))) => panic!("{limit}"),
                Ok(Err(_)) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        panic!("no outcome");
    }

    /// Waits until all running members have applied what the leader has.
    pub async fn settle(&self) {
        let revision = loop {
            // One that has just lost its leadership may not know it yet.
            match self.leader().await.0.linearizable().await {
                Ok(view) => break view.revision,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        for store in self.stores() {
            store.applied(revision, Duration::from_secs(20)).await.unwrap();
        }
    }
}

pub fn member(id: MemberId) -> Member {
    Member::new(id, format!("member-{id}"))
}

pub fn key(name: &str) -> Key {
    Key::new("vm", name).unwrap()
}

pub fn put(name: &str, value: &str) -> Transaction {
    Transaction {
        puts: vec![(key(name), Bytes::from(value.to_owned()))],
        request_id: Some(format!("put-{name}-{value}")),
        actor: "test".into(),
        summary: format!("put {name}"),
        ..Transaction::default()
    }
}
