//! The log and the vote in raft-engine: one writer thread takes all that waits, writes it as one batch and
//! makes it durable by one fdatasync. After an error it writes nothing more: what comes behind a hole
//! must not be called durable.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use protobuf::well_known_types::BytesValue;
use raft_engine::{Command, Config, Engine, LogBatch, MessageExt, ReadableSize, RecoveryMode};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::engine::{IoFigures, LogDone, LogEngine, LogWrite};
use crate::form::{IdentityForm, LogHeadForm, decode};
use crate::member::MemberId;
use crate::open::OpenError;

/// raft-engine keeps many logs; ours is this one.
const GROUP: u64 = 1;
const HEAD: &[u8] = b"head";
const WITNESS: &[u8] = b"identity";
/// One batch carries at most about this much.
const BATCH_BYTES: usize = 8 << 20;

/// An entry as raft-engine wants it: a message that knows its index. The index comes first, 8 bytes.
struct RawEntry;

impl MessageExt for RawEntry {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().map_or(0, |index| u64::from_be_bytes(*index))
    }
}

fn raw(index: u64, entry: &Bytes) -> BytesValue {
    let mut value = Vec::with_capacity(8 + entry.len());
    value.extend_from_slice(&index.to_be_bytes());
    value.extend_from_slice(entry);
    BytesValue { value, ..BytesValue::default() }
}

pub(super) fn exists(dir: &Path) -> io::Result<bool> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    for entry in entries {
        if entry?.path().extension().is_some_and(|extension| extension == "raftlog") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An open log, before its writer starts.
pub(super) struct Log {
    engine: Arc<Engine>,
    dir: PathBuf,
    member: MemberId,
}

pub(super) fn open(dir: &Path, member: MemberId) -> Result<Log, OpenError> {
    let config = Config {
        dir: dir.to_string_lossy().into_owned(),
        recovery_mode: RecoveryMode::TolerateTailCorruption,
        recovery_threads: 1,
        // Zeroed segments, made ahead and used again: a sync of a file that grows costs far more.
        enable_log_recycle: true,
        prefill_for_recycle: true,
        target_file_size: ReadableSize::mb(8),
        purge_threshold: ReadableSize::mb(64),
        prefill_limit: Some(ReadableSize::mb(16)),
        // Entries are small and compressing them costs more than it saves.
        batch_compression_threshold: ReadableSize(0),
        ..Config::default()
    };
    let damaged = |detail: String| OpenError::LogDamaged { path: dir.to_owned(), member, detail };
    // raft-engine panics on some damage.
    match catch_unwind(AssertUnwindSafe(|| Engine::open(config))) {
        Ok(Ok(engine)) => Ok(Log { engine: Arc::new(engine), dir: dir.to_owned(), member }),
        Ok(Err(raft_engine::Error::Io(source))) => Err(OpenError::Io { path: dir.to_owned(), source }),
        Ok(Err(error)) if error.to_string().contains("lock") => {
            Err(OpenError::InUse { path: dir.to_owned() })
        }
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_) => Err(damaged("raft-engine gave up on it".into())),
    }
}

impl Log {
    fn damaged(&self, detail: String) -> OpenError {
        OpenError::LogDamaged { path: self.dir.clone(), member: self.member, detail }
    }

    /// Whose log this is, if that was ever written.
    pub fn identity(&self) -> Result<Option<IdentityForm>, OpenError> {
        let bytes = self.engine.get(GROUP, WITNESS);
        bytes.map(|b| decode("identity", &b[..])).transpose().map_err(|e| self.damaged(e.to_string()))
    }

    /// Makes the log somebody's.
    pub fn witness(&mut self, identity: &IdentityForm, head: &LogHeadForm) -> io::Result<()> {
        let mut batch = LogBatch::default();
        batch.put(GROUP, WITNESS.to_vec(), identity.encode_to_vec()).map_err(io::Error::other)?;
        batch.put(GROUP, HEAD.to_vec(), head.encode_to_vec()).map_err(io::Error::other)?;
        self.engine.write(&mut batch, true).map_err(io::Error::other)?;
        super::durable::sync_tree(&self.dir)
    }

    /// Reads the log and checks that it has no hole.
    pub fn load(&self) -> Result<(LogHeadForm, Vec<(u64, Bytes)>), OpenError> {
        let head = self.engine.get(GROUP, HEAD).ok_or_else(|| self.damaged("it has no head".into()))?;
        let head: LogHeadForm = decode("log head", &head[..]).map_err(|e| self.damaged(e.to_string()))?;
        let first = head.purged.map_or(0, |purged| purged.index + 1);
        let end = head.last.map_or(0, |last| last.index + 1);
        if first >= end {
            return Ok((head, Vec::new()));
        }
        let entries = read(&self.engine, first, end)
            .map_err(|error| self.damaged(format!("entries {first} to {}: {error}", end - 1)))?;
        Ok((head, (first..end).zip(entries).collect()))
    }
}

fn read(engine: &Engine, from: u64, to: u64) -> io::Result<Vec<Bytes>> {
    let mut entries = Vec::new();
    let count = catch_unwind(AssertUnwindSafe(|| {
        engine.fetch_entries_to::<RawEntry>(GROUP, from, to, None, &mut entries)
    }));
    match count {
        Ok(Ok(count)) if count as u64 == to - from => {}
        Ok(Ok(count)) => return Err(io::Error::other(format!("only {count} of {} are there", to - from))),
        Ok(Err(error)) => return Err(io::Error::other(error)),
        Err(_) => return Err(io::Error::other("raft-engine gave up on them")),
    }
    Ok(entries.into_iter().map(|entry| Bytes::from(entry.value).slice(8..)).collect())
}

