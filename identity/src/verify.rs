//! Who is accepted at the other end of a handshake. The chain, the dates and the signatures are webpki's work; here is
//! only what webpki cannot know: that the name is of this cluster, and that it is the peer we meant.
//!
//! What never happens here: accepting a certificate for its DNS name or address, or falling back to anything.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore, SignatureScheme,
};

use crate::identity::Identity;
use crate::peer::{PeerError, PeerIdentity};
use crate::pin::CaPin;
use crate::store::ClientAuth;

/// Whom a caller means to reach.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ExpectedPeer {
    /// Any node of this cluster: for callers that know only addresses.
    AnyNode,
    /// This one and no other: always between coordinators, where talking to the wrong one would poison the log.
    Exactly(Identity),
}

impl ExpectedPeer {
    fn admits(&self, found: &Identity) -> bool {
        match self {
            Self::AnyNode => found.is_node(),
            Self::Exactly(expected) => expected == found,
        }
    }
}

impl std::fmt::Display for ExpectedPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AnyNode => f.write_str("a node"),
            Self::Exactly(identity) => identity.fmt(f),
        }
    }
}

/// Why a peer's certificate was turned down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("its certificate is not signed by this cluster's CA")]
    UntrustedCa,
    #[error("its certificate has expired (or this host's clock is wrong): {0}")]
    Expired(String),
    #[error("its certificate is not valid yet (or this host's clock is wrong): {0}")]
    NotYetValid(String),
    #[error("it belongs to cluster {found}, not to {expected}")]
    OtherCluster { expected: String, found: String },
    #[error("it is {found}, not {expected}")]
    WrongPeer { expected: ExpectedPeer, found: Identity },
    #[error("its CA is not the one that the join token names (fingerprint {0})")]
    PinMismatch(CaPin),
    #[error("it showed no certificate, and one is required here")]
    NoCertificate,
}

impl VerifyError {
    /// Digs the reason out of what rustls and tokio wrapped around it; `None` for failures of another kind.
    pub(crate) fn find_in(error: &io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<rustls::Error>()? {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                let inner: &(dyn StdError + 'static) = inner.as_ref();
                inner.downcast_ref::<Self>().cloned()
            }
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => Some(Self::UntrustedCa),
            rustls::Error::InvalidCertificate(
                reason @ (CertificateError::Expired | CertificateError::ExpiredContext { .. }),
            ) => Some(Self::Expired(reason.to_string())),
            rustls::Error::InvalidCertificate(
                reason @ (CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }),
            ) => Some(Self::NotYetValid(reason.to_string())),
            rustls::Error::NoCertificatesPresented => Some(Self::NoCertificate),
            _ => None,
        }
    }
}

impl From<VerifyError> for rustls::Error {
    fn from(error: VerifyError) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }
}

/// Reads the certificate's name and checks that it is of this cluster.
fn peer_of(cert: &CertificateDer<'_>, cluster_id: &str) -> Result<PeerIdentity, VerifyError> {
    let peer = PeerIdentity::of_certificate(cert)?;
    if peer.cluster_id != cluster_id {
        return Err(VerifyError::OtherCluster { expected: cluster_id.to_owned(), found: peer.cluster_id });
    }
    Ok(peer)
}

/// What a caller trusts.
#[derive(Debug)]
enum Trust {
    /// The cluster's roots, its id, and whom we mean.
    Cluster { roots: Arc<RootCertStore>, cluster_id: String, expected: ExpectedPeer },
    /// A node under the CA with this key, which the server must send along.
    Pinned(CaPin),
}

/// A caller's check of the server. It looks at the chain and at the `pvc://` name, never at `server_name`.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(crate) fn of_cluster(
        provider: &CryptoProvider,
        roots: Arc<RootCertStore>,
        cluster_id: &str,
        expected: ExpectedPeer,
    ) -> Self {
        Self {
            trust: Trust::Cluster { roots, cluster_id: cluster_id.to_owned(), expected },
            algorithms: provider.signature_verification_algorithms,
        }
    }

    pub(crate) fn pinned(provider: &CryptoProvider, pin: CaPin) -> Self {
        Self { trust: Trust::Pinned(pin), algorithms: provider.signature_verification_algorithms }
    }
}

/// The one certificate among those sent whose key has the pin, as the only root. Somebody else's certificate over the
/// same key would do no harm: the leaf must be signed by that key.
fn pinned_root(pin: CaPin, sent: &[CertificateDer<'_>]) -> Result<RootCertStore, rustls::Error> {
    let root = sent
        .iter()
        .find(|cert| CaPin::of_certificate(cert) == Ok(pin))
        .ok_or(VerifyError::PinMismatch(pin))?;
    let mut roots = RootCertStore::empty();
    roots.add(root.clone().into_owned())?;
    Ok(roots)
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let cert = ParsedCertificate::try_from(end_entity)?;
        let signed_by = |roots: &RootCertStore| {
            verify_server_cert_signed_by_trust_anchor(&cert, roots, intermediates, now, self.algorithms.all)
        };
        let (found, expected) = match &self.trust {
            Trust::Cluster { roots, cluster_id, expected } => {
                signed_by(roots)?;
                (peer_of(end_entity, cluster_id)?.identity, expected)
            }
            Trust::Pinned(pin) => {
                signed_by(&pinned_root(*pin, intermediates)?)?;
                let peer = PeerIdentity::of_certificate(end_entity).map_err(VerifyError::from)?;
                (peer.identity, &ExpectedPeer::AnyNode)
            }
        };
        if !expected.admits(&found) {
            return Err(VerifyError::WrongPeer { expected: expected.clone(), found }.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A server's check of its callers.
#[derive(Debug)]
pub(crate) struct CallerVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    cluster_id: String,
}

impl CallerVerifier {
    pub(crate) fn new(
        provider: Arc<CryptoProvider>,
        roots: Arc<RootCertStore>,
        cluster_id: &str,
        auth: ClientAuth,
    ) -> Result<Self, rustls::server::VerifierBuilderError> {
        let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
        let builder = match auth {
            ClientAuth::Required => builder,
            ClientAuth::Optional => builder.allow_unauthenticated(),
        };
        Ok(Self { chain: builder.build()?, cluster_id: cluster_id.to_owned() })
    }
}

impl ClientCertVerifier for CallerVerifier {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        peer_of(end_entity, &self.cluster_id)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
