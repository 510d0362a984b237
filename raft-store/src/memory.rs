//! The engine for simulations: a disk in memory that knows what was "fsynced". No threads, no clock but
//! tokio's. A crash loses what was not synced, and cuts off whoever still holds the disk.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::engine::{IoFigures, LogDone, LogEngine, LogWrite, Opened, StateEngine};
use crate::form::{IdentityForm, LogHeadForm};
use crate::open::OpenError;
use crate::state::State;

static DISKS: AtomicU64 = AtomicU64::new(1);

/// A disk that lives as long as one of its clones. Open a store on it, crash it, open it again.
#[derive(Clone)]
pub struct MemoryDisk {
    inner: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    /// Stands in for the randomness of a real disk's incarnation, so that a run can be repeated.
    serial: u64,
    sync_delay: Duration,
    /// Counts the opens; a store of an earlier one can do nothing any more.
    tenure: u64,
    full: bool,
    identity: Option<IdentityForm>,
    durable: Log,
    checkpoint: Option<State>,
    pending: Vec<LogWrite>,
    syncing: bool,
}

#[derive(Default)]
struct Log {
    head: LogHeadForm,
    entries: BTreeMap<u64, Bytes>,
}

impl Log {
    fn apply(&mut self, write: &LogWrite) {
        if let Some((first, _)) = write.entries.first() {
            self.entries.split_off(first);
        }
        self.entries.extend(write.entries.iter().cloned());
        if let Some(upto) = write.purge {
            self.entries = self.entries.split_off(&(upto + 1));
        }
        self.head = write.head.clone();
        match self.head.last.map(|last| last.index) {
            Some(last) => drop(self.entries.split_off(&(last + 1))),
            None => self.entries.clear(),
        }
    }
}

impl Default for MemoryDisk {
    fn default() -> Self {
        MemoryDisk::new()
    }
}

impl std::fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryDisk").finish_non_exhaustive()
    }
}

impl MemoryDisk {
    /// An empty disk whose syncs take no time.
    pub fn new() -> MemoryDisk {
        let serial = DISKS.fetch_add(1, Ordering::Relaxed);
        MemoryDisk { inner: Arc::new(Mutex::new(Disk { serial, ..Disk::default() })) }
    }

    /// Every sync takes this long, in tokio's time; what waits meanwhile goes with the next one.
    pub fn set_sync_delay(&self, delay: Duration) {
        self.inner.lock().sync_delay = delay;
    }

    /// While full, every write fails.
    pub fn set_full(&self, full: bool) {
        self.inner.lock().full = full;
    }

    /// The power goes: what was not synced is lost, and a store still open on the disk gets errors.
    pub fn crash(&self) {
        let lost = {
            let mut disk = self.inner.lock();
            disk.tenure += 1;
            disk.syncing = false;
            std::mem::take(&mut disk.pending)
        };
        for write in lost {
            write.done.complete(Err(gone()));
        }
    }

    /// The disk is replaced by an empty one.
    pub fn wipe(&self) {
        self.crash();
        let mut disk = self.inner.lock();
        let (sync_delay, tenure) = (disk.sync_delay, disk.tenure);
        let serial = DISKS.fetch_add(1, Ordering::Relaxed);
        *disk = Disk { serial, sync_delay, tenure, ..Disk::default() };
    }

    /// Loses the checkpoint only, as a damaged state database would.
    pub fn lose_checkpoint(&self) {
        self.inner.lock().checkpoint = None;
    }

    pub(crate) fn open(&self, cluster_id: &str, member: u64) -> Result<Opened, OpenError> {
        let figures = Arc::new(IoFigures::default());
        let mut disk = self.inner.lock();
        let fresh =
            IdentityForm { version: 1, cluster_id: cluster_id.to_owned(), member, incarnation: disk.serial };
        let identity = disk.identity.get_or_insert(fresh).clone();
        crate::open::check_identity(&identity, cluster_id, member)?;
        disk.tenure += 1;
        disk.pending.clear();
        disk.syncing = false;
        let handle = Arc::new(Handle { disk: self.clone(), tenure: disk.tenure, figures: figures.clone() });
        Ok(Opened {
            identity,
            head: disk.durable.head.clone(),
            entries: disk.durable.entries.iter().map(|(i, e)| (*i, e.clone())).collect(),
            checkpoint: disk.checkpoint.clone(),
            set_aside: None,
            log: handle.clone(),
            state: handle,
            figures,
        })
    }

