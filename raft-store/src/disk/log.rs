//! The log and the vote in raft-engine: opening them, and the checks without which a log must not be gone on with.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize, RecoveryMode};

use crate::form::{IdentityForm, LogHeadForm, decode};
use crate::guard::{guarded, guarded_with_threads};
use crate::member::MemberId;
use crate::open::{Checkpoint, OpenError};

use super::seal::{self, Seal};

/// raft-engine keeps many logs; ours is this one.
pub(super) const GROUP: u64 = 1;
pub(super) const HEAD: &[u8] = b"head";
const WITNESS: &[u8] = b"identity";
/// The number of the last change; each batch carries it.
pub(super) const CHANGE: &[u8] = b"change";

/// An entry as raft-engine wants it: a message that knows its index. The index comes first, 8 bytes.
pub(super) struct RawEntry;

impl MessageExt for RawEntry {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().map_or(0, |index| u64::from_be_bytes(*index))
    }
}

pub(super) fn raw(index: u64, entry: &Bytes) -> BytesValue {
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
    pub engine: Arc<Engine>,
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
        // Entries are small and compressing them costs more than it saves.
        batch_compression_threshold: ReadableSize(0),
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
        // Said aloud: a process that is being forked just now has this file too, for a moment.
        lock.unlock().map_err(io)?;
    }
    // raft-engine panics on some damage.
    match guarded_with_threads(|| Engine::open(config)) {
        Some(Ok(engine)) => Ok(Log { engine: Arc::new(engine), dir: dir.to_owned(), member }),
        Some(Err(raft_engine::Error::Io(source))) => match super::scan::older(dir) {
            Ok(Some(detail)) => Err(damaged(detail)),
            _ => Err(io(io::Error::new(source.kind(), plain(&source)))),
        },
        Some(Err(error)) if error.to_string().contains("lock") => {
            Err(OpenError::InUse { path: dir.to_owned() })
        }
        Some(Err(error)) => Err(damaged(error.to_string())),
        None => Err(damaged("raft-engine gave up on it".into())),
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
    pub fn change(&self) -> u64 {
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

pub(super) fn read(engine: &Engine, from: u64, to: u64) -> io::Result<Vec<Bytes>> {
    let mut entries = Vec::new();
    match guarded(|| engine.fetch_entries_to::<RawEntry>(GROUP, from, to, None, &mut entries)) {
        Some(Ok(count)) if count as u64 == to - from => {}
        Some(Ok(count)) => return Err(io::Error::other(format!("only {count} of {} are there", to - from))),
        Some(Err(error)) => return Err(io::Error::other(error)),
        None => return Err(io::Error::other("raft-engine gave up on them")),
    }
    // The record's head, which no checksum covers, says how its entries are packed.
    let right = |(index, entry): (u64, BytesValue)| match entry.value.first_chunk() {
        Some(own) if u64::from_be_bytes(*own) == index => Ok(Bytes::from(entry.value).slice(8..)),
        _ => Err(io::Error::other(format!("in place of entry {index} there is something else"))),
    };
    (from..to).zip(entries).map(right).collect()
}

/// What an error of the log means. raft-engine names the system call alone.
pub(super) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("no space left on the disk ({error})")
        }
        io::ErrorKind::ReadOnlyFilesystem => format!("the file system is read-only ({error})"),
        _ if error.to_string() == "nospace" => "no space left on the disk".into(),
        _ => error.to_string(),
    }
}
