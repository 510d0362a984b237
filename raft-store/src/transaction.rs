//! What is asked of the store and what it answers: transactions, preconditions, outcomes.
//! No rule of the product may ever come in here: preconditions compare revisions and nothing else.

use bytes::Bytes;

use crate::key::Key;

/// Number of a change: the index of its Raft log entry. 0 is before everything ("absent").
pub type Revision = u64;

/// One stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub value: Bytes,
    /// Revision at which the key came to be; kept over later puts, new after a delete.
    pub create_revision: Revision,
    /// Revision of the last put.
    pub revision: Revision,
}

/// What must hold when a transaction is applied. Checked on the state that the transaction meets,
/// which includes the earlier transactions of the same proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// The key's last change is exactly this one; 0 means that the key must be absent.
    RevisionIs {
        key: Key,
        revision: Revision,
    },
    Exists(Key),
    Absent(Key),
}

impl Precondition {
    pub fn key(&self) -> &Key {
        match self {
            Precondition::RevisionIs { key, .. } | Precondition::Exists(key) | Precondition::Absent(key) => {
                key
            }
        }
    }
}

/// A change that happens whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    pub preconditions: Vec<Precondition>,
    /// Applied in order; the last put of a key wins.
    pub puts: Vec<(Key, Bytes)>,
    /// Deleting what is not there is no error and makes no event.
    pub deletes: Vec<Key>,
    /// A transaction whose id was applied within the last ten minutes is not applied again:
    /// it is answered with the recorded outcome.
    pub request_id: Option<String>,
    /// Recorded with the request id and given back to whoever repeats it; at most 4 KiB.
    pub reply: Bytes,
    /// Who asked, for the audit trail; kept in the log entry only.
    pub actor: String,
    /// What was asked, in one line; kept in the log entry only.
    pub summary: String,
}

/// What a precondition wanted to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Revision(Revision),
    Exists,
    Absent,
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expected::Revision(0) | Expected::Absent => write!(f, "absent"),
            Expected::Revision(revision) => write!(f, "at revision {revision}"),
            Expected::Exists => write!(f, "present"),
        }
    }
}

/// What became of one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Applied {
        /// Revision of the change; for a duplicate, of the first time.
        revision: Revision,
        /// The transaction's `reply`; for a duplicate, the recorded one.
        reply: Bytes,
        /// The request id had been applied before; nothing was changed now.
        duplicate: bool,
    },
    /// The first precondition that did not hold. Nothing of the transaction was applied.
    Conflict {
        key: Key,
        expected: Expected,
        /// The key's revision as it was met; 0 = absent.
        actual: Revision,
    },
}
