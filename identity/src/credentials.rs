//! What a host shows and whom it trusts: certificate chain, private key, CA bundle; in memory and in a directory.
//!
//! ```text
//! ca.pem     the roots this host trusts (two while the CA is being rolled)
//! node.pem   the leaf, then the root that signed it
//! node.key   the private key, mode 0600
//! ```
//! A key and its certificate are two files and cannot be renamed together. So a new key waits as `node.key.next` until
//! its certificate is in place; loading finishes an exchange that a crash cut short. At no moment is there no usable pair.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::durable_file::{self, PUBLIC_MODE, SECRET_MODE};
use crate::key::{KeyError, KeyPair};
use crate::peer::{PeerError, PeerIdentity};
use crate::secret::Secret;

/// How far a clock may be off before a host's own certificate is taken for not valid.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5 * 60);

const CA_FILE: &str = "ca.pem";
const CERT_FILE: &str = "node.pem";
const KEY_FILE: &str = "node.key";
const NEXT_KEY_FILE: &str = "node.key.next";
/// Renewal starts when this part of the lifetime has passed …
const RENEW_AT: f64 = 0.70;
/// … give or take this part, so that hosts enrolled together do not renew together.
const RENEW_SPREAD: f64 = 0.05;

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("could not read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("could not write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{path} can be read by others (mode {mode:04o}); a private key must be private: chmod 600 {path}"
    )]
    KeyExposed { path: PathBuf, mode: u32 },
    #[error("the {0} holds no PEM certificate")]
    NoCertificate(&'static str),
    #[error("the {0} holds something that is not a PEM certificate")]
    BadPem(&'static str),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the private key does not belong to the certificate of {0}")]
    KeyMismatch(String),
    #[error("the host's own certificate cannot be used")]
    BadLeaf(#[source] PeerError),
    #[error(
        "the certificate of {subject} expired at {not_after} and this host's clock says {now}: \
         set the clock, or join again with a new token (pvc token join)"
    )]
    Expired { subject: String, not_after: Timestamp, now: Timestamp },
    #[error(
        "the certificate of {subject} is good only from {not_before} and this host's clock says {now}: set the clock"
    )]
    NotYetValid { subject: String, not_before: Timestamp, now: Timestamp },
}

/// A certificate chain with its key and the roots to trust; the key is known to fit the certificate.
#[derive(Debug, Clone)]
pub struct Credentials {
    cert_chain_pem: String,
    key_pem: Secret,
    ca_bundle_pem: String,
    leaf: PeerIdentity,
}

impl Credentials {
    /// Puts the parts together. `cert_chain_pem` starts with the leaf; `ca_bundle_pem` holds one or more roots. Validity
    /// in time is not looked at: see [`Credentials::check_valid`].
    pub fn new(
        cert_chain_pem: impl Into<String>,
        key_pem: Secret,
        ca_bundle_pem: impl Into<String>,
    ) -> Result<Self, CredentialsError> {
        let (cert_chain_pem, ca_bundle_pem) = (cert_chain_pem.into(), ca_bundle_pem.into());
        parse_certificates(&ca_bundle_pem, "CA bundle")?;
        let chain = parse_certificates(&cert_chain_pem, "certificate chain")?;
        let leaf = PeerIdentity::of_certificate(&chain[0]).map_err(CredentialsError::BadLeaf)?;
        if !KeyPair::from_pem(&key_pem)?.fits(&chain[0]) {
            return Err(CredentialsError::KeyMismatch(leaf.identity.to_string()));
        }
        Ok(Self { cert_chain_pem, key_pem, ca_bundle_pem, leaf })
    }

