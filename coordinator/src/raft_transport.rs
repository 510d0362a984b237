//! Raft's way to its peers: `raft-store`'s calls over gRPC. The peer's certificate must carry the name of
//! the node whose member id is called, as soon as this node knows it; the payload names cluster and member
//! again, and the called store checks both.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pvc_model::Name;
use pvc_proto::internal::v1::raft_service_client::RaftServiceClient;
use pvc_proto::internal::v1::{RaftCall, RaftReply, SnapshotChunk};
use raft_store::{MAX_CALL_BYTES, Member, RpcKind, Transport, TransportError};
use tokio::io::AsyncRead;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::ReaderStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use crate::core::{Coordinator, member_name};
use crate::peers::{Line, Peers};

/// Bytes of a snapshot in one message.
const CHUNK_BYTES: usize = 512 << 10;
/// Larger calls go by a connection of their own: a heartbeat must not wait behind them.
const SMALL_BYTES: usize = 16 << 10;
/// What a message holds besides its payload.
pub const ENVELOPE_BYTES_MAX: usize = 64 << 10;

/// The rule of refusals that will stand for ever: the caller was removed, or the cluster has begun anew
/// without it. Said only by who is certain: of a store that was recovered, or after a linearizable read.
pub const EXPELLED: &str = "member-expelled";

/// Carries calls of one member.
pub struct RaftTransport {
    peers: Peers,
    cluster_id: String,
    me: u64,
    /// Names by address, from the configuration: until the replica knows better.
    configured: HashMap<String, Name>,
    core: OnceLock<Coordinator>,
    expelled: watch::Sender<Option<String>>,
}

impl RaftTransport {
    pub fn new(peers: Peers, cluster_id: &str, me: u64, configured: HashMap<String, Name>) -> Arc<Self> {
        let (core, expelled) = (OnceLock::new(), watch::Sender::new(None));
        Arc::new(RaftTransport { peers, cluster_id: cluster_id.to_owned(), me, configured, core, expelled })
    }

    /// From now on the replica tells which node a member is.
    pub fn know(&self, core: Coordinator) {
        let _ = self.core.set(core);
    }

    /// Told when a peer has said that this member's data are worth nothing any more: it was removed, or the
    /// cluster has begun anew without it.
    pub fn expelled(&self) -> watch::Receiver<Option<String>> {
        self.expelled.subscribe()
    }

    fn answer(&self, result: Result<Response<RaftReply>, Status>) -> Result<Bytes, TransportError> {
        if let Err(status) = &result
            && let Some(info) = status.get_details_error_info()
            && info.reason == EXPELLED
        {
            self.expelled.send_if_modified(|told| {
                let news = told.is_none();
                told.get_or_insert_with(|| status.message().to_owned());
                news
            });
        }
        answer(result)
    }

    fn client(&self, target: &Member, line: Line) -> Result<RaftServiceClient<Channel>, TransportError> {
        let known = self.core.get().and_then(|core| member_name(&core.world(), target.id));
        let name = known.or_else(|| self.configured.get(&target.address).cloned());
        let channel = self.peers.channel(name.as_ref(), &target.address, line);
        let channel = channel.map_err(|error| TransportError::Unreachable(error.to_string()))?;
        let most = MAX_CALL_BYTES + ENVELOPE_BYTES_MAX;
        Ok(RaftServiceClient::new(channel).max_decoding_message_size(most).max_encoding_message_size(most))
    }
}

#[async_trait]
impl Transport for RaftTransport {
    async fn call(
        &self,
        target: &Member,
        kind: RpcKind,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, TransportError> {
        let line = if payload.len() > SMALL_BYTES { Line::Bulk } else { Line::Common };
        let call = RaftCall {
            cluster_id: self.cluster_id.clone(),
            target: target.id,
            from: self.me,
            kind: kind_number(kind),
            payload,
        };
        let mut request = Request::new(call);
        request.set_timeout(deadline);
        let result = self.client(target, line)?.call(request).await;
        self.answer(result)
    }

    async fn send_snapshot(
        &self,
        target: &Member,
        header: Bytes,
        reader: Pin<Box<dyn AsyncRead + Send>>,
        deadline: Duration,
    ) -> Result<Bytes, TransportError> {
        let first = SnapshotChunk {
            cluster_id: self.cluster_id.clone(),
            target: target.id,
            from: self.me,
            header,
            data: Bytes::new(),
        };
        let mut request = Request::new(pieces(first, reader));
        request.set_timeout(deadline);
        let result = self.client(target, Line::Bulk)?.send_snapshot(request).await;
        self.answer(result)
    }
}

/// The messages of one snapshot, read ahead of the sending by a few. A snapshot that can't be read on ends
/// early: the receiver misses its trailer.
fn pieces(first: SnapshotChunk, reader: Pin<Box<dyn AsyncRead + Send>>) -> ReceiverStream<SnapshotChunk> {
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        let mut next = Some(first);
        let mut data = ReaderStream::with_capacity(reader, CHUNK_BYTES);
        while let Some(chunk) = next {
            if sender.send(chunk).await.is_err() {
                return;
            }
            next = match data.next().await {
                Some(Ok(data)) => Some(SnapshotChunk { data, ..SnapshotChunk::default() }),
                Some(Err(error)) => {
                    tracing::warn!(%error, "a snapshot can't be read");
                    None
                }
                None => None,
            };
        }
    });
    ReceiverStream::new(receiver)
}

fn answer(result: Result<Response<RaftReply>, Status>) -> Result<Bytes, TransportError> {
    match result {
        Ok(reply) => Ok(reply.into_inner().payload),
        Err(status) if nobody_listens(&status) => Err(TransportError::Refused),
        Err(status) => Err(match status.code() {
            Code::Unavailable => TransportError::Unreachable(status.message().to_owned()),
            Code::DeadlineExceeded | Code::Cancelled => TransportError::Timeout,
            _ => TransportError::Remote(status.message().to_owned()),
        }),
    }
}

/// Whether the peer's host has refused the connection.
fn nobody_listens(status: &Status) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(status);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A kind's number on the wire: its place in the list, from 1.
fn kind_number(kind: RpcKind) -> u32 {
    RpcKind::ALL.iter().position(|other| *other == kind).map_or(0, |place| place as u32 + 1)
}

/// The kind of this number.
pub fn kind_of(number: u32) -> Option<RpcKind> {
    RpcKind::ALL.get((number as usize).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_keep_their_numbers() {
        for kind in RpcKind::ALL {
            assert_eq!(kind_of(kind_number(kind)), Some(kind));
        }
        assert_eq!((kind_number(RpcKind::Vote), kind_number(RpcKind::Pull)), (1, 7), "they are on the wire");
        assert_eq!(kind_of(0), None);
        assert_eq!(kind_of(RpcKind::ALL.len() as u32 + 1), None);
    }

    #[tokio::test]
    async fn a_closed_port_is_told_from_a_silent_one() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{port}")).expect("an address");
        let mut client = RaftServiceClient::new(channel.connect_lazy());
        let told = answer(client.call(RaftCall::default()).await);
        assert!(matches!(told, Err(TransportError::Refused)), "{told:?}");
        let told = answer(Err(Status::unavailable("no answer")));
        assert!(matches!(told, Err(TransportError::Unreachable(_))), "{told:?}");
    }
}
