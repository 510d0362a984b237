//! A host that holds nothing but a join token: it knows the right cluster from a wrong one, and shows its secret to
//! nobody else.

use std::time::Duration;

use pvc_identity::{
    ClientAuth, ConnectError, Credentials, JoinToken, KeyPair, PinnedCa, TlsStore, VerifyError,
};
use tokio::io::AsyncReadExt;

use crate::world::{WAIT, ca, call, credentials, echo, exactly, greeter, greeting, now, store};

#[tokio::test]
async fn the_token_leads_to_the_cluster_that_issued_it() {
    let ca = ca("c1");
    let addr = greeter(store(&ca, "node/hv1"), ClientAuth::Optional).await;
    let token: JoinToken = JoinToken::generate(ca.pin()).expose().parse().unwrap();

    let joiner = PinnedCa::new(token.pin).unwrap();
    let mut connection = joiner.connect(&addr.to_string(), WAIT).await.unwrap();
    assert_eq!(greeting(&mut connection).await.unwrap(), "nobody");
    let peer = connection.peer_identity().unwrap();
    assert_eq!((peer.cluster_id.as_str(), peer.identity.to_string()), ("c1", "node/hv1".to_owned()));
    assert_eq!(echo(&mut connection, &token.expose()).await, token.expose());

    // The whole exchange: key made here, request out, certificate back, and the joiner is a member.
    let key = KeyPair::generate().unwrap();
    let leaf = pvc_identity::LeafSpec::new("node/hv9".parse().unwrap());
    let chain = ca.sign(&key.csr_pem().unwrap(), &leaf, now()).unwrap();
    let member = Credentials::new(chain, key.pem(), ca.cert_pem()).unwrap();
    let member = TlsStore::new(member, now()).unwrap();
    let mut connection = call(&member, addr, &exactly("node/hv1")).await.unwrap();
    assert_eq!(greeting(&mut connection).await.unwrap(), "node/hv9");
}

#[tokio::test]
async fn another_clusters_coordinator_is_refused_and_told_nothing() {
    let (ours, theirs) = (ca("c1"), ca("c1"));
    let addr = greeter(store(&theirs, "node/hv1"), ClientAuth::Optional).await;
    let error = PinnedCa::new(ours.pin()).unwrap().connect(&addr.to_string(), WAIT).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::NotTrusted { source: VerifyError::PinMismatch(pin), .. } if *pin == ours.pin()),
        "{error:?}"
    );
    assert!(error.to_string().contains("join token"), "{error}");
}

/// Anyone can copy our public root certificate and send it along; without its key that helps nobody.
#[tokio::test]
async fn sending_our_root_along_does_not_make_an_impostor_ours() {
    let (ours, theirs) = (ca("c1"), ca("c1"));
    let own = credentials(&theirs, "node/hv1");
    let chain = format!("{}{}", own.cert_chain_pem(), ours.cert_pem());
    let impostor = Credentials::new(chain, own.key_pem().clone(), theirs.cert_pem()).unwrap();
    let addr = greeter(TlsStore::new(impostor, now()).unwrap(), ClientAuth::Optional).await;
    let error = PinnedCa::new(ours.pin()).unwrap().connect(&addr.to_string(), WAIT).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotTrusted { source: VerifyError::UntrustedCa, .. }), "{error:?}");
}

/// A service's certificate is genuine, but it does not admit hosts.
#[tokio::test]
async fn only_a_node_may_answer_a_joiner() {
    let ca = ca("c1");
    let addr = greeter(store(&ca, "service/api"), ClientAuth::Optional).await;
    let error = PinnedCa::new(ca.pin()).unwrap().connect(&addr.to_string(), WAIT).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::NotTrusted { source: VerifyError::WrongPeer { .. }, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_door_that_needs_certificates_turns_the_joiner_away() {
    let ca = ca("c1");
    let addr = greeter(store(&ca, "node/hv1"), ClientAuth::Required).await;
    let joiner = PinnedCa::new(ca.pin()).unwrap();
    let mut connection = joiner.connect(&addr.to_string(), Duration::from_secs(5)).await.unwrap();
    assert!(connection.read_u8().await.is_err());
}
