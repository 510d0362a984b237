//! Three coordinators that reach each other by function calls.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use pvc_coordinator::core::{Coordinator, CoordinatorOptions, Environment, Heartbeat, Load};
use pvc_model::feature::LevelError;
use pvc_model::node::NodeRole;
use pvc_model::{Command, Name};
use raft_store::{Engine, Member, MemberId, MemoryDisk, Options, RpcKind, Store, Transport, TransportError};
use tokio::io::AsyncRead;

pub const CLUSTER_ID: &str = "test-cluster";

/// Wall time follows virtual time; randomness is a counter.
pub struct TestEnvironment {
    start: tokio::time::Instant,
    drawn: AtomicU64,
    salt: u64,
}

impl Environment for TestEnvironment {
    fn wall_now_ms(&self) -> u64 {
        1_700_000_000_000 + self.start.elapsed().as_millis() as u64
    }

    fn seed(&self) -> [u64; 2] {
        [self.drawn.fetch_add(1, Ordering::Relaxed) + 1, self.salt]
    }
}

#[derive(Default)]
pub struct Network {
    stores: RwLock<BTreeMap<MemberId, Store>>,
}

/// One member's way to the others.
struct Wire {
    from: MemberId,
    network: Arc<Network>,
}

impl Wire {
    fn target(&self, target: &Member) -> Result<Store, TransportError> {
        let stores = self.network.stores.read();
        let connected = stores.contains_key(&self.from) || stores.is_empty();
        let store = stores.get(&target.id).filter(|_| connected).cloned();
        store.ok_or_else(|| TransportError::Unreachable(format!("member {} is not there", target.id)))
    }
}

#[async_trait]
impl Transport for Wire {
    async fn call(
        &self,
        target: &Member,
        kind: RpcKind,
        payload: Bytes,
        _deadline: Duration,
    ) -> Result<Bytes, TransportError> {
        let store = self.target(target)?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let answer = store.handle(self.from, kind, payload).await;
        answer.map_err(|error| TransportError::Remote(error.to_string()))
    }

    async fn send_snapshot(
        &self,
        target: &Member,
        header: Bytes,
        reader: Pin<Box<dyn AsyncRead + Send>>,
        _deadline: Duration,
    ) -> Result<Bytes, TransportError> {
        let store = self.target(target)?;
        let answer = store.handle_snapshot(self.from, header, reader).await;
        answer.map_err(|error| TransportError::Remote(error.to_string()))
    }
}

pub struct Cluster {
    pub network: Arc<Network>,
    pub coordinators: BTreeMap<MemberId, Coordinator>,
    disks: BTreeMap<MemberId, MemoryDisk>,
    /// Nodes whose heartbeats are held back.
    pub silent: Arc<RwLock<BTreeSet<Name>>>,
    pub options: CoordinatorOptions,
}

impl Cluster {
    /// Founds a cluster of three voters, hv1 to hv3, all enrolled as coordinators.
    pub async fn three() -> Cluster {
        Cluster::three_with(CoordinatorOptions::default()).await
    }

    pub async fn three_with(options: CoordinatorOptions) -> Cluster {
        let mut cluster = Cluster::founded(options).await;
        let first = cluster.coordinators[&1].clone();
        for node in ["hv2", "hv3"] {
            let id = cluster.enrol(node, NodeRole::Coordinator).await;
            cluster.open(id, node).await;
            first.store().add_learner(Member::new(id, address(node))).await.expect("a learner");
            first.store().promote(id).await.expect("a voter");
        }
        cluster
    }

    /// A cluster of hv1 alone.
    pub async fn founded(options: CoordinatorOptions) -> Cluster {
        let mut cluster = Cluster {
            network: Arc::default(),
            coordinators: BTreeMap::new(),
            disks: BTreeMap::new(),
            silent: Arc::default(),
            options,
        };
        let first = cluster.open(1, "hv1").await;
        first.store().found().await.expect("founded");
        first.leadership().wait_for(Option::is_some).await.expect("leads");
        let command = Command::FoundNode { name: name("hv1"), address: address("hv1"), member_id: 1 };
        first.submit(command, "test", None).await.expect("founded");
        cluster
    }

    /// Opens the store of a member, with the data that it has or with none, and starts a coordinator on it.
    pub async fn open(&mut self, id: MemberId, node: &str) -> Coordinator {
        self.try_open(id, node).await.expect("a level that this build can do")
    }

