//! Joining with a token, against a coordinator that does what `JoinService` promises.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use parking_lot::Mutex;
use pvc_bootstrap::daemon_config::{DaemonConfig, Network, Role, VirtType};
use pvc_bootstrap::found::{self, GivenToken, HostSetup, JoinRequest, Places, TokenSource};
use pvc_bootstrap::step::{self, StepError};
use pvc_identity::{
    Alpn, Ca, ClientAuth, Credentials, Identity, JoinToken, KeyPair, LeafSpec, ListenerOptions, TlsListener,
    TlsStore,
};
use pvc_proto::internal::v1::join_service_server::{JoinService, JoinServiceServer};
use pvc_proto::internal::v1::{
    BecomeMemberRequest, BecomeMemberResponse, Coordinator, RedeemRequest, RedeemResponse, RenewRequest,
    RenewResponse,
};
use pvc_proto::v1::NodeRole;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

struct FakeCoordinator {
    ca: Arc<Ca>,
    token: String,
    address: SocketAddr,
    redeemed: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl JoinService for FakeCoordinator {
    async fn redeem(&self, request: Request<RedeemRequest>) -> Result<Response<RedeemResponse>, Status> {
        let request = request.into_inner();
        if request.token != self.token {
            let info = ErrorDetails::with_error_info("token-known", "pvc", HashMap::new());
            return Err(Status::with_error_details(Code::PermissionDenied, "the token is not known", info));
        }
        self.redeemed.fetch_add(1, Ordering::SeqCst);
        let leaf = LeafSpec::new(Identity::node(&request.node).unwrap());
        let votes = request.role() == NodeRole::Coordinator;
        Ok(Response::new(RedeemResponse {
            cluster_id: self.ca.cluster_id().to_owned(),
            certificate_pem: self.ca.sign(&request.csr_pem, &leaf, Timestamp::now()).unwrap(),
            ca_pem: self.ca.cert_pem().to_owned(),
            coordinators: vec![Coordinator { node: "hv1".to_owned(), address: self.address.to_string() }],
            member_id: if votes { 7 } else { 0 },
            recoveries: 0,
            ca_key_pem: if votes { self.ca.key_pem().expose().to_owned() } else { String::new() },
        }))
    }

    async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        Err(Status::unimplemented("a joining host renews nothing"))
    }

    async fn become_member(
        &self,
        _: Request<BecomeMemberRequest>,
    ) -> Result<Response<BecomeMemberResponse>, Status> {
        Err(Status::unimplemented("that is pvcd's call"))
    }
}

struct Running {
    ca: Arc<Ca>,
    token: JoinToken,
    address: SocketAddr,
    redeemed: Arc<AtomicUsize>,
}

async fn coordinator() -> Running {
    let ca = Arc::new(Ca::create("5f3c1a50-0000-4000-8000-000000000001", Timestamp::now()).unwrap());
    let key = KeyPair::generate().unwrap();
    let leaf = LeafSpec::new(Identity::node("hv1").unwrap());
    let chain = ca.sign(&key.csr_pem().unwrap(), &leaf, Timestamp::now()).unwrap();
    let credentials = Credentials::new(chain, key.pem(), ca.cert_pem()).unwrap();
    let store = TlsStore::new(credentials, Timestamp::now()).unwrap();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let token = JoinToken::generate(ca.pin());
    let redeemed = Arc::new(AtomicUsize::new(0));
    let service =
        FakeCoordinator { ca: ca.clone(), token: token.expose(), address, redeemed: redeemed.clone() };
    let options = ListenerOptions::new(ClientAuth::Optional, Alpn::H2);
    let listener = TlsListener::new(tcp, store, options).unwrap();
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(JoinServiceServer::new(service))
            .serve_with_incoming(pvc_client::incoming(listener)),
    );
    Running { ca, token, address, redeemed }
}

