//! One transport over several coordinators: asks the one that is likeliest to answer, goes to the next when
//! it does not, follows the leader, and gives up at the deadline.
//!
//! A call whose request is one message is kept and sent again: writes carry a request id, so that the
//! cluster makes them once. A stream of the client's is sent once.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::HeaderValue;
use http::request::Parts;
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use pvc_identity::ConnectError;
use pvc_proto::{Method, ServedBy, method};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::{Service, ServiceExt};

use crate::dial::{KeepAlive, Trust, connect};
use crate::error::with_sources;
use crate::streaming_body::Unread;
use crate::tour::{Tour, Trouble, attempt_time, parse_grpc_timeout};

/// Metadata of an answer: the leader's address (host:port).
pub const LEADER_HINT: &str = "pvc-leader";
/// The rule by which a hypervisor refuses callers that take it for a coordinator.
pub const NO_COORDINATOR: &str = "no-coordinator-here";
/// A connection that takes longer than this to open has another one opened beside it.
const HEAD_START: Duration = Duration::from_millis(250);
/// Coordinators that are remembered, those learned from hints with them.
const KNOWN_MAX: usize = 16;

#[derive(Clone, Debug)]
pub struct Options {
    /// Sent as `authorization: Bearer …`.
    pub token: Option<String>,
    /// For a whole call with all its attempts, where the call has no `grpc-timeout`. For a stream of the
    /// server's: until it begins.
    pub deadline: Duration,
    /// How soon a connection that is silent is given up.
    pub keep_alive: KeepAlive,
}

impl Default for Options {
    fn default() -> Self {
        Options { token: None, deadline: Duration::from_secs(30), keep_alive: KeepAlive::CLIENT }
    }
}

/// A tonic transport: `VmServiceClient::new(coordinators.clone())`. Clones share what they learn.
#[derive(Clone, Debug)]
pub struct Coordinators(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    trust: Trust,
    token: Option<HeaderValue>,
    deadline: Duration,
    keep_alive: KeepAlive,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    coordinators: Vec<(String, Option<Channel>)>,
    /// The last that answered.
    good: Option<String>,
    leader: Option<String>,
}

impl Coordinators {
    /// `addresses` are `host:port`. Nothing is connected yet.
    pub fn new(addresses: &[String], trust: Trust, options: Options) -> Self {
        let token = options.token.as_ref().and_then(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        let coordinators = addresses.iter().map(|address| (address.clone(), None)).collect();
        let known = Mutex::new(Known { coordinators, ..Known::default() });
        let Options { deadline, keep_alive, .. } = options;
        Coordinators(Arc::new(Shared { trust, token, deadline, keep_alive, known }))
    }

    /// Takes a list of coordinators in place of the one it has, such as when members have changed.
    pub fn replace(&self, addresses: &[String]) {
        let mut known = self.0.known.lock();
        let mut old = std::mem::take(&mut known.coordinators);
        known.coordinators = addresses
            .iter()
            .map(|address| {
                let kept = old.iter_mut().find(|(other, _)| other == address);
                (address.clone(), kept.and_then(|(_, channel)| channel.take()))
            })
            .collect();
    }

    /// Later calls open connections anew, such as when our certificate has changed: coordinators go by the one that a
    /// connection began with. Streams that are open stay.
    pub fn reconnect(&self) {
        for (_, channel) in &mut self.0.known.lock().coordinators {
            *channel = None;
        }
    }

    /// The leader's address as it was last told.
    pub fn leader(&self) -> Option<String> {
        self.0.known.lock().leader.clone()
    }
}

impl Service<http::Request<Body>> for Coordinators {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.call(request).await })
    }
}

/// What is sent in every attempt.
enum Payload {
    Message(Bytes),
    Stream(Unread),
}

impl Shared {
    async fn call(self: &Arc<Self>, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
        let (mut parts, body) = request.into_parts();
        let method = method(parts.uri.path());
        let asked =
            parts.headers.get("grpc-timeout").and_then(|v| v.to_str().ok()).and_then(parse_grpc_timeout);
        let budget = asked.unwrap_or(self.deadline);
        if let Some(token) = &self.token {
            parts.headers.insert(http::header::AUTHORIZATION, token.clone());
        }
        // What is not ours may stream either way.
        let payload = match method {
            Some(method) if !method.client_streaming => Payload::Message(body.collect().await?.to_bytes()),
            Some(_) | None => Payload::Stream(Unread::new(body)),
        };
        self.tour(&parts, &payload, method, budget).await
    }

