//! What members say to each other, as prost messages, and the trait that carries it. Every call names the
//! cluster, the caller, and the called member with its incarnation: a call that reaches the wrong
//! process, or a member whose disk was wiped, is refused there.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use prost::Message;
use tokio::io::AsyncRead;

use crate::form::{FormError, LogEntryForm, LogIdForm, VoteForm, decode};
use crate::member::{Member, MemberId};
use crate::raft::{LogId, TypeConfig, Vote};

/// The calls that members make; the transport may give each its own method or one method for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RpcKind {
    Vote,
    PreVote,
    /// Entries, and heartbeats.
    Append,
    TransferLeader,
    /// A follower asks the leader how far it must have applied to read.
    ReadIndex,
    /// Who are you? Asked of a member that is to be added.
    Hello,
    /// A piece of the state, for a member whose state database was lost.
    Pull,
    /// A follower stays with its leader: answered when it leads no more.
    Attend,
    /// A voter has found the leader's process gone and asks another.
    Gone,
}

impl RpcKind {
    /// New ones come last: transports number them by their place.
    pub const ALL: [RpcKind; 9] = [
        RpcKind::Vote,
        RpcKind::PreVote,
        RpcKind::Append,
        RpcKind::TransferLeader,
        RpcKind::ReadIndex,
        RpcKind::Hello,
        RpcKind::Pull,
        RpcKind::Attend,
        RpcKind::Gone,
    ];
}

/// Largest payload of a `call` and of its answer. The transport must let it through.
pub const MAX_CALL_BYTES: usize = 4 << 20;

#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// Not sent, or the connection broke: the peer is tried again after a while.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The peer's host answered that nobody listens at the address: its process does not run.
    #[error("nobody listens there")]
    Refused,
    /// The peer answered with an error.
    #[error("the peer refused: {0}")]
    Remote(String),
    #[error("no answer in time")]
    Timeout,
}

/// Carries calls to members. It must reach the member that is asked for or fail: it checks the peer's
/// identity. The store checks again.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Calls `Store::handle` at the target.
    async fn call(
        &self,
        target: &Member,
        kind: RpcKind,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, TransportError>;

    /// Calls `Store::handle_snapshot` at the target, streaming `reader` to its end.
    async fn send_snapshot(
        &self,
        target: &Member,
        header: Bytes,
        reader: Pin<Box<dyn AsyncRead + Send>>,
        deadline: Duration,
    ) -> Result<Bytes, TransportError>;
}

/// Why a peer's call was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    #[error("this is cluster {here}, the call is for cluster {called}")]
    WrongCluster { here: String, called: String },
    #[error("this is member {here}, the call is for member {called}")]
    WrongMember { here: MemberId, called: MemberId },
    #[error("the call says it is from member {said}, the connection is member {from}'s")]
    WrongSender { said: MemberId, from: MemberId },
    #[error(
        "member {member} lost its data and must not take part under its old number: \
         remove it and add it again as a new member"
    )]
    WrongIncarnation { member: MemberId },
    #[error("malformed call: {0}")]
    Malformed(String),
    #[error("{0}")]
    Refused(String),
    #[error("this member's store has stopped")]
    Stopped,
}