fn setup(dir: &Path, role: Role) -> HostSetup {
    let places = Places { etc: dir.join("etc"), pki: dir.join("pki"), data: dir.join("data") };
    HostSetup {
        cluster: "test".to_owned(),
        node: "hv2".to_owned(),
        address: "10.1.2.4".parse().unwrap(),
        role,
        member_id: 0,
        standby: false,
        recoveries: 0,
        virt_type: VirtType::Qemu,
        coordinators: vec![],
        network: Network::default(),
        storage: vec![],
        system_uuid: None,
        authority: places.authority(),
        cluster_id: None,
        places,
    }
}

fn request(token: &JoinToken, addresses: &[SocketAddr]) -> JoinRequest {
    JoinRequest {
        token: token.expose().parse().unwrap(),
        coordinators: addresses.iter().map(ToString::to_string).collect(),
    }
}

async fn join(dir: &Path, role: Role, tokens: impl TokenSource + 'static) -> Result<usize, StepError> {
    step::run(&found::joining_steps(Box::new(tokens)), &mut setup(dir, role), &mut |_| ()).await
}

/// Why joining was refused: the cause of the step that failed.
async fn refusal(dir: &Path, role: Role, request: JoinRequest) -> String {
    match join(dir, role, GivenToken(request)).await.unwrap_err() {
        StepError::Act { source, .. } | StepError::Check { source, .. } => source.to_string(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_token_becomes_a_configured_node_and_is_spent_once() {
    let dir = tempfile::tempdir().unwrap();
    let running = coordinator().await;
    // the first address is one at which nobody listens
    let request = request(&running.token, &["127.0.0.1:1".parse().unwrap(), running.address]);
    let steps = found::joining_steps(Box::new(GivenToken(request.clone()))).len();
    let acted = join(dir.path(), Role::Coordinator, GivenToken(request.clone())).await.unwrap();
    assert_eq!(acted, steps - 1, "the certificate came by the token");
    assert_eq!(join(dir.path(), Role::Coordinator, GivenToken(request)).await.unwrap(), 0);
    assert_eq!(running.redeemed.load(Ordering::SeqCst), 1, "the second run had its certificate");
    let text = std::fs::read_to_string(dir.path().join("etc/pvcd.toml")).unwrap();
    let config: DaemonConfig = toml::from_str(&text).unwrap();
    assert_eq!((config.member_id, config.node.as_str()), (7, "hv2"));
    assert_eq!(config.coordinators[0].address, running.address);
    let ca = found::load_authority(&dir.path().join("etc/ca")).unwrap();
    assert_eq!(ca.cert_pem(), running.ca.cert_pem());
    assert!(!dir.path().join("etc/found-once").exists(), "a host that joins may not found");
}

#[tokio::test]
async fn joining_that_was_cut_off_anywhere_goes_on_with_the_same_key() {
    // what is on the disk after each moment of a whole run; what comes later is taken away
    let later = ["etc/node.pem", "etc/cluster.toml", "etc/pvcd.toml", "pki/libvirt/servercert.pem"];
    for cut in 0..=later.len() {
        let dir = tempfile::tempdir().unwrap();
        let running = coordinator().await;
        let request = request(&running.token, &[running.address]);
        let key = || std::fs::read(dir.path().join("etc/node.key")).unwrap();
        join(dir.path(), Role::Coordinator, GivenToken(request.clone())).await.unwrap();
        let first = key();
        for path in &later[cut..] {
            std::fs::remove_file(dir.path().join(path)).unwrap();
        }
        let acted = join(dir.path(), Role::Coordinator, GivenToken(request)).await.unwrap();
        assert_eq!((acted, key()), (later.len() - cut, first));
        let asked = if cut == 0 { 2 } else { 1 };
        assert_eq!(running.redeemed.load(Ordering::SeqCst), asked, "a lost answer is asked for again");
    }
}

#[tokio::test]
async fn a_hypervisor_keeps_no_ca_key() {
    let dir = tempfile::tempdir().unwrap();
    let running = coordinator().await;
    let request = request(&running.token, &[running.address]);
    join(dir.path(), Role::Hypervisor, GivenToken(request)).await.unwrap();
    assert!(!dir.path().join("etc/ca").exists());
}

#[tokio::test]
async fn a_wrong_token_a_wrong_ca_and_silence_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let running = coordinator().await;
    let unknown = JoinToken::generate(running.ca.pin());
    let why = refusal(dir.path(), Role::Hypervisor, request(&unknown, &[running.address])).await;
    assert!(why.contains("refused") && why.contains("the token is not known"), "{why}");
    let other = Ca::create("5f3c1a50-0000-4000-8000-000000000002", Timestamp::now()).unwrap();
    let foreign = JoinToken::generate(other.pin());
    let nobody = "127.0.0.1:1".parse().unwrap();
    for request in [request(&foreign, &[running.address]), request(&running.token, &[nobody])] {
        let why = refusal(dir.path(), Role::Hypervisor, request).await;
        assert!(why.contains("no coordinator could be asked"), "{why}");
    }
    assert_eq!(running.redeemed.load(Ordering::SeqCst), 0);
    assert!(!dir.path().join("etc/node.pem").exists());
}

#[tokio::test]
async fn a_host_that_is_somebody_already_spends_no_token() {
    let running = coordinator().await;
    let request = || request(&running.token, &[running.address]);
    let about_to_found = tempfile::tempdir().unwrap();
    std::fs::create_dir(about_to_found.path().join("etc")).unwrap();
    std::fs::write(about_to_found.path().join("etc/found-once"), "x").unwrap();
    let with_old_data = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(with_old_data.path().join("data/store/log")).unwrap();
    let another_node = tempfile::tempdir().unwrap();
    std::fs::create_dir(another_node.path().join("etc")).unwrap();
    let plan = "cluster = \"test\"\ncluster_id = \"other\"\nnode = \"hv9\"\n";
    std::fs::write(another_node.path().join("etc/cluster.toml"), plan).unwrap();
    let founder = tempfile::tempdir().unwrap();
    let mut setup_founder = HostSetup { cluster_id: None, ..setup(founder.path(), Role::Coordinator) };
    step::run(&found::founding_steps(), &mut setup_founder, &mut |_| ()).await.unwrap();
    for (dir, says) in [
        (&about_to_found, "about to found"),
        (&with_old_data, "earlier membership"),
        (&another_node, "node hv9 of cluster test"),
        (&founder, "has not joined"),
    ] {
        let why = refusal(dir.path(), Role::Coordinator, request()).await;
        assert!(why.contains(says), "{why}");
    }
    assert_eq!(running.redeemed.load(Ordering::SeqCst), 0);
}

/// As the local cluster's: one token after another.
struct Tokens(Mutex<Vec<JoinRequest>>);

#[tonic::async_trait]
impl TokenSource for Tokens {
    async fn token(&self) -> anyhow::Result<JoinRequest> {
        Ok(self.0.lock()[0].clone())
    }

    async fn another(&self) -> anyhow::Result<Option<JoinRequest>> {
        let mut tokens = self.0.lock();
        tokens.remove(0);
        Ok(tokens.first().cloned())
    }
}

#[tokio::test]
async fn a_token_that_is_too_old_is_replaced_where_another_can_be_had() {
    let dir = tempfile::tempdir().unwrap();
    let running = coordinator().await;
    let old = JoinToken::generate(running.ca.pin());
    let requests = [&old, &running.token].map(|token| request(token, &[running.address]));
    let tokens = Tokens(Mutex::new(requests.to_vec()));
    join(dir.path(), Role::Hypervisor, tokens).await.unwrap();
    assert_eq!(running.redeemed.load(Ordering::SeqCst), 1);
}
