//! Clients of the store: they read at whichever member, write at the leader, and repeat what has no answer under
//! the same request id. All they do and are told goes into the recorder.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use raft_store::{MemberId, Outcome, ProposeError, Store, Transaction, View};
use tokio::time::Instant;

use super::cluster::{Members, Served};
use super::sabotage::Saboteur;
use crate::dice::Dice;
use crate::history::record::{
    Answer, Contents, Expect, Group, KEYS, Look, OpId, Recorder, What, Write, contents, place_of, transaction,
};
use crate::net::{CallError, Net, Place};

/// After this long a client gives up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one member is waited for.
const TRY_WITHIN: Duration = Duration::from_millis(1200);
/// Groups that are worked on at a time, and operations after which a group is left for good.
const GROUPS: u64 = 3;
const GROUP_ENDS_AFTER: u64 = 45;

/// Of a thousand turns a client repeats so many of what it has done, one of so many writes.
pub const REPEATED_PER_MILLE: u64 = 60;
pub const REPEATABLE_MAX: usize = 20;

/// Which groups are worked on now. Clones share it.
#[derive(Clone, Default)]
pub struct Work {
    begun: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Work {
    pub fn group(&self, dice: &Dice) -> Group {
        let round = self.begun.fetch_add(1, Ordering::Relaxed) / (GROUPS * GROUP_ENDS_AFTER);
        (round * GROUPS + dice.roll(GROUPS)) as Group
    }

    /// All groups that were ever worked on.
    pub fn groups(&self) -> std::ops::Range<Group> {
        let rounds = self.begun.load(Ordering::Relaxed) / (GROUPS * GROUP_ENDS_AFTER) + 1;
        0..(rounds * GROUPS) as Group
    }

    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// What a client does next, given what it knows of the group: of use to any kind of client.
pub fn next(dice: &Dice, known: &Contents) -> What {
    let key = dice.roll(KEYS as u64) as usize;
    let other = (key + 1 + dice.roll(KEYS as u64 - 1) as usize) % KEYS;
    let as_known = |key: usize| (key, known[key].map_or(Expect::Absent, Expect::Is));
    let write = match dice.roll(20) {
        0..=7 => return What::Read,
        8..=10 => Write { puts: vec![key], ..Write::default() },
        11..=13 => Write { expects: vec![as_known(key)], puts: vec![key], ..Write::default() },
        14 => Write {
            expects: vec![as_known(key), as_known(other)],
            puts: vec![key, other],
            ..Write::default()
        },
        15 => Write { expects: vec![as_known(key)], puts: vec![other], deletes: vec![key] },
        16 => Write { puts: (0..KEYS).collect(), ..Write::default() },
        17 => Write { expects: vec![(key, Expect::Absent)], puts: vec![key, other], ..Write::default() },
        18 => Write { expects: vec![(key, Expect::Exists)], puts: vec![other], deletes: vec![key] },
        _ => Write { deletes: vec![key], ..Write::default() },
    };
    What::Write(write)
}

/// What a member says to a proposal.
enum Tried {
    Done(Vec<Outcome>),
    /// Nothing was done; somebody else may lead.
    Not(Option<MemberId>),
    Unknown,
}

pub struct Client {
    pub number: u32,
    pub here: Place,
    pub members: Members,
    pub recorder: Recorder,
    pub dice: Dice,
    pub work: Work,
    pub saboteur: Saboteur,
    /// Milliseconds between two operations, at most.
    pub rest_max_ms: u64,
    pub hint: Option<Place>,
    pub known: BTreeMap<Group, Contents>,
    /// Acknowledged writes, to be repeated now and then.
    pub done: VecDeque<(OpId, Transaction)>,
}

impl Client {
    pub async fn run(mut self) {
        while !self.work.is_over() {
            if self.dice.per_mille(REPEATED_PER_MILLE) {
                self.repeat().await;
            }
            let group = self.work.group(&self.dice);
            let known = self.known.get(&group).copied().unwrap_or_default();
            match next(&self.dice, &known) {
                What::Read if self.dice.per_mille(250) => self.look(group).await,
                What::Read => self.read(group).await,
                What::Write(write) => {
                    let mut writes = vec![write];
                    // Sometimes two in one proposal.
                    if self.dice.per_mille(100)
                        && let What::Write(second) = next(&self.dice, &known)
                    {
                        writes.push(second);
                    }
                    self.write(group, writes).await;
                }
            }
            tokio::time::sleep(self.dice.millis(1, self.rest_max_ms)).await;
        }
    }

    fn net(&self) -> &Net<Served> {
        &self.members.net
    }

    fn anybody(&self) -> Place {
        self.dice.pick(&self.members.places()).copied().unwrap_or(Place(1))
    }

    async fn read(&mut self, group: Group) {
        let id = self.recorder.call(self.number, group, What::Read);
        let (at, saboteur) = (self.anybody(), self.saboteur.clone());
        let asked = self.net().call(self.here, at, PATIENCE, move |there| async move {
            let view = there.store.linearizable().await.ok()?;
            Some((view.revision, saboteur.read(group, contents(&view, group))))
        });
        if let Ok(Some((revision, contents))) = asked.await {
            self.known.insert(group, contents);
            self.recorder.end(id, Answer::Read { revision, contents });
        }
    }

    /// What a member shows without asking anybody: old, perhaps, but never wrong.
    async fn look(&mut self, group: Group) {
        let at = self.anybody();
        let asked = self.net().call(self.here, at, TRY_WITHIN, move |there| async move {
            let view: View = there.store.view();
            (view.revision, contents(&view, group))
        });
        if let Ok((revision, contents)) = asked.await {
            self.recorder.look(Look { group, revision, contents });
        }
    }

    /// Asks for what was done: it must be told as it was the first time, and not be done again.
    async fn repeat(&mut self) {
        let turn = self.dice.roll(self.done.len() as u64) as usize;
        let Some((id, transaction)) = self.done.get(turn).cloned() else { return };
        let (outcomes, _) = self.propose(vec![transaction]).await;
        match outcomes.and_then(|mut outcomes| outcomes.pop()) {
            Some(Outcome::Applied { revision, .. }) => self.recorder.repeat(id, Some(revision)),
            Some(Outcome::Conflict { .. }) => self.recorder.repeat(id, None),
            None => {}
        }
    }

    async fn write(&mut self, group: Group, writes: Vec<Write>) {
        let ids: Vec<OpId> = writes
            .iter()
            .map(|write| self.recorder.call(self.number, group, What::Write(write.clone())))
            .collect();
        let transactions: Vec<Transaction> =
            ids.iter().zip(&writes).map(|(id, write)| transaction(*id, group, write)).collect();
        let (outcomes, taken) = self.propose(transactions.clone()).await;
        for (number, (id, write)) in ids.iter().zip(&writes).enumerate() {
            let answer = match outcomes.as_ref().map(|outcomes| &outcomes[number]) {
                Some(Outcome::Applied { revision, .. }) => Answer::Applied { revision: *revision },
                Some(Outcome::Conflict { key, actual, .. }) => {
                    let key = place_of(key).map(|(_, key)| key);
                    Answer::Refused { key, actual: *actual, sure: !taken || write.stays_refused(key) }
                }
                None if taken => Answer::Open,
                None => Answer::NotDone,
            };
            self.recorder.end(*id, answer);
            if matches!(answer, Answer::Applied { .. }) {
                self.done.push_front((*id, transactions[number].clone()));
                self.done.truncate(REPEATABLE_MAX);
            }
        }
    }

    /// The outcomes, and whether an earlier call of it may still be under way.
    async fn propose(&mut self, transactions: Vec<Transaction>) -> (Option<Vec<Outcome>>, bool) {
        let until = Instant::now() + PATIENCE;
        let mut taken = false;
        while Instant::now() < until {
            let at = self.hint.unwrap_or_else(|| self.anybody());
            let (transactions, saboteur) = (transactions.clone(), self.saboteur.clone());
            let within = TRY_WITHIN.min(until - Instant::now());
            let asked = self.net().call(self.here, at, within, move |there| async move {
                match saboteur.write(&there.store, &transactions) {
                    Some(outcomes) => Tried::Done(outcomes),
                    None => propose(&there.store, transactions).await,
                }
            });
            self.hint = match asked.await {
                Ok(Tried::Done(outcomes)) => {
                    self.hint = Some(at);
                    return (Some(outcomes), taken);
                }
                Ok(Tried::Not(leader)) => {
                    leader.and_then(|id| self.members.place_of(id)).filter(|p| *p != at)
                }
                Ok(Tried::Unknown) | Err(CallError::Silent | CallError::Reset) => {
                    taken = true;
                    None
                }
                Err(CallError::Refused) => None,
            };
            tokio::time::sleep(self.dice.millis(10, 120)).await;
        }
        (None, taken)
    }
}

async fn propose(store: &Store, transactions: Vec<Transaction>) -> Tried {
    let leadership = *store.leadership().borrow();
    let Some(leadership) = leadership else {
        return Tried::Not(store.status().borrow().leader.as_ref().map(|member| member.id));
    };
    match store.propose(leadership.term, transactions, 0).await {
        Ok(outcomes) => Tried::Done(outcomes),
        Err(ProposeError::NotLeader { leader }) => Tried::Not(leader.map(|member| member.id)),
        Err(ProposeError::StaleTerm | ProposeError::Limit(_) | ProposeError::Stopped) => Tried::Not(None),
        Err(ProposeError::Unknown(_)) => Tried::Unknown,
    }
}
