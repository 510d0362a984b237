//! Who gets through a handshake, and what those who do not are told.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use pvc_identity::{
    Alpn, ClientAuth, ConnectError, Credentials, ExpectedPeer, ListenerOptions, TlsConnection, TlsError,
    TlsListener, TlsStore, VerifyError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{
    WAIT, ca, call, credentials, credentials_made, echo, exactly, greeter, greeting, now, store,
};

/// The reason why the caller turned the server down.
fn refusal(result: Result<TlsConnection, ConnectError>) -> VerifyError {
    match result {
        Err(ConnectError::NotTrusted { source, .. }) => source,
        other => panic!("expected a server that is not trusted, got {other:?}"),
    }
}

/// What the server's refusal looks like from the caller's side.
async fn told(result: Result<TlsConnection, ConnectError>) -> String {
    match result {
        Ok(mut connection) => greeting(&mut connection).await.expect_err("the server let us in").to_string(),
        Err(error) => panic!("the caller turned the server down: {error}"),
    }
}

#[tokio::test]
async fn members_know_each_other() {
    let ca = ca("c1");
    let addr = greeter(store(&ca, "node/hv1"), ClientAuth::Required).await;
    for (who, expected) in [("node/hv2", exactly("node/hv1")), ("admin/alice", ExpectedPeer::AnyNode)] {
        let mut connection = call(&store(&ca, who), addr, &expected).await.unwrap();
        assert_eq!(greeting(&mut connection).await.unwrap(), who);
        let peer = connection.peer_identity().unwrap();
        assert_eq!((peer.cluster_id.as_str(), peer.identity.to_string()), ("c1", "node/hv1".to_owned()));
        assert_eq!(connection.remote_addr(), addr);
        assert_eq!(connection.alpn(), Some(&b"h2"[..]));
        assert_eq!(echo(&mut connection, "hello").await, "hello");
    }
}

#[tokio::test]
async fn another_ca_is_refused_by_both_sides() {
    let (ours, theirs) = (ca("c1"), ca("c1"));
    let addr = greeter(store(&ours, "node/hv1"), ClientAuth::Required).await;
    let stranger = store(&theirs, "node/hv2");
    assert_eq!(refusal(call(&stranger, addr, &ExpectedPeer::AnyNode).await), VerifyError::UntrustedCa);

    // A stranger who trusts our CA but holds a certificate of its own.
    let own = credentials(&theirs, "node/hv2");
    let sly = Credentials::new(own.cert_chain_pem(), own.key_pem().clone(), ours.cert_pem()).unwrap();
    let sly = TlsStore::new(sly, now()).unwrap();
    let alert = told(call(&sly, addr, &ExpectedPeer::AnyNode).await).await;
    assert!(alert.contains("UnknownCA") || alert.contains("DecryptError"), "{alert}");
}

#[tokio::test]
async fn another_clusters_name_is_refused_by_both_sides_even_under_a_trusted_root() {
    let (ours, theirs) = (ca("c1"), ca("c2"));
    let both = format!("{}{}", ours.cert_pem(), theirs.cert_pem());
    let trusting = |ca: &pvc_identity::Ca, who: &str| {
        let own = credentials(ca, who);
        let trusts_both =
            Credentials::new(own.cert_chain_pem(), own.key_pem().clone(), both.clone()).unwrap();
        TlsStore::new(trusts_both, now()).unwrap()
    };
    let addr = greeter(trusting(&ours, "node/hv1"), ClientAuth::Required).await;
    assert_eq!(
        refusal(call(&trusting(&theirs, "node/hv2"), addr, &ExpectedPeer::AnyNode).await),
        VerifyError::OtherCluster { expected: "c2".to_owned(), found: "c1".to_owned() }
    );

    // The other direction: a caller of cluster c2 that does not look at the server's name.
    let own = credentials(&theirs, "node/hv2");
    let mut connection = careless_caller(addr, &both, Some(&own)).await.unwrap();
    let alert = connection.read_u8().await.expect_err("the server let cluster c2 in").to_string();
    assert!(alert.contains("CertificateUnknown") || alert.contains("AccessDenied"), "{alert}");
}

