//! A cluster's certificates, and coordinators on loopback.

use std::sync::Arc;

use jiff::Timestamp;
use pvc_client::incoming;
use pvc_identity::{
    Alpn, Ca, ClientAuth, Credentials, Identity, KeyPair, LeafSpec, ListenerOptions, TlsListener, TlsStore,
};
use tonic::service::Routes;

pub fn ca() -> Ca {
    Ca::create("c-1", Timestamp::now()).unwrap()
}

/// A key and its certificate, as it was made at `made`.
pub fn issue(ca: &Ca, leaf: &LeafSpec, made: Timestamp) -> Credentials {
    let key = KeyPair::generate().unwrap();
    let chain = ca.sign(&key.csr_pem().unwrap(), leaf, made).unwrap();
    Credentials::new(chain, key.pem(), ca.cert_pem()).unwrap()
}

pub fn store(ca: &Ca, identity: Identity) -> Arc<TlsStore> {
    let now = Timestamp::now();
    TlsStore::new(issue(ca, &LeafSpec::new(identity), now), now).unwrap()
}

/// Serves as this node, as long as the test's runtime lives. Returns the address.
pub async fn serve(ca: &Ca, node: &str, routes: Routes) -> String {
    let store = store(ca, Identity::node(node).unwrap());
    let options = ListenerOptions::new(ClientAuth::Required, Alpn::H2);
    let listener = TlsListener::bind("127.0.0.1:0".parse().unwrap(), store, options).await.unwrap();
    let address = listener.local_addr().to_string();
    let server = tonic::transport::Server::builder().add_routes(routes);
    tokio::spawn(server.serve_with_incoming(incoming(listener)));
    address
}
