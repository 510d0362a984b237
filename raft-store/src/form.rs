//! The forms in which things lie on disk and travel between members: prost messages of our own, so that
//! neither openraft's nor any other crate's encoding is ever written down.
//! Field numbers are for ever; a field is added, never changed. `testdata/` holds a golden of each form.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use crate::key::Key;
use crate::member::MemberNode;
use crate::raft::{Command, CommittedLeader, LogEntry, LogId, Membership, StoredMembership, Vote};
use crate::transaction::{Precondition, Transaction};

/// Something read back that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("{form} does not decode: {detail}")]
    Decode { form: &'static str, detail: String },
    #[error("{form} lacks {field}")]
    Missing { form: &'static str, field: &'static str },
    #[error("{form} has format version {version}; this program reads up to {newest}: upgrade it")]
    Version { form: &'static str, version: u32, newest: u32 },
}

impl From<FormError> for std::io::Error {
    fn from(error: FormError) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}

pub(crate) fn decode<M: Message + Default>(
    form: &'static str,
    bytes: impl bytes::Buf,
) -> Result<M, FormError> {
    M::decode(bytes).map_err(|e| FormError::Decode { form, detail: e.to_string() })
}

fn need<T>(value: Option<T>, form: &'static str, field: &'static str) -> Result<T, FormError> {
    value.ok_or(FormError::Missing { form, field })
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyForm {
    #[prost(string, tag = "1")]
    pub collection: String,
    #[prost(string, tag = "2")]
    pub name: String,
}

impl From<&Key> for KeyForm {
    fn from(key: &Key) -> Self {
        KeyForm { collection: key.collection.to_string(), name: key.name.to_string() }
    }
}

impl From<KeyForm> for Key {
    fn from(form: KeyForm) -> Self {
        Key { collection: form.collection.into(), name: form.name.into() }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct PreconditionForm {
    #[prost(message, optional, tag = "1")]
    pub key: Option<KeyForm>,
    #[prost(oneof = "Condition", tags = "2, 3, 4")]
    pub condition: Option<Condition>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Condition {
    #[prost(uint64, tag = "2")]
    RevisionIs(u64),
    #[prost(bool, tag = "3")]
    Exists(bool),
    #[prost(bool, tag = "4")]
    Absent(bool),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct PutForm {
    #[prost(message, optional, tag = "1")]
    pub key: Option<KeyForm>,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TransactionForm {
    #[prost(message, repeated, tag = "1")]
    pub preconditions: Vec<PreconditionForm>,
    #[prost(message, repeated, tag = "2")]
    pub puts: Vec<PutForm>,
    #[prost(message, repeated, tag = "3")]
    pub deletes: Vec<KeyForm>,
    #[prost(string, optional, tag = "4")]
    pub request_id: Option<String>,
    #[prost(bytes = "bytes", tag = "5")]
    pub reply: Bytes,
    #[prost(string, tag = "6")]
    pub actor: String,
    #[prost(string, tag = "7")]
    pub summary: String,
}

/// What one log entry proposes.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BatchForm {
    /// The term in which alone the batch may be applied.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// The proposing leader's wall clock, milliseconds since 1970. For people only.
    #[prost(uint64, tag = "2")]
    pub now_ms: u64,
    #[prost(message, repeated, tag = "3")]
    pub transactions: Vec<TransactionForm>,
    /// The proposing leader's monotonic clock, milliseconds. Ages request ids, nothing else; only what lies
    /// between two batches of one term means anything.
    #[prost(uint64, tag = "4")]
    pub leader_ms: u64,
}

impl BatchForm {
    pub(crate) fn new(term: u64, now_ms: u64, leader_ms: u64, transactions: &[Transaction]) -> BatchForm {
        let transactions = transactions.iter().map(TransactionForm::from).collect();
        BatchForm { term, now_ms, leader_ms, transactions }
    }

    pub(crate) fn transactions(self) -> Result<Vec<Transaction>, FormError> {
        self.transactions.into_iter().map(Transaction::try_from).collect()
    }
}

impl From<&Transaction> for TransactionForm {
    fn from(t: &Transaction) -> Self {
        let precondition = |p: &Precondition| PreconditionForm {
            key: Some(p.key().into()),
            condition: Some(match p {
                Precondition::RevisionIs { revision, .. } => Condition::RevisionIs(*revision),
                Precondition::Exists(_) => Condition::Exists(true),
                Precondition::Absent(_) => Condition::Absent(true),
            }),
        };
        TransactionForm {
            preconditions: t.preconditions.iter().map(precondition).collect(),
            puts: t.puts.iter().map(|(k, v)| PutForm { key: Some(k.into()), value: v.clone() }).collect(),
            deletes: t.deletes.iter().map(KeyForm::from).collect(),
            request_id: t.request_id.clone(),
            reply: t.reply.clone(),
            actor: t.actor.clone(),
            summary: t.summary.clone(),
        }
    }
}

impl TryFrom<TransactionForm> for Transaction {
    type Error = FormError;

    fn try_from(form: TransactionForm) -> Result<Self, FormError> {
        let preconditions = form.preconditions.into_iter().map(|p| {
            let key = Key::from(need(p.key, "precondition", "key")?);
            Ok(match need(p.condition, "precondition", "condition")? {
                Condition::RevisionIs(revision) => Precondition::RevisionIs { key, revision },
                Condition::Exists(_) => Precondition::Exists(key),
                Condition::Absent(_) => Precondition::Absent(key),
            })
        });
        let puts = form.puts.into_iter().map(|p| Ok((need(p.key, "put", "key")?.into(), p.value)));
        Ok(Transaction {
            preconditions: preconditions.collect::<Result<_, FormError>>()?,
            puts: puts.collect::<Result<_, FormError>>()?,
            deletes: form.deletes.into_iter().map(Key::from).collect(),
            request_id: form.request_id,
            reply: form.reply,
            actor: form.actor,
            summary: form.summary,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LogIdForm {
    #[prost(uint64, tag = "1")]
    pub term: u64,
    #[prost(uint64, tag = "2")]
    pub index: u64,
}

impl From<&LogId> for LogIdForm {
    fn from(id: &LogId) -> Self {
        LogIdForm { term: **id.committed_leader_id(), index: id.index() }
    }
}

impl From<LogIdForm> for LogId {
    fn from(form: LogIdForm) -> Self {
        LogId::new(CommittedLeader::new(form.term), form.index)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct VoteForm {
    #[prost(uint64, tag = "1")]
    pub term: u64,
    #[prost(uint64, tag = "2")]
    pub voted_for: u64,
    #[prost(bool, tag = "3")]
    pub committed: bool,
}

impl From<&Vote> for VoteForm {
    fn from(vote: &Vote) -> Self {
        let leader = vote.leader_id();
        VoteForm { term: leader.term, voted_for: leader.voted_for, committed: vote.is_committed() }
    }
}

impl From<VoteForm> for Vote {
    fn from(form: VoteForm) -> Self {
        if form.committed {
            Vote::new_committed(form.term, form.voted_for)
        } else {
            Vote::new(form.term, form.voted_for)
        }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct NodeForm {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(string, tag = "2")]
    pub address: String,
    #[prost(uint64, tag = "3")]
    pub incarnation: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct VotersForm {
    #[prost(uint64, repeated, tag = "1")]
    pub ids: Vec<u64>,
}

/// A membership: one set of voters, or two while it changes, and everybody's address.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MembershipForm {
    #[prost(message, repeated, tag = "1")]
    pub configs: Vec<VotersForm>,
    #[prost(message, repeated, tag = "2")]
    pub nodes: Vec<NodeForm>,
    /// The entry that brought it; absent inside that entry itself.
    #[prost(message, optional, tag = "3")]
    pub log_id: Option<LogIdForm>,
}

impl MembershipForm {
    pub(crate) fn new(membership: &Membership, log_id: Option<&LogId>) -> MembershipForm {
        let voters = |ids: &BTreeSet<u64>| VotersForm { ids: ids.iter().copied().collect() };
        let node = |(id, node): (&u64, &MemberNode)| NodeForm {
            id: *id,
            address: node.address.clone(),
            incarnation: node.incarnation,
        };
        MembershipForm {
            configs: membership.get_joint_config().iter().map(voters).collect(),
            nodes: membership.nodes().map(node).collect(),
            log_id: log_id.map(LogIdForm::from),
        }
    }

    pub(crate) fn membership(&self) -> Result<Membership, FormError> {
        let configs = self.configs.iter().map(|c| c.ids.iter().copied().collect()).collect();
        let node =
            |n: &NodeForm| (n.id, MemberNode { address: n.address.clone(), incarnation: n.incarnation });
        let nodes: BTreeMap<u64, MemberNode> = self.nodes.iter().map(node).collect();
        if self.configs.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(configs, nodes)
            .map_err(|e| FormError::Decode { form: "membership", detail: e.to_string() })
    }

    pub(crate) fn stored(&self) -> Result<StoredMembership, FormError> {
        Ok(StoredMembership::new(self.log_id.map(LogId::from), self.membership()?))
    }
}

impl From<&StoredMembership> for MembershipForm {
    fn from(stored: &StoredMembership) -> Self {
        MembershipForm::new(stored.membership(), stored.log_id().as_ref())
    }
}

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LogEntryForm {
    #[prost(message, optional, tag = "1")]
    pub id: Option<LogIdForm>,
    #[prost(oneof = "Payload", tags = "2, 3")]
    pub payload: Option<Payload>,
}

/// No payload at all is a blank entry.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Payload {
    #[prost(bytes = "bytes", tag = "2")]
    Batch(Bytes),
    #[prost(message, tag = "3")]
    Membership(MembershipForm),
}

impl From<&LogEntry> for LogEntryForm {
    fn from(entry: &LogEntry) -> Self {
        let payload = match &entry.payload {
            openraft::EntryPayload::Blank => None,
            openraft::EntryPayload::Normal(command) => Some(Payload::Batch(command.0.clone())),
            openraft::EntryPayload::Membership(m) => Some(Payload::Membership(MembershipForm::new(m, None))),
        };
        LogEntryForm { id: Some((&entry.log_id).into()), payload }
    }
}

impl LogEntryForm {
    pub(crate) fn entry(self) -> Result<LogEntry, FormError> {
        let log_id = need(self.id, "log entry", "id")?.into();
        let payload = match self.payload {
            None => openraft::EntryPayload::Blank,
            Some(Payload::Batch(bytes)) => openraft::EntryPayload::Normal(Command(bytes)),
            Some(Payload::Membership(m)) => openraft::EntryPayload::Membership(m.membership()?),
        };
        Ok(LogEntry { log_id, payload })
    }
}

/// What is true of the whole log; written with every change of it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LogHeadForm {
    #[prost(message, optional, tag = "1")]
    pub vote: Option<VoteForm>,
    /// Everything up to here has been dropped.
    #[prost(message, optional, tag = "2")]
    pub purged: Option<LogIdForm>,
    /// The last entry; what lies behind it in the engine was truncated.
    #[prost(message, optional, tag = "3")]
    pub last: Option<LogIdForm>,
    /// Known committed when this was written: where a restart may apply to without asking anybody.
    #[prost(message, optional, tag = "4")]
    pub committed: Option<LogIdForm>,
}

/// Whose data this is. Lies in the data directory and, as a second witness, in the log.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct IdentityForm {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(string, tag = "2")]
    pub cluster_id: String,
    #[prost(uint64, tag = "3")]
    pub member: u64,
    #[prost(uint64, tag = "4")]
    pub incarnation: u64,
}

/// The head of a snapshot, of a checkpoint and of a backup.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StateHeadForm {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(string, tag = "2")]
    pub cluster_id: String,
    #[prost(message, optional, tag = "3")]
    pub applied: Option<LogIdForm>,
    #[prost(message, optional, tag = "4")]
    pub membership: Option<MembershipForm>,
    /// Every id that was ever a member's, in order: none of them is given again.
    #[prost(uint64, repeated, tag = "5")]
    pub known_members: Vec<u64>,
    /// Absent: nothing has aged yet.
    #[prost(message, optional, tag = "6")]
    pub clock: Option<AgeClockForm>,
}

/// How the time is counted by which request ids age.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct AgeClockForm {
    #[prost(uint64, tag = "1")]
    pub age_ms: u64,
    /// Of the last batch: its term, and its leader's clock.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    #[prost(uint64, tag = "3")]
    pub leader_ms: u64,
}

/// One stored object or one recorded request, in order of their keys.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RecordForm {
    #[prost(oneof = "Record", tags = "1, 2")]
    pub record: Option<Record>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Record {
    #[prost(message, tag = "1")]
    Object(ObjectForm),
    #[prost(message, tag = "2")]
    Request(RequestForm),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ObjectForm {
    #[prost(message, optional, tag = "1")]
    pub key: Option<KeyForm>,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    #[prost(uint64, tag = "3")]
    pub create_revision: u64,
    #[prost(uint64, tag = "4")]
    pub revision: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct RequestForm {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(uint64, tag = "2")]
    pub revision: u64,
    #[prost(uint64, tag = "3")]
    pub at_ms: u64,
    #[prost(bytes = "bytes", tag = "4")]
    pub reply: Bytes,
}