    async fn tour(
        self: &Arc<Self>,
        parts: &Parts,
        payload: &Payload,
        method: Option<&Method>,
        budget: Duration,
    ) -> Result<http::Response<Body>, Status> {
        let deadline = Instant::now() + budget;
        let mut tour = Tour::default();
        loop {
            let order = tour.untried(self.order(method));
            let Some((address, channel)) = self.reach(&order, &mut tour, deadline).await else {
                let pause = if tour.is_hopeless() { None } else { Some(tour.next_round(rand::random())) };
                match pause {
                    Some(pause) if Instant::now() + pause < deadline => sleep(pause).await,
                    Some(_) | None => return Err(tour.failure(budget)),
                }
                continue;
            };
            match self.attempt((address, channel), parts, payload, method, deadline).await {
                Ok(response) => {
                    self.known.lock().good = Some(address.clone());
                    return Ok(response);
                }
                Err(trouble) => self.note(&mut tour, address, trouble),
            }
            let spent = matches!(payload, Payload::Stream(unread) if !unread.is_unread());
            if spent || Instant::now() >= deadline {
                return Err(tour.failure(budget));
            }
        }
    }

    /// The first of `order` to which there is a connection. Each has a head start before the next is tried beside it, so
    /// that a host that is gone costs little; RFC 8305 does so with the addresses of one host. None: no connection to any.
    async fn reach<'a>(
        &self,
        order: &'a [String],
        tour: &mut Tour,
        deadline: Instant,
    ) -> Option<(&'a String, Channel)> {
        let mut opening = FuturesUnordered::new();
        let mut rest = order.iter();
        loop {
            opening.extend(rest.next().map(|address| async move { (address, self.channel(address).await) }));
            let until = if rest.len() == 0 { deadline } else { deadline.min(Instant::now() + HEAD_START) };
            match timeout_at(until, opening.next()).await {
                Ok(None) => return None,
                Ok(Some((address, Ok(channel)))) => return Some((address, channel)),
                Ok(Some((address, Err(trouble)))) => self.note(tour, address, trouble),
                Err(_) if Instant::now() < deadline => {}
                Err(_) => {
                    for address in tour.untried(order.to_vec()) {
                        tour.note(&address, Trouble::Silent);
                    }
                    return None;
                }
            }
        }
    }

    /// It did not answer.
    fn note(&self, tour: &mut Tour, address: &str, trouble: Trouble) {
        tracing::debug!(%address, ?trouble, "a coordinator did not answer");
        self.forget(address, !matches!(trouble, Trouble::Unavailable(_)));
        tour.note(address, trouble);
    }

    /// It is not asked first any more. A connection that is dead would be waited for: a new one is opened with a head start.
    fn forget(&self, address: &str, is_dead: bool) {
        let mut known = self.known.lock();
        known.good.take_if(|good| good == address);
        known.leader.take_if(|leader| leader == address);
        let slot = known.coordinators.iter_mut().find(|(other, _)| other == address && is_dead);
        if let Some((_, channel)) = slot {
            *channel = None;
        }
    }

    /// A stream that breaks may be all that tells that a coordinator's host has gone.
    fn overheard(self: &Arc<Self>, response: http::Response<Body>, address: &str) -> http::Response<Body> {
        let (shared, address) = (Arc::clone(self), address.to_owned());
        response.map(|body| {
            Body::new(body.map_err(move |status| {
                shared.forget(&address, true);
                status
            }))
        })
    }

    /// All addresses, the likeliest first.
    fn order(&self, method: Option<&Method>) -> Vec<String> {
        let known = self.known.lock();
        let leader = known.leader.clone().filter(|_| method.is_some_and(|m| m.served_by == ServedBy::Leader));
        let mut order: Vec<String> = Vec::new();
        let all = known.coordinators.iter().map(|(address, _)| address.clone());
        for address in leader.into_iter().chain(known.good.clone()).chain(all) {
            if !order.contains(&address) {
                order.push(address);
            }
        }
        order
    }

    fn learn_leader(&self, headers: &http::HeaderMap) {
        let Some(hint) = headers.get(LEADER_HINT).and_then(|value| value.to_str().ok()) else { return };
        let valid = hint.parse::<http::uri::Authority>().is_ok_and(|a| a.port().is_some());
        if valid {
            self.known.lock().leader = Some(hint.to_owned());
        }
    }

    /// The connection that there is, or a new one.
    async fn channel(&self, address: &str) -> Result<Channel, Trouble> {
        let kept =
            |(other, channel): &(String, Option<Channel>)| channel.clone().filter(|_| other == address);
        if let Some(channel) = self.known.lock().coordinators.iter().find_map(kept) {
            return Ok(channel);
        }
        let connecting = connect(address, &self.trust, self.keep_alive)
            .map_err(|_| Trouble::Broken("is not an address (host:port)".to_owned()))?;
        let new = connecting.await.map_err(|error| broken(&error))?;
        let mut known = self.known.lock();
        let slot = known.coordinators.iter_mut().find(|(other, _)| other == address);
        if let Some((_, slot)) = slot {
            *slot = Some(new.clone());
        } else if known.coordinators.len() < KNOWN_MAX {
            known.coordinators.push((address.to_owned(), Some(new.clone())));
        }
        Ok(new)
    }

    /// One coordinator is asked once.
    async fn attempt(
        self: &Arc<Self>,
        (address, mut channel): (&str, Channel),
        parts: &Parts,
        payload: &Payload,
        method: Option<&Method>,
        deadline: Instant,
    ) -> Result<http::Response<Body>, Trouble> {
        let now = Instant::now();
        let (body, until) = match payload {
            Payload::Message(bytes) => {
                let part = attempt_time(deadline.saturating_duration_since(now));
                (Body::new(Full::new(bytes.clone())), now + part)
            }
            // The server may answer only after much has been said.
            Payload::Stream(unread) => (unread.body(), now + Duration::from_secs(365 * 24 * 3600)),
        };
        let request = http::Request::from_parts(parts.clone(), body);
        let is_message = matches!(payload, Payload::Message(_));
        let whole = is_message && method.is_some_and(|m| !m.server_streaming);
        let answer = async {
            let ready = channel.ready().await.map_err(|error| broken(&error))?;
            let response = ready.call(request).await.map_err(|error| broken(&error))?;
            self.learn_leader(response.headers());
            let status = Status::from_header_map(response.headers());
            refuse_unavailable(status, is_message)?;
            if whole { self.collect(response).await } else { Ok(self.overheard(response, address)) }
        };
        timeout_at(until, answer).await.unwrap_or(Err(Trouble::Silent))
    }

    /// Waits for the whole answer, so that a connection that breaks in the middle is noticed here.
    async fn collect(&self, response: http::Response<Body>) -> Result<http::Response<Body>, Trouble> {
        let (parts, body) = response.into_parts();
        let collected =
            body.collect().await.map_err(|status| Trouble::Broken(status.message().to_owned()))?;
        let trailers = collected.trailers().cloned();
        if let Some(trailers) = &trailers {
            self.learn_leader(trailers);
            refuse_unavailable(Status::from_header_map(trailers), true)?;
        }
        let data = Full::new(collected.to_bytes());
        let body = match trailers {
            Some(trailers) => Body::new(data.with_trailers(std::future::ready(Some(Ok(trailers))))),
            // An answer that is headers only carries its status there.
            None => Body::new(data),
        };
        Ok(http::Response::from_parts(parts, body))
    }
}

