//! openraft's way out: each call it makes to a peer becomes one call of the transport.
//! A peer that cannot be reached, or refuses, is `Unreachable`, so that openraft backs off instead of
//! knocking without pause.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use prost::Message;

use crate::form::{FormError, VoteForm, decode};
use crate::machine::SnapshotData;
use crate::member::{Member, MemberId, MemberNode};
use crate::raft::{TypeConfig, Vote};
use crate::rpc::{EnvelopeForm, RpcKind, SnapshotHeaderForm, TransferAnswerForm, Transport, TransportError};
use crate::snapshot::SnapshotReader;
use crate::timing::Timing;

type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// Makes calls in this member's name.
#[derive(Clone)]
pub(crate) struct Caller {
    pub transport: Arc<dyn Transport>,
    pub cluster_id: Arc<str>,
    pub me: MemberId,
    pub timing: Timing,
}

impl Caller {
    pub fn envelope(&self, to: MemberId, to_incarnation: u64, body: Vec<u8>) -> Bytes {
        EnvelopeForm {
            cluster_id: self.cluster_id.to_string(),
            from: self.me,
            to,
            to_incarnation,
            body: body.into(),
        }
        .encode_to_vec()
        .into()
    }

    /// One call within a deadline, which is kept here too, whatever the transport does.
    pub async fn call(
        &self,
        target: &Member,
        incarnation: u64,
        kind: RpcKind,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<Bytes, TransportError> {
        let payload = self.envelope(target.id, incarnation, body);
        let call = self.transport.call(target, kind, payload, deadline);
        tokio::time::timeout(deadline, call).await.unwrap_or(Err(TransportError::Timeout))
    }
}

impl RaftNetworkFactory<TypeConfig> for Caller {
    type Network = Peer;

    async fn new_client(&mut self, target: MemberId, node: &MemberNode) -> Peer {
        Peer {
            caller: self.clone(),
            target: node.member(target),
            incarnation: node.incarnation,
            append: self.timing.append(),
        }
    }

    /// A heartbeat that takes longer than the heartbeats' interval has missed its purpose.
    async fn new_heartbeat_client(&mut self, target: MemberId, node: &MemberNode) -> Peer {
        let append = self.timing.heartbeat;
        Peer { append, ..self.new_client(target, node).await }
    }
}

/// The way to one peer.
pub(crate) struct Peer {
    caller: Caller,
    target: Member,
    incarnation: u64,
    append: Duration,
}

impl Peer {
    async fn call(
        &self,
        kind: RpcKind,
        action: RPCTypes,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<Bytes, RPCError<TypeConfig>> {
        let answer = self.caller.call(&self.target, self.incarnation, kind, body, deadline).await;
        answer.map_err(|error| self.error(action, deadline, &error))
    }

    fn error(&self, action: RPCTypes, timeout: Duration, error: &TransportError) -> RPCError<TypeConfig> {
        match error {
            TransportError::Timeout => {
                RPCError::Timeout(Timeout { action, id: self.caller.me, target: self.target.id, timeout })
            }
            other => unreachable(other),
        }
    }
}

fn unreachable(error: &(impl std::error::Error + 'static)) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(&AnyError::new(error)))
}

fn malformed(error: FormError) -> RPCError<TypeConfig> {
    unreachable(&error)
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotData;

    /// The deadline is ours, not the option's: that is the heartbeat's interval, and a peer whose disk
    /// is slow for once would get the same entries again and again.
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let body = crate::rpc::append_request(&rpc).encode_to_vec();
        let answer = self.call(RpcKind::Append, RPCTypes::AppendEntries, body, self.append).await;
        // Without a pause between them, timeouts of a silent peer would make a tight loop of resends.
        let answer = answer.map_err(|error| match error {
            RPCError::Timeout(timeout) => unreachable(&timeout),
            other => other,
        })?;
        crate::rpc::append_response_from(answer).map_err(malformed)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let body = crate::rpc::vote_request(&rpc).encode_to_vec();
        let answer = self.call(RpcKind::Vote, RPCTypes::Vote, body, option.hard_ttl()).await?;
        crate::rpc::vote_response_from(answer).map_err(malformed)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let body = crate::rpc::vote_request(&rpc).encode_to_vec();
        let answer = self.call(RpcKind::PreVote, RPCTypes::Vote, body, option.hard_ttl()).await?;
        crate::rpc::vote_response_from(answer).map_err(malformed)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let header = SnapshotHeaderForm {
            vote: Some((&vote).into()),
            last: snapshot.meta.last_log_id.as_ref().map(Into::into),
        };
        let header = self.caller.envelope(self.target.id, self.incarnation, header.encode_to_vec());
        let deadline = self.caller.timing.snapshot;
        let reader = Box::pin(SnapshotReader::new(snapshot.snapshot));
        let send = self.caller.transport.send_snapshot(&self.target, header, reader, deadline);
        let answer = tokio::select! {
            closed = cancel => return Err(closed.into()),
            answer = tokio::time::timeout(deadline, send) => answer.unwrap_or(Err(TransportError::Timeout)),
        };
        let answer = answer.map_err(|error| self.error(RPCTypes::InstallSnapshot, deadline, &error))?;
        let vote: VoteForm = decode("snapshot response", answer).map_err(malformed)?;
        Ok(SnapshotResponse::new(vote.into()))
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let body = crate::rpc::transfer_request(&rpc).encode_to_vec();
        let kind = RpcKind::TransferLeader;
        let answer = self.call(kind, RPCTypes::TransferLeader, body, option.hard_ttl()).await?;
        let answer: TransferAnswerForm = decode("transfer response", answer).map_err(malformed)?;
        if answer.accepted {
            return Ok(Ok(()));
        }
        Err(unreachable(&TransportError::Remote(answer.reason)))
    }

    fn backoff(&self) -> Option<Backoff> {
        let most = self.caller.timing.election_min;
        let first = self.caller.timing.heartbeat;
        let doubling = std::iter::successors(Some(first), move |last| Some((*last * 2).min(most)));
        Some(Backoff::new(doubling))
    }
}
