//! The knobs of a coordinator's store: the section `[store]` of the daemon's configuration. Few, each with a
//! default that is right for nearly everybody; docs/tuning.md says when to touch them.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

const PATIENCE: RangeInclusive<u64> = 1..=10;
const FSYNC_LIMIT_MS: RangeInclusive<u64> = 1..=10_000;
const CHECKPOINT_ENTRIES: RangeInclusive<u64> = 100..=1_000_000;
const CHECKPOINT_MIB: RangeInclusive<u64> = 1..=4096;

/// Section `[store]`. On a hypervisor it has no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Heartbeats and elections take so many times as long as they do by default. The same on all coordinators.
    pub patience: u32,
    /// Above this the log's fsync p99 is a fault that names this coordinator's disk, milliseconds.
    pub fsync_limit_ms: u32,
    /// The state is made durable after so many entries of the log,
    pub checkpoint_entries: u64,
    /// or so many MiB of them.
    pub checkpoint_mib: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig { patience: 1, fsync_limit_ms: 100, checkpoint_entries: 10_000, checkpoint_mib: 32 }
    }
}

/// A knob that is set to what it can't be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{knob} must be {least} to {most}, not {value} (default: {default})")]
pub struct StoreConfigError {
    knob: &'static str,
    value: u64,
    least: u64,
    most: u64,
    default: u64,
}

impl StoreConfig {
    pub fn validate(&self) -> Result<(), StoreConfigError> {
        let usual = StoreConfig::default();
        for (knob, value, range, default) in [
            ("patience", self.patience.into(), PATIENCE, usual.patience.into()),
            ("fsync_limit_ms", self.fsync_limit_ms.into(), FSYNC_LIMIT_MS, usual.fsync_limit_ms.into()),
            ("checkpoint_entries", self.checkpoint_entries, CHECKPOINT_ENTRIES, usual.checkpoint_entries),
            ("checkpoint_mib", self.checkpoint_mib, CHECKPOINT_MIB, usual.checkpoint_mib),
        ] {
            if !range.contains(&value) {
                let (least, most) = range.into_inner();
                return Err(StoreConfigError { knob, value, least, most, default });
            }
        }
        Ok(())
    }

    /// All as it is by default: then the section is not written.
    pub(crate) fn is_usual(&self) -> bool {
        *self == StoreConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_knob_has_its_bounds_and_says_so() {
        let usual = StoreConfig::default();
        assert_eq!(usual.validate(), Ok(()));
        for (bad, expected) in [
            (StoreConfig { patience: 0, ..usual.clone() }, "patience must be 1 to 10, not 0 (default: 1)"),
            (StoreConfig { patience: 11, ..usual.clone() }, "patience must be 1 to 10, not 11 (default: 1)"),
            (
                StoreConfig { fsync_limit_ms: 0, ..usual.clone() },
                "fsync_limit_ms must be 1 to 10000, not 0 (default: 100)",
            ),
            (
                StoreConfig { checkpoint_entries: 99, ..usual.clone() },
                "checkpoint_entries must be 100 to 1000000, not 99 (default: 10000)",
            ),
            (
                StoreConfig { checkpoint_mib: 4097, ..usual.clone() },
                "checkpoint_mib must be 1 to 4096, not 4097 (default: 32)",
            ),
        ] {
            assert_eq!(bad.validate().unwrap_err().to_string(), expected);
        }
    }
}
