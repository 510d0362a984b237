//! The seam between the store and what keeps its bytes. Two engines stand behind it: files on a disk, and
//! memory for simulations. Nothing outside the engines knows which one it talks to.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::form::{IdentityForm, LogHeadForm};
use crate::raft::TypeConfig;
use crate::state::State;

/// One change of the log. Changes are written in the order in which they are submitted.
pub(crate) struct LogWrite {
    /// Entries to append, as (index, encoded `LogEntryForm`); what lay at or behind the first is gone.
    pub entries: Vec<(u64, Bytes)>,
    /// The head as it is after this change.
    pub head: LogHeadForm,
    /// Entries up to here may be dropped from the engine.
    pub purge: Option<u64>,
    pub done: LogDone,
}

/// Whom to tell once a change, and all before it, is durable.
pub(crate) enum LogDone {
    Nobody,
    Raft(IOFlushed<TypeConfig>),
    Caller(oneshot::Sender<io::Result<()>>),
}

impl LogDone {
    pub fn complete(self, result: io::Result<()>) {
        match self {
            LogDone::Nobody => {}
            LogDone::Raft(flushed) => flushed.io_completed(result),
            // The caller may have gone; the change is done all the same.
            LogDone::Caller(caller) => drop(caller.send(result)),
        }
    }
}

/// Keeps the log and the vote.
pub(crate) trait LogEngine: Send + Sync + 'static {
    /// Takes the change over and returns at once; errors arrive by `done`. After one error all
    /// later changes fail: what follows a hole must never be called durable.
    fn submit(&self, write: LogWrite);

    /// Entries `from..to`, all of them of changes that are `written`.
    fn read(&self, from: u64, to: u64) -> io::Result<Vec<Bytes>>;

    /// How many changes have been written, so that `read` finds their entries. `None` = the engine
    /// does not read back: entries must stay in memory until they are purged.
    fn written(&self) -> Option<u64>;

    /// Waits until everything submitted is durable or has failed. No change is taken afterwards.
    fn close(&self) -> oneshot::Receiver<()>;
}

/// Keeps checkpoints of the state.
pub(crate) trait StateEngine: Send + Sync + 'static {
    /// Makes `state` the durable checkpoint, in place of any earlier one. With `replace` it is
    /// written without regard to what was there (a snapshot from elsewhere).
    fn checkpoint(&self, state: Arc<State>, replace: bool) -> oneshot::Receiver<io::Result<()>>;

    fn close(&self) -> oneshot::Receiver<()>;
}

/// What an engine found when it was opened.
pub(crate) struct Opened {
    pub identity: IdentityForm,
    pub head: LogHeadForm,
    /// Entries after `head.purged` up to `head.last`.
    pub entries: Vec<(u64, Bytes)>,
    /// The last durable checkpoint. `None` = there is none, or it was set aside.
    pub checkpoint: Option<State>,
    /// Why the checkpoint was set aside, for the alarm.
    pub set_aside: Option<String>,
    pub log: Arc<dyn LogEngine>,
    pub state: Arc<dyn StateEngine>,
    pub figures: Arc<IoFigures>,
}

/// Syncs whose durations are kept, for their percentile.
const LATEST_SYNCS: usize = 1000;

/// Counters of an engine, for `Status` and the tests.
#[derive(Debug, Default)]
pub(crate) struct IoFigures {
    log_syncs: AtomicU64,
    log_changes: AtomicU64,
    log_bytes: AtomicU64,
    last_sync_us: AtomicU64,
    slowest_sync_us: AtomicU64,
    latest_syncs: Mutex<VecDeque<(Instant, u64)>>,
    checkpoints: AtomicU64,
    last_checkpoint_us: AtomicU64,
    last_checkpoint_at: Mutex<Option<Instant>>,
    failure: Mutex<Option<String>>,
}

/// What the engine has done since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsyncFigures {
    /// Times that the log was made durable.
    pub log_syncs: u64,
    /// Appends, votes and purges that these made durable: more than one each under load.
    pub log_changes: u64,
    /// Bytes of entries appended.
    pub log_bytes: u64,
    pub last_sync_us: u64,
    pub slowest_sync_us: u64,
    pub checkpoints: u64,
    pub last_checkpoint_us: u64,
}

impl IoFigures {
    pub fn synced(&self, changes: u64, bytes: u64, us: u64) {
        self.log_syncs.fetch_add(1, Ordering::Relaxed);
        self.log_changes.fetch_add(changes, Ordering::Relaxed);
        self.log_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.last_sync_us.store(us, Ordering::Relaxed);
        self.slowest_sync_us.fetch_max(us, Ordering::Relaxed);
        let mut latest = self.latest_syncs.lock();
        if latest.len() == LATEST_SYNCS {
            latest.pop_front();
        }
        latest.push_back((Instant::now(), us));
    }

    pub fn sync_p99(&self) -> Option<Duration> {
        p99(self.latest_syncs.lock().iter().map(|(_, us)| *us).collect())
    }

    /// How many of the latest syncs ended within `window`, and their 99th percentile.
    pub fn syncs_within(&self, window: Duration) -> (usize, Duration) {
        let latest = self.latest_syncs.lock();
        let recent = latest.iter().rev().take_while(|(at, _)| at.elapsed() <= window);
        let recent: Vec<u64> = recent.map(|(_, us)| *us).collect();
        (recent.len(), p99(recent).unwrap_or_default())
    }

    /// How long ago the last checkpoint became durable. None: there was none since the opening.
    pub fn checkpoint_age(&self) -> Option<Duration> {
        self.last_checkpoint_at.lock().map(|at| at.elapsed())
    }

    pub fn checkpointed(&self, us: u64) {
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.last_checkpoint_us.store(us, Ordering::Relaxed);
        *self.last_checkpoint_at.lock() = Some(Instant::now());
    }

    /// Records the first failure; the later ones only follow from it.
    pub fn failed(&self, what: String) {
        tracing::error!("{what}");
        self.failure.lock().get_or_insert(what);
    }

    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    pub fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    pub fn read(&self) -> FsyncFigures {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FsyncFigures {
            log_syncs: get(&self.log_syncs),
            log_changes: get(&self.log_changes),
            log_bytes: get(&self.log_bytes),
            last_sync_us: get(&self.last_sync_us),
            slowest_sync_us: get(&self.slowest_sync_us),
            checkpoints: get(&self.checkpoints),
            last_checkpoint_us: get(&self.last_checkpoint_us),
        }
    }
}

fn p99(mut us: Vec<u64>) -> Option<Duration> {
    let last = us.len().checked_sub(1)?;
    let (_, p99, _) = us.select_nth_unstable(last * 99 / 100);
    Some(Duration::from_micros(*p99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_slow_sync_is_no_slow_disk_and_old_ones_are_forgotten() {
        let figures = IoFigures::default();
        let window = Duration::from_secs(30);
        assert_eq!(figures.syncs_within(window), (0, Duration::ZERO));
        for us in [1000, 900_000, 2000] {
            figures.synced(1, 100, us);
        }
        assert_eq!(figures.syncs_within(window), (3, Duration::from_millis(2)));
        figures.synced(1, 100, 800_000);
        assert_eq!(figures.syncs_within(window), (4, Duration::from_millis(800)));
        tokio::time::advance(Duration::from_secs(31)).await;
        figures.synced(1, 100, 500);
        assert_eq!(figures.syncs_within(window), (1, Duration::from_micros(500)));
        assert_eq!(figures.sync_p99(), Some(Duration::from_millis(800)));
    }
}
