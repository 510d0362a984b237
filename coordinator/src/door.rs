//! The door of a coordinator: every call passes here before a service sees it. Who calls is established and
//! whether they may ([`authz`]); what only the leader answers goes on to the leader, once.
//!
//! What may never happen here: a call that reaches a service without an identified caller; a call that is
//! forwarded a second time; a caller's secret that is sent on; a caller sent away for good by a replica that
//! may have missed that it was let in.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::{Router, http};
use pvc_identity::PeerIdentity;
use pvc_model::{Name, Timestamp, World};
use pvc_proto::{Method, ServedBy};
use tonic::Status;
use tower::ServiceExt;

use crate::peers::{Line, Peers};
use crate::services::authz::{Credentials, FORWARDED_BY, Ground, ON_BEHALF_OF, admit, depends_on_world};
use crate::services::{Caller, Shared};
use crate::status::{self, LEADER_HINT};

/// Guards one coordinator's routes.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

struct Inner {
    shared: Shared,
    peers: Peers,
}

impl Door {
    /// `peers` is the way to the leader.
    pub fn new(shared: Shared, peers: Peers) -> Self {
        Door(Arc::new(Inner { shared, peers }))
    }

    /// Puts everything in `router` behind the door.
    pub fn guard(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, pass))
    }

    fn admit(&self, world: &World, path: &str, credentials: &Credentials<'_>) -> Result<Caller, Status> {
        let shared = &self.0.shared;
        let now = Timestamp(shared.core.environment().wall_now_ms());
        admit(Ground { world, cluster_id: &shared.cluster_id, now }, path, credentials)
    }

    /// Looks again at a caller whom this replica does not know. One that lags, or was wiped, does not know who is there:
    /// it must not send a node of the cluster away for good, only on to the next coordinator.
    async fn admit_by_newest(&self, shown: Shown) -> Result<Caller, Status> {
        match self.0.shared.core.linearizable_world().await {
            Ok(world) => self.admit(&world, &shown.path, &shown.credentials()),
            Err(error) => {
                let detail = format!("this coordinator can't tell who calls: {error}");
                Err(status::unreachable("cluster", &detail))
            }
        }
    }

    /// Calls the leader in the caller's name. A leader that has died may take the call with it and say nothing: when
    /// another leads, or nobody, the caller is told to ask again.
    async fn forward(&self, caller: &Caller, request: Request) -> Result<Response, Status> {
        let shared = &self.0.shared;
        let mut raft = shared.core.store().status();
        let leading = |status: &raft_store::Status| status.leader.as_ref().map(|leader| leader.id);
        let then = leading(&raft.borrow());
        let leader = shared.leader().filter(|(name, _)| *name != shared.node);
        let (name, address) = leader.ok_or_else(|| status::not_leader(None))?;
        let channel = self.0.peers.channel(Some(&name), &address, Line::Common);
        let channel =
            channel.map_err(|error| status::unreachable(&format!("node/{name}"), &error.to_string()))?;
        let (mut parts, body) = request.into_parts();
        parts.extensions.clear();
        parts.headers.remove(header::AUTHORIZATION);
        let as_header = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| status::internal("an identity that is no header"))
        };
        parts.headers.insert(ON_BEHALF_OF, as_header(&caller.identity)?);
        parts.headers.insert(FORWARDED_BY, as_header(shared.node.as_str())?);
        let request = http::Request::from_parts(parts, tonic::body::Body::new(body));
        tokio::select! {
            response = channel.oneshot(request) => match response {
                Ok(response) => Ok(response.map(Body::new)),
                Err(error) => {
                    let detail = format!("the leader, node {name} at {address}, does not answer: {error}");
                    Err(status::unreachable("cluster", &detail))
                }
            },
            _ = raft.wait_for(|now| leading(now) != then) => {
                Err(status::unreachable("cluster", &format!("node {name} leads no more")))
            }
        }
    }
}

/// What a request shows of its caller, kept while the request waits.
struct Shown {
    path: String,
    peer: Option<PeerIdentity>,
    authorization: Option<String>,
    on_behalf_of: Option<String>,
}

impl Shown {
    fn of(request: &Request) -> Self {
        let shown = credentials(request);
        Shown {
            path: request.uri().path().to_owned(),
            peer: shown.peer.cloned(),
            authorization: shown.authorization.map(str::to_owned),
            on_behalf_of: shown.on_behalf_of.map(str::to_owned),
        }
    }

    fn credentials(&self) -> Credentials<'_> {
        Credentials {
            peer: self.peer.as_ref(),
            authorization: self.authorization.as_deref(),
            on_behalf_of: self.on_behalf_of.as_deref(),
        }
    }
}

/// What a request shows of its caller.
pub fn credentials(request: &Request) -> Credentials<'_> {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    Credentials {
        peer: request.extensions().get::<pvc_client::Caller>().and_then(|caller| caller.peer.as_ref()),
        authorization: text(header::AUTHORIZATION.as_str()),
        on_behalf_of: text(ON_BEHALF_OF),
    }
}

async fn pass(State(door): State<Door>, request: Request, next: Next) -> Response {
    let method = pvc_proto::method(request.uri().path());
    let world = door.0.shared.core.world();
    let admitted = match door.admit(&world, request.uri().path(), &credentials(&request)) {
        Err(refusal) if depends_on_world(&refusal) => {
            let shown = Shown::of(&request);
            door.admit_by_newest(shown).await
        }
        at_once => at_once,
    };
    let result = match admitted {
        Ok(caller) => enter(&door, method, caller, request, next).await,
        Err(status) => Err(status),
    };
    let mut response = result.unwrap_or_else(Status::into_http);
    if method.is_some_and(|method| method.served_by == ServedBy::Leader)
        && let Some((_, address)) = door.0.shared.leader()
        && let Ok(hint) = HeaderValue::try_from(address)
    {
        response.headers_mut().insert(LEADER_HINT, hint);
    }
    response
}

async fn enter(
    door: &Door,
    method: Option<&Method>,
    caller: Caller,
    mut request: Request,
    next: Next,
) -> Result<Response, Status> {
    let shared = &door.0.shared;
    let elsewhere =
        method.is_some_and(|method| method.served_by == ServedBy::Leader) && shared.core.leading().is_none();
    if elsewhere {
        if request.headers().contains_key(FORWARDED_BY) {
            return Err(status::not_leader(shared.leader().filter(not_me(&shared.node)).as_ref()));
        }
        return door.forward(&caller, request).await;
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

fn not_me(me: &Name) -> impl Fn(&(Name, String)) -> bool + '_ {
    move |(name, _)| name != me
}
