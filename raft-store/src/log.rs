//! Raft's log and vote as openraft sees them: a cache of the latest entries over an engine that makes them
//! durable. The order of changes in the cache is the order in which the engine gets them, always: both
//! happen under one lock. Nothing is told durable here; only the engine tells.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::oneshot;

use crate::engine::{LogDone, LogEngine, LogWrite};
use crate::form::{FormError, LogEntryForm, LogHeadForm, decode};
use crate::raft::{LogEntry, LogId, TypeConfig, Vote};

/// Bytes of entries that one message to a peer carries, unless a single entry is larger.
const MESSAGE_BYTES: usize = 1 << 20;
/// Bytes of entries kept in memory for peers that lag; the rest is read back from the engine.
const CACHE_BYTES: usize = 8 << 20;

/// Cheap to clone; all clones are the same log.
#[derive(Clone)]
pub struct LogStore {
    inner: Arc<Mutex<Inner>>,
    engine: Arc<dyn LogEngine>,
}

struct Inner {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    committed: Option<LogId>,
    /// Where the log begins as long as nothing was purged.
    first: u64,
    /// The latest entries, without a gap, encoded.
    cache: BTreeMap<u64, Bytes>,
    cached_bytes: usize,
    /// Changes handed to the engine so far, and the appends among them that it may not have written yet,
    /// as (number of the change, its last index).
    submitted: u64,
    unwritten: VecDeque<(u64, u64)>,
    /// Entries up to here can be read back and may leave the cache.
    written: u64,
}

impl Inner {
    fn head(&self) -> LogHeadForm {
        LogHeadForm {
            vote: self.vote.as_ref().map(Into::into),
            purged: self.purged.as_ref().map(Into::into),
            last: self.last.as_ref().map(Into::into),
            committed: self.committed.as_ref().map(Into::into),
        }
    }

    fn put(&mut self, index: u64, entry: Bytes) {
        self.cached_bytes += entry.len();
        if let Some(old) = self.cache.insert(index, entry) {
            self.cached_bytes -= old.len();
        }
    }

    fn drop_from(&mut self, index: u64) {
        let gone = self.cache.split_off(&index);
        self.cached_bytes -= gone.values().map(Bytes::len).sum::<usize>();
        self.written = self.written.min(index.saturating_sub(1));
        for (_, last) in &mut self.unwritten {
            *last = (*last).min(index.saturating_sub(1));
        }
    }

    fn drop_upto(&mut self, index: u64) {
        let kept = self.cache.split_off(&(index + 1));
        let gone = std::mem::replace(&mut self.cache, kept);
        self.cached_bytes -= gone.values().map(Bytes::len).sum::<usize>();
    }

    /// Lets go of the oldest entries beyond the cache's size that the engine can read back.
    fn shrink(&mut self, engine: &dyn LogEngine) {
        let Some(written) = engine.written() else { return };
        while let Some((change, last)) = self.unwritten.front() {
            if *change > written {
                break;
            }
            self.written = self.written.max(*last);
            self.unwritten.pop_front();
        }
        while self.cached_bytes > CACHE_BYTES {
            match self.cache.first_key_value() {
                Some((index, _)) if *index <= self.written => {}
                _ => return,
            }
            if let Some((_, entry)) = self.cache.pop_first() {
                self.cached_bytes -= entry.len();
            }
        }
    }
}

fn encode(entry: &LogEntry) -> Bytes {
    LogEntryForm::from(entry).encode_to_vec().into()
}

fn decode_entry(bytes: Bytes) -> Result<LogEntry, FormError> {
    decode::<LogEntryForm>("log entry", bytes)?.entry()
}

impl LogStore {
    pub(crate) fn new(
        head: &LogHeadForm,
        entries: Vec<(u64, Bytes)>,
        engine: Arc<dyn LogEngine>,
    ) -> LogStore {
        let mut inner = Inner {
            vote: head.vote.map(Vote::from),
            purged: head.purged.map(LogId::from),
            last: head.last.map(LogId::from),
            committed: head.committed.map(LogId::from),
            first: entries.first().map_or(0, |(index, _)| *index),
            cache: BTreeMap::new(),
            cached_bytes: 0,
            submitted: 0,
            unwritten: VecDeque::new(),
            written: head.last.map_or(0, |last| last.index),
        };
        for (index, entry) in entries {
            inner.put(index, entry);
            inner.shrink(&*engine);
        }
        LogStore { inner: Arc::new(Mutex::new(inner)), engine }
    }

