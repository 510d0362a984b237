//! Which path goes where. The routes written by hand are all here; every other path is the transcoder's.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Uri};
use pvc_client::Coordinators;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::console;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::rest::{self, Routes};
use crate::server::Peer;
use crate::token;
use crate::upstream::Upstream;

/// What one gateway takes at most. Beyond these a caller is turned away with 413 or 503, never queued.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub body_bytes: usize,
    /// Requests under way, without streams and consoles.
    pub requests: usize,
    /// Streams and consoles.
    pub streams: usize,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
    /// How long coordinators may take to answer.
    pub answer_timeout: Duration,
    /// Silence after which a server-sent event stream gets a comment line.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            requests: 512,
            streams: 1024,
            body_timeout: Duration::from_secs(20),
            answer_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
        }
    }
}

/// What every request needs. Clones share all of it.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) upstream: Upstream,
    pub(crate) routes: Routes,
    pub(crate) limits: Limits,
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
    /// Ends streams and consoles, which have no end of their own.
    pub(crate) shutdown: CancellationToken,
    pub(crate) metrics: Metrics,
}

impl Gateway {
    pub fn new(
        coordinators: Coordinators,
        limits: Limits,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> Self {
        let upstream = Upstream::new(coordinators, metrics.clone());
        Self {
            routes: Routes::new(upstream.clone()),
            upstream,
            limits,
            requests: Arc::new(Semaphore::new(limits.requests)),
            streams: Arc::new(Semaphore::new(limits.streams)),
            shutdown,
            metrics,
        }
    }
}

/// The routes written by hand: path, and the method of the API that it serves, if it serves one. The parity check reads
/// this for the methods that can't have an HTTP rule.
pub const HAND_WRITTEN: &[(&str, Option<&str>)] =
    &[("/healthz", None), ("/api/v1/openapi.json", None), (console::PATH, Some("pvc.v1.VmService.Console"))];

/// The whole HTTP service.
pub fn build(gateway: Gateway) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/api/v1/openapi.json", get(openapi))
        .route(console::PATH, get(console::open))
        .fallback(rest::handle)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(gateway.metrics.clone(), note_access))
        .with_state(gateway)
}

async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], pvc_proto::rest::OPENAPI).into_response()
}

async fn no_such_method(method: Method, uri: Uri, State(_): State<Gateway>) -> Failure {
    Failure::no_route(&method, uri.path())
}

/// One line for each request, when its answer begins, and its figures. Of a token only its public part is shown, of a
/// query nothing.
async fn note_access(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.to_string()).unwrap_or_default();
    let token = token::of_websocket(request.headers()).unwrap_or_default();
    let agent = request
        .headers()
        .get(USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();

    let mut response = next.run(request).await;
    let (status, took) = (response.status(), started.elapsed());
    metrics.answered(&method, status, took);
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let request_id = headers.get(IDEMPOTENCY_KEY).and_then(|value| value.to_str().ok()).unwrap_or_default();
    tracing::info!(
        target: "access",
        peer, token = token::public_part(&token), %method, path,
        status = status.as_u16(),
        ms = took.as_millis() as u64,
        request_id, agent,
    );
    response
}

/// The request id that a write goes by: taken from the caller or made here, and told in the answer.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
