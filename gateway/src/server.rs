//! Accepts connections and speaks HTTP/1.1 and HTTP/2 on them, within limits, until it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::listener::Encryption;

/// Connections open at once; more wait in the kernel.
const CONNECTIONS_MAX: usize = 4096;
/// A request's head must arrive within this, and an idle HTTP/1.1 connection is closed after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const HEAD_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 64;
const STREAMS_PER_CONNECTION: u32 = 128;
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after the kernel refused an accept, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What is under way when the gateway stops gets this long.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Who is at the other end of a request's connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Serves until `shutdown`, then lets what is under way finish, for a while.
pub async fn serve(
    listener: TcpListener,
    encryption: Encryption,
    router: Router,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (tcp, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = speak(tcp, remote, encryption.clone(), router.clone(), shutdown.clone());
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN_MAX, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "stopped with connections still open");
    }
}

async fn speak(
    tcp: TcpStream,
    remote: SocketAddr,
    encryption: Encryption,
    router: Router,
    shutdown: CancellationToken,
) {
    let connection = match encryption.meet(tcp).await {
        Ok(connection) => connection,
        Err(error) => {
            tracing::debug!(%remote, %error, "a caller did not get through the door");
            return;
        }
    };
    let service = hyper_util::service::TowerToHyperService::new(tower::service_fn(
        move |mut request: http::Request<_>| {
            request.extensions_mut().insert(Peer(remote));
            router.clone().oneshot(request.map(Body::new))
        },
    ));
    let builder = builder(connection.http2);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(connection.io), service);
    tokio::pin!(serving);
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%remote, %error, "a connection ended early");
    }
}

fn builder(http2: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    if http2 { builder.http2_only() } else { builder.http1_only() }
}
