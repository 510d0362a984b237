//! A pool in memory that any number of hosts share; it takes (tokio's) time and fails as told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_model::{Name, Uid};

use super::{DiskSource, Origin, Space, StorageDriver, StorageError, StoredSnapshot, StoredVolume, Work};

/// What is wrong with a pool. The default: nothing, and no time passes.
#[derive(Clone, Debug, Default)]
pub struct PoolFaults {
    /// Every request takes this long.
    pub delay: Duration,
    /// A clone or snapshot takes this long on top.
    pub copy: Duration,
    /// Why the pool can't be used.
    pub unusable: Option<String>,
    /// So many coming requests fail with an I/O error; those that change something are done all the same
    /// when `lie` is set.
    pub fail: u32,
    pub lie: bool,
}

struct Pool {
    name: Name,
    capacity_bytes: u64,
    volumes: BTreeMap<Uid, Stored>,
    faults: PoolFaults,
}

struct Stored {
    size_bytes: u64,
    snapshots: BTreeMap<Name, u64>,
}

/// A handle on the pool; clones share it.
#[derive(Clone)]
pub struct FakeStorage {
    pool: Arc<Mutex<Pool>>,
}

impl FakeStorage {
    pub fn new(name: Name, capacity_bytes: u64) -> Self {
        let pool = Pool { name, capacity_bytes, volumes: BTreeMap::new(), faults: PoolFaults::default() };
        FakeStorage { pool: Arc::new(Mutex::new(pool)) }
    }

    pub fn faults(&self, change: impl FnOnce(&mut PoolFaults)) {
        change(&mut self.pool.lock().faults);
    }

    /// The volumes that are on the disks, whatever is wrong with the pool.
    pub fn volumes(&self) -> Vec<Uid> {
        self.pool.lock().volumes.keys().copied().collect()
    }

    async fn run<T>(
        &self,
        work: Option<&Work>,
        request: impl FnOnce(&mut Pool) -> Result<T, StorageError> + Send,
    ) -> Result<T, StorageError> {
        let (delay, copy) = {
            let pool = self.pool.lock();
            (pool.faults.delay, pool.faults.copy)
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if let Some(work) = work {
            tokio::select! {
                () = work.cancel.cancelled() => return Err(StorageError::Cancelled),
                () = tokio::time::sleep(copy) => (work.progress)(100),
            }
        }
        let mut pool = self.pool.lock();
        if let Some(detail) = &pool.faults.unusable {
            return Err(StorageError::PoolUnusable { pool: pool.name.clone(), detail: detail.clone() });
        }
        if pool.faults.fail > 0 {
            pool.faults.fail -= 1;
            if pool.faults.lie {
                request(&mut pool)?;
            }
            let source = std::io::Error::other("input/output error");
            return Err(StorageError::Io {
                pool: pool.name.clone(),
                action: "use the disk".to_owned(),
                source,
            });
        }
        request(&mut pool)
    }
}

impl Pool {
    fn used(&self) -> u64 {
        self.volumes.values().map(|v| v.size_bytes + v.snapshots.values().sum::<u64>()).sum()
    }

    fn need(&self, need_bytes: u64) -> Result<(), StorageError> {
        let free_bytes = self.capacity_bytes.saturating_sub(self.used());
        if need_bytes > free_bytes {
            return Err(StorageError::Full { pool: self.name.clone(), need_bytes, free_bytes });
        }
        Ok(())
    }

    fn volume(&mut self, uid: Uid) -> Result<&mut Stored, StorageError> {
        let missing = StorageError::NoSuchVolume { pool: self.name.clone(), uid };
        self.volumes.get_mut(&uid).ok_or(missing)
    }

