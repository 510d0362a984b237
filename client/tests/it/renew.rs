//! A certificate is exchanged on the disk and in memory, or not at all.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pvc_client::{Caller, Coordinators, Options, RenewError, Trust, renew, renew_forever};
use pvc_identity::{Ca, Credentials, ExpectedPeer, Identity, LeafSpec, TlsStore};
use pvc_proto::internal::v1::join_service_server::{JoinService, JoinServiceServer};
use pvc_proto::internal::v1::{
    BecomeMemberRequest, BecomeMemberResponse, RedeemRequest, RedeemResponse, RenewRequest, RenewResponse,
};
use tokio::sync::mpsc;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::tls;

/// How the fake answers.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Well,
    /// Refuses the first call.
    SecondTime,
    AsSomebodyElse,
    WithTheOldDates,
}

struct Signer {
    ca: Arc<Ca>,
    manner: Manner,
    /// The fingerprint of each caller's certificate.
    callers: mpsc::UnboundedSender<String>,
    calls: AtomicUsize,
}

#[tonic::async_trait]
impl JoinService for Signer {
    async fn redeem(&self, _: Request<RedeemRequest>) -> Result<Response<RedeemResponse>, Status> {
        Err(Status::permission_denied("not here"))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let caller = request.extensions().get::<Caller>().and_then(|caller| caller.peer.clone()).unwrap();
        self.callers.send(caller.fingerprint).unwrap();
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        if self.manner == Manner::SecondTime && calls == 0 {
            return Err(Status::permission_denied("come again"));
        }
        let request = request.into_inner();
        let mut leaf = self.ca.leaf_of(&request.certificate_pem, Timestamp::now()).unwrap();
        assert_eq!(leaf.identity, caller.identity);
        if self.manner == Manner::AsSomebodyElse {
            leaf.identity = Identity::service("mallory").unwrap();
        }
        if self.manner == Manner::WithTheOldDates {
            leaf.lifetime = Duration::from_secs(600);
        }
        let certificate_pem = self.ca.sign(&request.csr_pem, &leaf, Timestamp::now()).unwrap();
        Ok(Response::new(RenewResponse { certificate_pem, ca_pem: self.ca.cert_pem().to_owned() }))
    }

    async fn become_member(
        &self,
        _: Request<BecomeMemberRequest>,
    ) -> Result<Response<BecomeMemberResponse>, Status> {
        Err(Status::permission_denied("not here"))
    }
}

/// A service with a certificate that is six of its seven days old, in a directory, and a coordinator.
struct Scene {
    dir: tempfile::TempDir,
    store: Arc<TlsStore>,
    coordinators: Coordinators,
    callers: mpsc::UnboundedReceiver<String>,
}

impl Scene {
    async fn new(manner: Manner) -> Self {
        let now = Timestamp::now();
        let ca = Arc::new(tls::ca());
        let (sender, callers) = mpsc::unbounded_channel();
        let signer = Signer { ca: Arc::clone(&ca), manner, callers: sender, calls: AtomicUsize::new(0) };
        let address = tls::serve(&ca, "hv1", Routes::new(JoinServiceServer::new(signer))).await;

        let mut leaf = LeafSpec::new(Identity::service("api").unwrap());
        leaf.dns_names = vec!["api.example.org".to_owned()];
        let held = tls::issue(&ca, &leaf, now - SignedDuration::from_hours(24 * 6));
        let dir = tempfile::tempdir().unwrap();
        held.save(dir.path()).unwrap();
        let store = TlsStore::new(held, now).unwrap();
        let trust = Trust::Mutual(Arc::clone(&store), ExpectedPeer::AnyNode);
        let coordinators = Coordinators::new(&[address], trust, Options::default());
        Self { dir, store, coordinators, callers }
    }

    fn on_disk(&self) -> String {
        fingerprint(self.dir.path())
    }

    async fn renew(&self) -> Result<(), RenewError> {
        renew(self.dir.path(), &self.store, &self.coordinators).await
    }
}

fn fingerprint(dir: &Path) -> String {
    Credentials::load(dir).unwrap().leaf().fingerprint.clone()
}

#[tokio::test]
async fn a_certificate_that_is_due_is_exchanged_everywhere() {
    let mut scene = Scene::new(Manner::SecondTime).await;
    let old = scene.store.leaf();
    let (told, mut renewed) = mpsc::unbounded_channel();
    let running = tokio::spawn(renew_forever(
        scene.dir.path().to_owned(),
        Arc::clone(&scene.store),
        scene.coordinators.clone(),
        move || told.send(()).unwrap(),
    ));
    // The first try was refused; the second comes by itself.
    tokio::time::timeout(Duration::from_secs(60), renewed.recv()).await.unwrap().unwrap();
    running.abort();

    let new = scene.store.leaf();
    assert_eq!(new.identity, old.identity);
    assert!(new.not_after > Timestamp::now() + SignedDuration::from_hours(24 * 6));
    assert_eq!(scene.on_disk(), new.fingerprint, "the disk has what is in force");
    assert_eq!(scene.callers.recv().await.unwrap(), old.fingerprint);
    assert_eq!(scene.callers.recv().await.unwrap(), old.fingerprint);

    // The next call shows the new certificate, not the connection's old one. What it brings is no longer good than that.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    scene.renew().await.unwrap();
    assert_eq!(scene.callers.recv().await.unwrap(), new.fingerprint);
}

#[tokio::test]
async fn an_answer_that_is_of_no_use_changes_nothing() {
    for manner in [Manner::AsSomebodyElse, Manner::WithTheOldDates] {
        let scene = Scene::new(manner).await;
        let old = scene.store.leaf();
        let error = scene.renew().await.unwrap_err();
        match manner {
            Manner::AsSomebodyElse => assert!(matches!(error, RenewError::Unusable(_)), "{error:?}"),
            _ => assert!(matches!(error, RenewError::NoLonger { .. }), "{error:?}"),
        }
        assert_eq!((scene.store.leaf(), scene.on_disk()), (old.clone(), old.fingerprint));
    }
}

#[tokio::test]
async fn what_could_not_be_kept_is_not_used() {
    let scene = Scene::new(Manner::Well).await;
    let old = scene.store.leaf();
    let nowhere = scene.dir.path().join("gone");
    let error = renew(&nowhere, &scene.store, &scene.coordinators).await.unwrap_err();
    assert!(matches!(error, RenewError::Save(_)), "{error:?}");
    assert_eq!((scene.store.leaf(), scene.on_disk()), (old.clone(), old.fingerprint));
}