enum Job {
    Write(LogWrite),
    Close(oneshot::Sender<()>),
}

/// The log with its writer thread.
pub(super) struct Writer {
    /// Gone once closed, so that the directory can be opened again.
    engine: Mutex<Option<Arc<Engine>>>,
    jobs: Mutex<mpsc::Sender<Job>>,
    written: Arc<AtomicU64>,
}

impl Writer {
    pub fn start(log: Log, figures: Arc<IoFigures>) -> io::Result<Arc<Writer>> {
        let (jobs, queue) = mpsc::channel();
        let written = Arc::new(AtomicU64::new(0));
        let thread =
            Thread { engine: log.engine.clone(), queue, figures, written: written.clone(), failed: None };
        std::thread::Builder::new().name("raft-log".into()).spawn(move || thread.run())?;
        Ok(Arc::new(Writer { engine: Mutex::new(Some(log.engine)), jobs: Mutex::new(jobs), written }))
    }
}

impl LogEngine for Writer {
    fn submit(&self, write: LogWrite) {
        if let Err(mpsc::SendError(Job::Write(write))) = self.jobs.lock().send(Job::Write(write)) {
            write.done.complete(Err(io::Error::other("the log is closed")));
        }
    }

    fn read(&self, from: u64, to: u64) -> io::Result<Vec<Bytes>> {
        let engine = self.engine.lock().clone();
        read(&*engine.ok_or_else(|| io::Error::other("the log is closed"))?, from, to)
    }

    fn written(&self) -> Option<u64> {
        Some(self.written.load(Ordering::Acquire))
    }

    fn close(&self) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        self.engine.lock().take();
        // A thread that has ended drops `done`, and the receiver learns of it.
        let _ = self.jobs.lock().send(Job::Close(done));
        receiver
    }
}

struct Thread {
    engine: Arc<Engine>,
    queue: mpsc::Receiver<Job>,
    figures: Arc<IoFigures>,
    written: Arc<AtomicU64>,
    failed: Option<String>,
}

impl Thread {
    fn run(mut self) {
        while let Ok(first) = self.queue.recv() {
            let mut writes = Vec::new();
            let mut bytes = 0;
            let mut next = Some(first);
            let mut closed = None;
            while let Some(job) = next.take() {
                match job {
                    Job::Close(done) => closed = Some(done),
                    Job::Write(write) => {
                        bytes += write.entries.iter().map(|(_, entry)| entry.len()).sum::<usize>();
                        writes.push(write);
                        if bytes < BATCH_BYTES {
                            next = self.queue.try_recv().ok();
                        }
                    }
                }
            }
            self.write(writes, bytes);
            if let Some(done) = closed {
                drop(self);
                let _ = done.send(());
                return;
            }
        }
    }

    fn write(&mut self, writes: Vec<LogWrite>, bytes: usize) {
        let Some(last) = writes.last() else { return };
        let purges = writes.iter().any(|write| write.purge.is_some());
        let result = match &self.failed {
            Some(reason) => Err(io::Error::other(format!("the log failed before: {reason}"))),
            None => self.write_batch(&writes, &last.head, bytes as u64),
        };
        if let (Err(error), None) = (&result, &self.failed) {
            self.failed = Some(error.to_string());
            self.figures.failed(format!("writing the log failed: {error}"));
        }
        if result.is_ok() {
            self.written.fetch_add(writes.len() as u64, Ordering::Release);
        }
        let dones: Vec<LogDone> = writes.into_iter().map(|write| write.done).collect();
        for done in dones {
            done.complete(result.as_ref().copied().map_err(|e| io::Error::new(e.kind(), e.to_string())));
        }
        if purges
            && result.is_ok()
            && let Err(error) = self.engine.purge_expired_files()
        {
            tracing::warn!(%error, "old log files could not be dropped");
        }
    }

    fn write_batch(&self, writes: &[LogWrite], head: &LogHeadForm, bytes: u64) -> io::Result<()> {
        let mut batch = LogBatch::default();
        for write in writes {
            let entries: Vec<BytesValue> = write.entries.iter().map(|(i, e)| raw(*i, e)).collect();
            batch.add_entries::<RawEntry>(GROUP, &entries).map_err(io::Error::other)?;
            if let Some(upto) = write.purge {
                batch.add_command(GROUP, Command::Compact { index: upto + 1 });
            }
        }
        batch.put(GROUP, HEAD.to_vec(), head.encode_to_vec()).map_err(io::Error::other)?;
        let start = Instant::now();
        // raft-engine panics when the disk refuses a sync.
        let written = catch_unwind(AssertUnwindSafe(|| self.engine.write(&mut batch, true)));
        match written {
            Ok(Ok(_)) => {}
            Ok(Err(raft_engine::Error::Io(error))) => return Err(error),
            Ok(Err(error)) => return Err(io::Error::other(error)),
            Err(_) => return Err(io::Error::other("the disk refused to make the log durable")),
        }
        let us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.figures.synced(writes.len() as u64, bytes, us);
        Ok(())
    }
}
