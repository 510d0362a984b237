//! The replicated state and how an entry changes it. Pure: no clock, no randomness, no I/O. Two members
//! that apply the same entries hold the same state, byte for byte; versions of this program too.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};

use crate::audit::Audited;
use crate::form::{AgeClockForm, BatchForm, FormError, ObjectForm, Record, RequestForm, StateHeadForm};
use crate::key::Key;
use crate::member::MemberId;
use crate::raft::{Applied, LogEntry, LogId, StoredMembership};
use crate::transaction::{Entry, Expected, Outcome, Precondition, Revision, Transaction};
use crate::watch::{Changes, Event};

/// How long an outcome is remembered for its request id; see [`AgeClock`].
pub const REQUEST_MEMORY_MS: u64 = 10 * 60 * 1000;

/// More outcomes than this are not remembered: the oldest go first.
pub const REQUEST_MEMORY_COUNT: usize = 262_144;

/// Version of snapshots, checkpoints and backups.
pub const STATE_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub revision: Revision,
    pub at_ms: u64,
    pub reply: Bytes,
}

/// The time that has passed for the cluster: what passed on each leader's own monotonic clock within its
/// term, added up. Clocks of two hosts are never compared: one that is wrong by an hour would make a new
/// leader forget what the old one has done, and a request that is repeated would be done twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AgeClock {
    age_ms: u64,
    term: u64,
    leader_ms: u64,
}

impl AgeClock {
    fn advance(&mut self, term: u64, leader_ms: u64) -> u64 {
        if term == self.term {
            let passed = leader_ms.saturating_sub(self.leader_ms);
            self.age_ms = self.age_ms.saturating_add(passed);
            self.leader_ms += passed;
        } else {
            (self.term, self.leader_ms) = (term, leader_ms);
        }
        self.age_ms
    }

    fn form(self) -> Option<AgeClockForm> {
        let AgeClock { age_ms, term, leader_ms } = self;
        (self != AgeClock::default()).then_some(AgeClockForm { age_ms, term, leader_ms })
    }
}

impl From<AgeClockForm> for AgeClock {
    fn from(AgeClockForm { age_ms, term, leader_ms }: AgeClockForm) -> Self {
        AgeClock { age_ms, term, leader_ms }
    }
}

/// Everything that is replicated. Cloning takes a few reference counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub cluster_id: Arc<str>,
    pub entries: OrdMap<Key, Entry>,
    pub requests: OrdMap<Arc<str>, Recorded>,
    /// The requests by age.
    pub ages: OrdSet<(u64, Arc<str>)>,
    pub clock: AgeClock,
    pub known_members: OrdSet<MemberId>,
    pub applied: Option<LogId>,
    pub membership: Arc<StoredMembership>,
}

/// What applying one entry came to.
#[derive(Debug)]
pub(crate) struct Step {
    /// What to answer.
    pub applied: Applied,
    /// What watchers get to see.
    pub changes: Option<Changes>,
    /// Who changed what.
    pub audited: Vec<Audited>,
}

impl Step {
    fn without_changes(applied: Applied) -> Step {
        Step { applied, changes: None, audited: Vec::new() }
    }
}

impl State {
    pub fn new(cluster_id: &str) -> State {
        State { cluster_id: cluster_id.into(), ..State::default() }
    }

    /// Index of the last applied entry; 0 before the first.
    pub fn revision(&self) -> Revision {
        self.applied.as_ref().map_or(0, LogId::index)
    }

    /// Applies one committed entry.
    pub fn apply(&mut self, entry: &LogEntry) -> Result<Step, FormError> {
        self.applied = Some(entry.log_id);
        match &entry.payload {
            openraft::EntryPayload::Blank => Ok(Step::without_changes(Applied::Nothing)),
            openraft::EntryPayload::Membership(membership) => {
                self.known_members.extend(membership.nodes().map(|(id, _)| *id));
                self.membership = Arc::new(StoredMembership::new(Some(entry.log_id), membership.clone()));
                Ok(Step::without_changes(Applied::Nothing))
            }
            openraft::EntryPayload::Normal(command) => {
                let batch: BatchForm = crate::form::decode("batch", command.0.clone())?;
                if batch.term != **entry.log_id.committed_leader_id() {
                    return Ok(Step::without_changes(Applied::StaleTerm));
                }
                self.apply_batch(batch)
            }
        }
    }

