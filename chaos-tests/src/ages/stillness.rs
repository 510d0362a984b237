//! Quiet spans in which nothing can change: they are passed over, not played. Most of a cluster's life is quiet.
//!
//! Why that is true to life: while all is well, nobody rolls dice, messages arrive at once, and nothing is committed. What
//! moves are timers: the leader looks each 250 and 500 ms, agents beat each 500 ms and look each 5 s. So after a whole number
//! of these everything is as it was, each instant that anybody remembers as much later as
//! the present is. The runtime's clock stays where it is, then, and only the reckoning of the time lived goes on, and the wall
//! clocks with it.
//!
//! What takes longer without a sign would be missed. Such waits are looked for in the objects: a returned node that is to be
//! well for a minute has its fence, a guest that is to run for ten minutes until its restarts are forgotten tells of them, a
//! task that waits is there. All others are shorter than [`STILL_FOR`], or belong to a node that is silent.
//!
//! A test compares (`tests/it/ages.rs`): what lives that were played whole live through is what those do of which this was passed
//! over, as often; most are the same to the millisecond.

use std::time::Duration;

use tokio::time::Instant;

use super::life::Life;

/// Nothing has happened for so long: longer than any wait that shows nowhere. The longest are five seconds and a half: a
/// coordinator that does not answer, a quorum that does not, a controller that is blocked.
const STILL_FOR: Duration = Duration::from_secs(8);
/// All that goes round has come round. (A minute would be a host's look at itself, which is always the same here.)
const PERIOD: Duration = Duration::from_secs(5);

/// What changes with anything that happens.
#[derive(Clone, PartialEq, Eq)]
struct Signs {
    told: u64,
    changes: u64,
    rolls: u64,
    revision: u64,
    happenings: usize,
}

/// A look at one quiet span.
pub struct Stillness {
    signs: Option<Signs>,
    since: Instant,
}

impl Stillness {
    pub fn new() -> Stillness {
        Stillness { signs: None, since: Instant::now() }
    }

    /// How much of the time that is left goes by without anything new: zero, or some rounds.
    pub fn passes(&mut self, life: &Life, left: Duration) -> Duration {
        let signs = Signs {
            told: life.ground.trace.events(),
            changes: life.ground.changes_so_far(),
            rolls: life.ground.dice.rolls() + life.ground.net.rolls(),
            revision: life.ground.ledger.revision(),
            happenings: life.happenings(),
        };
        if self.signs.as_ref() != Some(&signs) {
            self.signs = Some(signs);
            self.since = Instant::now();
        }
        let rounds = (left.as_secs() / PERIOD.as_secs()) as u32;
        if rounds == 0 || self.since.elapsed() < STILL_FOR || !nothing_is_due(life) {
            return Duration::ZERO;
        }
        PERIOD * rounds
    }
}

/// All is well, and nobody waits for time to pass.
fn nothing_is_due(life: &Life) -> bool {
    let (ground, world) = (&life.ground, life.ground.ledger.world());
    let steady = life.throne.is_steady() && ground.reigns().len() == 1;
    let forgotten = world.vms.values().all(|vm| vm.observed.as_ref().is_some_and(|seen| seen.restarts == 0));
    steady
        && ground.places.iter().all(|place| ground.is_awake(*place))
        && ground.net.is_fair_everywhere()
        && world.faults.is_empty()
        && world.brake().is_none()
        && world.running_tasks().next().is_none()
        && world.waiting_vms().next().is_none()
        && forgotten
        && life.ailments().is_empty()
}
