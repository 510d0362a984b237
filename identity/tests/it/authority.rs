//! The CA signs what it is told to, keeps its key to itself, and refuses what it should not sign.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use jiff::SignedDuration;
use pvc_identity::{
    ANY_NODE, Ca, CaError, CaPin, Identity, KeyPair, LEAF_LIFETIME_MAX, LeafSpec, PeerError, PeerIdentity,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::world::{ca, now};

fn first_cert(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn hv1() -> LeafSpec {
    LeafSpec::new(Identity::node("hv1").unwrap())
}

#[test]
fn signs_the_name_it_is_told_for_the_time_it_is_told() {
    let (ca, now) = (ca("c1"), now());
    let mut spec = hv1();
    spec.dns_names = vec!["hv1.example.org".to_owned()];
    spec.ip_addresses = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    spec.lifetime = Duration::from_secs(3600);
    let chain = ca.sign(&KeyPair::generate().unwrap().csr_pem().unwrap(), &spec, now).unwrap();

    let peer = PeerIdentity::of_certificate(&first_cert(&chain)).unwrap();
    assert_eq!((peer.cluster_id.as_str(), peer.identity), ("c1", Identity::node("hv1").unwrap()));
    let second = |at: jiff::Timestamp| at.as_second();
    assert_eq!(second(peer.not_before), second(now - SignedDuration::from_mins(5)), "clocks differ a little");
    assert_eq!(second(peer.not_after), second(now + SignedDuration::from_hours(1)));
    assert_eq!(peer.fingerprint.len(), 64);
    assert!(chain.ends_with(ca.cert_pem()), "the root travels along, for joining hosts to look at");
}

#[test]
fn a_nodes_certificate_also_names_what_any_node_is_called() {
    let spec = LeafSpec::node("hv1", ["10.0.0.1".parse().unwrap()]).unwrap();
    let chain = ca("c1").sign(&KeyPair::generate().unwrap().csr_pem().unwrap(), &spec, now()).unwrap();
    let leaf = first_cert(&chain);
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let names = format!("{:?}", parsed.subject_alternative_name().unwrap().unwrap().value.general_names);
    for name in ["\"hv1\"", "\"localhost\"", "\"pvc-coordinator\"", "[10, 0, 0, 1]", "[127, 0, 0, 1]"] {
        assert!(names.contains(name), "{name} is not in {names}");
    }
}

#[test]
fn only_a_node_is_called_what_any_node_is_called() {
    let csr = KeyPair::generate().unwrap().csr_pem().unwrap();
    for name in [ANY_NODE, "PVC-Coordinator"] {
        let api = LeafSpec::new(Identity::service("api").unwrap());
        let spec = LeafSpec { dns_names: vec!["api".to_owned(), name.to_owned()], ..api };
        let error = ca("c1").sign(&csr, &spec, now()).unwrap_err();
        assert!(matches!(error, CaError::NotANode(_)), "{error}");
    }
}

#[test]
fn a_request_cannot_choose_its_own_name() {
    let ca = ca("c1");
    let key = rcgen::KeyPair::generate().unwrap();
    let mut greedy = rcgen::CertificateParams::default();
    greedy.subject_alt_names = vec![rcgen::SanType::URI("pvc://c1/admin/root".try_into().unwrap())];
    greedy.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let csr = greedy.serialize_request(&key).unwrap().pem().unwrap();

    let chain = ca.sign(&csr, &hv1(), now()).unwrap();
    let peer = PeerIdentity::of_certificate(&first_cert(&chain)).unwrap();
    assert_eq!(peer.identity, Identity::node("hv1").unwrap());
    let leaf = first_cert(&chain);
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    assert!(!parsed.is_ca());
}

#[test]
fn the_next_certificate_says_what_the_last_one_said() {
    let (ca, now) = (ca("c1"), now());
    let key = KeyPair::generate().unwrap();
    let mut spec = LeafSpec::new(Identity::service("api").unwrap());
    spec.dns_names = vec!["api.example.org".to_owned(), "localhost".to_owned()];
    spec.ip_addresses = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    spec.lifetime = Duration::from_secs(30 * 86_400);
    let held = ca.sign(&key.csr_pem().unwrap(), &spec, now).unwrap();

    let told = ca.leaf_of(&held, now).unwrap();
    assert_eq!(told.identity, spec.identity);
    assert_eq!((told.dns_names, told.ip_addresses), (spec.dns_names, spec.ip_addresses));
    assert_eq!(told.lifetime, spec.lifetime);

    for who in ["admin/alice", "node/hv1"] {
        let leaf = LeafSpec::new(who.parse().unwrap());
        let chain = ca.sign(&key.csr_pem().unwrap(), &leaf, now).unwrap();
        assert_eq!(ca.leaf_of(&chain, now).unwrap().identity.to_string(), who);
    }
}

#[test]
fn what_another_ca_signed_proves_nothing() {
    let (ours, now) = (ca("c1"), now());
    let key = KeyPair::generate().unwrap();
    // Another root under our cluster's id, and our own root, which is nobody's certificate.
    let foreign = ca("c1").sign(&key.csr_pem().unwrap(), &hv1(), now).unwrap();
    for not_ours in [foreign.as_str(), ours.cert_pem()] {
        let refused = ours.leaf_of(not_ours, now);
        assert!(matches!(refused, Err(CaError::HeldNotOurs(_))), "{refused:?}");
    }
    let held = ours.sign(&key.csr_pem().unwrap(), &hv1(), now).unwrap();
    let late = now + SignedDuration::from_hours(24 * 8);
    assert!(matches!(ours.leaf_of(&held, late), Err(CaError::HeldNotOurs(_))), "it has expired");
    assert!(matches!(ours.leaf_of("", now), Err(CaError::HeldUnreadable)));
}

#[test]
fn refuses_bad_requests() {
    let ca = ca("c1");
    let good = KeyPair::generate().unwrap().csr_pem().unwrap();
    let sign = |csr: &str, spec: &LeafSpec| ca.sign(csr, spec, now()).unwrap_err();

    assert!(matches!(sign("not a request", &hv1()), CaError::BadRequest(_)));
    assert!(matches!(sign(&"x".repeat(20_000), &hv1()), CaError::RequestTooLong(20_000)));
    let other_kind = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let other_kind = rcgen::CertificateParams::default().serialize_request(&other_kind).unwrap();
    assert!(matches!(sign(&other_kind.pem().unwrap(), &hv1()), CaError::RequestKeyKind));

    // A request whose signature does not fit its key: one byte of the signature is another.
    let mut der = pem_body(&good);
    *der.last_mut().unwrap() ^= 1;
    let forged = rustls::pki_types::CertificateSigningRequestDer::from(der);
    assert!(matches!(sign(&to_pem(&forged), &hv1()), CaError::BadRequest(_)));

    let spec = LeafSpec { lifetime: Duration::ZERO, ..hv1() };
    assert!(matches!(sign(&good, &spec), CaError::Lifetime(_)));
    let spec = LeafSpec { lifetime: LEAF_LIFETIME_MAX + Duration::from_secs(1), ..hv1() };
    assert!(matches!(sign(&good, &spec), CaError::Lifetime(_)));
    let spec = LeafSpec { dns_names: vec!["not a name".to_owned()], ..hv1() };
    assert!(matches!(sign(&good, &spec), CaError::BadDnsName(_)));
}

#[test]
fn no_leaf_outlives_the_root() {
    let made = now() - SignedDuration::from_hours(24 * (10 * 365 - 2));
    let old = Ca::create("c1", made).unwrap();
    let error = old.sign(&KeyPair::generate().unwrap().csr_pem().unwrap(), &hv1(), now()).unwrap_err();
    assert!(matches!(error, CaError::OutlivesCa { .. }), "{error}");
}

#[test]
fn is_the_same_ca_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("root.pem"), dir.path().join("root.key"));
    let before = ca("cluster-7");
    before.save(&cert, &key).unwrap();
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    let after = Ca::load(&cert, &key).unwrap();
    assert_eq!(after.cluster_id(), "cluster-7");
    assert_eq!(after.pin(), before.pin());
    assert_eq!(after.pin(), CaPin::of_certificate(&first_cert(before.cert_pem())).unwrap());

    // What it signs now is trusted by those who knew it before.
    let chain = after.sign(&KeyPair::generate().unwrap().csr_pem().unwrap(), &hv1(), now()).unwrap();
    let (leaf, root) = (first_cert(&chain), first_cert(before.cert_pem()));
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let (_, root) = x509_parser::parse_x509_certificate(&root).unwrap();
    leaf.verify_signature(Some(root.public_key())).unwrap();
}

