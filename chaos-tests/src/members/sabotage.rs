//! Lies told on purpose between the members and their clients, in a store that is well, to see that the checks
//! notice each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use raft_store::{Outcome, Store, Transaction};

use crate::history::record::{Contents, Group};
use crate::history::watches::Told;
use crate::witness::Rule;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A read shows what was there before.
    StaleRead,
    /// A write is acknowledged that nobody makes.
    LostWrite,
    /// A request is carried out once more, a while later.
    AppliedTwice,
    /// Two changes come in the wrong order.
    ReorderedWatch,
    /// A change of several keys comes without one of them.
    TornWatch,
    /// A change does not come.
    DroppedWatch,
}

impl Lie {
    pub const ALL: [Lie; 6] = [
        Lie::StaleRead,
        Lie::LostWrite,
        Lie::AppliedTwice,
        Lie::ReorderedWatch,
        Lie::TornWatch,
        Lie::DroppedWatch,
    ];

    /// The rule that it breaks.
    pub fn breaks(self) -> Rule {
        match self {
            Lie::StaleRead | Lie::LostWrite | Lie::AppliedTwice => Rule::Linearizable,
            Lie::ReorderedWatch | Lie::TornWatch | Lie::DroppedWatch => Rule::WatchesAreWhole,
        }
    }
}

/// Lies once. Clones share that. Where there is none, everything passes as it is.
#[derive(Clone, Default)]
pub struct Saboteur(Option<Arc<Mutex<State>>>);

struct State {
    lie: Option<Lie>,
    /// Chances that pass by before it lies.
    patience: u32,
    /// What groups held at the first read.
    old: BTreeMap<Group, Contents>,
    /// A change that waits for the next one to overtake it.
    held_back: Option<Told>,
}

impl Saboteur {
    pub fn new(lie: Lie) -> Saboteur {
        let state = State { lie: Some(lie), patience: 5, old: BTreeMap::new(), held_back: None };
        Saboteur(Some(Arc::new(Mutex::new(state))))
    }

    /// Whether it has told its lie; one that never did proves nothing.
    pub fn has_lied(&self) -> bool {
        self.0.as_ref().is_some_and(|state| state.lock().lie.is_none())
    }

    fn lies(&self, what: Lie) -> Option<parking_lot::MutexGuard<'_, State>> {
        let mut state = self.0.as_ref()?.lock();
        if state.lie != Some(what) {
            return None;
        }
        if state.patience > 0 {
            state.patience -= 1;
            return None;
        }
        Some(state)
    }

    pub fn read(&self, group: Group, now: Contents) -> Contents {
        if let Some(state) = &self.0 {
            state.lock().old.entry(group).or_insert(now);
        }
        let Some(mut state) = self.lies(Lie::StaleRead) else { return now };
        let old = state.old.get(&group).copied().unwrap_or(now);
        // Something must have been there: what was empty may be so again.
        if old == now || old.iter().all(Option::is_none) {
            state.old.insert(group, now);
            return now;
        }
        state.lie = None;
        old
    }

    pub fn write(&self, store: &Store, transactions: &[Transaction]) -> Option<Vec<Outcome>> {
        let blind = |t: &Transaction| t.preconditions.is_empty() && !t.puts.is_empty();
        if !transactions.iter().all(blind) || store.leadership().borrow().is_none() {
            return None;
        }
        if let Some(mut state) = self.lies(Lie::LostWrite) {
            state.lie = None;
            let applied = Outcome::Applied {
                revision: store.view().revision + 1,
                reply: bytes::Bytes::new(),
                duplicate: false,
            };
            return Some(vec![applied; transactions.len()]);
        }
        if let Some(mut state) = self.lies(Lie::AppliedTwice) {
            state.lie = None;
            let mut again = transactions.to_vec();
            again.iter_mut().for_each(|t| t.request_id = None);
            let store = store.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let term = store.leadership().borrow().map_or(0, |leadership| leadership.term);
                store.propose(term, again, 0).await
            });
        }
        None
    }

    pub fn watch(&self, told: Told) -> Vec<Told> {
        let Told::Changes { revision, events } = &told else { return vec![told] };
        if let Some(mut state) = self.lies(Lie::DroppedWatch) {
            state.lie = None;
            return Vec::new();
        }
        if let Some(mut state) = self.lies(Lie::TornWatch)
            && events.len() > 1
        {
            state.lie = None;
            return vec![Told::Changes { revision: *revision, events: events[1..].to_vec() }];
        }
        if let Some(mut state) = self.lies(Lie::ReorderedWatch) {
            return match state.held_back.take() {
                None => {
                    state.held_back = Some(told);
                    Vec::new()
                }
                Some(before) => {
                    state.lie = None;
                    vec![told, before]
                }
            };
        }
        vec![told]
    }
}
