//! The pool as one host reaches it: the hosts' storage network may be cut for some of them alone. What guests there do to
//! disks that they have already is not played: they wait.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_model::{Name, Uid};
use pvc_node::storage::fake::FakeStorage;
use pvc_node::storage::{
    DiskSource, Origin, Space, StorageDriver, StorageError, StoredSnapshot, StoredVolume, Work,
};

use crate::net::Place;
use crate::setting::POOL;

/// Hosts that can't reach the pool. Clones share it.
#[derive(Clone, Default)]
pub struct StorageCuts(Arc<Mutex<BTreeSet<Place>>>);

impl StorageCuts {
    pub fn set(&self, place: Place, cut: bool) {
        let mut all = self.0.lock();
        if cut {
            all.insert(place)
        } else {
            all.remove(&place)
        };
    }
}

pub struct ReachedPool {
    pub inner: FakeStorage,
    pub here: Place,
    pub cuts: StorageCuts,
}

impl ReachedPool {
    fn reached(&self) -> Result<&FakeStorage, StorageError> {
        if self.cuts.0.lock().contains(&self.here) {
            let pool: Name = POOL.parse().expect("a name");
            let detail = "its network does not answer".to_owned();
            return Err(StorageError::PoolUnusable { pool, detail });
        }
        Ok(&self.inner)
    }
}

#[async_trait]
impl StorageDriver for ReachedPool {
    async fn list(&self) -> Result<Vec<StoredVolume>, StorageError> {
        self.reached()?.list().await
    }

    async fn space(&self) -> Result<Space, StorageError> {
        self.reached()?.space().await
    }

    async fn create(&self, volume: Uid, size_bytes: u64) -> Result<u64, StorageError> {
        self.reached()?.create(volume, size_bytes).await
    }

    async fn clone_volume(
        &self,
        volume: Uid,
        origin: &Origin,
        size_bytes: u64,
        work: &Work,
    ) -> Result<u64, StorageError> {
        self.reached()?.clone_volume(volume, origin, size_bytes, work).await
    }

    async fn resize(&self, volume: Uid, size_bytes: u64) -> Result<(), StorageError> {
        self.reached()?.resize(volume, size_bytes).await
    }

    async fn snapshot(
        &self,
        volume: Uid,
        snapshot: &Name,
        work: &Work,
    ) -> Result<StoredSnapshot, StorageError> {
        self.reached()?.snapshot(volume, snapshot, work).await
    }

    async fn delete_snapshot(&self, volume: Uid, snapshot: &Name) -> Result<(), StorageError> {
        self.reached()?.delete_snapshot(volume, snapshot).await
    }

    async fn delete(&self, volume: Uid) -> Result<(), StorageError> {
        self.reached()?.delete(volume).await
    }

    async fn attach(&self, volume: Uid) -> Result<DiskSource, StorageError> {
        self.reached()?.attach(volume).await
    }
}