    fn apply_batch(&mut self, batch: BatchForm) -> Result<Step, FormError> {
        let revision = self.revision();
        let now_ms = batch.now_ms;
        let age_ms = self.clock.advance(batch.term, batch.leader_ms);
        self.forget_requests(age_ms);
        let mut touched = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(batch.transactions.len());
        let mut audited = Vec::new();
        for transaction in batch.transactions()? {
            let told = Audited::of(revision, now_ms, &transaction);
            let outcome = self.apply_transaction(transaction, revision, age_ms, &mut touched);
            if matches!(outcome, Outcome::Applied { duplicate: false, .. }) {
                audited.extend(told);
            }
            outcomes.push(outcome);
        }
        let events: Vec<Event> = touched
            .into_iter()
            .filter_map(|(key, old)| {
                let new = self.entries.get(&key).cloned();
                (old != new).then_some(Event { key, old, new })
            })
            .collect();
        let changes = (!events.is_empty()).then(|| Changes::new(revision, events));
        Ok(Step { applied: Applied::Outcomes(outcomes), changes, audited })
    }

    fn apply_transaction(
        &mut self,
        transaction: Transaction,
        revision: Revision,
        age_ms: u64,
        touched: &mut BTreeMap<Key, Option<Entry>>,
    ) -> Outcome {
        let known = transaction.request_id.as_deref().and_then(|id| self.requests.get(id));
        if let Some(Recorded { revision, reply, .. }) = known {
            return Outcome::Applied { revision: *revision, reply: reply.clone(), duplicate: true };
        }
        for precondition in &transaction.preconditions {
            if let Err((expected, actual)) = self.holds(precondition) {
                return Outcome::Conflict { key: precondition.key().clone(), expected, actual };
            }
        }
        for (key, value) in transaction.puts {
            let old = self.entries.get(&key);
            touched.entry(key.clone()).or_insert_with(|| old.cloned());
            let create_revision = old.map_or(revision, |old| old.create_revision);
            // A copy: the value would else keep the whole entry it came in alive.
            let value = Bytes::copy_from_slice(&value);
            self.entries.insert(key, Entry { value, create_revision, revision });
        }
        for key in transaction.deletes {
            if let Some(old) = self.entries.remove(&key) {
                touched.entry(key).or_insert(Some(old));
            }
        }
        let reply = Bytes::copy_from_slice(&transaction.reply);
        if let Some(id) = transaction.request_id {
            self.remember(id.into(), Recorded { revision, at_ms: age_ms, reply: reply.clone() });
        }
        Outcome::Applied { revision, reply, duplicate: false }
    }

    fn holds(&self, precondition: &Precondition) -> Result<(), (Expected, Revision)> {
        let actual = self.entries.get(precondition.key()).map_or(0, |entry| entry.revision);
        let (expected, holds) = match precondition {
            Precondition::RevisionIs { revision, .. } => (Expected::Revision(*revision), actual == *revision),
            Precondition::Exists(_) => (Expected::Exists, actual != 0),
            Precondition::Absent(_) => (Expected::Absent, actual == 0),
        };
        if holds { Ok(()) } else { Err((expected, actual)) }
    }

    fn remember(&mut self, id: Arc<str>, recorded: Recorded) {
        self.ages.insert((recorded.at_ms, id.clone()));
        self.requests.insert(id, recorded);
    }

    /// Drops what is older than the memory lasts, and what lies further ahead than that: before there was an
    /// `AgeClock`, records carried wall time, and would never age.
    fn forget_requests(&mut self, age_ms: u64) {
        let oldest_kept = age_ms.saturating_sub(REQUEST_MEMORY_MS);
        let newest_kept = age_ms.saturating_add(REQUEST_MEMORY_MS);
        while let Some((at_ms, id)) = self.ages.get_min().cloned() {
            if at_ms >= oldest_kept && self.ages.len() <= REQUEST_MEMORY_COUNT {
                break;
            }
            self.forget(at_ms, id);
        }
        while let Some((at_ms, id)) = self.ages.get_max().cloned() {
            if at_ms <= newest_kept {
                break;
            }
            self.forget(at_ms, id);
        }
    }

    fn forget(&mut self, at_ms: u64, id: Arc<str>) {
        self.requests.remove(&id);
        self.ages.remove(&(at_ms, id));
    }

