//! Where guests' disks are: one narrow interface, and its drivers.
//!
//! A driver works on one pool, which several hosts share. Volumes are known by uid, never by name:
//! a rename is none of its business. Every request may be repeated and has the same end; each takes
//! effect whole or not at all, so that a host may die in the midst of any. Two hosts never work on
//! one volume at once: the cluster names its one worker.
//!
//! A driver never touches anything in its pool that it has not made.

pub mod directory;
pub mod fake;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use pvc_model::{Name, Uid};
use tokio_util::sync::CancellationToken;

/// How a hypervisor reaches a disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DiskSource {
    /// A raw image in a file.
    RawFile { path: PathBuf },
}

/// A volume as the pool has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredVolume {
    pub uid: Uid,
    pub size_bytes: u64,
    /// Sorted by name.
    pub snapshots: Vec<StoredSnapshot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSnapshot {
    pub name: Name,
    pub size_bytes: u64,
}

/// Room in a pool, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    pub free_bytes: u64,
}

/// Where a copy is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub volume: Uid,
    /// None: as it is now. Legal only while nothing writes it.
    pub snapshot: Option<Name>,
}

/// A long operation's two strings: how far it is, and whether to go on.
#[derive(Clone)]
pub struct Work {
    /// Called with 0 to 100, now and then, from any thread; must not block.
    pub progress: Arc<dyn Fn(u8) + Send + Sync>,
    /// Cancelled: the operation ends soon with [`StorageError::Cancelled`] and leaves nothing behind.
    pub cancel: CancellationToken,
}

impl Work {
    /// Nobody watches and nobody cancels.
    pub fn unattended() -> Self {
        Work { progress: Arc::new(|_| {}), cancel: CancellationToken::new() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("pool {pool} holds no volume {uid}")]
    NoSuchVolume { pool: Name, uid: Uid },
    #[error("volume {uid} in pool {pool} has no snapshot {snapshot}")]
    NoSuchSnapshot { pool: Name, uid: Uid, snapshot: Name },
    #[error("volume {uid} in pool {pool} has {have_bytes} bytes; it can't be shrunk to {want_bytes}")]
    Shrink { pool: Name, uid: Uid, have_bytes: u64, want_bytes: u64 },
    /// Nothing was kept of what was begun.
    #[error("pool {pool} is full: {need_bytes} bytes are needed, {free_bytes} are free")]
    Full { pool: Name, need_bytes: u64, free_bytes: u64 },
    #[error("cancelled")]
    Cancelled,
    /// The pool itself can't be used from this host.
    #[error("pool {pool} can't be used: {detail}")]
    PoolUnusable { pool: Name, detail: String },
    #[error("{action} in pool {pool}: {source}")]
    Io {
        pool: Name,
        action: String,
        #[source]
        source: std::io::Error,
    },
}

/// A pool of volumes.
#[async_trait]
pub trait StorageDriver: Send + Sync + 'static {
    /// All volumes of the pool that are whole.
    async fn list(&self) -> Result<Vec<StoredVolume>, StorageError>;

    async fn space(&self) -> Result<Space, StorageError>;

    /// A blank volume (reads as zeroes). Returns the size that it has: where it exists already it is
    /// left as it is.
    async fn create(&self, volume: Uid, size_bytes: u64) -> Result<u64, StorageError>;

    /// A volume with the contents of another, at least as large as its origin. Returns its size; where it
    /// exists already it is left as it is.
    async fn clone_volume(
        &self,
        volume: Uid,
        origin: &Origin,
        size_bytes: u64,
        work: &Work,
    ) -> Result<u64, StorageError>;

    /// Grows a volume; the new part reads as zeroes. Larger already: refused as `Shrink`. Legal while a
    /// guest uses it (tell its hypervisor afterwards).
    async fn resize(&self, volume: Uid, size_bytes: u64) -> Result<(), StorageError>;

    /// Keeps what the volume holds now under a name. Where there is one of that name it is left as it is.
    /// Legal while nothing writes the volume.
    async fn snapshot(
        &self,
        volume: Uid,
        snapshot: &Name,
        work: &Work,
    ) -> Result<StoredSnapshot, StorageError>;

    /// One that is not there is a success.
    async fn delete_snapshot(&self, volume: Uid, snapshot: &Name) -> Result<(), StorageError>;

    /// Deletes a volume with all its snapshots. One that is not there is a success.
    async fn delete(&self, volume: Uid) -> Result<(), StorageError>;

    /// Where the hypervisor of this host finds the volume.
    async fn attach(&self, volume: Uid) -> Result<DiskSource, StorageError>;
}
