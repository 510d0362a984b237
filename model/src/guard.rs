//! A node that stops its own guests when its lease has lapsed: what its administrator has chosen, the guard that does it, and
//! how long whoever relies on it must wait.
//!
//! ```text
//! heartbeat sent ── LEASE ──▶ lapsed ── strike_after ──▶ nothing runs ── drift, margin ──▶ the leader believes it
//! ```
//! What may never happen: a node whose guard is stored here while nothing would strike on it (docs/decisions/0019).

use std::fmt;
use std::time::Duration;

use crate::primary::LEASE;

/// What becomes of a node's guests when its lease has lapsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isolation {
    /// They run on: it takes something else than time to prove that they are off.
    #[default]
    Keep,
    /// The node's guard stops them.
    Stop,
}

impl Isolation {
    pub fn as_str(self) -> &'static str {
        match self {
            Isolation::Keep => "keep",
            Isolation::Stop => "stop",
        }
    }
}

/// What strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuardKind {
    /// The guard's process, and a watchdog of the host's hardware that resets the host if that process or the kernel freezes.
    Device,
    /// The guard's process, and the kernel's own watchdog: a kernel that has stopped altogether is not covered.
    Softdog,
    /// The guard's process alone: a frozen host, and a guest that can't be killed, are not covered.
    Process,
}

impl GuardKind {
    pub fn as_str(self) -> &'static str {
        match self {
            GuardKind::Device => "device",
            GuardKind::Softdog => "softdog",
            GuardKind::Process => "process",
        }
    }
}

/// A node's guard, as it is armed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    pub kind: GuardKind,
    /// How the watchdog calls itself: "iTCO_wdt"; empty: there is none.
    pub device: String,
    /// So long after the lease's end nothing runs any more.
    pub strike_after: Duration,
}

impl Guard {
    /// The leader waits no longer than for such a one.
    pub const STRIKE_AFTER_MAX: Duration = Duration::from_secs(60);

    /// So long after the last heartbeat that may have been acknowledged nothing runs on its node any more.
    pub fn certain_after(&self) -> Duration {
        let by_its_clock = LEASE + self.strike_after;
        by_its_clock + by_its_clock.mul_f64(DRIFT) + MARGIN
    }
}

/// How far two hosts' clocks may run apart.
const DRIFT: f64 = 0.01;
/// For what was killed to be gone, and its last writes with it.
const MARGIN: Duration = Duration::from_secs(2);

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.strike_after.as_secs_f64();
        match self.kind {
            GuardKind::Device => {
                write!(f, "device {}, strikes {seconds} s after the lease's end", self.device)
            }
            GuardKind::Softdog => write!(
                f,
                "softdog, strikes {seconds} s after the lease's end; a kernel that has stopped is not covered"
            ),
            GuardKind::Process => write!(
                f,
                "process, strikes {seconds} s after the lease's end; no watchdog: a frozen host is not covered"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_waits_for_longer_than_the_guard() {
        let guard = |seconds| Guard {
            kind: GuardKind::Process,
            device: String::new(),
            strike_after: Duration::from_secs(seconds),
        };
        assert_eq!(guard(10).certain_after(), Duration::from_millis(14_625));
        for seconds in [0, 1, 10, 60] {
            let by_a_slow_clock = (LEASE + Duration::from_secs(seconds)).mul_f64(1.01);
            assert!(guard(seconds).certain_after() >= by_a_slow_clock + Duration::from_secs(2));
        }
    }

    #[test]
    fn its_limits_are_said() {
        let guard =
            Guard { kind: GuardKind::Process, device: String::new(), strike_after: Duration::from_secs(10) };
        assert!(guard.to_string().contains("a frozen host is not covered"), "{guard}");
    }
}