    /// The part of a snapshot that is not records.
    pub fn head(&self) -> StateHeadForm {
        StateHeadForm {
            version: STATE_VERSION,
            cluster_id: self.cluster_id.to_string(),
            applied: self.applied.as_ref().map(Into::into),
            membership: Some((&*self.membership).into()),
            known_members: self.known_members.iter().copied().collect(),
            clock: self.clock.form(),
        }
    }

    /// An empty state with this head; records follow by `insert`.
    pub fn from_head(head: StateHeadForm) -> Result<State, FormError> {
        if head.version == 0 || head.version > STATE_VERSION {
            return Err(FormError::Version { form: "state", version: head.version, newest: STATE_VERSION });
        }
        let membership = head.membership.as_ref().map(|m| m.stored()).transpose()?.unwrap_or_default();
        Ok(State {
            cluster_id: head.cluster_id.into(),
            clock: head.clock.map(AgeClock::from).unwrap_or_default(),
            known_members: head.known_members.into_iter().collect(),
            applied: head.applied.map(LogId::from),
            membership: Arc::new(membership),
            ..State::default()
        })
    }

    /// Adds one record of a snapshot or a checkpoint.
    pub fn insert(&mut self, record: Record) -> Result<(), FormError> {
        match record {
            Record::Object(ObjectForm { key, value, create_revision, revision }) => {
                let key = key.ok_or(FormError::Missing { form: "object", field: "key" })?;
                let value = Bytes::copy_from_slice(&value);
                self.entries.insert(key.into(), Entry { value, create_revision, revision });
            }
            Record::Request(RequestForm { id, revision, at_ms, reply }) => {
                let reply = Bytes::copy_from_slice(&reply);
                self.remember(id.into(), Recorded { revision, at_ms, reply });
            }
        }
        Ok(())
    }
}

pub(crate) fn object_form(key: &Key, entry: &Entry) -> ObjectForm {
    ObjectForm {
        key: Some(key.into()),
        value: entry.value.clone(),
        create_revision: entry.create_revision,
        revision: entry.revision,
    }
}

