//! A call is answered as long as one coordinator is alive and trusted, and fails in time when none is.

use std::time::Duration;

use pvc_client::{Coordinators, LEADER_HINT, Options, Trust};
use pvc_identity::{Ca, ExpectedPeer, Identity};
use pvc_proto::v1;
use pvc_proto::v1::token_service_client::TokenServiceClient;
use pvc_proto::v1::token_service_server::{TokenService, TokenServiceServer};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use crate::tls;

/// Tells which server got which request id; one that has a `leader` answers UNAVAILABLE with the hint.
struct Tokens {
    name: &'static str,
    leader: Option<String>,
    seen: mpsc::UnboundedSender<(&'static str, String)>,
}

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn list_tokens(
        &self,
        _: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        Err(Status::permission_denied("not here"))
    }

    async fn create_api_token(
        &self,
        _: Request<v1::CreateApiTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        Err(Status::permission_denied("not here"))
    }

    async fn create_join_token(
        &self,
        _: Request<v1::CreateJoinTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        Err(Status::permission_denied("not here"))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        self.seen.send((self.name, request.into_inner().request_id)).unwrap();
        match &self.leader {
            None => Ok(Response::new(v1::RevokeTokenResponse {})),
            Some(leader) => {
                let mut status = Status::unavailable("not the leader");
                status.metadata_mut().insert(LEADER_HINT, leader.parse().unwrap());
                Err(status)
            }
        }
    }
}

type Seen = mpsc::UnboundedSender<(&'static str, String)>;

async fn serve(ca: &Ca, name: &'static str, leader: Option<String>, seen: &Seen) -> String {
    let service = TokenServiceServer::new(Tokens { name, leader, seen: seen.clone() });
    tls::serve(ca, name, Routes::new(service)).await
}

fn coordinators(ca: &Ca, addresses: &[String], deadline: Duration) -> Coordinators {
    let trust = Trust::Mutual(tls::store(ca, Identity::admin("root").unwrap()), ExpectedPeer::AnyNode);
    Coordinators::new(addresses, trust, Options { deadline, ..Options::default() })
}

async fn revoke(over: &Coordinators) -> Result<(), Status> {
    let request = v1::RevokeTokenRequest { name: "t".into(), request_id: "r-1".into() };
    TokenServiceClient::new(over.clone()).revoke_token(request).await.map(drop)
}

/// An address where nobody listens, and nobody else can while the socket is held.
fn dead() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

#[tokio::test]
async fn dead_and_silent_coordinators_are_passed_and_the_leader_is_followed() {
    let ca = tls::ca();
    let (sender, mut seen) = mpsc::unbounded_channel();
    // Connections are accepted by the kernel, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let leader = serve(&ca, "hv2", None, &sender).await;
    let follower = serve(&ca, "hv1", Some(leader.clone()), &sender).await;
    let (_kept, nobody) = dead();
    let addresses = [nobody, silent.local_addr().unwrap().to_string(), follower];
    let over = coordinators(&ca, &addresses, Duration::from_secs(20));
    revoke(&over).await.unwrap();
    // The leader was not in the list; it got the same request.
    assert_eq!(seen.recv().await.unwrap(), ("hv1", "r-1".to_owned()));
    assert_eq!(seen.recv().await.unwrap(), ("hv2", "r-1".to_owned()));
    assert_eq!(over.leader(), Some(leader));
    revoke(&over).await.unwrap();
    assert_eq!(seen.recv().await.unwrap(), ("hv2", "r-1".to_owned()), "the leader is asked first now");
}

#[tokio::test]
async fn a_coordinator_that_is_gone_costs_a_head_start_only() {
    let ca = tls::ca();
    let (sender, _seen) = mpsc::unbounded_channel();
    // As of a host that lost its power: nothing answers, and nothing refuses.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let alive = serve(&ca, "hv1", None, &sender).await;
    let addresses = [gone.local_addr().unwrap().to_string(), alive];
    let over = coordinators(&ca, &addresses, Duration::from_secs(20));
    let before = tokio::time::Instant::now();
    revoke(&over).await.unwrap();
    assert!(before.elapsed() < Duration::from_millis(1800), "{:?}: it was waited for", before.elapsed());
}

#[tokio::test]
async fn the_deadline_is_kept() {
    let ca = tls::ca();
    let (_kept, nobody) = dead();
    let over = coordinators(&ca, &[nobody], Duration::from_secs(1));
    let before = tokio::time::Instant::now();
    let status = revoke(&over).await.unwrap_err();
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().starts_with("no coordinator answered within 1.0 s: could not connect"),
        "{status}"
    );
}

#[tokio::test]
async fn a_wrong_ca_is_told_at_once() {
    let ca = tls::ca();
    let (sender, _seen) = mpsc::unbounded_channel();
    let address = serve(&tls::ca(), "hv1", None, &sender).await;
    let over = coordinators(&ca, &[address], Duration::from_secs(30));
    let status = tokio::time::timeout(Duration::from_secs(5), revoke(&over)).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("is not signed by this cluster's CA"), "{status}");
}
