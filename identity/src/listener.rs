//! The door: accepts TCP connections, completes their handshakes side by side, and hands out only those that passed.
//! A slow or silent caller holds up nobody else; a flood waits in the kernel's backlog, not in our memory.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;

use crate::connection::TlsConnection;
use crate::store::{Alpn, ClientAuth, TlsStore};
use crate::verify::VerifyError;

/// Pause after the kernel refused an accept (such as for want of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
pub struct ListenerOptions {
    pub client_auth: ClientAuth,
    pub alpn: Alpn,
    /// A handshake that takes longer is dropped.
    pub handshake_timeout: Duration,
    /// How many handshakes, with the connections that nobody has taken yet, may be under way at once.
    pub pending_max: usize,
}

impl ListenerOptions {
    /// gRPC between members of the cluster, with sound limits: 5 s for a handshake, 256 at once.
    pub fn new(client_auth: ClientAuth, alpn: Alpn) -> Self {
        Self { client_auth, alpn, handshake_timeout: Duration::from_secs(5), pending_max: 256 }
    }
}

/// A listening socket that yields verified connections: by [`TlsListener::accept`], or as the `Stream` that tonic's
/// `serve_with_incoming` takes. Dropping it closes the socket and ends the handshakes under way; connections that were
/// handed out stay.
#[derive(Debug)]
pub struct TlsListener {
    local_addr: SocketAddr,
    ready: mpsc::Receiver<TlsConnection>,
    _accepting: JoinSet<()>,
}

impl TlsListener {
    /// Listens on `addr`; must be called within a tokio runtime.
    pub async fn bind(addr: SocketAddr, store: Arc<TlsStore>, options: ListenerOptions) -> io::Result<Self> {
        Self::new(TcpListener::bind(addr).await?, store, options)
    }

    /// Takes over a socket that listens already.
    pub fn new(listener: TcpListener, store: Arc<TlsStore>, options: ListenerOptions) -> io::Result<Self> {
        let local_addr = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(options.pending_max.max(1));
        let mut accepting = JoinSet::new();
        accepting.spawn(accept_loop(listener, store, options, sender));
        Ok(Self { local_addr, ready, _accepting: accepting })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The next caller that passed the handshake. Cancel-safe.
    pub async fn accept(&mut self) -> io::Result<TlsConnection> {
        self.ready.recv().await.ok_or_else(closed)
    }
}

impl Stream for TlsListener {
    type Item = io::Result<TlsConnection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(cx).map(|connection| connection.map(Ok))
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the listener has ended")
}

async fn accept_loop(
    listener: TcpListener,
    store: Arc<TlsStore>,
    options: ListenerOptions,
    sender: mpsc::Sender<TlsConnection>,
) {
    let places = Arc::new(Semaphore::new(options.pending_max.max(1)));
    let mut handshakes = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        while handshakes.try_join_next().is_some() {}
        let (tcp, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // The configuration is taken here, per connection, so that a reload holds from the next caller on.
        let config = store.server_config(options.client_auth, options.alpn);
        let (sender, timeout) = (sender.clone(), options.handshake_timeout);
        handshakes.spawn(async move {
            let _place = place;
            match tokio::time::timeout(timeout, handshake(TlsAcceptor::from(config), tcp)).await {
                // The receiver is gone only when the listener is being dropped.
                Ok(Ok(connection)) => drop(sender.send(connection).await),
                Ok(Err(error)) => match VerifyError::find_in(&error) {
                    Some(reason) => tracing::warn!(%remote, %reason, "refused a caller"),
                    None => tracing::debug!(%remote, %error, "a TLS handshake failed"),
                },
                Err(_) => tracing::debug!(%remote, ?timeout, "a TLS handshake took too long"),
            }
        });
    }
}

async fn handshake(acceptor: TlsAcceptor, tcp: TcpStream) -> io::Result<TlsConnection> {
    tcp.set_nodelay(true)?;
    TlsConnection::new(acceptor.accept(tcp).await?.into())
}
