//! The way in: peers' calls, checked for whom they are meant and then given to Raft.
//! A call for another cluster, another member or another incarnation changes nothing here.

use std::pin::Pin;

use bytes::Bytes;
use openraft::Snapshot;
use openraft::errors::RaftError;
use openraft::raft::AppendEntriesResponse;
use prost::Message;
use tokio::io::AsyncRead;

use crate::form::{VoteForm, decode};
use crate::member::MemberId;
use crate::raft::{SnapshotMeta, Vote};
use crate::reads::Asker;
use crate::rpc::{
    AttendForm, EnvelopeForm, HelloForm, ReadIndexForm, RpcError, RpcKind, SnapshotHeaderForm,
    TransferAnswerForm,
};
use crate::store::{ReadError, Store};

fn stopped<C: openraft::RaftTypeConfig>(_: RaftError<C>) -> RpcError {
    RpcError::Stopped
}

impl Store {
    /// Serves a peer's call. `from` is the peer as the connection's certificate names it.
    pub async fn handle(&self, from: MemberId, kind: RpcKind, payload: Bytes) -> Result<Bytes, RpcError> {
        let body = self.accept(from, kind, payload)?;
        let raft = &self.inner.raft;
        let answer = match kind {
            RpcKind::Vote => {
                let answer = raft.vote(crate::rpc::vote_request_from(body)?).await.map_err(stopped)?;
                crate::rpc::vote_response(&answer).encode_to_vec()
            }
            RpcKind::PreVote => {
                let answer = raft.pre_vote(crate::rpc::vote_request_from(body)?).await.map_err(stopped)?;
                crate::rpc::vote_response(&answer).encode_to_vec()
            }
            RpcKind::Append => {
                let request = crate::rpc::append_request_from(body)?;
                let answer = raft.append_entries(request).await.map_err(stopped)?;
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    self.inner.heard_leader();
                }
                crate::rpc::append_response(&answer).encode_to_vec()
            }
            RpcKind::TransferLeader => {
                let request = crate::rpc::transfer_request_from(body)?;
                let answer = raft.handle_transfer_leader(request).await.map_err(|_| RpcError::Stopped)?;
                let reason = answer.as_ref().err().map(ToString::to_string);
                TransferAnswerForm { accepted: answer.is_ok(), reason: reason.unwrap_or_default() }
                    .encode_to_vec()
            }
            RpcKind::ReadIndex => {
                let index =
                    crate::reads::read_index(&self.inner, Asker::Peer).await.map_err(
                        |error| match error {
                            ReadError::Stopped => RpcError::Stopped,
                            other => RpcError::Refused(other.to_string()),
                        },
                    )?;
                let term = self.inner.status.borrow().term;
                ReadIndexForm { index: Some(crate::form::LogIdForm { term, index }) }.encode_to_vec()
            }
            RpcKind::Hello => {
                let pristine = self.inner.log.is_pristine();
                HelloForm { incarnation: self.inner.identity.incarnation, pristine }.encode_to_vec()
            }
            RpcKind::Attend => {
                let AttendForm { term } = decode("attend", body)?;
                let mut leadership = self.inner.leadership.subscribe();
                // The sender lives as long as the store.
                let _ = leadership.wait_for(|now| now.is_none_or(|now| now.term != term)).await;
                return Err(RpcError::Refused(format!("this member does not lead in term {term}")));
            }
            RpcKind::Gone => {
                let about = decode("gone", body)?;
                crate::vigil::second_opinion(&self.inner, about).await.encode_to_vec()
            }
            RpcKind::Pull => self.inner.pulls.lock().answer(body, || self.view())?.encode_to_vec(),
        };
        Ok(answer.into())
    }

    /// Receives a snapshot: reads and checks all of it, and only then puts it in the state's place.
    pub async fn handle_snapshot(
        &self,
        from: MemberId,
        header: Bytes,
        reader: Pin<Box<dyn AsyncRead + Send>>,
    ) -> Result<Bytes, RpcError> {
        let body = self.accept(from, RpcKind::Append, header)?;
        let header: SnapshotHeaderForm = decode("snapshot header", body)?;
        let vote: Vote = header.vote.ok_or_else(|| RpcError::Malformed("no vote".into()))?.into();
        self.inner.heard_leader();
        let state = crate::snapshot::read(reader).await.map_err(|e| RpcError::Malformed(e.to_string()))?;
        if *state.cluster_id != *self.inner.options.cluster_id {
            let (here, called) = (self.inner.options.cluster_id.clone(), state.cluster_id.to_string());
            return Err(RpcError::WrongCluster { here, called });
        }
        if state.applied.as_ref().map(crate::form::LogIdForm::from) != header.last {
            return Err(RpcError::Malformed("the snapshot is not the one announced".into()));
        }
        let meta = SnapshotMeta { last_log_id: state.applied, last_membership: (*state.membership).clone() };
        let snapshot = Snapshot { meta, snapshot: state.into() };
        let answer = self.inner.raft.install_full_snapshot(vote, snapshot).await;
        let answer = answer.map_err(|_| RpcError::Stopped)?;
        self.inner.heard_leader();
        Ok(VoteForm::from(&answer.vote).encode_to_vec().into())
    }

    /// Checks for whom a call is meant, and takes it out of its envelope.
    fn accept(&self, from: MemberId, kind: RpcKind, payload: Bytes) -> Result<Bytes, RpcError> {
        let inner = &self.inner;
        if inner.is_closing() {
            return Err(RpcError::Stopped);
        }
        let envelope: EnvelopeForm = decode("call", payload)?;
        let here = &inner.options;
        if envelope.cluster_id != here.cluster_id {
            return Err(RpcError::WrongCluster {
                here: here.cluster_id.clone(),
                called: envelope.cluster_id,
            });
        }
        if envelope.from != from {
            return Err(RpcError::WrongSender { said: envelope.from, from });
        }
        if envelope.to != here.me.id {
            return Err(RpcError::WrongMember { here: here.me.id, called: envelope.to });
        }
        let any_incarnation = matches!(kind, RpcKind::Hello | RpcKind::Pull);
        if !any_incarnation && envelope.to_incarnation != inner.identity.incarnation {
            return Err(RpcError::WrongIncarnation { member: here.me.id });
        }
        Ok(envelope.body)
    }
}
