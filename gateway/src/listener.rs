//! The door: TLS 1.3 with the cluster's certificate or with one of the operator's, or, on loopback only, plain HTTP.
//! A caller that stalls, in its handshake or while it reads an answer, is dropped.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pvc_identity::{Alpn, ClientAuth, TlsStore};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A caller that takes none of its answer for this long is cut off.
const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum TlsFilesError {
    #[error("could not read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("{0} holds no certificate")]
    NoCertificate(PathBuf),
    #[error("the key {key} and the certificate {cert} can't be used together")]
    Unusable {
        cert: PathBuf,
        key: PathBuf,
        #[source]
        source: rustls::Error,
    },
}

/// How callers are met.
#[derive(Clone)]
pub enum Encryption {
    /// The gateway's own cluster certificate, always the one in force.
    Cluster(Arc<TlsStore>),
    /// A certificate of the operator's.
    Files(Arc<ServerConfig>),
    /// None: loopback only, which the configuration has checked.
    Plain,
}

impl Encryption {
    /// Reads a certificate chain and its key, PEM.
    pub fn from_files(cert: &PathBuf, key: &PathBuf) -> Result<Self, TlsFilesError> {
        let unreadable = |path: &PathBuf| {
            let path = path.clone();
            move |source| TlsFilesError::Read { path, source }
        };
        let chain = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable(cert))?;
        if chain.is_empty() {
            return Err(TlsFilesError::NoCertificate(cert.clone()));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
        let unusable = |source| TlsFilesError::Unusable { cert: cert.clone(), key: key.clone(), source };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self::Files(Arc::new(config)))
    }

    /// Completes the handshake, if there is one.
    pub async fn meet(&self, tcp: TcpStream) -> io::Result<Connection> {
        tcp.set_nodelay(true)?;
        let config = match self {
            Self::Cluster(store) => store.server_config(ClientAuth::Optional, Alpn::H2OrHttp11),
            Self::Files(config) => Arc::clone(config),
            Self::Plain => return Ok(Connection { io: Guarded::new(Box::new(tcp)), http2: false }),
        };
        let handshake = TlsAcceptor::from(config).accept(tcp);
        let tls = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"))??;
        let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Connection { io: Guarded::new(Box::new(tls)), http2 })
    }
}

/// A caller that got through the door.
pub struct Connection {
    pub io: Guarded,
    /// HTTP/2 was agreed on; else HTTP/1.1.
    pub http2: bool,
}

/// Whether an address is of this host only, so that nothing is on a wire.
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().is_loopback()
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection whose other end must go on reading.
pub struct Guarded {
    io: Box<dyn Io>,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    fn new(io: Box<dyn Io>) -> Self {
        Self { io, stalled: None }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let deadline = || Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_STALL_MAX));
        let stalled = self.stalled.get_or_insert_with(deadline);
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the caller does not read")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watch(cx, poll)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_does_not_read_is_cut() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut guarded = Guarded::new(Box::new(ours));
        let started = Instant::now();
        let error = guarded.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), WRITE_STALL_MAX.as_secs());
    }
}
