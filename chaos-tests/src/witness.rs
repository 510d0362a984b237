//! Who says that a rule was broken. Checks accuse, and go on: one break often shows in several places, and
//! all of them help to find the cause.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::trace::Trace;

/// Accusations beyond this are not kept.
const KEPT_MAX: usize = 20;

/// What must hold, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A guest runs, and a disk is written, on one host at most.
    OneWriter,
    /// The primary's address is on one host with a lease at most, and goes with the lease.
    OneHolder,
    /// No guest is started by a daemon without a lease.
    LeaseToStart,
    /// The leader gives no node up that still has its lease.
    GraceOutlastsLease,
    /// No BMC takes the power of a node that has a lease.
    NoFalseFence,
    /// A term has one leader.
    OneLeader,
    /// The same revision shows the same objects everywhere, and revisions only grow.
    SameHistory,
    /// What was acknowledged stays, and a read shows it.
    NothingLost,
    /// A request has its effect once.
    NothingTwice,
    /// What was answered with "nothing was changed" has changed nothing.
    RefusedIsUndone,
    /// A change of leader touches no guest.
    ElectionsAreQuiet,
    /// Once all trouble is over the cluster is as people want it, soon.
    Heals,
    /// An idle cluster commits nothing.
    IdleIsQuiet,
    /// Each operation on the store takes effect at one moment between its call and its answer.
    Linearizable,
    /// A watch shows every change, in order and whole.
    WatchesAreWhole,
    /// Nobody is elected while a leader does well.
    NoFalseElection,
    /// What a scenario expects comes true.
    AsTold,
    /// No task panics, no daemon gives up.
    NobodyGivesUp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accusation {
    pub rule: Rule,
    pub detail: String,
}

impl fmt::Display for Accusation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.detail)
    }
}

/// Clones fill the same list.
#[derive(Clone)]
pub struct Witness {
    trace: Trace,
    accusations: Arc<Mutex<Vec<Accusation>>>,
}

impl Witness {
    pub fn new(trace: Trace) -> Witness {
        Witness { trace, accusations: Arc::default() }
    }

    pub fn accuse(&self, rule: Rule, detail: impl Into<String>) {
        let accusation = Accusation { rule, detail: detail.into() };
        let mut all = self.accusations.lock();
        // What is found at every look is said once.
        if all.len() < KEPT_MAX && !all.contains(&accusation) {
            self.trace.say(format!("!! {accusation}"));
            all.push(accusation);
        }
    }

    /// Something that a reader of a failure wants to know.
    pub fn tell(&self, line: impl Into<String>) {
        self.trace.say(line);
    }

    pub fn accusations(&self) -> Vec<Accusation> {
        self.accusations.lock().clone()
    }

    pub fn is_content(&self) -> bool {
        self.accusations.lock().is_empty()
    }
}