    /// Reads `ca.pem`, `node.pem` and `node.key`; finishes a [`Credentials::save`] that was cut short.
    pub fn load(dir: &Path) -> Result<Self, CredentialsError> {
        let ca_bundle_pem = read(&dir.join(CA_FILE))?;
        let cert_chain_pem = read(&dir.join(CERT_FILE))?;
        let key_path = dir.join(KEY_FILE);
        let next_path = dir.join(NEXT_KEY_FILE);
        let in_place =
            read_key(&key_path).and_then(|key| Self::new(cert_chain_pem.clone(), key, ca_bundle_pem.clone()));
        let error = match in_place {
            Ok(credentials) => return Ok(credentials),
            Err(error) => error,
        };
        // The certificate was exchanged and its key was not: the key waits beside it. If that does not help either, the
        // first error is the one to tell.
        match read_key(&next_path).and_then(|key| Self::new(cert_chain_pem, key, ca_bundle_pem)) {
            Ok(credentials) => {
                durable_file::rename(&next_path, &key_path)
                    .map_err(|source| CredentialsError::Write { path: key_path, source })?;
                Ok(credentials)
            }
            Err(_) => Err(error),
        }
    }

    /// Writes the three files; a crash at any point leaves either the old or the new pair to [`Credentials::load`].
    pub fn save(&self, dir: &Path) -> Result<(), CredentialsError> {
        let write = |name: &str, content: &str, mode| {
            let path = dir.join(name);
            durable_file::write(&path, content, mode)
                .map_err(|source| CredentialsError::Write { path, source })
        };
        write(NEXT_KEY_FILE, self.key_pem.expose(), SECRET_MODE)?;
        write(CA_FILE, &self.ca_bundle_pem, PUBLIC_MODE)?;
        write(CERT_FILE, &self.cert_chain_pem, PUBLIC_MODE)?;
        let path = dir.join(KEY_FILE);
        durable_file::rename(&dir.join(NEXT_KEY_FILE), &path)
            .map_err(|source| CredentialsError::Write { path, source })
    }

    /// Refuses a certificate that is not good now, by more than [`CLOCK_SKEW_MAX`].
    pub fn check_valid(&self, now: Timestamp) -> Result<(), CredentialsError> {
        let subject = || self.leaf.identity.to_string();
        let PeerIdentity { not_before, not_after, .. } = self.leaf;
        if now > not_after + CLOCK_SKEW_MAX {
            return Err(CredentialsError::Expired { subject: subject(), not_after, now });
        }
        if now < not_before - CLOCK_SKEW_MAX {
            return Err(CredentialsError::NotYetValid { subject: subject(), not_before, now });
        }
        Ok(())
    }

    /// When to ask for a new certificate: at 70 % of the lifetime, moved by up to 5 % of it either way. `jitter` is the
    /// caller's draw from -1.0 to 1.0.
    pub fn renew_at(&self, jitter: f64) -> Timestamp {
        let lifetime = self.leaf.not_after.duration_since(self.leaf.not_before).as_secs_f64();
        let share = RENEW_AT + RENEW_SPREAD * jitter.clamp(-1.0, 1.0);
        self.leaf.not_before + Duration::from_secs_f64((lifetime * share).max(0.0))
    }

    pub fn needs_renewal(&self, now: Timestamp, jitter: f64) -> bool {
        now >= self.renew_at(jitter)
    }

    /// Who these credentials say we are.
    pub fn leaf(&self) -> &PeerIdentity {
        &self.leaf
    }

    pub fn not_after(&self) -> Timestamp {
        self.leaf.not_after
    }

    pub fn cert_chain_pem(&self) -> &str {
        &self.cert_chain_pem
    }

    pub fn key_pem(&self) -> &Secret {
        &self.key_pem
    }

    pub fn ca_bundle_pem(&self) -> &str {
        &self.ca_bundle_pem
    }

    pub(crate) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
        parse_certificates(&self.cert_chain_pem, "certificate chain")
    }

    pub(crate) fn roots(&self) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
        parse_certificates(&self.ca_bundle_pem, "CA bundle")
    }
}

/// All certificates of a PEM text; at least one.
fn parse_certificates(
    pem: &str,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let certs = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| CredentialsError::BadPem(what))?;
    if certs.is_empty() { Err(CredentialsError::NoCertificate(what)) } else { Ok(certs) }
}

fn read(path: &Path) -> Result<String, CredentialsError> {
    fs::read_to_string(path).map_err(|source| CredentialsError::Read { path: path.to_owned(), source })
}

fn read_key(path: &Path) -> Result<Secret, CredentialsError> {
    let unreadable = |source| CredentialsError::Read { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(CredentialsError::KeyExposed { path: path.to_owned(), mode });
    }
    Ok(Secret::new(read(path)?))
}
