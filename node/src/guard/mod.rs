//! The guard: stops this host's guests when the host has had no lease for too long, where its administrator wants that. It is
//! a process of its own (`pvcd guard`), for it must strike above all when the daemon is dead.
//!
//! ```text
//! daemon ──heartbeat acknowledged──▶ lease ──"until then"──▶ guard ──too late──▶ SIGKILL to each guest of this host
//! ```
//! [`Watch`] is its judgement, without a clock or a process; [`keeper`] is the daemon's part: it arms the guard, and tells the
//! leader that it may be relied upon. [`petting`] keeps an armed guard content from the thread that sends heartbeats.
//!
//! What may never happen: a guest that is ended while the host's lease covers the present, or while the guard is not armed; a
//! process that is ended and is no guest of this host; a guard that is disarmed while the cluster still relies on it.

pub mod emulators;
pub mod keeper;
mod memory;
pub mod petting;
pub mod process;
pub mod socket;
#[cfg(test)]
mod tests;
mod watch;
pub mod watchdog;

use std::time::Duration;

use async_trait::async_trait;
use pvc_model::guard::{Guard, GuardKind};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub use keeper::Keeper;
pub use watch::{Deed, Terms, Watch};

/// So long after the end of the lease nothing runs any more. A daemon that was killed is back long before.
pub const STRIKE_AFTER: Duration = Duration::from_secs(10);
/// Without petting for so long a watchdog resets the host. The guard itself strikes earlier by this.
pub const WATCHDOG_TIMEOUT: Duration = Duration::from_secs(4);

/// Time since the host was booted, sleep included: the only clock that the guard and the daemon share.
pub type SinceBoot = Duration;

/// What the daemon asks of the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// How it stands.
    Look,
    /// The host has a lease until then: strike if that is over for too long.
    Arm { until: SinceBoot },
    /// The same for a guard that is armed; one that is not stays so.
    Pet { until: SinceBoot },
    /// Nobody relies on it any more.
    Disarm,
}

/// How the guard stands after it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub armed: bool,
    /// Its time has come: it ends each guest that it finds.
    pub striking: bool,
    /// It was told to end, and does when it is disarmed.
    pub stopping: bool,
    pub kind: Kind,
    /// How the watchdog calls itself; empty: there is none.
    pub device: String,
    pub strike_after: Duration,
}

/// [`GuardKind`], as the two processes tell it to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Device,
    Softdog,
    Process,
}

impl Answer {
    /// As the cluster is told of it.
    pub fn guard(&self) -> Guard {
        let kind = match self.kind {
            Kind::Device => GuardKind::Device,
            Kind::Softdog => GuardKind::Softdog,
            Kind::Process => GuardKind::Process,
        };
        Guard { kind, device: self.device.clone(), strike_after: self.strike_after }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the guard does not answer: {0}")]
pub struct GuardError(pub String);

/// The daemon's way to the guard of its host.
#[async_trait]
pub trait GuardPort: Send + Sync + 'static {
    /// Answered when it is so: an armed guard strikes from then on, whatever becomes of its process.
    async fn ask(&self, ask: Ask) -> Result<Answer, GuardError>;

    fn now(&self) -> SinceBoot;

    /// A moment of the daemon's clock, by the clock that the guard has too; one that is past is now.
    fn by_its_clock(&self, moment: Instant) -> SinceBoot {
        self.now() + moment.saturating_duration_since(Instant::now())
    }
}

/// Since the host was booted.
pub fn since_boot() -> SinceBoot {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}