impl From<FormError> for RpcError {
    fn from(error: FormError) -> Self {
        RpcError::Malformed(error.to_string())
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct EnvelopeForm {
    #[prost(string, tag = "1")]
    pub cluster_id: String,
    #[prost(uint64, tag = "2")]
    pub from: u64,
    #[prost(uint64, tag = "3")]
    pub to: u64,
    /// 0 where the caller cannot know it yet: `Hello`.
    #[prost(uint64, tag = "4")]
    pub to_incarnation: u64,
    #[prost(bytes = "bytes", tag = "5")]
    pub body: Bytes,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct VoteRequestForm {
    #[prost(message, optional, tag = "1")]
    pub vote: Option<VoteForm>,
    #[prost(message, optional, tag = "2")]
    pub last: Option<LogIdForm>,
    #[prost(bool, tag = "3")]
    pub transfer: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct VoteResponseForm {
    #[prost(message, optional, tag = "1")]
    pub vote: Option<VoteForm>,
    #[prost(bool, tag = "2")]
    pub granted: bool,
    #[prost(message, optional, tag = "3")]
    pub last: Option<LogIdForm>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct AppendRequestForm {
    #[prost(message, optional, tag = "1")]
    pub vote: Option<VoteForm>,
    #[prost(message, optional, tag = "2")]
    pub previous: Option<LogIdForm>,
    #[prost(message, repeated, tag = "3")]
    pub entries: Vec<LogEntryForm>,
    #[prost(message, optional, tag = "4")]
    pub committed: Option<LogIdForm>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct AppendResponseForm {
    #[prost(enumeration = "AppendAnswer", tag = "1")]
    pub answer: i32,
    /// With `Partial`: up to where.
    #[prost(message, optional, tag = "2")]
    pub upto: Option<LogIdForm>,
    /// With `HigherVote`: which.
    #[prost(message, optional, tag = "3")]
    pub vote: Option<VoteForm>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum AppendAnswer {
    Unknown = 0,
    Success = 1,
    Partial = 2,
    Conflict = 3,
    HigherVote = 4,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TransferForm {
    #[prost(message, optional, tag = "1")]
    pub from_leader: Option<VoteForm>,
    #[prost(uint64, tag = "2")]
    pub to: u64,
    #[prost(message, optional, tag = "3")]
    pub last: Option<LogIdForm>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TransferAnswerForm {
    #[prost(bool, tag = "1")]
    pub accepted: bool,
    #[prost(string, tag = "2")]
    pub reason: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ReadIndexForm {
    #[prost(message, optional, tag = "1")]
    pub index: Option<LogIdForm>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct HelloForm {
    #[prost(uint64, tag = "1")]
    pub incarnation: u64,
    /// It has never voted nor stored an entry.
    #[prost(bool, tag = "2")]
    pub pristine: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct SnapshotHeaderForm {
    #[prost(message, optional, tag = "1")]
    pub vote: Option<VoteForm>,
    #[prost(message, optional, tag = "2")]
    pub last: Option<LogIdForm>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct AttendForm {
    #[prost(uint64, tag = "1")]
    pub term: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct GoneForm {
    #[prost(uint64, tag = "1")]
    pub term: u64,
    #[prost(uint64, tag = "2")]
    pub leader: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct GoneAnswerForm {
    /// This member follows the same leader, and finds it gone.
    #[prost(bool, tag = "1")]
    pub gone: bool,
    #[prost(message, optional, tag = "2")]
    pub last: Option<LogIdForm>,
}

/// Asks for the records behind a place in the peer's state.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PullForm {
    /// 0 opens a session; later calls repeat the answer's.
    #[prost(uint64, tag = "1")]
    pub session: u64,
    /// How many bytes of the snapshot are already here.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct PullAnswerForm {
    #[prost(uint64, tag = "1")]
    pub session: u64,
    /// The snapshot's next bytes; empty at its end.
    #[prost(bytes = "bytes", tag = "2")]
    pub bytes: Bytes,
}

fn need<T>(value: Option<T>, form: &'static str, field: &'static str) -> Result<T, FormError> {
    value.ok_or(FormError::Missing { form, field })
}

pub(crate) fn vote_request(rpc: &VoteRequest<TypeConfig>) -> VoteRequestForm {
    VoteRequestForm {
        vote: Some((&rpc.vote).into()),
        last: rpc.last_log_id.as_ref().map(Into::into),
        transfer: rpc.leadership_transfer,
    }
}

pub(crate) fn vote_request_from(bytes: Bytes) -> Result<VoteRequest<TypeConfig>, FormError> {
    let form: VoteRequestForm = decode("vote request", bytes)?;
    let vote = need(form.vote, "vote request", "vote")?.into();
    let mut request = VoteRequest::new(vote, form.last.map(LogId::from));
    request.leadership_transfer = form.transfer;
    Ok(request)
}

pub(crate) fn vote_response(rpc: &VoteResponse<TypeConfig>) -> VoteResponseForm {
    VoteResponseForm {
        vote: Some((&rpc.vote).into()),
        granted: rpc.vote_granted,
        last: rpc.last_log_id.as_ref().map(Into::into),
    }
}

pub(crate) fn vote_response_from(bytes: Bytes) -> Result<VoteResponse<TypeConfig>, FormError> {
    let form: VoteResponseForm = decode("vote response", bytes)?;
    let vote: Vote = need(form.vote, "vote response", "vote")?.into();
    Ok(VoteResponse::new(vote, form.last.map(LogId::from), form.granted))
}

pub(crate) fn append_request(rpc: &AppendEntriesRequest<TypeConfig>) -> AppendRequestForm {
    AppendRequestForm {
        vote: Some((&rpc.vote).into()),
        previous: rpc.prev_log_id.as_ref().map(Into::into),
        entries: rpc.entries.iter().map(LogEntryForm::from).collect(),
        committed: rpc.leader_commit.as_ref().map(Into::into),
    }
}

pub(crate) fn append_request_from(bytes: Bytes) -> Result<AppendEntriesRequest<TypeConfig>, FormError> {
    let form: AppendRequestForm = decode("append request", bytes)?;
    Ok(AppendEntriesRequest {
        vote: need(form.vote, "append request", "vote")?.into(),
        prev_log_id: form.previous.map(LogId::from),
        entries: form.entries.into_iter().map(LogEntryForm::entry).collect::<Result<_, _>>()?,
        leader_commit: form.committed.map(LogId::from),
    })
}

pub(crate) fn append_response(rpc: &AppendEntriesResponse<TypeConfig>) -> AppendResponseForm {
    let (answer, upto, vote) = match rpc {
        AppendEntriesResponse::Success => (AppendAnswer::Success, None, None),
        AppendEntriesResponse::PartialSuccess(upto) => (AppendAnswer::Partial, upto.as_ref(), None),
        AppendEntriesResponse::Conflict => (AppendAnswer::Conflict, None, None),
        AppendEntriesResponse::HigherVote(vote) => (AppendAnswer::HigherVote, None, Some(vote)),
    };
    AppendResponseForm { answer: answer.into(), upto: upto.map(Into::into), vote: vote.map(Into::into) }
}

pub(crate) fn append_response_from(bytes: Bytes) -> Result<AppendEntriesResponse<TypeConfig>, FormError> {
    let form: AppendResponseForm = decode("append response", bytes)?;
    Ok(match form.answer() {
        AppendAnswer::Success => AppendEntriesResponse::Success,
        AppendAnswer::Partial => AppendEntriesResponse::PartialSuccess(form.upto.map(LogId::from)),
        AppendAnswer::Conflict => AppendEntriesResponse::Conflict,
        AppendAnswer::HigherVote => {
            AppendEntriesResponse::HigherVote(need(form.vote, "append response", "vote")?.into())
        }
        AppendAnswer::Unknown => {
            return Err(FormError::Missing { form: "append response", field: "answer" });
        }
    })
}

pub(crate) fn transfer_request(rpc: &TransferLeaderRequest<TypeConfig>) -> TransferForm {
    TransferForm {
        from_leader: Some(rpc.from_leader().into()),
        to: *rpc.to_node_id(),
        last: rpc.last_log_id().map(Into::into),
    }
}

pub(crate) fn transfer_request_from(bytes: Bytes) -> Result<TransferLeaderRequest<TypeConfig>, FormError> {
    let form: TransferForm = decode("transfer request", bytes)?;
    let vote = need(form.from_leader, "transfer request", "from_leader")?.into();
    Ok(TransferLeaderRequest::new(vote, form.to, form.last.map(LogId::from)))
}
