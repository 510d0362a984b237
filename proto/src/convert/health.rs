//! What a coordinator tells of its own store. Figures out of any range are cut: nothing rests on them.

use std::time::Duration;

use pvc_model::health::{StoreHealth, StoreTiming};

use crate::v1;

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn of_ms(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}

impl From<&StoreHealth> for v1::StoreHealth {
    fn from(health: &StoreHealth) -> Self {
        v1::StoreHealth {
            fsyncs: health.syncs,
            fsync_p99_ms: ms(health.sync_p99),
            fsync_limit_ms: ms(health.sync_limit),
            log_bytes: health.log_bytes,
            state_bytes: health.state_bytes,
            disk_bytes: health.disk_bytes,
            free_bytes: health.free_bytes,
            checkpoint: health.checkpoint,
            checkpoint_age_seconds: health.checkpoint_age.map(|age| age.as_secs_f64()),
            rebuilt: health.rebuilt.clone(),
            failed: health.failed.clone(),
            heartbeat_ms: health.timing.heartbeat_ms,
            election_min_ms: health.timing.election_min_ms,
            election_max_ms: health.timing.election_max_ms,
        }
    }
}

/// Of an alarm's words.
const WORDS_MAX: usize = 1000;

fn words(text: &str) -> String {
    text.chars().take(WORDS_MAX).collect()
}

/// Takes what another coordinator said.
pub fn store_health(wire: &v1::StoreHealth) -> StoreHealth {
    StoreHealth {
        syncs: wire.fsyncs,
        sync_p99: of_ms(wire.fsync_p99_ms),
        sync_limit: of_ms(wire.fsync_limit_ms),
        log_bytes: wire.log_bytes,
        state_bytes: wire.state_bytes,
        disk_bytes: wire.disk_bytes,
        free_bytes: wire.free_bytes,
        checkpoint: wire.checkpoint,
        checkpoint_age: wire
            .checkpoint_age_seconds
            .map(|age| Duration::try_from_secs_f64(age).unwrap_or_default()),
        rebuilt: words(&wire.rebuilt),
        failed: words(&wire.failed),
        timing: StoreTiming {
            heartbeat_ms: wire.heartbeat_ms,
            election_min_ms: wire.election_min_ms,
            election_max_ms: wire.election_max_ms,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_arrives_as_it_was_told() {
        let health = StoreHealth {
            syncs: 7,
            sync_p99: Duration::from_micros(1500),
            sync_limit: Duration::from_millis(100),
            log_bytes: 1,
            state_bytes: 2,
            disk_bytes: 3,
            free_bytes: 4,
            checkpoint: 5,
            checkpoint_age: Some(Duration::from_secs(6)),
            rebuilt: "torn".into(),
            failed: "full".into(),
            timing: StoreTiming { heartbeat_ms: 100, election_min_ms: 200, election_max_ms: 500 },
        };
        assert_eq!(store_health(&(&health).into()), health);
        let nonsense = v1::StoreHealth { fsync_p99_ms: f64::NAN, fsync_limit_ms: -1.0, ..Default::default() };
        assert_eq!(store_health(&nonsense), StoreHealth::default());
    }
}