    /// Refused where the cluster is at a level that `options` say this build can't do.
    pub async fn try_open(&mut self, id: MemberId, node: &str) -> Result<Coordinator, LevelError> {
        let disk = self.disks.entry(id).or_default().clone();
        let mut options = Options::new(Engine::Memory(disk), Member::new(id, address(node)), CLUSTER_ID);
        options.seed = Some(id);
        let wire = Wire { from: id, network: Arc::clone(&self.network) };
        let store = Store::open(options, Arc::new(wire)).await.expect("a store");
        let start = tokio::time::Instant::now();
        let environment = TestEnvironment { start, drawn: AtomicU64::new(0), salt: id << 32 };
        let coordinator = Coordinator::start(store.clone(), Arc::new(environment), self.options.clone())?;
        self.network.stores.write().insert(id, store);
        self.coordinators.insert(id, coordinator.clone());
        Ok(coordinator)
    }

    pub fn disk(&self, id: MemberId) -> &MemoryDisk {
        &self.disks[&id]
    }

    /// Who leads now; waits for it.
    pub async fn leader(&self) -> (MemberId, Coordinator) {
        loop {
            for (id, coordinator) in &self.coordinators {
                if coordinator.leading().is_some() && self.network.stores.read().contains_key(id) {
                    return (*id, coordinator.clone());
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Nobody reaches it, and it reaches nobody, until it is joined.
    pub fn cut(&self, id: MemberId) -> Store {
        self.network.stores.write().remove(&id).expect("joined")
    }

    pub fn join(&self, id: MemberId, store: Store) {
        self.network.stores.write().insert(id, store);
    }

    /// Ends a coordinator as if its process had died.
    pub async fn kill(&self, id: MemberId) {
        let store = self.network.stores.write().remove(&id);
        self.disks[&id].crash();
        store.expect("alive").kill().await;
    }

    /// Adds a coordinator that stands by. Its member id.
    pub async fn stand_by(&mut self, node: &str) -> MemberId {
        let id = self.enrol(node, NodeRole::Coordinator).await;
        self.open(id, node).await;
        let (_, leader) = self.leader().await;
        let command = Command::SetStandby { node: name(node), standby: true };
        leader.submit(command, "test", None).await.expect("a standby");
        leader.store().add_learner(Member::new(id, address(node))).await.expect("a learner");
        id
    }

    /// Members that vote, as the leader has them.
    pub async fn voters(&self) -> BTreeSet<MemberId> {
        let (_, leader) = self.leader().await;
        let status = leader.store().status().borrow().clone();
        status.members.iter().filter(|m| m.voter).map(|m| m.member.id).collect()
    }

    /// Submits like a client: goes on asking, with the same request id, until there is an answer.
    pub async fn insist(&self, command: Command, request_id: &str) -> pvc_coordinator::core::Committed {
        use pvc_coordinator::core::SubmitError;
        loop {
            let (_, leader) = self.leader().await;
            match leader.submit(command.clone(), "admin/test", Some(request_id.to_owned())).await {
                Ok(committed) => return committed,
                Err(SubmitError::Rejected(rejection)) => panic!("{rejection}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Joins a node by a token, which is forgotten then. Its member id; 0 for a hypervisor.
    pub async fn enrol(&self, node: &str, role: NodeRole) -> MemberId {
        let token = name(&format!("join-{node}"));
        let (_, leader) = self.leader().await;
        let create = Command::CreateJoinToken {
            name: token.clone(),
            lifetime_seconds: 0,
            node: None,
            secret_hash: "00".repeat(32),
        };
        leader.submit(create, "admin/test", None).await.expect("a token");
        let redeem = Command::RedeemJoinToken {
            token: token.clone(),
            secret_hash: "00".repeat(32),
            node: name(node),
            role,
            address: address(node),
            key_hash: "11".repeat(32),
            standby: false,
        };
        let joined = leader.submit(redeem, "anonymous", None).await.expect("joined");
        leader.submit(Command::RevokeToken { name: token }, "admin/test", None).await.expect("revoked");
        joined.world.nodes[&name(node)].status.member_id
    }
}

pub fn beat(sequence: u64) -> Heartbeat {
    Heartbeat { session: 1, sequence, load: Load::default(), progress: Vec::new(), store: None }
}

pub fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn address(node: &str) -> String {
    format!("{node}:7443")
}
