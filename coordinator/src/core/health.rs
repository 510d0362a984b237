//! This coordinator's own store, as it is told to the leader: figures that are there anyway, and the disk's,
//! which are measured now and then by a task of their own, for a sick disk answers late or never.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pvc_model::health::{SYNC_WINDOW, StoreHealth, StoreTiming};
use raft_store::{Alarm, Footprint, Store};
use tokio::time::Instant;

/// How often the disk is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// A rebuilt state database is told for so long.
const REBUILT_TOLD_FOR: Duration = Duration::from_secs(24 * 3600);

/// Clones share what was measured.
#[derive(Clone)]
pub(super) struct OwnHealth {
    store: Store,
    sync_limit: Duration,
    begun: Instant,
    footprint: Arc<Mutex<Footprint>>,
}

impl OwnHealth {
    pub fn new(store: Store, sync_limit: Duration) -> Self {
        OwnHealth { store, sync_limit, begun: Instant::now(), footprint: Arc::default() }
    }

    /// Measures the disk until it is dropped.
    pub async fn measure(self) {
        loop {
            match self.store.footprint().await {
                Ok(footprint) => *self.footprint.lock() = footprint,
                Err(error) => tracing::warn!(%error, "the store's disk can't be measured"),
            }
            tokio::time::sleep(MEASURE_EVERY).await;
        }
    }

    /// As it is now. Waits for nothing.
    pub fn read(&self) -> StoreHealth {
        let status = self.store.status();
        let status = status.borrow();
        let Footprint { log_bytes, state_bytes, disk_bytes, free_bytes } = *self.footprint.lock();
        let (syncs, sync_p99) = self.store.log_syncs_within(SYNC_WINDOW);
        let mut health = StoreHealth {
            syncs: u32::try_from(syncs).unwrap_or(u32::MAX),
            sync_p99,
            sync_limit: self.sync_limit,
            log_bytes,
            state_bytes,
            disk_bytes,
            free_bytes,
            checkpoint: status.snapshot.unwrap_or(0),
            checkpoint_age: self.store.checkpoint_age(),
            timing: timing(&self.store),
            ..StoreHealth::default()
        };
        for alarm in &status.alarms {
            match alarm {
                Alarm::StateRebuilt { .. } if self.begun.elapsed() > REBUILT_TOLD_FOR => {}
                Alarm::StateRebuilt { reason } => health.rebuilt.clone_from(reason),
                Alarm::DiskFailed { .. } | Alarm::Stopped { .. } => health.failed = alarm.to_string(),
            }
        }
        health
    }
}

fn timing(store: &Store) -> StoreTiming {
    let timing = &store.options().timing;
    let ms = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    StoreTiming {
        heartbeat_ms: ms(timing.heartbeat),
        election_min_ms: ms(timing.election_min),
        election_max_ms: ms(timing.election_max),
    }
}
