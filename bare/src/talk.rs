//! What clients say to a member, and what it answers. A transaction is the store's own; nothing is decided here.

use bytes::Bytes;
use raft_store::{Key, LimitError, Precondition, Transaction};

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Call {
    #[prost(oneof = "Ask", tags = "1, 2, 3, 4, 5")]
    pub ask: Option<Ask>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Ask {
    #[prost(message, tag = "1")]
    Write(Write),
    #[prost(message, tag = "2")]
    Read(Read),
    #[prost(message, tag = "3")]
    Watch(Watch),
    #[prost(message, tag = "4")]
    Change(Change),
    #[prost(bool, tag = "5")]
    Status(bool),
}

/// One transaction. Taken by the leader alone.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Write {
    #[prost(string, optional, tag = "1")]
    pub request_id: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub when: Vec<When>,
    #[prost(message, repeated, tag = "3")]
    pub puts: Vec<Put>,
    #[prost(message, repeated, tag = "4")]
    pub deletes: Vec<Name>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Name {
    #[prost(string, tag = "1")]
    pub collection: String,
    #[prost(string, tag = "2")]
    pub name: String,
}

/// The key must be at this revision; 0: it must be absent.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct When {
    #[prost(message, optional, tag = "1")]
    pub key: Option<Name>,
    #[prost(uint64, tag = "2")]
    pub revision: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Put {
    #[prost(message, optional, tag = "1")]
    pub key: Option<Name>,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// Reads keys at one revision.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Read {
    #[prost(message, repeated, tag = "1")]
    pub keys: Vec<Name>,
    /// What this member has, however old.
    #[prost(bool, tag = "2")]
    pub local: bool,
}

/// Follows a collection, from after a revision; answers come until the watch ends.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Watch {
    #[prost(string, tag = "1")]
    pub collection: String,
    /// Names that start with this.
    #[prost(string, tag = "2")]
    pub prefix: String,
    /// None: from now on; the first answer is a bookmark that tells where that is.
    #[prost(uint64, optional, tag = "3")]
    pub from: Option<u64>,
}

/// Changes who takes part. On the leader, but for `found`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Change {
    #[prost(enumeration = "Verb", tag = "1")]
    pub verb: i32,
    #[prost(uint64, tag = "2")]
    pub member: u64,
    #[prost(string, tag = "3")]
    pub address: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Verb {
    Unknown = 0,
    Found = 1,
    AddLearner = 2,
    Promote = 3,
    Remove = 4,
    Transfer = 5,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Answer {
    #[prost(oneof = "Tell", tags = "1, 2, 3, 4, 5, 6")]
    pub tell: Option<Tell>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Tell {
    #[prost(message, tag = "1")]
    Written(Written),
    #[prost(message, tag = "2")]
    Values(Values),
    #[prost(message, tag = "3")]
    Events(Events),
    #[prost(message, tag = "4")]
    Status(Status),
    #[prost(message, tag = "5")]
    Failed(Failed),
    #[prost(bool, tag = "6")]
    Done(bool),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Written {
    /// Of the change; with `conflict`, of the key that was in the way.
    #[prost(uint64, tag = "1")]
    pub revision: u64,
    #[prost(bool, tag = "2")]
    pub conflict: bool,
    #[prost(bool, tag = "3")]
    pub duplicate: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Values {
    /// The revision at which all of them were read.
    #[prost(uint64, tag = "1")]
    pub revision: u64,
    #[prost(message, repeated, tag = "2")]
    pub values: Vec<Value>,
}

/// Of an absent key: revision 0 and no value.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Value {
    #[prost(uint64, tag = "1")]
    pub revision: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// A revision's events, whole; without events: a bookmark.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Events {
    #[prost(uint64, tag = "1")]
    pub revision: u64,
    #[prost(message, repeated, tag = "2")]
    pub events: Vec<Event>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Event {
    #[prost(message, optional, tag = "1")]
    pub key: Option<Name>,
    /// Absent: deleted.
    #[prost(message, optional, tag = "2")]
    pub new: Option<Value>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Status {
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// 0: none is known.
    #[prost(uint64, tag = "2")]
    pub leader: u64,
    #[prost(string, tag = "3")]
    pub leader_address: String,
    #[prost(bool, tag = "4")]
    pub leads: bool,
    #[prost(uint64, tag = "5")]
    pub applied: u64,
    #[prost(uint64, repeated, tag = "6")]
    pub voters: Vec<u64>,
    #[prost(uint64, repeated, tag = "7")]
    pub members: Vec<u64>,
    #[prost(string, repeated, tag = "8")]
    pub alarms: Vec<String>,
    #[prost(uint64, tag = "9")]
    pub log_syncs: u64,
    #[prost(uint64, tag = "10")]
    pub keys: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Failed {
    #[prost(enumeration = "Why", tag = "1")]
    pub why: i32,
    #[prost(string, tag = "2")]
    pub text: String,
    /// With `NotLeader`: where to go, if that is known. With `Compacted`: the oldest revision to watch from.
    #[prost(string, tag = "3")]
    pub leader: String,
    #[prost(uint64, tag = "4")]
    pub oldest: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Why {
    /// It may have been done, or be done yet.
    Unknown = 0,
    /// Nothing was done: ask the leader.
    NotLeader = 1,
    /// Nothing was done and asking again the same way helps nothing.
    Refused = 2,
    /// Nothing was done: no leader, no quorum, or too much at once.
    Unavailable = 3,
    /// The watch is too old: list and watch from there.
    Compacted = 4,
    /// The watch is over: go on elsewhere.
    Ended = 5,
}

impl From<&Key> for Name {
    fn from(key: &Key) -> Self {
        Name { collection: key.collection.to_string(), name: key.name.to_string() }
    }
}

impl Name {
    pub fn new(collection: &str, name: &str) -> Name {
        Name { collection: collection.to_owned(), name: name.to_owned() }
    }

    pub fn key(&self) -> Result<Key, LimitError> {
        Key::new(&self.collection, &self.name)
    }
}

fn key(name: Option<Name>) -> Result<Key, LimitError> {
    name.unwrap_or_default().key()
}

impl Write {
    pub fn transaction(self) -> Result<Transaction, LimitError> {
        let when = |When { key: name, revision }| {
            let key = key(name)?;
            Ok(match revision {
                0 => Precondition::Absent(key),
                revision => Precondition::RevisionIs { key, revision },
            })
        };
        Ok(Transaction {
            request_id: self.request_id,
            preconditions: self.when.into_iter().map(when).collect::<Result<_, LimitError>>()?,
            puts: self
                .puts
                .into_iter()
                .map(|p| Ok((key(p.key)?, p.value)))
                .collect::<Result<_, LimitError>>()?,
            deletes: self.deletes.iter().map(Name::key).collect::<Result<_, LimitError>>()?,
            ..Transaction::default()
        })
    }
}
