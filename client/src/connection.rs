//! What it takes to reach a cluster: addresses, and credentials or a token.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use pvc_identity::{
    CaPin, Credentials, CredentialsError, ExpectedPeer, PinnedCa, Secret, TlsError, TlsStore,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};

use crate::dial::Trust;

/// One entry of a connections file.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// `host:port` of coordinators.
    pub coordinators: Vec<String>,
    /// Where it is set, credentials of another cluster are refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster_id: String,
    /// A directory with `ca.pem`, `node.pem` and `node.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<PathBuf>,
    /// The CA's certificates, PEM; with `token`, or with the two below in place of `credentials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_pem: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pem: Option<String>,
    /// An API token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("the connection names no coordinator")]
    NoCoordinator,
    #[error("the connection has neither credentials nor a token with the CA's certificate")]
    NoCredentials,
    #[error("the connection is to cluster {wanted}, and its credentials are of cluster {found}")]
    OtherCluster { wanted: String, found: String },
    #[error("the credentials can't be used: {0}")]
    Credentials(#[from] CredentialsError),
    #[error("the credentials can't be used: {0}")]
    Tls(#[from] TlsError),
    #[error("the CA's certificate can't be used: {0}")]
    Ca(String),
}

impl Connection {
    /// Reads the credentials; whom to trust follows from them.
    pub fn trust(&self, now: Timestamp) -> Result<Trust, ConnectionError> {
        if self.coordinators.is_empty() {
            return Err(ConnectionError::NoCoordinator);
        }
        let credentials = match (&self.credentials, &self.ca_pem, &self.certificate_pem, &self.key_pem) {
            (Some(dir), ..) => Credentials::load(dir)?,
            (None, Some(ca), Some(certificate), Some(key)) => {
                Credentials::new(certificate, Secret::new(key), ca)?
            }
            (None, Some(ca), ..) if self.token.is_some() => return pinned(ca),
            (None, ..) => return Err(ConnectionError::NoCredentials),
        };
        let store = TlsStore::new(credentials, now)?;
        let found = store.cluster_id();
        if !self.cluster_id.is_empty() && self.cluster_id != found {
            return Err(ConnectionError::OtherCluster { wanted: self.cluster_id.clone(), found });
        }
        Ok(Trust::Mutual(store, ExpectedPeer::AnyNode))
    }
}

fn pinned(ca_pem: &str) -> Result<Trust, ConnectionError> {
    let bad = |error: &dyn std::fmt::Display| ConnectionError::Ca(error.to_string());
    let certificate = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|e| bad(&e))?;
    let pin = CaPin::of_certificate(&certificate).map_err(|e| bad(&e))?;
    Ok(Trust::Pinned(Arc::new(PinnedCa::new(pin).map_err(|e| bad(&e))?)))
}

/// Without its secrets.
impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("coordinators", &self.coordinators)
            .field("cluster_id", &self.cluster_id)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}
