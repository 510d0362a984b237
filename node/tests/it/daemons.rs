//! Real `pvcd`s on loopback, each with libvirt's built-in test driver in place of guests, founded and joined
//! over the wire as real hosts are. Everything ends with the test.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pvc_client::{Client, Coordinators, Options, Trust, channel};
use pvc_host::daemon_config::{
    Coordinator, DaemonConfig, FOUND_MARK, Hypervisor, Role, STARTS_AT_ONCE, Storage, VirtType,
};
use pvc_host::store_config::StoreConfig;
use pvc_identity::{
    Ca, Credentials, ExpectedPeer, Identity, JoinToken, KeyPair, LeafSpec, PinnedCa, TlsStore,
};
use pvc_process::{Cmd, Daemon, DaemonLogs};
use pvc_proto::internal::v1::join_service_client::JoinServiceClient;
use pvc_proto::internal::v1::{RedeemRequest, RedeemResponse};
use pvc_proto::v1;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tonic::Status;

const SIGKILL: i32 = 9;
/// Longer than anything here takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One host: its folders, its configuration, its daemon while it runs.
pub struct Host {
    pub config: DaemonConfig,
    pub folder: PathBuf,
    /// Programs that its daemon finds before the machine's own.
    pub tools: PathBuf,
    daemon: Option<Daemon>,
}

impl Host {
    pub fn start(&mut self) {
        let program = crate::program("pvcd");
        let config = self.folder.join("pvcd.toml");
        std::fs::write(&config, toml::to_string(&self.config).expect("TOML")).expect("written");
        let machine = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{machine}", self.tools.display());
        let cmd = Cmd::new(program).arg("--config").arg(&config).env("PATH", path);
        let daemon = cmd.spawn_daemon(&DaemonLogs::joined(self.log_path())).expect("started");
        self.daemon = Some(daemon);
    }

