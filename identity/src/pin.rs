//! The fingerprint by which a joining host knows the cluster's CA before it holds any certificate: SHA-256 over the CA's
//! SubjectPublicKeyInfo. It pins the *key*, so that re-issuing the root with the same key changes no token.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// SHA-256 of a CA's SubjectPublicKeyInfo; prints as 43 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaPin([u8; 32]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    #[error("the CA fingerprint must be 43 characters of base64url")]
    BadForm,
    #[error("the certificate could not be read as X.509")]
    BadCertificate,
}

impl CaPin {
    /// The pin of this certificate's public key.
    pub fn of_certificate(cert: &CertificateDer<'_>) -> Result<Self, PinError> {
        let (_, parsed) = X509Certificate::from_der(cert).map_err(|_| PinError::BadCertificate)?;
        let digest = ring::digest::digest(&ring::digest::SHA256, parsed.tbs_certificate.subject_pki.raw);
        Ok(Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes")))
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaPin({self})")
    }
}

impl FromStr for CaPin {
    type Err = PinError;

    fn from_str(s: &str) -> Result<Self, PinError> {
        let bytes = URL_SAFE_NO_PAD.decode(s).map_err(|_| PinError::BadForm)?;
        Ok(Self(bytes.try_into().map_err(|_| PinError::BadForm)?))
    }
}
