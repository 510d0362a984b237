//! The cluster's own certificate authority: one P-256 root which signs what nodes, people and services show each other.
//!
//! Only coordinators hold it. What never happens here: taking a name, a lifetime or a usage from the request. A request
//! proves possession of a key and nothing else; who it is for is the caller's to say.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime, pem::PemObject as _};
use rustls::server::danger::ClientCertVerifier as _;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::durable_file;
use crate::identity::{Identity, IdentityError, check_cluster_id};
use crate::key::{KeyError, KeyPair};
use crate::peer::PeerIdentity;
use crate::pin::CaPin;
use crate::secret::Secret;
use crate::store::ClientAuth;
use crate::token::{hex, random};
use crate::verify::CallerVerifier;

/// How long a leaf certificate is good for when nothing else is asked.
pub const LEAF_LIFETIME_DEFAULT: Duration = Duration::from_secs(7 * 86_400);
/// The longest that may be asked for.
pub const LEAF_LIFETIME_MAX: Duration = Duration::from_secs(366 * 86_400);

const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400 + 2 * 86_400);
/// Certificates are good from a little before they are made: the other host's clock may be behind ours.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
const CSR_BYTES_MAX: usize = 16 * 1024;
const COMMON_NAME_PREFIX: &str = "PVC cluster ";

