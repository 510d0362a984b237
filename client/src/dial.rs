//! One connection to one coordinator: TLS by `pvc-identity`, HTTP/2 above it.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use pvc_identity::{Alpn, ConnectError, ExpectedPeer, PinnedCa, TlsConnection, TlsStore};
use tonic::transport::{Channel, Endpoint};
use tower::{Service, service_fn};

/// For TCP and the TLS handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How soon a connection whose other end is silent is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// A connection is asked for a sign of life this often.
    pub interval: Duration,
    /// It is given up after this long without an answer.
    pub timeout: Duration,
}

impl KeepAlive {
    /// For people and programs.
    pub const CLIENT: KeepAlive =
        KeepAlive { interval: Duration::from_secs(10), timeout: Duration::from_secs(5) };
    /// Between nodes: a peer that is back must not wait for a connection that is dead.
    pub const NODE: KeepAlive =
        KeepAlive { interval: Duration::from_secs(1), timeout: Duration::from_secs(3) };
    /// For what a node is told: together shorter than the leader's grace of 3 s, so that one who is told through a host that
    /// dies listens elsewhere by the time that host's guests are placed. Giving up for nothing costs a stream's opening.
    pub const ASSIGNMENTS: KeepAlive =
        KeepAlive { interval: Duration::from_millis(750), timeout: Duration::from_millis(1500) };
}

/// How a coordinator is told from an impostor, and what it is shown of us.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Certificates both ways; the peer must be the one that is expected.
    Mutual(Arc<TlsStore>, ExpectedPeer),
    /// Any node under the CA whose key is pinned; nothing is shown of us.
    Pinned(Arc<PinnedCa>),
}

impl Trust {
    pub(crate) async fn connect(&self, address: &str) -> Result<TlsConnection, ConnectError> {
        match self {
            Trust::Mutual(store, expected) => {
                store.connect(address, expected, Alpn::H2, CONNECT_TIMEOUT).await
            }
            Trust::Pinned(ca) => ca.connect(address, CONNECT_TIMEOUT).await,
        }
    }
}

/// A channel to one address (`host:port`), connected when it is first used and again after a failure.
/// Must be called within a tokio runtime.
pub fn channel(address: &str, trust: &Trust) -> Result<Channel, tonic::transport::Error> {
    channel_with(address, trust, KeepAlive::CLIENT)
}

/// Like [`channel`], with a patience of the caller's own.
pub fn channel_with(
    address: &str,
    trust: &Trust,
    keep_alive: KeepAlive,
) -> Result<Channel, tonic::transport::Error> {
    Ok(endpoint(address, keep_alive)?.connect_with_connector_lazy(connector(address, trust)))
}

/// Connects at once. Later, after a failure, it connects again when it is used.
pub(crate) fn connect(
    address: &str,
    trust: &Trust,
    keep_alive: KeepAlive,
) -> Result<
    impl Future<Output = Result<Channel, tonic::transport::Error>> + Send + use<>,
    tonic::transport::Error,
> {
    let (endpoint, connector) = (endpoint(address, keep_alive)?, connector(address, trust));
    Ok(async move { endpoint.connect_with_connector(connector).await })
}

fn endpoint(address: &str, keep_alive: KeepAlive) -> Result<Endpoint, tonic::transport::Error> {
    // "http": the connector has done the TLS already.
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .http2_keep_alive_interval(keep_alive.interval)
        .keep_alive_timeout(keep_alive.timeout)
        .keep_alive_while_idle(true))
}

fn connector(
    address: &str,
    trust: &Trust,
) -> impl Service<Uri, Response = TokioIo<TlsConnection>, Error = ConnectError, Future: Send> + Clone + Send + use<>
{
    let (address, trust) = (address.to_owned(), trust.clone());
    service_fn(move |_: Uri| {
        let (address, trust) = (address.clone(), trust.clone());
        async move { trust.connect(&address).await.map(TokioIo::new) }
    })
}
