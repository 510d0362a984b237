//! What is too large, too long or too many. Refused before anything is proposed, never in `apply`:
//! a limit that changes between versions must not make two replicas differ.

use crate::key::{Key, MAX_NAME};
use crate::transaction::Transaction;

/// Sizes are in bytes. The defaults are the product's; a simulation may make them smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// One value: 256 KiB.
    pub value: usize,
    /// One transaction, everything in it: 1 MiB.
    pub transaction: usize,
    /// Operations (preconditions, puts and deletes together) in one transaction.
    pub operations: usize,
    /// All transactions of one proposal (= one log entry): 2 MiB, so that an entry fits one message.
    pub batch: usize,
    /// The reply recorded with a request id: 4 KiB.
    pub reply: usize,
    /// `actor`, `summary` and `request_id`, each: 1 KiB.
    pub text: usize,
    /// Proposals in flight before new ones are refused as busy.
    pub proposals: usize,
    /// Messages waiting for one watcher before it is cut.
    pub watcher_queue: usize,
    /// Watchers at once.
    pub watchers: usize,
    /// Events kept for watchers that resume.
    pub ring_events: usize,
    /// Bytes of values kept for watchers that resume.
    pub ring_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            value: 256 << 10,
            transaction: 1 << 20,
            operations: 4096,
            batch: 2 << 20,
            reply: 4 << 10,
            text: 1 << 10,
            proposals: 1024,
            watcher_queue: 256,
            watchers: 16_384,
            ring_events: 16_384,
            ring_bytes: 64 << 20,
        }
    }
}

/// A request that is refused for its size or form; nothing has happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("collection name `{collection}` must be 1 to {MAX_NAME} characters of a-z and _")]
    Collection { collection: String },
    #[error(
        "name `{name}` must be 1 to {MAX_NAME} lower-case letters, digits, hyphens and dots, \
         each part starting and ending with a letter or a digit (RFC 1123)"
    )]
    Name { name: String },
    #[error("the value of {key} has {size} bytes; at most {limit} are allowed")]
    Value { key: Key, size: usize, limit: usize },
    #[error("the transaction has {size} bytes; at most {limit} are allowed")]
    Transaction { size: usize, limit: usize },
    #[error("the transaction has {count} operations; at most {limit} are allowed")]
    Operations { count: usize, limit: usize },
    #[error("{key} is put and deleted in the same transaction")]
    Contradiction { key: Key },
    #[error("the proposal has {size} bytes; at most {limit} are allowed")]
    Batch { size: usize, limit: usize },
    #[error("the reply has {size} bytes; at most {limit} are allowed")]
    Reply { size: usize, limit: usize },
    #[error("{field} has {size} bytes; at most {limit} are allowed")]
    Text { field: &'static str, size: usize, limit: usize },
    #[error("a request id must not be empty")]
    EmptyRequestId,
    #[error("{limit} proposals are already waiting; try again")]
    Busy { limit: usize },
}

impl Limits {
    /// Checks every transaction and their sum.
    pub(crate) fn check(&self, transactions: &[Transaction]) -> Result<(), LimitError> {
        let mut size = 0;
        for transaction in transactions {
            size += self.check_one(transaction)?;
        }
        at_most(size, self.batch, |size, limit| LimitError::Batch { size, limit })
    }

    fn check_one(&self, t: &Transaction) -> Result<usize, LimitError> {
        let count = t.preconditions.len() + t.puts.len() + t.deletes.len();
        at_most(count, self.operations, |count, limit| LimitError::Operations { count, limit })?;
        at_most(t.reply.len(), self.reply, |size, limit| LimitError::Reply { size, limit })?;
        let id = t.request_id.as_deref();
        if id == Some("") {
            return Err(LimitError::EmptyRequestId);
        }
        for (field, text) in
            [("actor", t.actor.as_str()), ("summary", &t.summary), ("request_id", id.unwrap_or(""))]
        {
            at_most(text.len(), self.text, |size, limit| LimitError::Text { field, size, limit })?;
        }
        let mut size = t.reply.len() + t.actor.len() + t.summary.len() + id.map_or(0, str::len);
        for key in t.preconditions.iter().map(|p| p.key()).chain(&t.deletes) {
            key.check()?;
            size += key.collection.len() + key.name.len();
        }
        for (key, value) in &t.puts {
            key.check()?;
            at_most(value.len(), self.value, |size, limit| LimitError::Value {
                key: key.clone(),
                size,
                limit,
            })?;
            size += key.collection.len() + key.name.len() + value.len();
        }
        if !t.deletes.is_empty() {
            let deleted: std::collections::BTreeSet<&Key> = t.deletes.iter().collect();
            if let Some((key, _)) = t.puts.iter().find(|(key, _)| deleted.contains(key)) {
                return Err(LimitError::Contradiction { key: key.clone() });
            }
        }
        at_most(size, self.transaction, |size, limit| LimitError::Transaction { size, limit })?;
        Ok(size)
    }
}

fn at_most(
    have: usize,
    limit: usize,
    error: impl FnOnce(usize, usize) -> LimitError,
) -> Result<(), LimitError> {
    if have > limit { Err(error(have, limit)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn put(name: &str, size: usize) -> Transaction {
        Transaction {
            puts: vec![(Key::new("vm", name).unwrap(), Bytes::from(vec![0; size]))],
            ..Transaction::default()
        }
    }

    #[test]
    fn sizes_are_refused_by_name() {
        let limits = Limits::default();
        assert_eq!(limits.check(&[put("a", 256 << 10)]), Ok(()));
        assert!(matches!(limits.check(&[put("a", (256 << 10) + 1)]), Err(LimitError::Value { .. })));

        let mut wide = Transaction::default();
        for i in 0..5 {
            wide.puts.extend(put(&format!("a{i}"), 250_000).puts);
        }
        assert!(matches!(limits.check(&[wide]), Err(LimitError::Transaction { .. })));

        let many: Vec<_> = (0..9).map(|i| put(&format!("a{i}"), 250_000)).collect();
        assert!(matches!(limits.check(&many), Err(LimitError::Batch { .. })));

        let reply = Transaction { reply: Bytes::from(vec![0; 4097]), ..Transaction::default() };
        assert!(matches!(limits.check(&[reply]), Err(LimitError::Reply { .. })));

        let id = Transaction { request_id: Some(String::new()), ..Transaction::default() };
        assert_eq!(limits.check(&[id]), Err(LimitError::EmptyRequestId));
    }

    #[test]
    fn a_key_is_not_put_and_deleted_at_once() {
        let mut t = put("a", 1);
        t.deletes = vec![Key::new("vm", "a").unwrap()];
        assert!(matches!(Limits::default().check(&[t]), Err(LimitError::Contradiction { .. })));
    }
}