pub(crate) fn request_form(id: &str, recorded: &Recorded) -> RequestForm {
    RequestForm {
        id: id.to_owned(),
        revision: recorded.revision,
        at_ms: recorded.at_ms,
        reply: recorded.reply.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{Command, CommittedLeader};
    use prost::Message;

    fn key(name: &str) -> Key {
        Key::new("vm", name).unwrap()
    }

    fn put(name: &str, value: &str) -> Transaction {
        Transaction { puts: vec![(key(name), Bytes::from(value.to_owned()))], ..Default::default() }
    }

    fn apply(state: &mut State, leader_ms: u64, batch: &[Transaction]) -> (Vec<Outcome>, Option<Changes>) {
        apply_in(state, 1, leader_ms, batch)
    }

    fn apply_in(
        state: &mut State,
        term: u64,
        leader_ms: u64,
        batch: &[Transaction],
    ) -> (Vec<Outcome>, Option<Changes>) {
        let index = state.revision() + 1;
        let bytes = BatchForm::new(term, 0, leader_ms, batch).encode_to_vec().into();
        let payload = openraft::EntryPayload::Normal(Command(bytes));
        let entry = LogEntry { log_id: LogId::new(CommittedLeader::new(term), index), payload };
        match state.apply(&entry).unwrap() {
            Step { applied: Applied::Outcomes(outcomes), changes, .. } => (outcomes, changes),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_changed_twice_in_an_entry_gives_one_event() {
        let mut state = State::new("c");
        let (_, changes) = apply(&mut state, 0, &[put("a", "1"), put("a", "2"), put("b", "1")]);
        let changes = changes.unwrap();
        assert_eq!(changes.events.len(), 2);
        assert_eq!(changes.events[0].new.as_ref().unwrap().value, "2");
        let gone = Transaction { deletes: vec![key("c")], ..Default::default() };
        let (outcomes, changes) = apply(&mut state, 0, &[put("c", "1"), gone]);
        assert!(outcomes.iter().all(|o| matches!(o, Outcome::Applied { .. })));
        assert!(changes.is_none(), "born and gone within one entry");
    }

    #[test]
    fn a_conflict_leaves_no_trace_and_names_what_it_met() {
        let mut state = State::new("c");
        apply(&mut state, 0, &[put("a", "1")]);
        let mut guarded = put("b", "1");
        guarded.preconditions =
            vec![Precondition::Exists(key("a")), Precondition::RevisionIs { key: key("a"), revision: 9 }];
        let (outcomes, changes) = apply(&mut state, 0, &[guarded]);
        let conflict = Outcome::Conflict { key: key("a"), expected: Expected::Revision(9), actual: 1 };
        assert_eq!(outcomes, [conflict]);
        assert!(changes.is_none() && !state.entries.contains_key(&key("b")));
    }

    #[test]
    fn a_request_id_is_remembered_for_ten_minutes() {
        let mut state = State::new("c");
        let mut first = put("a", "1");
        first.request_id = Some("r".into());
        first.reply = Bytes::from_static(b"made");
        let (outcomes, _) = apply(&mut state, 1000, &[first.clone(), first.clone()]);
        let applied = |revision, duplicate| Outcome::Applied { revision, reply: "made".into(), duplicate };
        assert_eq!(outcomes, [applied(1, false), applied(1, true)]);
        let (outcomes, changes) = apply(&mut state, 1000 + REQUEST_MEMORY_MS, &[first.clone()]);
        assert_eq!((outcomes, changes.is_none()), (vec![applied(1, true)], true));
        let (outcomes, _) = apply(&mut state, 1001 + REQUEST_MEMORY_MS, &[first]);
        assert_eq!(outcomes, [applied(3, false)]);
        assert_eq!(state.requests.len(), state.ages.len());
    }

    /// A new leader's clock may show anything: what the old one has done is not forgotten sooner for it.
    #[test]
    fn a_request_id_ages_within_terms_only() {
        let mut state = State::new("c");
        let mut first = put("a", "1");
        first.request_id = Some("r".into());
        let half = REQUEST_MEMORY_MS / 2;
        apply_in(&mut state, 1, 5_000, &[first.clone()]);
        apply_in(&mut state, 1, 5_000 + half, &[put("b", "1")]);
        for (term, leader_ms) in [(2, u64::MAX / 2), (3, 0), (3, half)] {
            let (outcomes, _) = apply_in(&mut state, term, leader_ms, &[first.clone()]);
            assert!(matches!(outcomes[0], Outcome::Applied { duplicate: true, .. }), "in term {term}");
        }
        let back = State::from_head(state.head()).unwrap();
        assert_eq!(back.clock, state.clock, "it goes on where it was");
        let (outcomes, _) = apply_in(&mut state, 3, half + 1, &[first]);
        assert!(matches!(outcomes[0], Outcome::Applied { duplicate: false, .. }));
    }

    #[test]
    fn records_of_wall_time_do_not_fill_the_memory() {
        let mut state = State::new("c");
        let (revision, at_ms, reply) = (1, 1_700_000_000_000, Bytes::new());
        state.insert(Record::Request(RequestForm { id: "old".into(), revision, at_ms, reply })).unwrap();
        apply(&mut state, 1000, &[put("b", "1")]);
        assert!(state.requests.is_empty());
    }

    #[test]
    fn create_revision_survives_puts_and_not_deletes() {
        let mut state = State::new("c");
        apply(&mut state, 0, &[put("a", "1")]);
        apply(&mut state, 0, &[put("a", "2")]);
        let entry = state.entries.get(&key("a")).unwrap();
        assert_eq!((entry.create_revision, entry.revision), (1, 2));
        apply(&mut state, 0, &[Transaction { deletes: vec![key("a")], ..Default::default() }]);
        apply(&mut state, 0, &[put("a", "3")]);
        assert_eq!(state.entries.get(&key("a")).unwrap().create_revision, 4);
    }

    #[test]
    fn an_entry_of_another_term_is_not_applied() {
        let mut state = State::new("c");
        let bytes = BatchForm::new(1, 0, 0, &[put("a", "1")]).encode_to_vec().into();
        let payload = openraft::EntryPayload::Normal(Command(bytes));
        let entry = LogEntry { log_id: LogId::new(CommittedLeader::new(2), 5), payload };
        assert_eq!(state.apply(&entry).unwrap().applied, Applied::StaleTerm);
        assert_eq!((state.entries.len(), state.revision()), (0, 5));
    }
}
