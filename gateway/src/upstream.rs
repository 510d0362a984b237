//! The way to the coordinators, as one service that any generated client can call.
//!
//! Coordinators are tried one after the other, first the one that answered last. A call goes to the next only where
//! that is safe: nobody could be reached, or the answer is `UNAVAILABLE` from its start. A write that is sent twice is
//! done once, for every write from here carries a request id. A console, whose input can't be sent twice, is tried
//! elsewhere only while nothing was sent.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use pvc_identity::{Alpn, ExpectedPeer, TlsStore};
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

/// A call to whichever coordinator can answer it. Its error is a call that nobody answered.
pub type Upstream = BoxCloneSyncService<Request<Body>, Response<Body>, tonic::Status>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Rounds through all coordinators before a call is given up; between them an election has time to end.
const ROUNDS: usize = 5;
const ROUND_PAUSE: Duration = Duration::from_millis(300);
/// The method whose input is a stream.
const CONSOLE: &str = "/pvc.v1.VmService/Console";

#[derive(Debug, thiserror::Error)]
#[error("\"{address}\" is not an address of a coordinator")]
pub struct AddressError {
    address: String,
    #[source]
    source: http::uri::InvalidUri,
}

/// Over mutual TLS, as the identity that `store` holds.
pub fn to_coordinators(addresses: &[String], store: &Arc<TlsStore>) -> Result<Upstream, AddressError> {
    let channels = addresses.iter().map(|address| channel(address, store)).collect::<Result<Vec<_>, _>>()?;
    Ok(over(channels))
}

/// Over channels that are there already; at least one.
pub fn over(channels: Vec<Channel>) -> Upstream {
    assert!(!channels.is_empty(), "a gateway without coordinators");
    let shared = Arc::new(Coordinators { channels, last_good: AtomicUsize::new(0) });
    let service = tower::service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { shared.call(request).await }
    });
    BoxCloneSyncService::new(service)
}

/// Connects when it is first used, and again whenever the connection is lost.
fn channel(address: &str, store: &Arc<TlsStore>) -> Result<Channel, AddressError> {
    let uri: Uri = format!("http://{address}")
        .parse()
        .map_err(|source| AddressError { address: address.to_owned(), source })?;
    let (address, store) = (address.to_owned(), Arc::clone(store));
    let connector = tower::service_fn(move |_: Uri| {
        let (address, store) = (address.clone(), Arc::clone(&store));
        async move {
            store.connect(&address, &ExpectedPeer::AnyNode, Alpn::H2, CONNECT_TIMEOUT).await.map(TokioIo::new)
        }
    });
    Ok(Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector))
}

struct Coordinators {
    channels: Vec<Channel>,
    last_good: AtomicUsize,
}

impl fmt::Debug for Coordinators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinators").field("count", &self.channels.len()).finish_non_exhaustive()
    }
}

impl Coordinators {
    async fn call(&self, request: Request<Body>) -> Result<Response<Body>, tonic::Status> {
        let (parts, body) = request.into_parts();
        if parts.uri.path() == CONSOLE {
            return self.once(Request::from_parts(parts, body)).await;
        }
        let body: Bytes = body.collect().await?.to_bytes();
        let mut refused = None;
        let mut order = self.order(ROUNDS);
        while let Some(index) = order.pop_front() {
            let mut request = Request::new(Body::new(Full::new(body.clone())));
            *request.method_mut() = parts.method.clone();
            *request.uri_mut() = parts.uri.clone();
            *request.version_mut() = parts.version;
            *request.headers_mut() = parts.headers.clone();
            match self.channels[index].clone().oneshot(request).await {
                Ok(response) if is_unavailable(&response) => refused = Some(Ok(response)),
                Ok(response) => {
                    self.last_good.store(index, Ordering::Relaxed);
                    return Ok(response);
                }
                Err(error) => {
                    tracing::debug!(coordinator = index, error = %chain(&error), "a coordinator did not answer");
                    refused.get_or_insert_with(|| Err(unreachable(&error)));
                }
            }
            if !order.is_empty() && order.len().is_multiple_of(self.channels.len()) {
                tokio::time::sleep(ROUND_PAUSE).await;
            }
        }
        refused.unwrap_or_else(|| Err(tonic::Status::unavailable("there is no coordinator")))
    }

    /// For a call whose input can't be repeated: to the first coordinator that can be reached.
    async fn once(&self, request: Request<Body>) -> Result<Response<Body>, tonic::Status> {
        let mut refused = tonic::Status::unavailable("there is no coordinator");
        for index in self.order(1) {
            let mut channel = self.channels[index].clone();
            match channel.ready().await {
                Ok(ready) => {
                    return tower::Service::call(ready, request).await.map_err(|error| unreachable(&error));
                }
                Err(error) => refused = unreachable(&error),
            }
        }
        Err(refused)
    }

    fn order(&self, rounds: usize) -> VecDeque<usize> {
        let (first, count) = (self.last_good.load(Ordering::Relaxed), self.channels.len());
        (0..count * rounds).map(|step| (first + step) % count).collect()
    }
}

/// An answer that is nothing but a status: the call was not done there, or may be repeated by its request id.
fn is_unavailable(response: &Response<Body>) -> bool {
    response.headers().get("grpc-status") == Some(&HeaderValue::from_static("14"))
}

fn unreachable(error: &tonic::transport::Error) -> tonic::Status {
    tonic::Status::unavailable(format!("no coordinator can be reached: {}", chain(error)))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
