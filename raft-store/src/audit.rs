//! Who changed what, as far back as this member remembers: a bounded list in memory, fed by each transaction
//! that is applied here. It is no part of the replicated state, and nothing may be decided on it: a member
//! that was started remembers what its log still holds, and one that got a snapshot has a gap where it was.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::form::{BatchForm, FormError, LogEntryForm, decode};
use crate::raft::LogEntry;
use crate::transaction::{Revision, Transaction};

/// More transactions than this are not remembered: the oldest go first.
pub const AUDIT_MEMORY_COUNT: usize = 10_000;

/// One applied transaction: who asked for what, and when by the proposing leader's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    pub revision: Revision,
    pub at_ms: u64,
    pub actor: Box<str>,
    pub summary: Box<str>,
}

impl Audited {
    /// None: a transaction that does not say what it does is not for the audit.
    pub(crate) fn of(revision: Revision, at_ms: u64, transaction: &Transaction) -> Option<Audited> {
        let (actor, summary) = (transaction.actor.as_str().into(), transaction.summary.as_str().into());
        (!transaction.summary.is_empty()).then_some(Audited { revision, at_ms, actor, summary })
    }
}

/// The latest transactions, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Audit(VecDeque<Audited>);

impl Audit {
    /// What the log tells of entries up to `applied`, all of which were committed. Which of a batch's
    /// transactions a precondition had refused is not in the log: those that have any are left out.
    pub fn recall(entries: &[(Revision, Bytes)], applied: Revision) -> Result<Audit, FormError> {
        let mut audit = Audit::default();
        for (_, encoded) in entries.iter().take_while(|(index, _)| *index <= applied) {
            let entry: LogEntry = decode::<LogEntryForm>("log entry", encoded.clone())?.entry()?;
            let openraft::EntryPayload::Normal(command) = &entry.payload else { continue };
            let batch: BatchForm = decode("batch", command.0.clone())?;
            if batch.term != **entry.log_id.committed_leader_id() {
                continue;
            }
            let at_ms = batch.now_ms;
            for transaction in batch.transactions()?.iter().filter(|t| t.preconditions.is_empty()) {
                audit.add(Audited::of(entry.log_id.index(), at_ms, transaction));
            }
        }
        Ok(audit)
    }

    pub fn add(&mut self, audited: impl IntoIterator<Item = Audited>) {
        self.0.extend(audited);
        let surplus = self.0.len().saturating_sub(AUDIT_MEMORY_COUNT);
        self.0.drain(..surplus);
    }

    /// At least `most` of those before `before` (0: of all), the newest first. A revision's are never
    /// parted, so that the next page begins before the last one's revision.
    pub fn before(&self, before: Revision, most: usize) -> Vec<Audited> {
        let end = match before {
            0 => self.0.len(),
            _ => self.0.partition_point(|audited| audited.revision < before),
        };
        let mut page: Vec<Audited> = Vec::new();
        for audited in self.0.range(..end).rev() {
            if page.len() >= most && page.last().is_some_and(|last| last.revision != audited.revision) {
                break;
            }
            page.push(audited.clone());
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audited(revision: Revision) -> Audited {
        Audited { revision, at_ms: 0, actor: "a".into(), summary: revision.to_string().into() }
    }

    #[test]
    fn pages_part_no_revision() {
        let mut audit = Audit::default();
        audit.add([1, 2, 2, 2, 3].map(audited));
        let page = |before, most| audit.before(before, most).iter().map(|a| a.revision).collect::<Vec<_>>();
        assert_eq!(page(0, 1), [3]);
        assert_eq!(page(0, 2), [3, 2, 2, 2]);
        assert_eq!(page(2, 9), [1]);
        assert_eq!(page(1, 9), []);
        assert_eq!(page(99, 9).len(), 5);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut audit = Audit::default();
        audit.add((1..=AUDIT_MEMORY_COUNT as u64 + 5).map(audited));
        assert_eq!(audit.0.len(), AUDIT_MEMORY_COUNT);
        assert_eq!(audit.before(0, usize::MAX).last().map(|a| a.revision), Some(6));
    }
}
