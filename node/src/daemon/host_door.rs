//! The door of a hypervisor: it has no replica to look callers up in, so it admits coordinators alone,
//! those of its configuration and those that its assignments have named since.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use parking_lot::RwLock;
use pvc_coordinator::status;
use pvc_identity::{Identity, PeerIdentity};
use tonic::Status;

/// Names of the coordinators, as far as this node knows.
#[derive(Clone)]
pub struct KnownCoordinators(Arc<RwLock<BTreeSet<String>>>);

impl KnownCoordinators {
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        KnownCoordinators(Arc::new(RwLock::new(names.map(str::to_owned).collect())))
    }

    pub fn replace(&self, names: impl Iterator<Item = String>) {
        *self.0.write() = names.collect();
    }

    fn has(&self, name: &str) -> bool {
        self.0.read().contains(name)
    }
}

#[derive(Clone)]
struct HostDoor {
    known: KnownCoordinators,
    cluster_id: Arc<str>,
}

/// Puts everything in `router` behind the door.
pub fn guard(router: Router, known: KnownCoordinators, cluster_id: &str) -> Router {
    let door = HostDoor { known, cluster_id: cluster_id.into() };
    router.layer(from_fn_with_state(door, pass))
}

async fn pass(State(door): State<HostDoor>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<pvc_client::Caller>().and_then(|caller| caller.peer.as_ref());
    match door.admit(peer) {
        Ok(()) => next.run(request).await,
        Err(status) => status.into_http(),
    }
}

impl HostDoor {
    fn admit(&self, peer: Option<&PeerIdentity>) -> Result<(), Status> {
        let Some(peer) = peer else {
            let help = "ask a coordinator; it asks this host";
            return Err(status::unauthenticated(
                "certificate-needed",
                "host",
                "the caller showed no certificate",
                help,
            ));
        };
        let shown = peer.identity.to_string();
        let help = "ask a coordinator; it asks this host";
        match &peer.identity {
            _ if peer.cluster_id != *self.cluster_id => {
                Err(status::denied("same-cluster", &shown, "its certificate is of another cluster", ""))
            }
            Identity::Node(name) if self.known.has(name) => Ok(()),
            Identity::Node(_) | Identity::Admin(_) | Identity::Service(_) => Err(status::denied(
                pvc_client::NO_COORDINATOR,
                &shown,
                "only coordinators may call a hypervisor",
                help,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(cluster: &str, identity: Identity) -> PeerIdentity {
        PeerIdentity {
            cluster_id: cluster.to_owned(),
            identity,
            not_before: jiff::Timestamp::UNIX_EPOCH,
            not_after: jiff::Timestamp::MAX,
            fingerprint: String::new(),
        }
    }

    #[test]
    fn coordinators_alone_are_admitted() {
        let known = KnownCoordinators::new(["hv1"].into_iter());
        let door = HostDoor { known: known.clone(), cluster_id: "c".into() };
        let node = |name| Identity::node(name).expect("a node");
        let admitted = |peer: &PeerIdentity| door.admit(Some(peer)).is_ok();
        assert!(admitted(&peer("c", node("hv1"))));
        assert!(!admitted(&peer("c", node("hv2"))), "no coordinator");
        assert!(!admitted(&peer("other", node("hv1"))), "another cluster's");
        assert!(!admitted(&peer("c", Identity::admin("root").expect("an admin"))));
        assert!(door.admit(None).is_err());
        known.replace(["hv2".to_owned()].into_iter());
        assert!(!admitted(&peer("c", node("hv1"))), "no longer one");
        assert!(admitted(&peer("c", node("hv2"))));
    }
}
