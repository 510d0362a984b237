//! A small cluster's worth of certificates, and both ends of a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pvc_identity::{
    Alpn, Ca, ClientAuth, ConnectError, Credentials, ExpectedPeer, Identity, KeyPair, LeafSpec,
    ListenerOptions, TlsConnection, TlsListener, TlsStore,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub const WAIT: Duration = Duration::from_secs(10);

pub fn now() -> Timestamp {
    Timestamp::now()
}

pub fn ca(cluster_id: &str) -> Ca {
    Ca::create(cluster_id, now()).unwrap()
}

/// Credentials for `who` (such as `node/hv1`) from this CA, made at `made` for seven days.
pub fn credentials_made(ca: &Ca, who: &str, made: Timestamp) -> Credentials {
    let key = KeyPair::generate().unwrap();
    let leaf = LeafSpec::new(who.parse().unwrap());
    let chain = ca.sign(&key.csr_pem().unwrap(), &leaf, made).unwrap();
    Credentials::new(chain, key.pem(), ca.cert_pem()).unwrap()
}

pub fn credentials(ca: &Ca, who: &str) -> Credentials {
    credentials_made(ca, who, now())
}

pub fn store(ca: &Ca, who: &str) -> Arc<TlsStore> {
    TlsStore::new(credentials(ca, who), now()).unwrap()
}

pub fn exactly(who: &str) -> ExpectedPeer {
    ExpectedPeer::Exactly(who.parse::<Identity>().unwrap())
}

/// A server that greets every caller with the caller's name, then repeats what it hears. Ends with the runtime.
pub async fn greeter(store: Arc<TlsStore>, auth: ClientAuth) -> SocketAddr {
    let options = ListenerOptions::new(auth, Alpn::H2);
    let mut listener = TlsListener::bind("127.0.0.1:0".parse().unwrap(), store, options).await.unwrap();
    let addr = listener.local_addr();
    tokio::spawn(async move {
        while let Ok(mut connection) = listener.accept().await {
            tokio::spawn(async move {
                let name = connection.peer_identity().map_or("nobody".to_owned(), |p| p.identity.to_string());
                let _ = connection.write_all(format!("{name}\n").as_bytes()).await;
                let mut buffer = [0; 64];
                while let Ok(read @ 1..) = connection.read(&mut buffer).await {
                    let _ = connection.write_all(&buffer[..read]).await;
                }
            });
        }
    });
    addr
}

pub async fn call(
    from: &TlsStore,
    to: SocketAddr,
    expected: &ExpectedPeer,
) -> Result<TlsConnection, ConnectError> {
    from.connect(&to.to_string(), expected, Alpn::H2, WAIT).await
}

/// What the greeter calls us; an error if it refused us (in TLS 1.3 a caller learns that with its first read).
pub async fn greeting(connection: &mut TlsConnection) -> std::io::Result<String> {
    let mut line = Vec::new();
    loop {
        match connection.read_u8().await? {
            b'\n' => return Ok(String::from_utf8(line).unwrap()),
            byte => line.push(byte),
        }
    }
}

pub async fn echo(connection: &mut TlsConnection, text: &str) -> String {
    connection.write_all(text.as_bytes()).await.unwrap();
    let mut buffer = vec![0; text.len()];
    connection.read_exact(&mut buffer).await.unwrap();
    String::from_utf8(buffer).unwrap()
}