#[tokio::test]
async fn the_wrong_node_at_the_right_address_is_refused() {
    let ca = ca("c1");
    let addr = greeter(store(&ca, "node/hv3"), ClientAuth::Required).await;
    let caller = store(&ca, "node/hv1");
    let error = call(&caller, addr, &exactly("node/hv2")).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&addr.to_string()) && text.contains("it is node/hv3, not node/hv2"), "{text}");
    call(&caller, addr, &exactly("node/hv3")).await.unwrap();
}

#[tokio::test]
async fn a_service_is_no_node_and_an_admin_is_no_server() {
    let ca = ca("c1");
    let caller = store(&ca, "node/hv1");
    let service = greeter(store(&ca, "service/api"), ClientAuth::Required).await;
    assert!(matches!(
        refusal(call(&caller, service, &ExpectedPeer::AnyNode).await),
        VerifyError::WrongPeer { .. }
    ));
    call(&caller, service, &exactly("service/api")).await.unwrap();

    let admin = greeter(store(&ca, "admin/mallory"), ClientAuth::Required).await;
    let error = call(&caller, admin, &exactly("admin/mallory")).await.unwrap_err();
    assert!(matches!(error, ConnectError::Handshake { .. }), "{error:?}");
}

#[tokio::test]
async fn expired_certificates_are_refused_by_both_sides_and_by_their_owner() {
    let ca = ca("c1");
    let long_ago = now() - SignedDuration::from_hours(24 * 30);
    let old = credentials_made(&ca, "node/hv2", long_ago);
    assert!(matches!(
        TlsStore::new(old.clone(), now()),
        Err(TlsError::Credentials(pvc_identity::CredentialsError::Expired { .. }))
    ));

    // A host whose clock is a month behind takes its old certificate for good; the others do not.
    let behind = TlsStore::new(old, long_ago).unwrap();
    let addr = greeter(store(&ca, "node/hv1"), ClientAuth::Required).await;
    let alert = told(call(&behind, addr, &ExpectedPeer::AnyNode).await).await;
    assert!(alert.contains("CertificateExpired"), "{alert}");

    let addr = greeter(behind, ClientAuth::Required).await;
    let reason = refusal(call(&store(&ca, "node/hv1"), addr, &ExpectedPeer::AnyNode).await);
    assert!(matches!(reason, VerifyError::Expired(_)), "{reason}");
}

#[tokio::test]
async fn a_caller_without_a_certificate_gets_in_only_where_that_is_allowed() {
    let ca = ca("c1");
    let strict = greeter(store(&ca, "node/hv1"), ClientAuth::Required).await;
    let mut connection = careless_caller(strict, ca.cert_pem(), None).await.unwrap();
    let alert = connection.read_u8().await.expect_err("the server let nobody in").to_string();
    assert!(alert.contains("CertificateRequired"), "{alert}");

    let open = greeter(store(&ca, "node/hv1"), ClientAuth::Optional).await;
    let mut connection = careless_caller(open, ca.cert_pem(), None).await.unwrap();
    let mut said = [0; 7];
    connection.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"nobody\n");

    // Where none is needed, one that is shown still names its owner, and a bad one is still refused.
    let mut connection = call(&store(&ca, "node/hv2"), open, &ExpectedPeer::AnyNode).await.unwrap();
    assert_eq!(greeting(&mut connection).await.unwrap(), "node/hv2");
    let foreign = credentials(&crate::world::ca("c1"), "node/hv2");
    let mut connection = careless_caller(open, ca.cert_pem(), Some(&foreign)).await.unwrap();
    assert!(connection.read_u8().await.is_err());
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let ca = ca("c1");
    let addr = greeter(store(&ca, "node/hv1"), ClientAuth::Optional).await;
    // A TLS 1.2 ClientHello, written out: rustls is built here without 1.2. It offers one suite and no
    // supported_versions extension, as a 1.2-only client does.
    let mut hello = vec![0x03, 0x03];
    hello.extend([7; 32]); // random
    hello.push(0); // session id
    hello.extend([0, 2, 0xc0, 0x2b]); // ECDHE-ECDSA-AES128-GCM-SHA256
    hello.extend([1, 0]); // compression: none
    let extensions: &[u8] = &[
        0, 10, 0, 4, 0, 2, 0, 23, // groups: P-256
        0, 11, 0, 2, 1, 0, // point formats
        0, 13, 0, 4, 0, 2, 4, 3, // signatures: ecdsa_secp256r1_sha256
        0, 23, 0, 0, // extended master secret
    ];
    hello.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    hello.extend(extensions);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(hello.len() + 4).unwrap().to_be_bytes());
    record.extend([1, 0]);
    record.extend(u16::try_from(hello.len()).unwrap().to_be_bytes());
    record.extend(hello);

    let mut tcp = TcpStream::connect(addr).await.unwrap();
    tcp.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer.get(..2), Some(&[21, 3][..]), "an alert record: {answer:?}");
    assert_eq!(answer[5..7], [2, 70], "fatal, protocol_version");
}

