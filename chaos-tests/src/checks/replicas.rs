//! What every coordinator shows, compared at each revision: the same objects under the same number, one
//! leader for a term, no way back, and no node given up that still has its lease.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::sync::Arc;

use parking_lot::Mutex;
use pvc_coordinator::core::Coordinator;
use pvc_model::node::Reachability;
use pvc_model::{Name, Timestamp, World};
use raft_store::{Entry, Key, Revision, Store, View};
use tokio_util::sync::CancellationToken;

use crate::daemon::Clock;
use crate::link::LeaseBook;
use crate::net::Place;
use crate::witness::{Rule, Witness};

/// The leases of all daemons that run now, as the onlooker reckons them.
pub type Leases = Arc<Mutex<BTreeMap<Place, LeaseBook>>>;

/// All that coordinators have ever shown. Clones share it.
#[derive(Clone)]
pub struct Replicas {
    witness: Witness,
    leases: Leases,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    leaders: BTreeMap<u64, Place>,
    digests: BTreeMap<Revision, (u64, Place)>,
    /// Nodes, and when they were given up by the clock of whoever did that.
    given_up: BTreeMap<Name, Timestamp>,
}

impl Replicas {
    pub fn new(witness: Witness, leases: Leases) -> Replicas {
        Replicas { witness, leases, book: Arc::default() }
    }

    /// The store at `place` leads in `term`.
    pub fn leads(&self, place: Place, term: u64) {
        let first = *self.book.lock().leaders.entry(term).or_insert(place);
        if first != place {
            let detail = format!("term {term} has two leaders, {first} and {place}");
            self.witness.accuse(Rule::OneLeader, detail);
        }
    }

    /// The store at `place` shows this at `revision`.
    pub fn shows(&self, place: Place, revision: Revision, digest: u64) {
        match self.book.lock().digests.entry(revision) {
            Slot::Vacant(slot) => drop(slot.insert((digest, place))),
            Slot::Occupied(slot) if slot.get().0 != digest => {
                let other = slot.get().1;
                let detail = format!("{place} and {other} show different objects at revision {revision}");
                self.witness.accuse(Rule::SameHistory, detail);
            }
            Slot::Occupied(_) => {}
        }
    }

    /// Whoever is newly unreachable must have lost its lease when that was decided. When that was, only the
    /// clock of the leader tells: what others show first is not judged.
    fn judge_reachability(&self, clock: Option<Clock>, world: &World) {
        for (name, node) in &world.nodes {
            let (revision, since) = (node.meta.revision, node.status.since);
            if node.status.reachability != Reachability::Unreachable {
                continue;
            }
            let before = self.book.lock().given_up.insert(name.clone(), since);
            let Some(place) = Place::of_node(name).filter(|_| before != Some(since)) else {
                continue;
            };
            let book = self.leases.lock().get(&place).cloned();
            let Some(decided) = clock.as_ref().map(|clock| clock.instant(since)) else { continue };
            if book.as_ref().is_some_and(|book| book.was_valid_at(decided)) {
                let ago = decided.elapsed();
                let detail = format!(
                    "{place} was given up {ago:?} ago (revision {revision}) while it had its lease: {book:?}"
                );
                self.witness.accuse(Rule::GraceOutlastsLease, detail);
            }
        }
    }

    /// Follows one coordinator until its process ends.
    pub async fn follow(
        self,
        place: Place,
        store: Store,
        core: Coordinator,
        clock: Clock,
        gone: CancellationToken,
    ) {
        let mut worlds = core.worlds();
        let mut leadership = store.leadership();
        let mut shown = store.view();
        let mut digest = shown.iter().fold(0, |sum, (key, entry)| sum ^ digest_of(key, entry));
        loop {
            if let Some(leadership) = *leadership.borrow_and_update() {
                self.leads(place, leadership.term);
            }
            let world = worlds.borrow_and_update().clone();
            self.judge_reachability(core.leading().map(|_| clock.clone()), &world);
            digest = self.step(place, &mut shown, store.view(), digest);
            tokio::select! {
                biased;
                () = gone.cancelled() => return,
                changed = worlds.changed() => if changed.is_err() { return },
                changed = leadership.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Follows a store that no coordinator stands on, until its process ends.
    pub async fn follow_store(self, place: Place, store: Store, gone: CancellationToken) {
        let (mut status, mut leadership) = (store.status(), store.leadership());
        let mut shown = store.view();
        let mut digest = shown.iter().fold(0, |sum, (key, entry)| sum ^ digest_of(key, entry));
        loop {
            if let Some(leadership) = *leadership.borrow_and_update() {
                self.leads(place, leadership.term);
            }
            status.mark_unchanged();
            digest = self.step(place, &mut shown, store.view(), digest);
            tokio::select! {
                biased;
                () = gone.cancelled() => return,
                changed = status.changed() => if changed.is_err() { return },
                changed = leadership.changed() => if changed.is_err() { return },
            }
        }
    }

    fn step(&self, place: Place, shown: &mut View, now: View, mut digest: u64) -> u64 {
        if now.revision < shown.revision {
            let detail = format!("{place} went from revision {} back to {}", shown.revision, now.revision);
            self.witness.accuse(Rule::SameHistory, detail);
        }
        for (key, old, new) in now.diff(shown) {
            digest ^= old.map_or(0, |old| digest_of(&key, &old));
            digest ^= new.map_or(0, |new| digest_of(&key, &new));
        }
        *shown = now;
        self.shows(place, shown.revision, digest);
        digest
    }
}

/// Digests of all objects, by exclusive or, are a digest of the state.
pub(super) fn digest_of(key: &Key, entry: &Entry) -> u64 {
    let mut head = crc32c::crc32c(key.collection.as_bytes());
    head = crc32c::crc32c_append(head, key.name.as_bytes());
    head = crc32c::crc32c_append(head, &entry.revision.to_le_bytes());
    let body = crc32c::crc32c_append(head, &entry.value);
    (u64::from(head) << 32 | u64::from(body)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