    fn make(&mut self, uid: Uid, size_bytes: u64) -> Result<u64, StorageError> {
        if let Some(there) = self.volumes.get(&uid) {
            return Ok(there.size_bytes);
        }
        self.need(size_bytes)?;
        self.volumes.insert(uid, Stored { size_bytes, snapshots: BTreeMap::new() });
        Ok(size_bytes)
    }
}

#[async_trait]
impl StorageDriver for FakeStorage {
    async fn list(&self) -> Result<Vec<StoredVolume>, StorageError> {
        let snapshot = |(name, size): (&Name, &u64)| StoredSnapshot { name: name.clone(), size_bytes: *size };
        let volume = |(uid, v): (&Uid, &Stored)| StoredVolume {
            uid: *uid,
            size_bytes: v.size_bytes,
            snapshots: v.snapshots.iter().map(snapshot).collect(),
        };
        self.run(None, |pool| Ok(pool.volumes.iter().map(volume).collect())).await
    }

    async fn space(&self) -> Result<Space, StorageError> {
        let space = |pool: &mut Pool| Space {
            total_bytes: pool.capacity_bytes,
            free_bytes: pool.capacity_bytes.saturating_sub(pool.used()),
        };
        self.run(None, |pool| Ok(space(pool))).await
    }

    async fn create(&self, volume: Uid, size_bytes: u64) -> Result<u64, StorageError> {
        self.run(None, |pool| pool.make(volume, size_bytes)).await
    }

    async fn clone_volume(
        &self,
        volume: Uid,
        origin: &Origin,
        size_bytes: u64,
        work: &Work,
    ) -> Result<u64, StorageError> {
        self.run(Some(work), |pool| {
            let name = pool.name.clone();
            let from = pool.volume(origin.volume)?;
            let origin_bytes = match &origin.snapshot {
                None => from.size_bytes,
                Some(snapshot) => *from.snapshots.get(snapshot).ok_or(StorageError::NoSuchSnapshot {
                    pool: name,
                    uid: origin.volume,
                    snapshot: snapshot.clone(),
                })?,
            };
            pool.make(volume, size_bytes.max(origin_bytes))
        })
        .await
    }

    async fn resize(&self, volume: Uid, size_bytes: u64) -> Result<(), StorageError> {
        self.run(None, |pool| {
            let have_bytes = pool.volume(volume)?.size_bytes;
            if have_bytes > size_bytes {
                let pool = pool.name.clone();
                return Err(StorageError::Shrink { pool, uid: volume, have_bytes, want_bytes: size_bytes });
            }
            pool.need(size_bytes - have_bytes)?;
            pool.volume(volume)?.size_bytes = size_bytes;
            Ok(())
        })
        .await
    }

    async fn snapshot(
        &self,
        volume: Uid,
        snapshot: &Name,
        work: &Work,
    ) -> Result<StoredSnapshot, StorageError> {
        self.run(Some(work), |pool| {
            let size_bytes = pool.volume(volume)?.size_bytes;
            let there = pool.volume(volume)?.snapshots.get(snapshot).copied();
            if there.is_none() {
                pool.need(size_bytes)?;
                pool.volume(volume)?.snapshots.insert(snapshot.clone(), size_bytes);
            }
            Ok(StoredSnapshot { name: snapshot.clone(), size_bytes: there.unwrap_or(size_bytes) })
        })
        .await
    }

    async fn delete_snapshot(&self, volume: Uid, snapshot: &Name) -> Result<(), StorageError> {
        self.run(None, |pool| {
            if let Some(volume) = pool.volumes.get_mut(&volume) {
                volume.snapshots.remove(snapshot);
            }
            Ok(())
        })
        .await
    }

    async fn delete(&self, volume: Uid) -> Result<(), StorageError> {
        self.run(None, |pool| {
            pool.volumes.remove(&volume);
            Ok(())
        })
        .await
    }

    async fn attach(&self, volume: Uid) -> Result<DiskSource, StorageError> {
        self.run(None, |pool| {
            pool.volume(volume)?;
            Ok(DiskSource::RawFile { path: PathBuf::from(format!("/fake/{}/{volume}.raw", pool.name)) })
        })
        .await
    }
}