#[tokio::test]
async fn a_reload_holds_for_the_next_handshake_and_leaves_open_connections_alone() {
    let (old_ca, new_ca) = (ca("c1"), ca("c1"));
    let server = store(&old_ca, "node/hv1");
    let addr = greeter(Arc::clone(&server), ClientAuth::Required).await;
    let old_caller = store(&old_ca, "node/hv2");
    let mut open = call(&old_caller, addr, &ExpectedPeer::AnyNode).await.unwrap();
    assert_eq!(greeting(&mut open).await.unwrap(), "node/hv2");
    let first = open.peer_identity().unwrap().fingerprint.clone();

    // First step of a roll: both roots are trusted, the server's leaf is the new root's.
    let leaf = credentials(&new_ca, "node/hv1");
    let both = format!("{}{}", old_ca.cert_pem(), new_ca.cert_pem());
    let rolled = Credentials::new(leaf.cert_chain_pem(), leaf.key_pem().clone(), both.clone()).unwrap();
    server.reload(rolled, now()).unwrap();
    assert_eq!(server.leaf().fingerprint, leaf.leaf().fingerprint);

    assert_eq!(echo(&mut open, "still here").await, "still here");
    assert_eq!(refusal(call(&old_caller, addr, &ExpectedPeer::AnyNode).await), VerifyError::UntrustedCa);
    let own = old_caller.credentials();
    let learned = Credentials::new(own.cert_chain_pem(), own.key_pem().clone(), both).unwrap();
    old_caller.reload(learned, now()).unwrap();
    let mut next = call(&old_caller, addr, &ExpectedPeer::AnyNode).await.unwrap();
    assert_eq!(greeting(&mut next).await.unwrap(), "node/hv2");
    assert_ne!(next.peer_identity().unwrap().fingerprint, first);

    // Last step: the old root is dropped, and with it everyone who still shows its leaf.
    server.reload(leaf, now()).unwrap();
    let alert = told(call(&old_caller, addr, &ExpectedPeer::AnyNode).await).await;
    assert!(alert.contains("UnknownCA") || alert.contains("DecryptError"), "{alert}");
    assert_eq!(echo(&mut open, "still here").await, "still here");
}

#[tokio::test]
async fn a_reload_cannot_change_who_we_are_and_a_bad_one_changes_nothing() {
    let (ca, other) = (ca("c1"), ca("c2"));
    let server = store(&ca, "node/hv1");
    let before = server.leaf();
    for stranger in [credentials(&ca, "node/hv2"), credentials(&other, "node/hv1")] {
        assert!(matches!(server.check(&stranger, now()), Err(TlsError::IdentityChanged { .. })));
        assert!(matches!(server.reload(stranger, now()), Err(TlsError::IdentityChanged { .. })));
    }
    let old = credentials_made(&ca, "node/hv1", now() - SignedDuration::from_hours(24 * 30));
    assert!(matches!(server.check(&old, now()), Err(TlsError::Credentials(_))));
    assert!(matches!(server.reload(old, now()), Err(TlsError::Credentials(_))));
    server.check(&credentials(&ca, "node/hv1"), now()).unwrap();
    assert_eq!(server.leaf(), before);
}

