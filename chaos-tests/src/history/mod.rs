//! What the clients of a store did, what they were told, and whether a store that keeps its word can have told
//! them that. A recorder writes it down while it happens; the checks read it afterwards. They know nothing of
//! Raft, of members or of simulations.
//!
//! The keys come in groups, and no operation reaches beyond its group: a history is linearizable if each group's
//! is, and the search for an order stays short.

pub mod linear;
pub mod map;
pub mod numbers;
pub mod record;
pub mod watches;

use crate::witness::{Rule, Witness};
use record::History;
use watches::{Final, WatchLog};

/// All checks of one history.
pub fn judge(history: &History, watches: &[WatchLog], last: &Final, witness: &Witness) {
    for found in linear::check(&history.operations) {
        witness.accuse(Rule::Linearizable, found);
    }
    for found in numbers::check(history) {
        witness.accuse(Rule::Linearizable, found);
    }
    for found in watches::check(history, watches, last) {
        witness.accuse(Rule::WatchesAreWhole, found);
    }
}
