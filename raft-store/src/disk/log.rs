//! The log and the vote in raft-engine: one writer thread takes all that waits, writes it as one batch and
//! makes it durable by one fdatasync. After an error it writes nothing more: what comes behind a hole
//! must not be called durable.

use std::fs::File;
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
use crate::open::{Checkpoint, OpenError};

use super::seal::{self, Seal};

/// raft-engine keeps many logs; ours is this one.
const GROUP: u64 = 1;
const HEAD: &[u8] = b"head";
const WITNESS: &[u8] = b"identity";
/// The number of the last change; each batch carries it.
const CHANGE: &[u8] = b"change";
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

/// The largest that one file of the log gets, and all of them before old ones are dropped.
const FILE_BYTES: u64 = 8 << 20;
const ALL_BYTES: u64 = 64 << 20;

pub(super) fn open(dir: &Path, member: MemberId, checkpoint: &Checkpoint) -> Result<Log, OpenError> {
    // Log that is checkpointed early is dropped early, in smaller files.
    let all = checkpoint.bytes.clamp(ALL_BYTES / 128, ALL_BYTES);
    let file = (all / 8).min(FILE_BYTES);
    let config = Config {
        dir: dir.to_string_lossy().into_owned(),
        recovery_mode: RecoveryMode::TolerateTailCorruption,
        recovery_threads: 1,
        // Zeroed segments, made ahead and used again: a sync of a file that grows costs far more.
        enable_log_recycle: true,
        prefill_for_recycle: true,
        target_file_size: ReadableSize(file),
        purge_threshold: ReadableSize(all),
        prefill_limit: Some(ReadableSize(file * 2)),
        ..Config::default()
    };
    let damaged = |detail: String| OpenError::LogDamaged { path: dir.to_owned(), member, detail };
    let io = |source| OpenError::Io { path: dir.to_owned(), source };
    if let Ok(lock) = File::open(dir.join("LOCK")) {
        // What another process is writing would look torn.
        if lock.try_lock().is_err() {
            return Err(OpenError::InUse { path: dir.to_owned() });
        }
        if let Some(detail) = super::scan::newest(dir).map_err(io)? {
            return Err(damaged(detail));
        }
        super::scan::settle(dir).map_err(io)?;
    }
    // raft-engine panics on some damage.
    match catch_unwind(AssertUnwindSafe(|| Engine::open(config))) {
        Ok(Ok(engine)) => Ok(Log { engine: Arc::new(engine), dir: dir.to_owned(), member }),
        Ok(Err(raft_engine::Error::Io(source))) => match super::scan::older(dir) {
            Ok(Some(detail)) => Err(damaged(detail)),
            _ => Err(io(io::Error::new(source.kind(), plain(&source)))),
        },
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

    /// Whether anything was ever written to it.
    pub fn is_new(&self) -> bool {
        self.engine.get(GROUP, HEAD).is_none()
    }

    /// The number of the last change. 0 = none was numbered.
    fn change(&self) -> u64 {
        let bytes = self.engine.get(GROUP, CHANGE).unwrap_or_default();
        bytes.first_chunk().map_or(0, |number| u64::from_be_bytes(*number))
    }

    /// Checks the log against the note of what was once durable, and takes that up.
    pub fn unseal(&mut self, dir: &Path, incarnation: u64) -> Result<Seal, OpenError> {
        let io = |source| OpenError::Io { path: dir.join(seal::NAME), source };
        let change = self.change();
        match seal::read(dir).map_err(io)? {
            Some(sealed) if sealed.incarnation != incarnation => {
                return Err(self.damaged("it is another one's: it was replaced".into()));
            }
            Some(sealed) if sealed.change > change => {
                let lost = sealed.change - change;
                return Err(self.damaged(format!(
                    "its last {lost} changes are gone, entries or votes that this member had acknowledged"
                )));
            }
            None if change > 0 => tracing::warn!(
                "{} could not be read and was made anew; what the log may have lost at its end was not checked",
                dir.join(seal::NAME).display()
            ),
            _ => {}
        }
        Seal::open(dir, change, incarnation).map_err(io)
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

/// What an error of the log means. raft-engine names the system call alone.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("no space left on the disk ({error})")
        }
        io::ErrorKind::ReadOnlyFilesystem => format!("the file system is read-only ({error})"),
        _ if error.to_string() == "nospace" => "no space left on the disk".into(),
        _ => error.to_string(),
    }
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
    pub fn start(log: Log, seal: Seal, figures: Arc<IoFigures>) -> io::Result<Arc<Writer>> {
        let (jobs, queue) = mpsc::channel();
        let written = Arc::new(AtomicU64::new(0));
        let thread = Thread {
            engine: log.engine.clone(),
            change: log.change(),
            seal,
            queue,
            figures,
            written: written.clone(),
            failed: None,
        };
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
    /// Number of the last change that is durable.
    change: u64,
    seal: Seal,
    queue: mpsc::Receiver<Job>,
    figures: Arc<IoFigures>,
    written: Arc<AtomicU64>,
    failed: Option<String>,
}

impl Thread {
    fn run(mut self) {
        while let Some(first) = self.next() {
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
            self.note(closed.is_some());
            if let Some(done) = closed {
                if self.failed.is_some() {
                    // To close it would sync it, and panic, on a disk that failed.
                    std::mem::forget(self.engine.clone());
                }
                drop(self);
                let _ = done.send(());
                return;
            }
        }
    }

    /// The next job. While there is none, what is durable is noted.
    fn next(&mut self) -> Option<Job> {
        if let Some(rest) = self.seal.due(self.change)
            && self.failed.is_none()
        {
            match self.queue.recv_timeout(rest) {
                Ok(job) => return Some(job),
                Err(mpsc::RecvTimeoutError::Timeout) => self.note(true),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            }
        }
        self.queue.recv().ok()
    }

    fn note(&mut self, rests: bool) {
        if self.failed.is_none()
            && let Err(error) = self.seal.note(self.change, rests)
        {
            self.fail(&format!("noting how much of it is durable failed: {error}"));
        }
    }

    fn fail(&mut self, reason: &str) {
        self.failed = Some(reason.to_owned());
        self.figures.failed(format!("writing the log failed: {reason}"));
    }

    fn write(&mut self, writes: Vec<LogWrite>, bytes: usize) {
        let Some(last) = writes.last() else { return };
        let purges = writes.iter().any(|write| write.purge.is_some());
        let result = match &self.failed {
            Some(reason) => Err(io::Error::other(format!("the log failed before: {reason}"))),
            None => self.write_batch(&writes, &last.head, bytes as u64),
        };
        if let (Err(error), None) = (&result, &self.failed) {
            self.fail(&plain(error));
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

    fn write_batch(&mut self, writes: &[LogWrite], head: &LogHeadForm, bytes: u64) -> io::Result<()> {
        let mut batch = LogBatch::default();
        for write in writes {
            let entries: Vec<BytesValue> = write.entries.iter().map(|(i, e)| raw(*i, e)).collect();
            batch.add_entries::<RawEntry>(GROUP, &entries).map_err(io::Error::other)?;
            if let Some(upto) = write.purge {
                batch.add_command(GROUP, Command::Compact { index: upto + 1 });
            }
        }
        batch.put(GROUP, HEAD.to_vec(), head.encode_to_vec()).map_err(io::Error::other)?;
        let change = (self.change + 1).to_be_bytes().to_vec();
        batch.put(GROUP, CHANGE.to_vec(), change).map_err(io::Error::other)?;
        let start = Instant::now();
        // raft-engine panics when the disk refuses a sync.
        let written = catch_unwind(AssertUnwindSafe(|| self.engine.write(&mut batch, true)));
        match written {
            Ok(Ok(_)) => {}
            Ok(Err(raft_engine::Error::Io(error))) => return Err(error),
            Ok(Err(error)) => return Err(io::Error::other(error)),
            Err(_) => return Err(io::Error::other("the disk refused to make the log durable")),
        }
        self.change += 1;
        let us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.figures.synced(writes.len() as u64, bytes, us);
        Ok(())
    }
}