#[tokio::test]
async fn silent_callers_hold_up_nobody_and_are_dropped() {
    let ca = ca("c1");
    let options = ListenerOptions {
        handshake_timeout: Duration::from_millis(300),
        ..ListenerOptions::new(ClientAuth::Required, Alpn::H2)
    };
    let addr = "127.0.0.1:0".parse().unwrap();
    let mut listener = TlsListener::bind(addr, store(&ca, "node/hv1"), options).await.unwrap();
    let addr = listener.local_addr();
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(addr).await.unwrap());
    }
    let (caller, expected) = (store(&ca, "node/hv2"), exactly("node/hv1"));
    let (accepted, called) =
        tokio::join!(tokio::time::timeout(WAIT, listener.accept()), call(&caller, addr, &expected));
    assert_eq!(accepted.unwrap().unwrap().peer_identity().unwrap().identity.to_string(), "node/hv2");
    called.unwrap();
    for mut tcp in silent {
        let read = tokio::time::timeout(WAIT, tcp.read_u8()).await.expect("the silent caller was kept");
        assert_eq!(read.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn waiting_connections_are_bounded_and_go_on_when_taken() {
    let ca = ca("c1");
    let options = ListenerOptions { pending_max: 2, ..ListenerOptions::new(ClientAuth::Required, Alpn::H2) };
    let addr = "127.0.0.1:0".parse().unwrap();
    let mut listener = TlsListener::bind(addr, store(&ca, "node/hv1"), options).await.unwrap();
    let addr = listener.local_addr().to_string();
    let caller = store(&ca, "node/hv2");
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (caller, addr) = (Arc::clone(&caller), addr.clone());
        callers.spawn(async move { caller.connect(&addr, &exactly("node/hv1"), Alpn::H2, WAIT).await });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Two lie in the queue, two have passed and wait for a place in it; the rest wait in the kernel.
    let mut done = 0;
    while let Some(result) = callers.try_join_next() {
        result.unwrap().unwrap();
        done += 1;
    }
    assert!(done <= 4, "{done} handshakes were completed with nobody taking them");
    for _ in 0..12 {
        tokio::time::timeout(WAIT, listener.accept()).await.unwrap().unwrap();
    }
    while let Some(result) = callers.join_next().await {
        result.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let caller = store(&ca("c1"), "node/hv1");
    let timeout = Duration::from_millis(200);
    let error = caller.connect(&addr, &ExpectedPeer::AnyNode, Alpn::H2, timeout).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
    drop(listener);
    let error = caller.connect(&addr, &ExpectedPeer::AnyNode, Alpn::H2, timeout).await.unwrap_err();
    assert!(matches!(error, ConnectError::Dial { .. }), "{error:?}");
}

#[tokio::test]
async fn the_gateway_speaks_http_1_1_too() {
    let ca = ca("c1");
    let options = ListenerOptions::new(ClientAuth::Optional, Alpn::H2OrHttp11);
    let addr = "127.0.0.1:0".parse().unwrap();
    let mut listener = TlsListener::bind(addr, store(&ca, "service/api"), options).await.unwrap();
    let addr = listener.local_addr().to_string();
    let caller = store(&ca, "admin/alice");
    let expected = exactly("service/api");
    let (accepted, called) =
        tokio::join!(listener.accept(), caller.connect(&addr, &expected, Alpn::H2OrHttp11, WAIT));
    assert_eq!(called.unwrap().alpn(), Some(&b"h2"[..]));
    assert_eq!(accepted.unwrap().alpn(), Some(&b"h2"[..]));
}

/// A caller that trusts a root but looks at no name, and shows what it is told to: not our own code.
async fn careless_caller(
    addr: std::net::SocketAddr,
    roots_pem: &str,
    shows: Option<&Credentials>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots_pem.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyName { provider, roots }));
    let config = match shows {
        None => config.with_no_client_auth(),
        Some(credentials) => {
            let chain = CertificateDer::pem_slice_iter(credentials.cert_chain_pem().as_bytes());
            let key = PrivateKeyDer::from_pem_slice(credentials.key_pem().expose().as_bytes()).unwrap();
            config.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
        }
    };
    let tcp = TcpStream::connect(addr).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(rustls::pki_types::ServerName::from(addr.ip()), tcp).await
}

#[derive(Debug)]
struct AnyName {
    provider: Arc<rustls::crypto::CryptoProvider>,
    roots: rustls::RootCertStore,
}

impl rustls::client::danger::ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &rustls::pki_types::CertificateDer<'_>,
        intermediates: &[rustls::pki_types::CertificateDer<'_>],
        _server_name: &rustls::pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        let cert = rustls::server::ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &cert,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &rustls::pki_types::CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.3 only")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
