//! The clock's part in Raft: heartbeats, election timeouts and deadlines. All of them are measured on
//! monotonic clocks of one member; none is ever compared between members.

use std::time::Duration;

/// Validated when the store is opened. All members of a cluster should run the same values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader shows that it is alive.
    pub heartbeat: Duration,
    /// A follower that has heard nothing for `election_max` (for so long a leader's lease lasts) and then
    /// for a time drawn between these two asks for an election.
    pub election_min: Duration,
    pub election_max: Duration,
    /// How long one transfer of a snapshot may take.
    pub snapshot: Duration,
}

impl Default for Timing {
    /// A leader that is killed is replaced in about 1.5 to 2 s. A false election takes a leader's silence
    /// of 1.5 s, ten heartbeats; two cores loaded threefold make none.
    fn default() -> Self {
        Timing {
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(1000),
            snapshot: Duration::from_secs(60),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    #[error("heartbeat {heartbeat:?} must be at least 10 ms")]
    HeartbeatTooShort { heartbeat: Duration },
    #[error("election_min {election_min:?} must be at least 3 heartbeats ({heartbeat:?} each)")]
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
        if election_min < heartbeat * 3 {
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
        self.election_max * 3
    }

    /// How long one message with entries may take, the peer's fsync included.
    pub(crate) fn append(&self) -> Duration {
        self.election_max * 2
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
            (Timing { election_min: ms(200), ..ok.clone() }, "ElectionTooShort"),
            (Timing { election_max: ms(600), ..ok.clone() }, "NoSpread"),
            (Timing { snapshot: ms(900), ..ok.clone() }, "SnapshotTooShort"),
        ] {
            let error = bad.validate().unwrap_err();
            assert!(format!("{error:?}").starts_with(name), "{error:?}");
        }
    }
}
