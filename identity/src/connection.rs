//! One verified connection: bytes in, bytes out, and who is at the other end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::peer::PeerIdentity;

/// A TLS connection whose handshake is complete.
#[derive(Debug)]
pub struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: Option<PeerIdentity>,
    remote_addr: SocketAddr,
    local_addr: SocketAddr,
}

impl TlsConnection {
    pub(crate) fn new(stream: TlsStream<TcpStream>) -> io::Result<Self> {
        let (tcp, session) = stream.get_ref();
        let (remote_addr, local_addr) = (tcp.peer_addr()?, tcp.local_addr()?);
        // The verifier has read the name already, so that a certificate without one cannot come this far.
        let peer = match session.peer_certificates().and_then(|chain| chain.first()) {
            Some(leaf) => Some(PeerIdentity::of_certificate(leaf).map_err(io::Error::other)?),
            None => None,
        };
        Ok(Self { stream, peer, remote_addr, local_addr })
    }

    /// Who is at the other end; `None` only for a caller without a certificate where that was allowed.
    pub fn peer_identity(&self) -> Option<&PeerIdentity> {
        self.peer.as_ref()
    }

    pub fn remote_addr(&self) -> SocketAddr {
        self.remote_addr
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The protocol agreed on, such as `h2`.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize, io::Error>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<Result<usize, io::Error>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
