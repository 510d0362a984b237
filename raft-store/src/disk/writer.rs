//! The log's writer: one thread takes all that waits, writes it as one batch and makes it durable by one
//! fdatasync. After an error it writes nothing more: what comes behind a hole must not be called durable.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use protobuf::well_known_types::BytesValue;
use raft_engine::{Command, Engine, LogBatch};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::engine::{IoFigures, LogDone, LogEngine, LogWrite};
use crate::form::LogHeadForm;
use crate::guard::guarded;

use super::log::{CHANGE, GROUP, HEAD, Log, RawEntry, plain, raw, read};
use super::seal::Seal;

/// One batch carries at most about this much.
const BATCH_BYTES: usize = 8 << 20;

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

impl Drop for Thread {
    fn drop(&mut self) {
        if self.failed.is_some() {
            // To close it would sync it, and panic, on a disk that failed.
            std::mem::forget(self.engine.clone());
        }
    }
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
        match guarded(|| self.engine.write(&mut batch, true)) {
            Some(Ok(_)) => {}
            Some(Err(raft_engine::Error::Io(error))) => return Err(error),
            Some(Err(error)) => return Err(io::Error::other(error)),
            None => return Err(io::Error::other("the disk refused to make the log durable")),
        }
        self.change += 1;
        let us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.figures.synced(writes.len() as u64, bytes, us);
        Ok(())
    }
}