    /// Last entry of the log.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.inner.lock().last
    }

    pub(crate) fn purged(&self) -> Option<LogId> {
        self.inner.lock().purged
    }

    /// Whether a vote or an entry was ever written.
    pub(crate) fn is_pristine(&self) -> bool {
        let inner = self.inner.lock();
        inner.vote.is_none() && inner.last.is_none()
    }

    /// The id of the entry at `index`, if the log has it.
    pub(crate) fn id_at(&self, index: u64) -> io::Result<Option<LogId>> {
        Ok(self.entries(index..index + 1, usize::MAX)?.first().map(|entry| entry.log_id))
    }

    /// Writes what is only in memory (how far is committed) and waits until everything is durable.
    pub(crate) async fn flush(&self) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut inner = self.inner.lock();
            self.submit(&mut inner, Vec::new(), None, LogDone::Caller(sender));
        }
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the log has stopped")))
    }

    fn submit(&self, inner: &mut Inner, entries: Vec<(u64, Bytes)>, purge: Option<u64>, done: LogDone) {
        inner.submitted += 1;
        if let Some((last, _)) = entries.last() {
            inner.unwritten.push_back((inner.submitted, *last));
        }
        self.engine.submit(LogWrite { entries, head: inner.head(), purge, done });
    }

    fn entries(&self, range: impl RangeBounds<u64>, most_bytes: usize) -> io::Result<Vec<LogEntry>> {
        let inner = self.inner.lock();
        let start = match range.start_bound() {
            Bound::Included(i) => *i,
            Bound::Excluded(i) => i + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(i) => i + 1,
            Bound::Excluded(i) => *i,
            Bound::Unbounded => u64::MAX,
        };
        let start = start.max(inner.purged.map_or(inner.first, |id| id.index() + 1));
        let end = end.min(inner.last.map_or(0, |id| id.index() + 1));
        if start >= end {
            return Ok(Vec::new());
        }
        let cached_from = inner.cache.first_key_value().map_or(end, |(index, _)| (*index).clamp(start, end));
        // Read under the lock: a truncation must not come between the two halves.
        let old = if start < cached_from { self.engine.read(start, cached_from)? } else { Vec::new() };
        let mut bytes = 0;
        let mut entries = Vec::new();
        for encoded in old.iter().chain(inner.cache.range(cached_from..end).map(|(_, entry)| entry)) {
            bytes += encoded.len();
            if bytes > most_bytes && !entries.is_empty() {
                return Ok(entries);
            }
            let entry = decode_entry(encoded.clone())?;
            let expected = start + entries.len() as u64;
            if entry.log_id.index() != expected {
                let detail = format!("the log has a hole: entry {expected} is missing");
                return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
            }
            entries.push(entry);
        }
        if (entries.len() as u64) < end - start {
            let detail = format!("the log has a hole: entry {} is missing", start + entries.len() as u64);
            return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
        }
        Ok(entries)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<LogEntry>, io::Error> {
        self.entries(range, usize::MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.inner.lock().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, io::Error> {
        self.entries(start..end, MESSAGE_BYTES)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let inner = self.inner.lock();
        let last_log_id = inner.last.max(inner.purged);
        Ok(LogState { last_purged_log_id: inner.purged, last_log_id })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut inner = self.inner.lock();
            inner.vote = Some(*vote);
            self.submit(&mut inner, Vec::new(), None, LogDone::Caller(sender));
        }
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the log has stopped")))
    }

    /// Kept in memory and written with the next change that is written anyway: it saves a restart from
    /// asking, and is not worth an fsync of its own.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.inner.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.inner.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        let Some(last) = entries.last().map(|entry| entry.log_id) else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        let encoded: Vec<(u64, Bytes)> = entries.iter().map(|e| (e.log_id.index(), encode(e))).collect();
        let mut inner = self.inner.lock();
        if inner.last.is_none() {
            inner.first = encoded[0].0;
        }
        for (index, entry) in &encoded {
            inner.put(*index, entry.clone());
        }
        inner.last = Some(last);
        inner.shrink(&*self.engine);
        self.submit(&mut inner, encoded, None, LogDone::Raft(callback));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let mut inner = self.inner.lock();
        if inner.last <= last_log_id {
            return Ok(());
        }
        inner.drop_from(last_log_id.map_or(0, |id| id.index() + 1));
        inner.last = last_log_id;
        self.submit(&mut inner, Vec::new(), None, LogDone::Nobody);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let mut inner = self.inner.lock();
        inner.drop_upto(log_id.index());
        inner.purged = inner.purged.max(Some(log_id));
        if inner.last < Some(log_id) {
            inner.last = Some(log_id);
        }
        self.submit(&mut inner, Vec::new(), Some(log_id.index()), LogDone::Nobody);
        Ok(())
    }
}
