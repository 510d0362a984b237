//! What all parts of one cluster share: its hosts' network, boards and guests, its objects, and who is up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pvc_node::hypervisor::fake::{FakeWorld, Timing};
use raft_store::Pause;
use tokio::sync::watch;

use super::ledger::Ledger;
use super::news::News;
use super::reign::Reign;
use super::sabotage::Sabotage;
use crate::boards::Boards;
use crate::checks::replicas::Leases;
use crate::dice::Dice;
use crate::net::{Net, Place};
use crate::trace::Trace;
use crate::witness::Witness;

/// So long after a leader's last sign of life nobody votes for another: the real store's own figure.
pub fn vote_silence() -> Duration {
    raft_store::Timing::default().election_max
}

/// Clones share it.
#[derive(Clone)]
pub struct Ground {
    pub seed: u64,
    pub dice: Dice,
    pub trace: Trace,
    pub witness: Witness,
    pub net: Net<()>,
    pub guests: FakeWorld,
    pub boards: Boards,
    pub leases: Leases,
    pub ledger: Ledger,
    pub voters: Vec<Place>,
    pub places: Vec<Place>,
    pub sabotage: Option<Sabotage>,
    hosts: Arc<[Host]>,
    /// The newest, and those that don't know yet that they are over.
    reigns: Arc<Mutex<Vec<Reign>>>,
    /// Changes with each change of who is up and whom the network joins.
    changes: Arc<News<u64>>,
}

#[derive(Default)]
struct Host {
    /// Its daemon runs, or stands still.
    up: AtomicBool,
    pause: Pause,
}

impl Ground {
    pub fn new(seed: u64, voters: u8, others: u8, sabotage: Option<Sabotage>, aloud: bool) -> Ground {
        let trace = Trace::new(aloud);
        let witness = Witness::new(trace.clone());
        let (leases, guests) = (Leases::default(), FakeWorld::new(Timing::default()));
        let places: Vec<Place> = (1..=voters + others).map(Place).collect();
        let boards = Boards::new(guests.clone(), leases.clone(), witness.clone());
        for place in &places {
            guests.add_host(&place.node(), &crate::daemon::migration_address(*place));
            boards.add(*place);
        }
        Ground {
            seed,
            dice: Dice::new(seed, "ground"),
            net: Net::new(seed, trace.clone()),
            trace,
            witness,
            guests,
            boards,
            leases,
            ledger: Ledger::new(seed),
            voters: (1..=voters).map(Place).collect(),
            places,
            sabotage,
            hosts: (1..=voters + others).map(|_| Host::default()).collect(),
            reigns: Arc::default(),
            changes: Arc::new(News::new(0, Dice::new(seed, "who sees a change first"))),
        }
    }

    pub fn say(&self, line: impl Into<String>) {
        self.trace.say(line);
    }

    /// Since the beginning.
    pub fn lived(&self) -> Duration {
        self.trace.lived()
    }

    /// Something has changed about who is up, or joined.
    pub fn changed(&self) {
        self.changes.tell(self.changes.newest() + 1);
    }

    pub fn changes_so_far(&self) -> u64 {
        self.changes.newest()
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub fn set_up(&self, place: Place, up: bool) {
        self.host(place).up.store(up, Ordering::Relaxed);
        self.changed();
    }

    fn host(&self, place: Place) -> &Host {
        &self.hosts[usize::from(place.0) - 1]
    }

    pub fn pause(&self, place: Place) -> Pause {
        self.host(place).pause.clone()
    }

    /// Its daemon runs and does not stand still.
    pub fn is_awake(&self, place: Place) -> bool {
        self.is_up(place) && !self.host(place).pause.is_stopped()
    }

    pub fn is_up(&self, place: Place) -> bool {
        self.host(place).up.load(Ordering::Relaxed)
    }

    /// A coordinator there reaches a quorum, itself counted.
    pub fn has_quorum(&self, place: Place) -> bool {
        let reached = |other: &&Place| {
            **other == place && self.is_up(place) || self.is_awake(**other) && self.net.joined(place, **other)
        };
        2 * self.voters.iter().filter(reached).count() > self.voters.len()
    }

    pub fn crown(&self, reign: Reign) {
        self.reigns.lock().push(reign);
        self.changed();
    }

    pub fn reigns(&self) -> Vec<Reign> {
        self.reigns.lock().clone()
    }

    pub fn forget_reign(&self, term: u64) {
        self.reigns.lock().retain(|reign| reign.term() != term);
        self.changed();
    }

    /// The leader of the newest term, if its process is there.
    pub fn leader(&self) -> Option<Reign> {
        let term = self.ledger.term();
        self.reigns.lock().iter().find(|reign| reign.term() == term).cloned()
    }

    /// One message's way: at once where all is fair.
    pub async fn carry(&self, from: Place, to: Place) -> bool {
        self.net.is_fair(from, to) || self.net.carry(from, to).await
    }
}
