//! The credentials in force, ready for handshakes. Everyone holds the same [`TlsStore`]; exchanging its content changes
//! what the next handshake shows and trusts, and touches no open connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, ServerName, pem::PemObject as _};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::connection::TlsConnection;
use crate::credentials::{Credentials, CredentialsError};
use crate::peer::PeerIdentity;
use crate::pin::CaPin;
use crate::verify::{CallerVerifier, ExpectedPeer, ServerVerifier, VerifyError};

/// Whether a server insists on a caller's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// A caller without a certificate does not get past the handshake.
    Required,
    /// A caller may come without one (joining hosts, browsers); one that is shown must still be good. What such a caller
    /// may do is the services' to check, by `peer_identity()` being `None`.
    Optional,
}

/// The protocols that a server or a caller speaks above TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// gRPC.
    H2,
    /// The HTTP gateway.
    H2OrHttp11,
}

impl Alpn {
    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::H2 => vec![b"h2".to_vec()],
            Self::H2OrHttp11 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }
}

/// Why credentials cannot be taken into use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("the private key could not be used")]
    Key(#[source] rustls::Error),
    #[error("a CA certificate could not be used")]
    Root(#[source] rustls::Error),
    #[error("TLS could not be set up with these certificates")]
    Setup(#[source] rustls::Error),
    #[error("callers' certificates could not be checked against this CA")]
    Callers(#[source] rustls::server::VerifierBuilderError),
    #[error("the new certificate is for {new}, and this process is {old}: restart it to change who it is")]
    IdentityChanged { old: String, new: String },
}

/// Why a connection did not come about. The peer's address is in every case part of the message.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("could not connect to {address}")]
    Dial {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("{address} did not answer within {timeout:?}")]
    TimedOut { address: String, timeout: Duration },
    #[error("{address} is not to be trusted: {source}")]
    NotTrusted { address: String, source: VerifyError },
    #[error("the TLS handshake with {address} failed")]
    Handshake {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("TLS could not be set up")]
    Setup(#[source] rustls::Error),
}

/// The credentials in force.
#[derive(Debug)]
pub struct TlsStore {
    provider: Arc<CryptoProvider>,
    loaded: ArcSwap<Loaded>,
}

/// One set of credentials with all that is derived from it.
#[derive(Debug)]
struct Loaded {
    credentials: Credentials,
    roots: Arc<RootCertStore>,
    shown: Arc<SingleCertAndKey>,
    servers: Vec<(ClientAuth, Alpn, Arc<ServerConfig>)>,
}

impl TlsStore {
    /// Takes credentials into use; refuses those that are not good at `now`.
    pub fn new(credentials: Credentials, now: Timestamp) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let loaded = Loaded::new(&provider, credentials, now)?;
        Ok(Arc::new(Self { provider, loaded: ArcSwap::from_pointee(loaded) }))
    }

    /// Exchanges the credentials. Open connections stay; every later handshake shows and trusts the new ones. On an
    /// error the old ones stay in force.
    pub fn reload(&self, credentials: Credentials, now: Timestamp) -> Result<(), TlsError> {
        self.loaded.store(Arc::new(self.prepare(credentials, now)?));
        Ok(())
    }

    /// Whether [`TlsStore::reload`] would take these credentials: for looking before they are written anywhere.
    pub fn check(&self, credentials: &Credentials, now: Timestamp) -> Result<(), TlsError> {
        self.prepare(credentials.clone(), now).map(drop)
    }

    fn prepare(&self, credentials: Credentials, now: Timestamp) -> Result<Loaded, TlsError> {
        let uri = |leaf: &PeerIdentity| leaf.identity.uri(&leaf.cluster_id);
        let (old, new) = (uri(self.loaded.load().credentials.leaf()), uri(credentials.leaf()));
        if old != new {
            return Err(TlsError::IdentityChanged { old, new });
        }
        Loaded::new(&self.provider, credentials, now)
    }

    /// Who we are, and until when.
    pub fn leaf(&self) -> PeerIdentity {
        self.loaded.load().credentials.leaf().clone()
    }

    pub fn cluster_id(&self) -> String {
        self.loaded.load().credentials.leaf().cluster_id.clone()
    }

    /// A copy of the credentials in force (for renewal, and for programs that want their own files).
    pub fn credentials(&self) -> Credentials {
        self.loaded.load().credentials.clone()
    }

    /// What a server uses for its next handshake. Ask again for each connection.
    pub fn server_config(&self, auth: ClientAuth, alpn: Alpn) -> Arc<ServerConfig> {
        let loaded = self.loaded.load();
        let found = loaded.servers.iter().find(|(a, p, _)| (*a, *p) == (auth, alpn));
        Arc::clone(&found.expect("every combination is built by Loaded::new").2)
    }

    /// What a caller uses for its next handshake with this peer. Ask again for each connection.
    pub fn client_config(
        &self,
        expected: &ExpectedPeer,
        alpn: Alpn,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let loaded = self.loaded.load();
        let verifier = ServerVerifier::of_cluster(
            &self.provider,
            Arc::clone(&loaded.roots),
            &loaded.credentials.leaf().cluster_id,
            expected.clone(),
        );
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::clone(&loaded.shown) as _);
        Ok(Arc::new(finished(config, alpn)))
    }

    /// Connects to `address` (`host:port`) and completes the handshake with the peer we mean; `timeout` covers both.
    pub async fn connect(
        &self,
        address: &str,
        expected: &ExpectedPeer,
        alpn: Alpn,
        timeout: Duration,
    ) -> Result<TlsConnection, ConnectError> {
        let config = self.client_config(expected, alpn).map_err(ConnectError::Setup)?;
        connect(address, config, timeout).await
    }
}

impl Loaded {
    fn new(
        provider: &Arc<CryptoProvider>,
        credentials: Credentials,
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        credentials.check_valid(now)?;
        let mut roots = RootCertStore::empty();
        for root in credentials.roots()? {
            roots.add(root).map_err(TlsError::Root)?;
        }
        let roots = Arc::new(roots);
        let key = PrivateKeyDer::from_pem_slice(credentials.key_pem().expose().as_bytes())
            .map_err(|error| TlsError::Key(rustls::Error::General(error.to_string())))?;
        let certified = CertifiedKey::from_der(credentials.chain()?, key, provider).map_err(TlsError::Key)?;
        let shown = Arc::new(SingleCertAndKey::from(certified));

        let mut servers = Vec::new();
        for auth in [ClientAuth::Required, ClientAuth::Optional] {
            let callers = CallerVerifier::new(
                Arc::clone(provider),
                Arc::clone(&roots),
                &credentials.leaf().cluster_id,
                auth,
            )
            .map_err(TlsError::Callers)?;
            let callers = Arc::new(callers);
            for alpn in [Alpn::H2, Alpn::H2OrHttp11] {
                let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
                    .with_protocol_versions(&[&TLS13])
                    .map_err(TlsError::Setup)?
                    .with_client_cert_verifier(Arc::clone(&callers) as _)
                    .with_cert_resolver(Arc::clone(&shown) as _);
                config.alpn_protocols = alpn.protocols();
                // A resumed session would skip the check of the peer's certificate.
                config.send_tls13_tickets = 0;
                config.session_storage = Arc::new(NoServerSessionStorage {});
                servers.push((auth, alpn, Arc::new(config)));
            }
        }
        Ok(Self { credentials, roots, shown, servers })
    }
}

/// The way to the cluster for a host that holds no certificate yet: the CA is known by its fingerprint alone, which the
/// join token brings. A server that does not send the CA with that fingerprint, or whose leaf that CA did not sign, is
/// refused before one byte of ours (such as the token's secret) is sent.
#[derive(Debug)]
pub struct PinnedCa {
    config: Arc<ClientConfig>,
}

impl PinnedCa {
    pub fn new(pin: CaPin) -> Result<Self, ConnectError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Arc::new(ServerVerifier::pinned(&provider, pin));
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(ConnectError::Setup)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(finished(config, Alpn::H2)) })
    }

    /// Connects to `address` (`host:port`); the connection's `peer_identity()` then tells the cluster's id.
    pub async fn connect(&self, address: &str, timeout: Duration) -> Result<TlsConnection, ConnectError> {
        connect(address, Arc::clone(&self.config), timeout).await
    }
}