#[test]
fn refuses_an_exposed_key_and_a_foreign_one() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("root.pem"), dir.path().join("root.key"));
    let first = ca("c1");
    first.save(&cert, &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Ca::load(&cert, &key).unwrap_err().to_string();
    assert!(error.contains("0640") && error.contains("chmod 600"), "{error}");

    let second = ca("c1");
    assert!(matches!(Ca::from_pem(first.cert_pem(), second.key_pem()), Err(CaError::KeyMismatch)));
    assert!(matches!(Ca::create("Not An Id", now()), Err(CaError::ClusterId(_))));

    // A leaf is no CA, though key and certificate fit.
    let leaf_key = KeyPair::generate().unwrap();
    let chain = first.sign(&leaf_key.csr_pem().unwrap(), &hv1(), now()).unwrap();
    assert!(matches!(Ca::from_pem(&chain, &leaf_key.pem()), Err(CaError::NotOurs(_))));
}

/// Made by hand, as our CA never would: a peer that is two, a peer that is nobody, a name that is not ours.
#[test]
fn a_certificate_names_exactly_one_peer() {
    let read = |uris: &[&str]| {
        let mut params = rcgen::CertificateParams::default();
        let san = |uri: &&str| rcgen::SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names = uris.iter().map(san).collect();
        let cert = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        PeerIdentity::of_certificate(cert.der())
    };
    let other = "https://example.org/";
    assert_eq!(read(&[other, "pvc://c1/node/hv1"]).unwrap().identity, Identity::node("hv1").unwrap());
    assert_eq!(read(&[other]).unwrap_err(), PeerError::Nameless);
    assert_eq!(read(&["pvc://c1/node/hv1", "pvc://c1/admin/root"]).unwrap_err(), PeerError::SeveralNames(2));
    assert!(matches!(read(&["pvc://c1/root/hv1"]), Err(PeerError::BadName(_))));
    assert_eq!(PeerIdentity::of_certificate(&vec![0; 40].into()).unwrap_err(), PeerError::Unreadable);
}

#[test]
fn debug_hides_the_key() {
    let ca = ca("c1");
    let shown = format!("{ca:?} {:?} {:?}", ca.key_pem(), KeyPair::generate().unwrap());
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
}

fn pem_body(pem: &str) -> Vec<u8> {
    rustls::pki_types::CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

fn to_pem(der: &[u8]) -> String {
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
}
