//! Reading a certificate: who it names and how long it is good for. Nothing here says that the certificate is genuine;
//! that is the verifiers' part.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::identity::{Identity, IdentityError};
use crate::token::hex;

/// Who is at the other end of a connection, as its certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    pub cluster_id: String,
    pub identity: Identity,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// SHA-256 of the whole certificate, 64 hex digits.
    pub fingerprint: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("the certificate could not be read as X.509")]
    Unreadable,
    #[error("the certificate carries no pvc:// name")]
    Nameless,
    #[error("the certificate carries {0} pvc:// names, and a peer is exactly one")]
    SeveralNames(usize),
    #[error("the certificate's name is not one of ours")]
    BadName(#[from] IdentityError),
    #[error("the certificate's validity is not a date")]
    BadDates,
}

impl PeerIdentity {
    pub fn of_certificate(cert: &CertificateDer<'_>) -> Result<Self, PeerError> {
        let (_, parsed) = X509Certificate::from_der(cert).map_err(|_| PeerError::Unreadable)?;
        let sans = parsed.subject_alternative_name().map_err(|_| PeerError::Unreadable)?;
        let names: Vec<&str> = sans
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) if uri.starts_with("pvc:") => Some(*uri),
                _ => None,
            })
            .collect();
        let (cluster_id, identity) = match names[..] {
            [] => return Err(PeerError::Nameless),
            [uri] => Identity::parse_uri(uri)?,
            _ => return Err(PeerError::SeveralNames(names.len())),
        };
        let date = |seconds| Timestamp::from_second(seconds).map_err(|_| PeerError::BadDates);
        Ok(Self {
            cluster_id,
            identity,
            not_before: date(parsed.validity().not_before.timestamp())?,
            not_after: date(parsed.validity().not_after.timestamp())?,
            fingerprint: hex(ring::digest::digest(&ring::digest::SHA256, cert).as_ref()),
        })
    }
}
