//! Writing down what clients do: each operation with the moments between which it took effect, if it did.
//!
//! One recorder, one lock, one count: an operation that had ended before another one was called has the smaller
//! numbers, whatever the clocks show.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use raft_store::{Entry, Key, Precondition, Revision, Transaction, View};
use tokio::time::Instant;

use super::watches::Objects;

/// Keys of one group.
pub const KEYS: usize = 4;
const NAMES: [&str; KEYS] = ["a", "b", "c", "d"];
pub const COLLECTION: &str = "history";

pub type Group = u32;
/// An operation's number. It is also what the operation writes, to each of the keys that it puts: a value tells
/// who wrote it.
pub type OpId = u64;

/// A key's content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    pub value: OpId,
    pub revision: Revision,
}

/// A whole group's.
pub type Contents = [Option<Seen>; KEYS];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    Absent,
    Exists,
    /// What was read before is still there: compare and set.
    Is(Seen),
}

/// What a write asks for: all of it or nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Write {
    pub expects: Vec<(usize, Expect)>,
    pub puts: Vec<usize>,
    pub deletes: Vec<usize>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    Write(Write),
    /// All keys of the group, at one revision, linearizable.
    Read,
}

/// What a client was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Nothing that is certain: it may take effect at any time after its call, or never.
    Open,
    Applied {
        revision: Revision,
    },
    /// An expectation about this key, or about one that nobody named, did not hold; it was at this revision.
    /// `sure`: it can't take effect later by an earlier call of the same request that is still under way.
    Refused {
        key: Option<usize>,
        actual: Revision,
        sure: bool,
    },
    /// Certainly without effect.
    NotDone,
    Read {
        revision: Revision,
        contents: Contents,
    },
}

#[derive(Clone, Debug)]
pub struct Operation {
    pub id: OpId,
    pub client: u32,
    pub group: Group,
    pub what: What,
    pub called: u64,
    /// When it was answered; `u64::MAX`: never.
    pub ended: u64,
    pub answer: Answer,
    /// By the recorder's clock, for whoever reads a failure.
    pub from: Duration,
    pub to: Option<Duration>,
}

/// What somebody was shown at a revision, however old that was: a read that promises no more than that.
#[derive(Clone, Debug)]
pub struct Look {
    pub group: Group,
    pub revision: Revision,
    pub contents: Contents,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    /// By number.
    pub operations: Vec<Operation>,
    pub looks: Vec<Look>,
    /// Writes that were asked for again after they had been acknowledged, and the revision that was told then;
    /// None: they were refused, as if they had never been.
    pub repeats: Vec<(OpId, Option<Revision>)>,
}

/// Clones write the same history.
#[derive(Clone)]
pub struct Recorder {
    begun: Instant,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    moments: u64,
    history: History,
}

impl State {
    fn moment(&mut self) -> u64 {
        self.moments += 1;
        self.moments
    }
}

impl Recorder {
    pub fn new() -> Recorder {
        Recorder { begun: Instant::now(), state: Arc::default() }
    }

    /// Before the first byte of it is sent.
    pub fn call(&self, client: u32, group: Group, what: What) -> OpId {
        let mut state = self.state.lock();
        let id = state.history.operations.len() as OpId;
        let called = state.moment();
        state.history.operations.push(Operation {
            id,
            client,
            group,
            what,
            called,
            ended: u64::MAX,
            answer: Answer::Open,
            from: self.begun.elapsed(),
            to: None,
        });
        id
    }

    /// After the last byte of the answer has come.
    pub fn end(&self, id: OpId, answer: Answer) {
        let mut state = self.state.lock();
        let moment = state.moment();
        let operation = &mut state.history.operations[id as usize];
        operation.answer = answer;
        operation.to = Some(self.begun.elapsed());
        if answer != Answer::Open {
            operation.ended = moment;
        }
    }

    pub fn look(&self, look: Look) {
        self.state.lock().history.looks.push(look);
    }

    /// An acknowledged write was asked for once more.
    pub fn repeat(&self, id: OpId, told: Option<Revision>) {
        self.state.lock().history.repeats.push((id, told));
    }

    pub fn history(&self) -> History {
        self.state.lock().history.clone()
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder::new()
    }
}

