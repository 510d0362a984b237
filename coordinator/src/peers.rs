//! Connections from this node to others: one channel to each, made when it is first needed and shared by
//! all that call there, and a second one where much is sent. Never is a peer trusted by its address: its certificate must carry the node's name.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_client::{KeepAlive, Trust};
use pvc_identity::{ExpectedPeer, Identity, TlsStore};
use pvc_model::Name;
use pvc_proto::internal::v1::host_service_client::HostServiceClient;
use tonic::Status;
use tonic::transport::Channel;

use crate::services::hosts::{HOST_MESSAGE_BYTES_MAX, Hosts};
use crate::status;

/// Channels that are kept; beyond it all are made anew.
const CHANNELS_MAX: usize = 4096;

/// The way to other nodes. Clones share its channels.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

struct Shared {
    tls: Arc<TlsStore>,
    keep_alive: KeepAlive,
    channels: Mutex<HashMap<Way, Channel>>,
}

/// To whom, where, and on which line.
type Way = (Option<Name>, String, Line);

/// Which of the connections to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line {
    Common,
    /// For what is large: nothing urgent waits behind it.
    Bulk,
}

/// Why there is no way to a peer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("\"{0}\" is not an address (host:port)")]
    Address(String),
    #[error("\"{0}\" can't stand in a certificate")]
    Name(Name),
}

impl Peers {
    pub fn new(tls: Arc<TlsStore>, keep_alive: KeepAlive) -> Self {
        Peers(Arc::new(Shared { tls, keep_alive, channels: Mutex::default() }))
    }

    /// Connects anew from now on: a connection is judged by the certificates that it began with.
    pub fn reconnect(&self) {
        self.0.channels.lock().clear();
    }

    /// A channel to `node` at `address` (host:port), connected when it is used. Without a name any node of
    /// the cluster may answer: for callers that check by other means whom they reach.
    pub fn channel(&self, node: Option<&Name>, address: &str, line: Line) -> Result<Channel, PeerError> {
        let key = (node.cloned(), address.to_owned(), line);
        let mut channels = self.0.channels.lock();
        if let Some(channel) = channels.get(&key) {
            return Ok(channel.clone());
        }
        let expected = match node {
            Some(node) => {
                let identity = Identity::node(node.as_str()).map_err(|_| PeerError::Name(node.clone()))?;
                ExpectedPeer::Exactly(identity)
            }
            None => ExpectedPeer::AnyNode,
        };
        let trust = Trust::Mutual(Arc::clone(&self.0.tls), expected);
        let channel = pvc_client::channel_with(address, &trust, self.0.keep_alive)
            .map_err(|_| PeerError::Address(address.to_owned()))?;
        if channels.len() >= CHANNELS_MAX {
            channels.clear();
        }
        channels.insert(key, channel.clone());
        Ok(channel)
    }
}

#[async_trait]
impl Hosts for Peers {
    async fn host(&self, node: &Name, address: &str) -> Result<HostServiceClient<Channel>, Status> {
        let channel = self.channel(Some(node), address, Line::Common);
        let channel =
            channel.map_err(|error| status::unreachable(&format!("node/{node}"), &error.to_string()))?;
        Ok(HostServiceClient::new(channel).max_decoding_message_size(HOST_MESSAGE_BYTES_MAX))
    }
}