    /// Puts a state there as if it had been checkpointed: for restoring a backup.
    pub(crate) fn seed(&self, identity: IdentityForm, head: LogHeadForm, state: State) {
        let mut disk = self.inner.lock();
        disk.identity = Some(IdentityForm { incarnation: disk.serial, ..identity });
        disk.durable = Log { head, entries: BTreeMap::new() };
        disk.checkpoint = Some(state);
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.inner.lock().identity.is_none()
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.inner.lock().serial
    }
}

fn gone() -> io::Error {
    io::Error::other("the simulated disk was crashed or opened again")
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full")
}

struct Handle {
    disk: MemoryDisk,
    tenure: u64,
    figures: Arc<IoFigures>,
}

impl Handle {
    /// Makes what waits durable; `None` when this tenure is over.
    fn sync(disk: &MemoryDisk, tenure: u64, figures: &IoFigures) -> Option<Vec<(LogDone, io::Result<()>)>> {
        let mut disk = disk.inner.lock();
        if disk.tenure != tenure {
            return None;
        }
        let pending = std::mem::take(&mut disk.pending);
        let failed = disk.full;
        let delay = u64::try_from(disk.sync_delay.as_micros()).unwrap_or(u64::MAX);
        let bytes = pending.iter().flat_map(|w| &w.entries).map(|(_, e)| e.len() as u64).sum();
        figures.synced(pending.len() as u64, bytes, delay);
        let mut done = Vec::with_capacity(pending.len());
        for write in pending {
            if failed {
                figures.failed("writing the log failed: the disk is full".into());
                disk.tenure = tenure + 1;
            } else {
                disk.durable.apply(&write);
            }
            done.push((write.done, if failed { Err(full()) } else { Ok(()) }));
        }
        Some(done)
    }
}

impl LogEngine for Handle {
    fn submit(&self, write: LogWrite) {
        let delay = {
            let mut disk = self.disk.inner.lock();
            if disk.tenure != self.tenure {
                drop(disk);
                return write.done.complete(Err(gone()));
            }
            disk.pending.push(write);
            if disk.sync_delay.is_zero() {
                None
            } else if std::mem::replace(&mut disk.syncing, true) {
                return;
            } else {
                Some(disk.sync_delay)
            }
        };
        let (disk, tenure, figures) = (self.disk.clone(), self.tenure, self.figures.clone());
        let Some(delay) = delay else {
            let done = Handle::sync(&disk, tenure, &figures).unwrap_or_default();
            return done.into_iter().for_each(|(done, result)| done.complete(result));
        };
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(delay).await;
                let Some(done) = Handle::sync(&disk, tenure, &figures) else {
                    return;
                };
                done.into_iter().for_each(|(done, result)| done.complete(result));
                let mut disk = disk.inner.lock();
                if disk.tenure != tenure || disk.pending.is_empty() {
                    disk.syncing = false;
                    return;
                }
            }
        });
    }

    fn read(&self, from: u64, to: u64) -> io::Result<Vec<Bytes>> {
        let disk = self.disk.inner.lock();
        Ok(disk.durable.entries.range(from..to).map(|(_, entry)| entry.clone()).collect())
    }

    fn written(&self) -> Option<u64> {
        None
    }

    fn close(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let done = Handle::sync(&self.disk, self.tenure, &self.figures).unwrap_or_default();
        done.into_iter().for_each(|(done, result)| done.complete(result));
        let mut disk = self.disk.inner.lock();
        if disk.tenure == self.tenure {
            disk.tenure += 1;
        }
        // Nobody listens when the store is merely dropped.
        let _ = sender.send(());
        receiver
    }
}

impl StateEngine for Handle {
    fn checkpoint(&self, state: Arc<State>, _replace: bool) -> oneshot::Receiver<io::Result<()>> {
        let (sender, receiver) = oneshot::channel();
        let mut disk = self.disk.inner.lock();
        let result = if disk.tenure != self.tenure {
            Err(gone())
        } else if disk.full {
            Err(full())
        } else {
            disk.checkpoint = Some((*state).clone());
            self.figures.checkpointed(0);
            Ok(())
        };
        let _ = sender.send(result);
        receiver
    }

    fn close(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let _ = sender.send(());
        receiver
    }
}