pub fn key(group: Group, key: usize) -> Key {
    Key::new(COLLECTION, &format!("{group}.{}", NAMES[key])).expect("a key's name")
}

/// The group and the number of a key that a history made.
pub fn place_of(key: &Key) -> Option<(Group, usize)> {
    let (group, name) = key.name.split_once('.')?;
    Some((group.parse().ok()?, NAMES.iter().position(|other| *other == name)?))
}

/// Whose value this is.
pub fn value_in(bytes: &[u8]) -> Option<OpId> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

pub fn value_of(entry: &Entry) -> Option<OpId> {
    value_in(&entry.value)
}

pub fn seen(entry: &Entry) -> Option<Seen> {
    Some(Seen { value: value_of(entry)?, revision: entry.revision })
}

/// A group as a view shows it.
pub fn contents(view: &View, group: Group) -> Contents {
    std::array::from_fn(|number| view.get(&key(group, number)).and_then(seen))
}

/// A group as a list of objects shows it.
pub fn contents_of(objects: &Objects, group: Group) -> Contents {
    std::array::from_fn(|number| {
        let stored = objects.get(&key(group, number))?;
        Some(Seen { value: stored.value?, revision: stored.revision })
    })
}

/// The transaction by which a write is asked for.
pub fn transaction(id: OpId, group: Group, write: &Write) -> Transaction {
    let value = Bytes::from(id.to_string());
    let preconditions = write.expects.iter().map(|(number, expect)| {
        let key = key(group, *number);
        match expect {
            Expect::Absent => Precondition::Absent(key),
            Expect::Exists => Precondition::Exists(key),
            Expect::Is(seen) => Precondition::RevisionIs { key, revision: seen.revision },
        }
    });
    Transaction {
        preconditions: preconditions.collect(),
        puts: write.puts.iter().map(|number| (key(group, *number), value.clone())).collect(),
        deletes: write.deletes.iter().map(|number| key(group, *number)).collect(),
        request_id: Some(format!("request-{id}")),
        ..Transaction::default()
    }
}

impl Write {
    /// Whether a refusal is for ever: a revision that is past never comes back, but a key may come and go.
    pub fn stays_refused(&self, by: Option<usize>) -> bool {
        let blamed = |key: usize| by.is_none_or(|by| by == key);
        let mut blamed = self.expects.iter().filter(|(key, _)| blamed(*key)).map(|(_, expect)| expect);
        blamed.all(|expect| matches!(expect, Expect::Is(_)))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = self.to.map_or("-".to_owned(), |to| format!("{to:.3?}"));
        let ended = if self.ended == u64::MAX { "-".to_owned() } else { self.ended.to_string() };
        write!(
            f,
            "{}..{ended} ({:.3?}..{to}) client {} op {}: ",
            self.called, self.from, self.client, self.id
        )?;
        match &self.what {
            What::Read => f.write_str("read")?,
            What::Write(write) => {
                for (key, expect) in &write.expects {
                    match expect {
                        Expect::Absent => write!(f, "if no {} ", NAMES[*key])?,
                        Expect::Exists => write!(f, "if {} ", NAMES[*key])?,
                        Expect::Is(seen) => write!(f, "if {}={} ", NAMES[*key], seen.value)?,
                    }
                }
                write.puts.iter().try_for_each(|key| write!(f, "put {} ", NAMES[*key]))?;
                write.deletes.iter().try_for_each(|key| write!(f, "delete {} ", NAMES[*key]))?;
            }
        }
        match &self.answer {
            Answer::Open => f.write_str(" => unknown"),
            Answer::Applied { revision } => write!(f, " => applied at {revision}"),
            Answer::Refused { key, actual, sure } => {
                let doubt = if *sure { "" } else { ", for now" };
                let name = key.map_or("something", |key| NAMES[key]);
                write!(f, " => refused{doubt}: {name} is at {actual}")
            }
            Answer::NotDone => f.write_str(" => not done"),
            Answer::Read { revision, contents } => {
                write!(f, " => at {revision}:")?;
                for (name, seen) in NAMES.iter().zip(contents) {
                    match seen {
                        None => write!(f, " no {name}")?,
                        Some(Seen { value, revision }) => write!(f, " {name}={value}@{revision}")?,
                    }
                }
                Ok(())
            }
        }
    }
}