/// Who answered was a coordinator once: another one is to be asked.
fn is_no_coordinator(status: &Status) -> bool {
    status.code() == Code::PermissionDenied
        && status.get_details_error_info().is_some_and(|info| info.reason == NO_COORDINATOR)
}

fn refuse_unavailable(status: Option<Status>, may_retry: bool) -> Result<(), Trouble> {
    match status {
        Some(status) if may_retry && (status.code() == Code::Unavailable || is_no_coordinator(&status)) => {
            Err(Trouble::Unavailable(status))
        }
        Some(_) | None => Ok(()),
    }
}

/// Finds what is worth telling in what the transport wrapped around it.
fn broken(error: &tonic::transport::Error) -> Trouble {
    let mut text = error.to_string();
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(inner) = cause {
        if let Some(connect) = inner.downcast_ref::<ConnectError>() {
            let text = with_sources(connect);
            return match connect {
                ConnectError::NotTrusted { .. } => Trouble::NotTrusted(connect.to_string()),
                ConnectError::Dial { .. }
                | ConnectError::TimedOut { .. }
                | ConnectError::Handshake { .. }
                | ConnectError::Setup(_) => Trouble::Broken(text),
            };
        }
        text = inner.to_string();
        cause = inner.source();
    }
    Trouble::Broken(text)
}