#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error(transparent)]
    ClusterId(IdentityError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("could not make the root certificate")]
    Root(#[source] rcgen::Error),
    #[error("the CA certificate is not one that PVC made: {0}")]
    NotOurs(&'static str),
    #[error("the CA's key does not belong to its certificate")]
    KeyMismatch,
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
    #[error("{path} can be read by others (mode {mode:04o}); the CA's key must be private: chmod 600 {path}")]
    KeyExposed { path: PathBuf, mode: u32 },
    #[error("the signing request has {0} bytes; at most {CSR_BYTES_MAX} are read")]
    RequestTooLong(usize),
    #[error("the signing request could not be read, or its signature is wrong")]
    BadRequest(#[source] rcgen::Error),
    #[error("the signing request is for another kind of key; PVC signs P-256 keys only")]
    RequestKeyKind,
    #[error("a certificate for {0:?} was asked for; the lifetime must be between 1 second and 366 days")]
    Lifetime(Duration),
    #[error(
        "the certificate would be good until {leaf}, but the CA itself only until {ca}: roll the CA first"
    )]
    OutlivesCa { leaf: Timestamp, ca: Timestamp },
    #[error("\"{0}\" is not a DNS name")]
    BadDnsName(String),
    #[error("{0} may not have the DNS name {ANY_NODE}: by it callers tell a node")]
    NotANode(Identity),
    #[error("could not sign the certificate")]
    Sign(#[source] rcgen::Error),
    #[error("the certificate to be renewed could not be read as X.509")]
    HeldUnreadable,
    #[error("the certificate to be renewed is not one that this CA has signed, or is not good now")]
    HeldNotOurs(#[source] rustls::Error),
    #[error("the certificates of callers can't be checked against this CA")]
    Callers(#[source] rustls::server::VerifierBuilderError),
}

/// DNS name in every node's certificate, for clients that must check one name and may meet any node, such as gRPC's for
/// Python.
pub const ANY_NODE: &str = "pvc-coordinator";

/// Whom a leaf certificate is for. All of it is the issuer's word.
#[derive(Debug, Clone)]
pub struct LeafSpec {
    pub identity: Identity,
    /// For programs that look at DNS names and addresses, such as browsers and libvirt. PVC itself never does.
    pub dns_names: Vec<String>,
    pub ip_addresses: Vec<IpAddr>,
    /// 1 second to [`LEAF_LIFETIME_MAX`].
    pub lifetime: Duration,
}

impl LeafSpec {
    /// For this identity, with no further names, for [`LEAF_LIFETIME_DEFAULT`].
    pub fn new(identity: Identity) -> Self {
        Self { identity, dns_names: Vec::new(), ip_addresses: Vec::new(), lifetime: LEAF_LIFETIME_DEFAULT }
    }

    /// For a node that is reached at these addresses. Everywhere a node's certificate is signed, it is signed with this.
    pub fn node(name: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Result<Self, IdentityError> {
        let own = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        Ok(Self {
            dns_names: [name, "localhost", ANY_NODE].map(str::to_owned).to_vec(),
            ip_addresses: addresses.into_iter().chain(own).collect(),
            ..Self::new(Identity::node(name)?)
        })
    }
}

/// The cluster's root certificate and its key.
pub struct Ca {
    cluster_id: String,
    cert_pem: String,
    key_pem: Secret,
    pin: CaPin,
    not_after: Timestamp,
    issuer: Issuer<'static, rcgen::KeyPair>,
}

impl Ca {
    /// Makes a new root, good for ten years from five minutes before `now`.
    pub fn create(cluster_id: &str, now: Timestamp) -> Result<Self, CaError> {
        check_cluster_id(cluster_id).map_err(CaError::ClusterId)?;
        let key = KeyPair::generate()?;
        let key_pem = key.pem();
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&format!("{COMMON_NAME_PREFIX}{cluster_id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(fresh_serial());
        set_validity(&mut params, now, ROOT_LIFETIME);
        let cert = params.self_signed(&key.into_inner()).map_err(CaError::Root)?;
        Self::from_pem(&cert.pem(), &key_pem)
    }

    /// Takes up a root that [`Ca::create`] made, here or on another coordinator.
    pub fn from_pem(cert_pem: &str, key_pem: &Secret) -> Result<Self, CaError> {
        let cert = CertificateDer::from_pem_slice(cert_pem.as_bytes())
            .map_err(|_| CaError::NotOurs("it is not a PEM certificate"))?;
        let key = KeyPair::from_pem(key_pem)?;
        if !key.fits(&cert) {
            return Err(CaError::KeyMismatch);
        }
        let (_, parsed) = X509Certificate::from_der(&cert)
            .map_err(|_| CaError::NotOurs("it is not an X.509 certificate"))?;
        if !parsed.is_ca() {
            return Err(CaError::NotOurs("it may not sign certificates"));
        }
        let cluster_id = parsed
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .and_then(|name| name.strip_prefix(COMMON_NAME_PREFIX))
            .ok_or(CaError::NotOurs("its subject does not name a PVC cluster"))?
            .to_owned();
        check_cluster_id(&cluster_id).map_err(CaError::ClusterId)?;
        let not_after = Timestamp::from_second(parsed.validity().not_after.timestamp())
            .map_err(|_| CaError::NotOurs("its validity is not a date"))?;
        let pin = CaPin::of_certificate(&cert).map_err(|_| CaError::NotOurs("it has no public key"))?;
        let issuer = Issuer::from_ca_cert_der(&cert, key.into_inner()).map_err(CaError::Root)?;
        Ok(Self {
            cluster_id,
            cert_pem: cert_pem.to_owned(),
            key_pem: key_pem.clone(),
            pin,
            not_after,
            issuer,
        })
    }

    /// Reads the root from two files; refuses a key that others may read.
    pub fn load(cert_path: &Path, key_path: &Path) -> Result<Self, CaError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| CaError::Read { path, source }
        };
        let cert_pem = fs::read_to_string(cert_path).map_err(unreadable(cert_path))?;
        let mode = fs::metadata(key_path).map_err(unreadable(key_path))?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(CaError::KeyExposed { path: key_path.to_owned(), mode });
        }
        let key_pem = fs::read_to_string(key_path).map_err(unreadable(key_path))?;
        Self::from_pem(&cert_pem, &Secret::new(key_pem))
    }

    /// Writes the root to two files, the key first and with mode 0600; each survives a power cut whole.
    pub fn save(&self, cert_path: &Path, key_path: &Path) -> Result<(), CaError> {
        let unwritable = |path: &Path| {
            let path = path.to_owned();
            move |source| CaError::Write { path, source }
        };
        durable_file::write(key_path, self.key_pem.expose(), durable_file::SECRET_MODE)
            .map_err(unwritable(key_path))?;
        durable_file::write(cert_path, &self.cert_pem, durable_file::PUBLIC_MODE)
            .map_err(unwritable(cert_path))
    }

    /// SHA-256 of the public key that a signing request proves to hold, 64 hex digits.
    pub fn request_key_hash(csr_pem: &str) -> Result<String, CaError> {
        let request = read_request(csr_pem)?;
        let digest = ring::digest::digest(&ring::digest::SHA256, request.public_key.der_bytes());
        Ok(hex(digest.as_ref()))
    }

    /// Signs the key in `csr_pem` for whom `leaf` says, good from five minutes before `now`. Returns PEM: the leaf, then
    /// the root (a joining host looks for its pin in what the server sends).
    pub fn sign(&self, csr_pem: &str, leaf: &LeafSpec, now: Timestamp) -> Result<String, CaError> {
        let mut request = read_request(csr_pem)?;
        request.params = self.leaf_params(leaf, now)?;
        let cert = request.signed_by(&self.issuer).map_err(CaError::Sign)?;
        Ok(format!("{}{}", cert.pem(), self.cert_pem))
    }

    /// What a certificate of this CA says of its holder, so that the next one can say the same: names and addresses that
    /// a request may not choose are proven by having been signed before. `chain_pem` starts with the certificate.
    pub fn leaf_of(&self, chain_pem: &str, now: Timestamp) -> Result<LeafSpec, CaError> {
        let held =
            CertificateDer::from_pem_slice(chain_pem.as_bytes()).map_err(|_| CaError::HeldUnreadable)?;
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.cert_pem.as_bytes())
            .map_err(|_| CaError::NotOurs("it is not a PEM certificate"))?;
        roots.add(root).map_err(CaError::HeldNotOurs)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = CallerVerifier::new(provider, Arc::new(roots), &self.cluster_id, ClientAuth::Required)
            .map_err(CaError::Callers)?;
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        verifier.verify_client_cert(&held, &[], now).map_err(CaError::HeldNotOurs)?;

        let peer = PeerIdentity::of_certificate(&held).map_err(|_| CaError::HeldUnreadable)?;
        let (_, parsed) = X509Certificate::from_der(&held).map_err(|_| CaError::HeldUnreadable)?;
        let names = parsed.subject_alternative_name().map_err(|_| CaError::HeldUnreadable)?;
        let good_for = peer.not_after.duration_since(peer.not_before).unsigned_abs();
        let mut leaf =
            LeafSpec { lifetime: good_for.saturating_sub(BACKDATE), ..LeafSpec::new(peer.identity) };
        for name in names.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(name) => leaf.dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => leaf.ip_addresses.extend(address_of(bytes)),
                _ => {}
            }
        }
        Ok(leaf)
    }

    fn leaf_params(&self, leaf: &LeafSpec, now: Timestamp) -> Result<CertificateParams, CaError> {
        if leaf.lifetime < Duration::from_secs(1) || leaf.lifetime > LEAF_LIFETIME_MAX {
            return Err(CaError::Lifetime(leaf.lifetime));
        }
        let not_after = now + leaf.lifetime;
        if not_after > self.not_after {
            return Err(CaError::OutlivesCa { leaf: not_after, ca: self.not_after });
        }
        let nodes_name = |name: &String| name.eq_ignore_ascii_case(ANY_NODE);
        if !leaf.identity.is_node() && leaf.dns_names.iter().any(nodes_name) {
            return Err(CaError::NotANode(leaf.identity.clone()));
        }
        let uri = leaf.identity.uri(&self.cluster_id);
        let mut sans = vec![SanType::URI(uri.try_into().map_err(CaError::Sign)?)];
        for name in &leaf.dns_names {
            let checked = rustls::pki_types::DnsName::try_from(name.as_str())
                .map_err(|_| CaError::BadDnsName(name.clone()))?;
            sans.push(SanType::DnsName(checked.as_ref().try_into().map_err(CaError::Sign)?));
        }
        sans.extend(leaf.ip_addresses.iter().copied().map(SanType::IpAddress));

        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(leaf.identity.name());
        params.subject_alt_names = sans;
        params.is_ca = IsCa::ExplicitNoCa;
        // TLS 1.3 needs the signature only; libvirt refuses a certificate whose key may not encipher keys too.
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = match leaf.identity {
            // A person calls and is never called.
            Identity::Admin(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Identity::Node(_) | Identity::Service(_) => {
                vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth]
            }
        };
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(fresh_serial());
        set_validity(&mut params, now, leaf.lifetime);
        Ok(params)
    }

    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// For handing the CA to another coordinator over an authenticated channel.
    pub fn key_pem(&self) -> &Secret {
        &self.key_pem
    }

    /// The private key's own bytes, whatever its PEM looks like.
    pub(crate) fn key_der(&self) -> Vec<u8> {
        self.issuer.key().serialize_der()
    }

    pub fn pin(&self) -> CaPin {
        self.pin
    }

    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca")
            .field("cluster_id", &self.cluster_id)
            .field("pin", &self.pin)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

fn read_request(csr_pem: &str) -> Result<CertificateSigningRequestParams, CaError> {
    if csr_pem.len() > CSR_BYTES_MAX {
        return Err(CaError::RequestTooLong(csr_pem.len()));
    }
    let request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(CaError::BadRequest)?;
    if request.public_key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
        return Err(CaError::RequestKeyKind);
    }
    Ok(request)
}

/// An address as certificates carry it: 4 bytes or 16.
fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, lifetime: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = |time: Timestamp| Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0));
    params.not_before =
        epoch + since_epoch(now - SignedDuration::try_from(BACKDATE).expect("five minutes fit"));
    params.not_after = epoch + since_epoch(now) + lifetime;
}

/// 126 random bits: two certificates for one key differ, and the number is positive as RFC 5280 wants it.
fn fresh_serial() -> SerialNumber {
    let mut bytes = random::<16>();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}
