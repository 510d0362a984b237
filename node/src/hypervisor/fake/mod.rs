//! A small model of several hosts' hypervisors, for the simulator and for tests.
//!
//! All hosts of a [`FakeWorld`] share one state, so a migration really moves a guest from one to
//! the other and a checker can ask at any instant where a guest runs. Time is tokio's, virtual or
//! not: whatever is due is applied before anyone looks, so the model is right at every instant and
//! tasks only serve to wake listeners. It can be told to be slow, to fail, to hang and to lie.
//!
//! A [`FakeHypervisor`] is one daemon's handle: dropping it and taking a new one is a restart of the
//! daemon, and touches no guest.

mod adapter;
mod journal;
mod nics;
#[cfg(test)]
mod tests;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pvc_model::{Name, Uid};

use crate::hypervisor::{EndReason, Guest};
use crate::storage::DiskSource;
pub use journal::Happening;
use tokio::time::Instant;
use world::State;

/// What is wrong with one host's hypervisor. The default: nothing.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Every request takes this long before it is looked at.
    pub delay: Duration,
    /// Every request is answered "unreachable"; guests go on.
    pub unreachable: bool,
    /// Requests do nothing and run into their deadline.
    pub hang: bool,
    /// So many coming starts are refused.
    pub fail_starts: u32,
    /// So many coming starts succeed, and are answered "deadline": a lie by silence.
    pub lose_starts: u32,
    /// So many coming starts never end, and have done nothing.
    pub hang_starts: u32,
    /// Every guest that is started crashes after this time.
    pub crash_after: Option<Duration>,
    /// Guests don't hear the power button.
    pub deaf_guests: bool,
    /// So many coming migrations away from here fail half-way.
    pub fail_migrations: u32,
    /// So many coming migrations away from here succeed, and are answered "unknown".
    pub lose_migrations: u32,
    /// Endings are never told.
    pub mute_endings: bool,
    /// Bridges that the host lacks; it has all others.
    pub missing_bridges: BTreeSet<String>,
    /// So many coming changes of guests' NICs are refused; taking one away is none.
    pub fail_nics: u32,
    /// Guests don't let go of a NIC.
    pub clinging_guests: bool,
}

/// How long things take in this world.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From the request to a running emulator.
    pub start: Duration,
    /// From the power button to the guest's end.
    pub shutdown: Duration,
    pub migration: Duration,
    /// Until a migration notices that the other side is silent.
    pub keepalive: Duration,
    /// Until a hanging request is given up.
    pub deadline: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            start: Duration::from_millis(300),
            shutdown: Duration::from_secs(2),
            migration: Duration::from_secs(3),
            keepalive: Duration::from_secs(30),
            deadline: Duration::from_secs(10),
        }
    }
}

/// Hosts that can reach each other, and their guests.
#[derive(Clone)]
pub struct FakeWorld {
    state: Arc<Mutex<State>>,
}

/// One host's hypervisor in a [`FakeWorld`].
pub struct FakeHypervisor {
    world: FakeWorld,
    host: Name,
}

impl Default for FakeWorld {
    fn default() -> Self {
        FakeWorld::new(Timing::default())
    }
}

impl FakeWorld {
    pub fn new(timing: Timing) -> Self {
        FakeWorld { state: Arc::new(Mutex::new(State::new(timing))) }
    }

    /// Sets a host up, powered on and empty, that migrations reach at `address`; one that exists stays as
    /// it is.
    pub fn add_host(&self, host: &Name, address: &str) {
        self.look(|s| s.add_host(host, address));
    }

    /// A daemon's handle on a host of this world; any number at once and after one another.
    pub fn hypervisor(&self, host: &Name) -> FakeHypervisor {
        FakeHypervisor { world: self.clone(), host: host.clone() }
    }

    /// Hosts whose copy of the guest may write its disks at this instant. More than one is the disaster
    /// that PVC exists to prevent.
    pub fn writers(&self, uid: Uid) -> Vec<Name> {
        self.look(|s| s.writers().remove(&uid).unwrap_or_default())
    }

    /// [`FakeWorld::writers`] of every guest that has any.
    pub fn all_writers(&self) -> BTreeMap<Uid, Vec<Name>> {
        self.look(|s| s.writers())
    }

    /// Disks that may be written at this instant, and by which guest on which host.
    pub fn written_disks(&self) -> Vec<(DiskSource, Uid, Name)> {
        self.look(|s| s.written())
    }

    /// What has happened to guests, from the `from`th happening on.
    pub fn journal(&self, from: usize) -> Vec<(Instant, Happening)> {
        self.look(|s| s.journal.get(from..).unwrap_or_default().to_vec())
    }

    /// What is on a host, in truth, whatever its faults.
    pub fn guests_on(&self, host: &Name) -> Vec<Guest> {
        self.look(|s| s.guests(host))
    }

    /// How often a guest was booted in this world, migrations not counted.
    pub fn boots(&self, uid: Uid) -> u64 {
        self.look(|s| s.boots.get(&uid).copied().unwrap_or(0))
    }

    /// Takes the power from a host: its guests are gone at once, unreported; what it received or sent
    /// breaks off.
    pub fn power_off(&self, host: &Name) {
        self.look(|s| s.host_power(host, false));
    }

    /// It comes back empty.
    pub fn power_on(&self, host: &Name) {
        self.look(|s| s.host_power(host, true));
    }

    pub fn is_powered(&self, host: &Name) -> bool {
        self.look(|s| s.hosts.get(host).is_some_and(|h| h.powered))
    }

    /// Cuts or joins the migration path between two hosts. A migration on its way over it fails after
    /// the keepalive, even when it is joined again before.
    pub fn set_link(&self, a: &Name, b: &Name, up: bool) {
        self.look(|s| s.set_link(a, b, up));
    }

    /// Changes what is wrong with a host.
    pub fn faults(&self, host: &Name, change: impl FnOnce(&mut Faults)) {
        self.look(|s| {
            if let Some(host) = s.hosts.get_mut(host) {
                change(&mut host.faults);
                host.wake();
            }
        });
    }

    /// A guest ends by itself, wherever it runs: it crashes, shuts down, or its emulator dies.
    pub fn end_guest(&self, uid: Uid, reason: EndReason) {
        self.look(|s| {
            for host in s.writers().remove(&uid).unwrap_or_default() {
                s.end_guest(&host, uid, reason);
            }
        });
    }

    /// Ends the emulators of all guests on a host, those being received too.
    pub fn kill_guests(&self, host: &Name) {
        self.look(|s| {
            for guest in s.guests(host) {
                s.end_guest(host, guest.uid, EndReason::EmulatorDied);
            }
        });
    }

    /// Applies what is due, looks or changes, and sees to it that someone wakes up for what comes next.
    fn look<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let (answer, fresh) = {
            let mut state = self.state.lock();
            state.advance(tokio::time::Instant::now());
            let answer = f(&mut state);
            (answer, state.take_unwatched())
        };
        for at in fresh {
            let Ok(runtime) = tokio::runtime::Handle::try_current() else { continue };
            let world = Arc::downgrade(&self.state);
            runtime.spawn(async move {
                tokio::time::sleep_until(at).await;
                if let Some(state) = world.upgrade() {
                    FakeWorld { state }.look(only_what_is_due);
                }
            });
        }
        answer
    }
}

/// To look for the sake of what is due.
fn only_what_is_due(_: &mut State) {}
