//! The clock's part in Raft: heartbeats, election timeouts and deadlines. All of them are measured on
//! monotonic clocks of one member; none is ever compared between members.

use std::time::Duration;

/// Validated when the store is opened. All members of a cluster should run the same values.
///
/// A leader that falls silent is replaced after `election_max` (for so long its lease lasts) and then a time
/// drawn between `election_min` and `election_max`. One whose process has ended, which its host tells, is
/// replaced at once, whatever these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader shows that it is alive.
    pub heartbeat: Duration,
    pub election_min: Duration,
    /// Also the leader's lease: so long after its last sign of life nobody votes for another.
    pub election_max: Duration,
    /// How long one transfer of a snapshot may take.
    pub snapshot: Duration,
}

impl Default for Timing {
    /// A leader that falls silent is replaced within 0.5 to 0.7 s: six heartbeats or more are missed by then.
    fn default() -> Self {
        Timing {
            heartbeat: Duration::from_millis(75),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(350),
            snapshot: Duration::from_secs(60),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    #[error("heartbeat {heartbeat:?} must be at least 10 ms")]
    HeartbeatTooShort { heartbeat: Duration },
    #[error("election_min {election_min:?} must be at least 2 heartbeats ({heartbeat:?} each)")]
    ElectionTooShort { election_min: Duration, heartbeat: Duration },
    #[error("election_max {election_max:?} must exceed election_min {election_min:?} by a heartbeat or more")]
    NoSpread { election_min: Duration, election_max: Duration },
    #[error("snapshot {snapshot:?} must be at least election_max {election_max:?}")]
    SnapshotTooShort { snapshot: Duration, election_max: Duration },
}

impl Timing {
    pub fn validate(&self) -> Result<(), TimingError> {
        let Timing { heartbeat, election_min, election_max, snapshot } = *self;
        if heartbeat < Duration::from_millis(10) {
            return Err(TimingError::HeartbeatTooShort { heartbeat });
        }
        if election_min < heartbeat * 2 {
            return Err(TimingError::ElectionTooShort { election_min, heartbeat });
        }
        if election_max < election_min + heartbeat {
            return Err(TimingError::NoSpread { election_min, election_max });
        }
        if snapshot < election_max {
            return Err(TimingError::SnapshotTooShort { snapshot, election_max });
        }
        Ok(())
    }

    /// After this much silence a follower no longer serves watches, and calls itself without a leader.
    pub(crate) fn contact_lost(&self) -> Duration {
        self.election_max * 6
    }

    /// How long one message with entries may take, the peer's fsync included.
    pub(crate) fn append(&self) -> Duration {
        self.election_max * 6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused() {
        let ok = Timing::default();
        assert_eq!(ok.validate(), Ok(()));
        let ms = Duration::from_millis;
        for (bad, name) in [
            (Timing { heartbeat: ms(1), ..ok.clone() }, "HeartbeatTooShort"),
            (Timing { election_min: ms(149), ..ok.clone() }, "ElectionTooShort"),
            (Timing { election_max: ms(224), ..ok.clone() }, "NoSpread"),
            (Timing { snapshot: ms(349), ..ok.clone() }, "SnapshotTooShort"),
        ] {
            let error = bad.validate().unwrap_err();
            assert!(format!("{error:?}").starts_with(name), "{error:?}");
        }
    }
}
