//! A host's own private key, and the request to certify it. The key is made where it is used and never travels: only
//! the request goes out.

use std::fmt;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::secret::Secret;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("could not make a P-256 key")]
    Generate(#[source] rcgen::Error),
    #[error("the private key could not be read: expected an unencrypted PKCS#8 PEM")]
    Unreadable(#[source] rcgen::Error),
    #[error("could not write a certificate signing request")]
    Request(#[source] rcgen::Error),
}

/// A P-256 private key.
pub struct KeyPair(rcgen::KeyPair);

impl KeyPair {
    pub fn generate() -> Result<Self, KeyError> {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map(Self).map_err(KeyError::Generate)
    }

    pub fn from_pem(pem: &Secret) -> Result<Self, KeyError> {
        rcgen::KeyPair::from_pem(pem.expose()).map(Self).map_err(KeyError::Unreadable)
    }

    /// PKCS#8, unencrypted.
    pub fn pem(&self) -> Secret {
        Secret::new(self.0.serialize_pem())
    }

    /// A signing request that proves possession of the key. It names nobody: names come from the issuer, who knows
    /// whom it is talking to.
    pub fn csr_pem(&self) -> Result<String, KeyError> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.serialize_request(&self.0).and_then(|csr| csr.pem()).map_err(KeyError::Request)
    }

    /// Whether this certificate was made for this key.
    pub fn fits(&self, cert: &CertificateDer<'_>) -> bool {
        X509Certificate::from_der(cert).is_ok_and(|(_, parsed)| {
            parsed.tbs_certificate.subject_pki.subject_public_key.data.as_ref() == self.0.public_key_raw()
        })
    }

    pub(crate) fn into_inner(self) -> rcgen::KeyPair {
        self.0
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(…)")
    }
}