    pub fn kill(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            let _ = daemon.id().signal(SIGKILL);
        }
    }

    /// Stops the daemon in order.
    pub async fn stop(&mut self, grace: Duration) -> Result<(), pvc_process::StopError> {
        match self.daemon.take() {
            Some(daemon) => daemon.id().stop(grace).await,
            None => Ok(()),
        }
    }

    /// The running daemon's process.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Daemon::pid)
    }

    /// Waits until the daemon has ended by itself.
    pub async fn ended(&mut self) {
        let until = Instant::now() + PATIENCE;
        let daemon = self.daemon.as_mut().expect("it was started");
        while daemon.exited().expect("asked").is_none() {
            assert!(Instant::now() < until, "it still runs:\n{}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
        self.daemon = None;
    }

    /// Waits until the daemon's log says so.
    pub async fn logged(&self, what: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.log().contains(what) {
            assert!(Instant::now() < until, "no {what:?} in\n{}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("pvcd.log")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn address(&self) -> String {
        self.config.listen.to_string()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A cluster of real daemons.
pub struct Cluster {
    pub folder: TempDir,
    pub cluster_id: String,
    pub ca: Ca,
    pub hosts: Vec<Host>,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound")
}

pub fn issue(ca: &Ca, leaf: LeafSpec) -> Credentials {
    let key = KeyPair::generate().expect("a key");
    let csr = key.csr_pem().expect("a request");
    let chain = ca.sign(&csr, &leaf, Timestamp::now()).expect("signed");
    Credentials::new(chain, key.pem(), ca.cert_pem()).expect("they fit")
}

impl Cluster {
    /// Founds a cluster of one coordinator, hv1.
    pub async fn founded() -> Cluster {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster_id = uuid::Uuid::new_v4().to_string();
        let ca = Ca::create(&cluster_id, Timestamp::now()).expect("a CA");
        let mut cluster = Cluster { folder, cluster_id, ca, hosts: Vec::new() };
        let mut host = cluster.host("hv1", Role::Coordinator, 1);
        let etc = host.config.identity_dir.clone();
        issue(&cluster.ca, LeafSpec::node("hv1", []).expect("a node")).save(&etc).expect("saved");
        cluster.save_ca(&etc.join("ca"));
        std::fs::write(etc.join(FOUND_MARK), &cluster.cluster_id).expect("written");
        host.start();
        cluster.hosts.push(host);
        cluster.reached(&cluster.admin(), "hv1").await;
        cluster
    }

    /// Founds hv1 and joins hv2 and hv3; all three vote.
    pub async fn of_three() -> Cluster {
        let mut cluster = Cluster::founded().await;
        for name in ["hv2", "hv3"] {
            cluster.join(name, Role::Coordinator).await;
        }
        cluster
    }

    fn save_ca(&self, folder: &Path) {
        std::fs::create_dir_all(folder).expect("made");
        self.ca.save(&folder.join("root.pem"), &folder.join("root.key")).expect("saved");
    }

    /// The folders and the configuration of a host that is not a member yet.
    pub fn host(&self, name: &str, role: Role, member_id: u64) -> Host {
        let folder = self.folder.path().join(name);
        for part in ["etc", "data", "guests", "pki"] {
            std::fs::create_dir_all(folder.join(part)).expect("made");
        }
        let shared = self.folder.path().join("shared");
        std::fs::create_dir_all(&shared).expect("made");
        let known = self.hosts.iter().filter(|host| host.config.role == Role::Coordinator);
        let config = DaemonConfig {
            node: name.to_owned(),
            cluster_id: self.cluster_id.clone(),
            role,
            member_id,
            recoveries: 0,
            data_dir: folder.join("data"),
            identity_dir: folder.join("etc"),
            ca_dir: (role == Role::Coordinator).then(|| folder.join("etc/ca")),
            listen: free_address(),
            coordinators: known
                .map(|host| Coordinator { node: host.config.node.clone(), address: host.config.listen })
                .collect(),
            hypervisor: Hypervisor {
                uri: "test:///default".to_owned(),
                virt_type: VirtType::Qemu,
                starts_at_once: STARTS_AT_ONCE,
            },
            console_dir: folder.join("guests"),
            pki_dir: folder.join("pki"),
            guard_dir: folder.join("guard"),
            system_uuid: None,
            networks: std::collections::BTreeMap::new(),
            store: StoreConfig::default(),
            // They run in the machine's own network, where nothing is theirs to change.
            network: pvc_host::daemon_config::Network { enabled: false, ..Default::default() },
            storage: vec![Storage { pool: "shared".to_owned(), directory: shared }],
        };
        let tools = folder.join("tools");
        Host { config, folder, tools, daemon: None }
    }

    /// An administrator's client, which knows every coordinator.
    pub fn admin(&self) -> Client {
        self.client(self.admin_trust(), None)
    }

    /// What an administrator shows, and whom they trust.
    pub fn admin_trust(&self) -> Trust {
        let credentials = issue(&self.ca, LeafSpec::new(Identity::admin("root").expect("an admin")));
        let store = TlsStore::new(credentials, Timestamp::now()).expect("TLS");
        Trust::Mutual(store, ExpectedPeer::AnyNode)
    }

    /// A program's client: a service certificate, and an API token where it has one.
    pub fn service(&self, token: Option<String>) -> Client {
        let credentials = issue(&self.ca, LeafSpec::new(Identity::service("test").expect("a service")));
        let store = TlsStore::new(credentials, Timestamp::now()).expect("TLS");
        self.client(Trust::Mutual(store, ExpectedPeer::AnyNode), token)
    }

    pub fn client(&self, trust: Trust, token: Option<String>) -> Client {
        let coordinators = self.hosts.iter().filter(|host| host.config.role == Role::Coordinator);
        let addresses: Vec<String> = coordinators.map(Host::address).collect();
        let options = Options { token, ..Options::default() };
        Client::over(Coordinators::new(&addresses, trust, options))
    }

    pub async fn join_token(&self) -> String {
        let request = v1::CreateJoinTokenRequest::default();
        self.admin().tokens().create_join_token(request).await.expect("a token").into_inner().secret
    }

    /// Spends a join token at hv1.
    pub async fn redeem(&self, token: &str, host: &Host, key: &KeyPair) -> Result<RedeemResponse, Status> {
        self.redeem_at(&self.hosts[0].address(), token, host, key).await
    }

    async fn redeem_at(
        &self,
        coordinator: &str,
        token: &str,
        host: &Host,
        key: &KeyPair,
    ) -> Result<RedeemResponse, Status> {
        let parsed: JoinToken = token.parse().expect("a join token");
        let trust = Trust::Pinned(Arc::new(PinnedCa::new(parsed.pin).expect("a pin")));
        let request = RedeemRequest {
            token: token.to_owned(),
            node: host.config.node.clone(),
            csr_pem: key.csr_pem().expect("a request"),
            address: host.address(),
            role: match host.config.role {
                Role::Coordinator => v1::NodeRole::Coordinator,
                Role::Hypervisor => v1::NodeRole::Hypervisor,
            }
            .into(),
            standby: false,
        };
        let channel = channel(coordinator, &trust).expect("an address");
        Ok(JoinServiceClient::new(channel).redeem(request).await?.into_inner())
    }

    /// Joins a host by a token and waits until it takes part.
    pub async fn join(&mut self, name: &str, role: Role) {
        let address = self.hosts[0].address();
        self.join_at(name, role, &address).await;
    }

    /// The same, with the token spent at this coordinator.
    pub async fn join_at(&mut self, name: &str, role: Role, coordinator: &str) -> RedeemResponse {
        let mut host = self.host(name, role, 0);
        let token = self.join_token().await;
        let key = KeyPair::generate().expect("a key");
        let answer = self.redeem_at(coordinator, &token, &host, &key).await.expect("joined");
        host.config.member_id = answer.member_id;
        host.config.recoveries = answer.recoveries;
        let told = answer.clone();
        let credentials =
            Credentials::new(answer.certificate_pem, key.pem(), answer.ca_pem).expect("they fit");
        credentials.save(&host.config.identity_dir).expect("saved");
        if role == Role::Coordinator {
            assert!(!answer.ca_key_pem.is_empty(), "a coordinator gets the CA");
            self.save_ca(&host.config.identity_dir.join("ca"));
        } else {
            assert!(answer.ca_key_pem.is_empty(), "a hypervisor never sees the CA's key");
        }
        host.start();
        self.hosts.push(host);
        let admin = self.admin();
        self.reached(&admin, name).await;
        if role == Role::Coordinator {
            self.votes(&admin, name).await;
        }
        told
    }

    pub fn by_name(&mut self, name: &str) -> &mut Host {
        self.hosts.iter_mut().find(|host| host.config.node == name).expect("such a host")
    }

    /// The host whose daemon leads.
    pub async fn leader(&self) -> String {
        self.status(&self.admin()).await.leader
    }

    pub async fn status(&self, client: &Client) -> v1::ClusterStatus {
        let request = v1::GetClusterStatusRequest::default();
        client.cluster().get_cluster_status(request).await.expect("a status").into_inner()
    }

    /// Waits until the leader hears the node.
    pub async fn reached(&self, client: &Client, name: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let request = v1::GetNodeRequest { name: name.to_owned(), ..Default::default() };
            let seen = client.nodes().get_node(request).await;
            let heard = seen.as_ref().ok().and_then(|node| node.get_ref().status.as_ref());
            if heard.is_some_and(|status| status.reachability() == v1::Reachability::Reachable) {
                return;
            }
            assert!(Instant::now() < until, "{name} is not heard: {seen:?}\n{}", self.logs());
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn votes(&self, client: &Client, name: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.status(client).await;
            if status.members.iter().any(|member| member.node == name && member.voter) {
                return;
            }
            assert!(Instant::now() < until, "{name} does not vote: {status:?}\n{}", self.logs());
            sleep(Duration::from_millis(100)).await;
        }
    }

    pub fn logs(&self) -> String {
        let log = |host: &Host| format!("--- {}\n{}", host.config.node, host.log());
        self.hosts.iter().map(log).collect::<Vec<_>>().join("\n")
    }
}

/// A request to define a small VM.
pub fn create(name: &str) -> v1::CreateVmRequest {
    v1::CreateVmRequest {
        name: name.to_owned(),
        spec: Some(v1::VmSpec { vcpus: 1, memory_mib: 32, ..v1::VmSpec::default() }),
        request_id: pvc_client::request_id(),
        ..v1::CreateVmRequest::default()
    }
}
