//! What the agent remembers of a VM between two looks. All of it may be lost (pvcd restarted) without
//! harm: what must survive is in the store, and what runs is asked of the hypervisor.

use std::time::Duration;

use pvc_model::vm::ObservedPhase;
use pvc_model::{Name, Vm};
use tokio::time::Instant;

use super::decide::Action;
use super::nics::NicMemory;

/// A guest that has run this long has shown that it works: its restarts are forgotten.
pub const STEADY_AFTER: Duration = Duration::from_secs(600);
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Work on a guest that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Start,
    Other,
}

/// The sending of a guest to another node, by this daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sending {
    UnderWay,
    /// With what it cost, in words.
    Arrived(String),
    Failed(String),
    /// The hypervisor was lost on the way.
    Unknown(String),
}

/// The receiving of a guest, looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receiving {
    Ready,
    Refused(String),
}

/// When a guest began to go off.
#[derive(Clone, Copy, Debug)]
pub struct GoingOff {
    pub intent: u64,
    pub since: Instant,
    pub pressed: Instant,
}

#[derive(Clone, Debug, Default)]
pub struct VmMemory {
    boot_generation: u64,
    pub doing: Option<Doing>,
    /// The last thing that was begun, and when.
    pub begun: Option<(Action, Instant)>,
    /// A start whose outcome nobody knows, since then: it may still come up.
    pub uncertain_since: Option<Instant>,
    pub restarts: u32,
    pub retry_at: Option<Instant>,
    pub last_failure: String,
    pub gave_up: bool,
    /// The guest was seen running at the present boot generation, since then.
    pub running_since: Option<Instant>,
    pub going_off: Option<GoingOff>,
    pub sending: Option<(Name, Sending)>,
    pub receiving: Option<(Name, Receiving)>,
    /// The guest of this migration was first seen running here then.
    arrived: Option<(Name, Instant)>,
    pub(super) nics: NicMemory,
    /// A bridge that it needs to come here is missing since then.
    bridge_missing_since: Option<Instant>,
}

impl VmMemory {
    /// Follows the VM to its present boot generation. A boot asked for by a person begins with a clean
    /// slate; a daemon that has just started takes up what it had reported before.
    pub fn follow(&mut self, vm: &Vm) {
        if self.boot_generation == vm.boot_generation {
            return;
        }
        let first_look = self.boot_generation == 0;
        self.boot_generation = vm.boot_generation;
        self.restarts = 0;
        self.retry_at = None;
        self.gave_up = false;
        self.last_failure.clear();
        self.running_since = None;
        let said = vm.current_observation().filter(|o| first_look && o.boot_generation == vm.boot_generation);
        if let Some(said) = said {
            self.restarts = said.restarts;
            self.gave_up = said.phase == ObservedPhase::Failed;
            if self.gave_up {
                self.last_failure = said.reason.clone();
            }
            // It ran when the daemon last looked; if it does not now, it has ended.
            if said.phase == ObservedPhase::Running {
                self.running_since = Some(Instant::now());
            }
        }
    }

    pub fn saw_running(&mut self, now: Instant) {
        let since = *self.running_since.get_or_insert(now);
        self.uncertain_since = None;
        self.retry_at = None;
        if now.duration_since(since) > STEADY_AFTER {
            self.restarts = 0;
        }
    }

    /// The guest ended by itself, or could not be started: back off, or give up.
    pub fn failed(&mut self, now: Instant, why: &str, restarts_max: u32) {
        self.running_since = None;
        self.restarts += 1;
        if self.restarts > restarts_max {
            self.gave_up = true;
            self.last_failure = match restarts_max {
                0 => format!("{why}; it is not to be restarted"),
                _ => format!("{why}; given up after {restarts_max} restarts"),
            };
        } else {
            let doubled = BACKOFF_FIRST.saturating_mul(1 << (self.restarts - 1).min(10));
            self.retry_at = Some(now + doubled.min(BACKOFF_MAX));
            self.last_failure = why.to_string();
        }
    }

    pub fn sending_of(&self, task: &Name) -> Option<&Sending> {
        self.sending.as_ref().filter(|(of, _)| of == task).map(|(_, state)| state)
    }

    /// When the guest of this migration was first seen running here, which is now if it was not yet.
    pub fn arrived_at(&mut self, task: &Name, now: Instant) -> Instant {
        match &self.arrived {
            Some((of, at)) if of == task => *at,
            _ => {
                self.arrived = Some((task.clone(), now));
                now
            }
        }
    }

    /// For how long a bridge that it needs is missing now; None: none is.
    pub fn bridge_missing_for(&mut self, missing: bool, now: Instant) -> Option<Duration> {
        if !missing {
            self.bridge_missing_since = None;
            return None;
        }
        Some(now.duration_since(*self.bridge_missing_since.get_or_insert(now)))
    }

    pub fn receiving_of(&self, task: &Name) -> Option<&Receiving> {
        self.receiving.as_ref().filter(|(of, _)| of == task).map(|(_, state)| state)
    }
}
