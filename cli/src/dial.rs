//! A channel over mutual TLS to whichever coordinator answers. Nothing is dialled before the first call.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use pvc_identity::{Alpn, Credentials, ExpectedPeer, TlsStore};
use tonic::transport::{Channel, Endpoint};

use crate::connections::Connection;
use crate::failure::{Exit, Failure};

const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// Dials the connection's addresses in order, each time that a connection is needed.
pub fn channel(name: &str, connection: &Connection) -> Result<Channel, Failure> {
    let fail = |e: &dyn std::fmt::Display| {
        Failure::new(Exit::Denied, format!("connection/{name}"), e.to_string())
            .help(format!("pvc connection detail {name}"))
    };
    let credentials = Credentials::load(&connection.credentials).map_err(|e| fail(&e))?;
    let store = TlsStore::new(credentials, jiff::Timestamp::now()).map_err(|e| fail(&e))?;
    let addresses = Arc::new(connection.addresses.clone());
    let connector = tower::service_fn(move |_: http::Uri| {
        let (store, addresses) = (Arc::clone(&store), Arc::clone(&addresses));
        async move {
            let mut last = io::Error::other("the connection names no address");
            for address in addresses.iter() {
                match store.connect(address, &ExpectedPeer::AnyNode, Alpn::H2, DIAL_TIMEOUT).await {
                    Ok(stream) => return Ok(TokioIo::new(stream)),
                    Err(error) => last = io::Error::other(format!("{address}: {error}")),
                }
            }
            Err(last)
        }
    });
    // The name is never looked up: the connector knows where to go.
    Ok(Endpoint::from_static("http://coordinator").connect_with_connector_lazy(connector))
}
