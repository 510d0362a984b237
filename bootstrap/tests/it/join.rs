//! Joining with a token, against a coordinator that does what `JoinService` promises.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use pvc_bootstrap::daemon_config::{DaemonConfig, Role, VirtType};
use pvc_bootstrap::found::{self, HostSetup, JoinError, JoinRequest, Places};
use pvc_bootstrap::step;
use pvc_identity::{
    Alpn, Ca, ClientAuth, Credentials, Identity, JoinToken, KeyPair, LeafSpec, ListenerOptions, TlsListener,
    TlsStore,
};
use pvc_proto::internal::v1::join_service_server::{JoinService, JoinServiceServer};
use pvc_proto::internal::v1::{
    BecomeMemberRequest, BecomeMemberResponse, Coordinator, RedeemRequest, RedeemResponse, RenewRequest,
    RenewResponse,
};
use tonic::{Request, Response, Status};

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
            return Err(Status::permission_denied("the token is not known, used, or too old"));
        }
        self.redeemed.fetch_add(1, Ordering::SeqCst);
        let leaf = LeafSpec::new(Identity::node(&request.node).unwrap());
        Ok(Response::new(RedeemResponse {
            cluster_id: self.ca.cluster_id().to_owned(),
            certificate_pem: self.ca.sign(&request.csr_pem, &leaf, Timestamp::now()).unwrap(),
            ca_pem: self.ca.cert_pem().to_owned(),
            coordinators: vec![Coordinator { node: "hv1".to_owned(), address: self.address.to_string() }],
            member_id: 7,
            ca_key_pem: self.ca.key_pem().expose().to_owned(),
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
    let places = Places { etc: dir.join("etc"), pki: dir.join("pki") };
    HostSetup {
        cluster: "test".to_owned(),
        node: "hv2".to_owned(),
        address: "10.1.2.4".parse().unwrap(),
        role,
        member_id: 0,
        virt_type: VirtType::Qemu,
        coordinators: vec![],
        storage: vec![],
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

#[tokio::test]
async fn a_token_becomes_a_configured_node_and_is_spent_once() {
    let dir = tempfile::tempdir().unwrap();
    let running = coordinator().await;
    // the first address is one at which nobody listens
    let request = request(&running.token, &["127.0.0.1:1".parse().unwrap(), running.address]);
    for _ in 0..2 {
        let mut setup = setup(dir.path(), Role::Coordinator);
        found::redeem(&request, &mut setup).await.unwrap();
        step::run(&found::enrolling_steps(), &mut setup, &mut |_| ()).await.unwrap();
    }
    assert_eq!(running.redeemed.load(Ordering::SeqCst), 1, "the second run had its certificate");
    let text = std::fs::read_to_string(dir.path().join("etc/pvcd.toml")).unwrap();
    let config: DaemonConfig = toml::from_str(&text).unwrap();
    assert_eq!((config.member_id, config.node.as_str()), (7, "hv2"));
    assert_eq!(config.coordinators[0].address, running.address);
    let ca = found::load_authority(&dir.path().join("etc/ca")).unwrap();
    assert_eq!(ca.cert_pem(), running.ca.cert_pem());
}

#[tokio::test]
async fn when_the_answer_is_lost_the_same_key_asks_again() {
    let dir = tempfile::tempdir().unwrap();
    let running = coordinator().await;
    let request = request(&running.token, &[running.address]);
    let key = |dir: &Path| std::fs::read(dir.join("etc/node.key")).unwrap();
    found::redeem(&request, &mut setup(dir.path(), Role::Hypervisor)).await.unwrap();
    let first = key(dir.path());
    std::fs::remove_file(dir.path().join("etc/node.pem")).unwrap();
    found::redeem(&request, &mut setup(dir.path(), Role::Hypervisor)).await.unwrap();
    assert_eq!(key(dir.path()), first);
    assert_eq!(running.redeemed.load(Ordering::SeqCst), 2);
    assert!(!dir.path().join("etc/ca").exists(), "a hypervisor keeps no CA key");
}

#[tokio::test]
async fn a_wrong_token_a_wrong_ca_and_silence_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let running = coordinator().await;
    let mut setup = setup(dir.path(), Role::Hypervisor);
    let unknown = JoinToken::generate(running.ca.pin());
    let error = found::redeem(&request(&unknown, &[running.address]), &mut setup).await.unwrap_err();
    assert!(matches!(&error, JoinError::Refused { reason, .. } if reason.contains("token")), "{error}");
    let other = Ca::create("5f3c1a50-0000-4000-8000-000000000002", Timestamp::now()).unwrap();
    let foreign = JoinToken::generate(other.pin());
    for token in [&foreign, &running.token] {
        let address =
            if std::ptr::eq(token, &foreign) { running.address } else { "127.0.0.1:1".parse().unwrap() };
        let error = found::redeem(&request(token, &[address]), &mut setup).await.unwrap_err();
        assert!(matches!(error, JoinError::Unreachable { .. }), "{error}");
    }
    assert_eq!(running.redeemed.load(Ordering::SeqCst), 0);
    assert!(!dir.path().join("etc/node.pem").exists());
}
