//! One connection to one coordinator: TLS by `pvc-identity`, HTTP/2 above it.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use pvc_identity::{Alpn, ConnectError, ExpectedPeer, PinnedCa, TlsConnection, TlsStore};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

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
    // "http": the connector below has done the TLS already.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .http2_keep_alive_interval(keep_alive.interval)
        .keep_alive_timeout(keep_alive.timeout)
        .keep_alive_while_idle(true);
    let (address, trust) = (address.to_owned(), trust.clone());
    Ok(endpoint.connect_with_connector_lazy(service_fn(move |_: http::Uri| {
        let (address, trust) = (address.clone(), trust.clone());
        async move { trust.connect(&address).await.map(TokioIo::new) }
    })))
}