fn finished(mut config: ClientConfig, alpn: Alpn) -> ClientConfig {
    config.alpn_protocols = alpn.protocols();
    // A resumed session would skip the check of the server's certificate, and with it whom we meant to reach.
    config.resumption = Resumption::disabled();
    // Names of hosts do not matter here, and need not be sent in clear.
    config.enable_sni = false;
    config
}

async fn connect(
    address: &str,
    config: Arc<ClientConfig>,
    timeout: Duration,
) -> Result<TlsConnection, ConnectError> {
    let attempt = async {
        let dial = |source| ConnectError::Dial { address: address.to_owned(), source };
        let tcp = TcpStream::connect(address).await.map_err(dial)?;
        tcp.set_nodelay(true).map_err(dial)?;
        // Neither sent nor checked: rustls asks for a name to look sessions up by, and there are none.
        let unused_name = ServerName::from(tcp.peer_addr().map_err(dial)?.ip());
        let stream = TlsConnector::from(config).connect(unused_name, tcp).await.map_err(|source| {
            match VerifyError::find_in(&source) {
                Some(source) => ConnectError::NotTrusted { address: address.to_owned(), source },
                None => ConnectError::Handshake { address: address.to_owned(), source },
            }
        })?;
        TlsConnection::new(stream.into()).map_err(dial)
    };
    tokio::time::timeout(timeout, attempt)
        .await
        .unwrap_or_else(|_| Err(ConnectError::TimedOut { address: address.to_owned(), timeout }))
}
