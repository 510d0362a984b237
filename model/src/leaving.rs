//! Hosts that are shut down in order: the node says so first, and the cluster knows that it goes on purpose.
//!
//! ```text
//! its host shuts down ──announced──▶ leaving ──its guests are gone──▶ empty ──silent, and nobody minds
//!                                       │                                │
//!                                       └──silent before: fenced         └──a new session──▶ takes VMs again
//! ```
//! What may never happen: a node that fell silent with guests on it, and is taken for one that has left.

use std::time::Duration;

use crate::time::Timestamp;

/// A node that keeps its VMs while its host is down has so long to be back; then it is fenced like any other.
pub const KEEP_FOR: Duration = Duration::from_secs(900);

/// What becomes of a node's VMs when its host is shut down in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnShutdown {
    /// They move to other nodes, and return. What fits nowhere, or can't be moved in time, is shut down until the node is
    /// back.
    #[default]
    Move,
    /// They are shut down, and started again when the node is back.
    Stop,
    /// Nothing: they end with their host, and start when it is back.
    Keep,
}

impl OnShutdown {
    pub fn as_str(self) -> &'static str {
        match self {
            OnShutdown::Move => "move",
            OnShutdown::Stop => "stop",
            OnShutdown::Keep => "keep",
        }
    }
}

/// A node whose host is being shut down, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// When it said so, by the leader's clock.
    pub since: Timestamp,
    /// As it was then.
    pub policy: OnShutdown,
    /// Of the daemon that said so. A later one says that the host is up again.
    pub session: u64,
    /// So many seconds its daemon can hold the shutdown up.
    pub within_seconds: u32,
    /// No guest runs there or may, and none will before it is back.
    pub empty: bool,
}

impl Leaving {
    /// Whether its silence is what it announced. `silent_for`: as far as this leader knows.
    pub fn excuses(&self, silent_for: Duration) -> bool {
        self.empty || self.policy == OnShutdown::Keep && silent_for < KEEP_FOR
    }

    /// Whether moving has had its time: what is left is shut down, while there is time for that.
    pub fn is_late(&self, now: Timestamp) -> bool {
        now.millis_since(self.since) >= u64::from(self.within_seconds) * 1000 * 2 / 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_announced_silence_is_excused() {
        let leaving = |policy, empty| Leaving {
            since: Timestamp(1_000),
            policy,
            session: 1,
            within_seconds: 900,
            empty,
        };
        let s = Duration::from_secs;
        for policy in [OnShutdown::Move, OnShutdown::Stop] {
            assert!(!leaving(policy, false).excuses(s(3)), "guests may run there");
            assert!(leaving(policy, true).excuses(s(1_000_000)));
        }
        assert!(leaving(OnShutdown::Keep, false).excuses(s(899)));
        assert!(!leaving(OnShutdown::Keep, false).excuses(s(900)), "it does not come back");
        assert!(!leaving(OnShutdown::Move, false).is_late(Timestamp(600_999)));
        assert!(leaving(OnShutdown::Move, false).is_late(Timestamp(601_000)));
    }
}
