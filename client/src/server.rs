//! The serving side: verified connections as tonic takes them, and who is at their other end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use pvc_identity::{PeerIdentity, TlsConnection, TlsListener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::Connected;

/// Who calls; in the extensions of every request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// None: without a certificate, where that is allowed.
    pub peer: Option<PeerIdentity>,
    pub remote_addr: SocketAddr,
}

/// A verified connection.
#[derive(Debug)]
pub struct ServerConnection(pub TlsConnection);

/// For tonic's `serve_with_incoming`.
pub fn incoming(listener: TlsListener) -> impl Stream<Item = io::Result<ServerConnection>> {
    listener.map(|connection| connection.map(ServerConnection))
}

impl Connected for ServerConnection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        Caller { peer: self.0.peer_identity().cloned(), remote_addr: self.0.remote_addr() }
    }
}

impl AsyncRead for ServerConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for ServerConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
