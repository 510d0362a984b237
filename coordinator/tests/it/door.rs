//! The door in front of a coordinator's services: who is let in by a replica that does not know everything.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::post;
use jiff::Timestamp;
use pvc_client::KeepAlive;
use pvc_coordinator::door::Door;
use pvc_coordinator::peers::Peers;
use pvc_coordinator::services::Shared;
use pvc_identity::{Ca, Credentials, Identity, KeyPair, LeafSpec, PeerIdentity, TlsStore};
use pvc_model::node::NodeRole;
use tonic::{Code, Status};
use tower::ServiceExt;

use super::cluster::{CLUSTER_ID, name};
use super::desk::{Desk, rule};

/// Anybody may read, at any coordinator.
const READ: &str = "/pvc.v1.NodeService/ListNodes";

/// What the door says to a node that reads.
async fn knock(shared: &Shared, node: &str) -> Result<(), Status> {
    let router = Router::new().route(READ, post(async || "in"));
    let router = Door::new(shared.clone(), peers()).guard(router);
    let peer = PeerIdentity {
        cluster_id: CLUSTER_ID.to_owned(),
        identity: Identity::node(node).expect("a name"),
        not_before: Timestamp::UNIX_EPOCH,
        not_after: Timestamp::MAX,
        fingerprint: String::new(),
    };
    let caller = pvc_client::Caller { peer: Some(peer), remote_addr: "192.0.2.1:1".parse().expect("one") };
    let request = Request::post(READ).extension(caller).body(Body::empty()).expect("a request");
    let response = router.oneshot(request).await.expect("an answer");
    Status::from_header_map(response.headers()).map_or(Ok(()), Err)
}

/// A way to others that nobody takes here.
fn peers() -> Peers {
    let ca = Ca::create(CLUSTER_ID, Timestamp::now()).expect("a CA");
    let key = KeyPair::generate().expect("a key");
    let leaf = LeafSpec::new(Identity::node("hv1").expect("a name"));
    let chain = ca.sign(&key.csr_pem().expect("one"), &leaf, Timestamp::now()).expect("signed");
    let credentials = Credentials::new(chain, key.pem(), ca.cert_pem()).expect("they fit");
    Peers::new(TlsStore::new(credentials, Timestamp::now()).expect("usable"), KeepAlive::NODE)
}

#[tokio::test(start_paused = true)]
async fn nodes_that_are_known_come_in_and_strangers_do_not() {
    let desk = Desk::open().await;
    for shared in [desk.leading().await, desk.following().await] {
        knock(&shared, "hv2").await.expect("it is a node");
        let refused = knock(&shared, "stranger").await.expect_err("nobody knows it");
        assert_eq!((refused.code(), rule(&refused).as_str()), (Code::PermissionDenied, "node-enrolled"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_looks_again_before_it_refuses() {
    let desk = Desk::open().await;
    let shared = desk.following().await;
    desk.cluster.enrol("hv9", NodeRole::Hypervisor).await;
    knock(&shared, "hv9").await.expect("it was enrolled before it called");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_knows_nothing_sends_nobody_away_for_good() {
    let mut desk = Desk::open().await;
    let known = desk.following().await;
    // such as one whose disk was lost, which no leader will feed any more
    let wiped = Shared { core: desk.cluster.open(99, "hv2").await, node: name("hv2"), ..known };
    for caller in ["hv1", "hv2", "stranger"] {
        let unsure = knock(&wiped, caller).await.expect_err("it can't tell");
        assert_eq!(unsure.code(), Code::Unavailable, "{unsure:?}");
    }
}
