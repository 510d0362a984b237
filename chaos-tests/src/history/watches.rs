//! Whether watches are complete, in order and never torn: across changes of leader, resumes at other members and
//! compaction. "Compacted" must be followed by a list; in the end each watch has what the store has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use raft_store::{Entry, Event, Key, Revision};

use super::record::{Answer, Group, History, OpId, What, contents_of, key, place_of, value_of};

/// A key's content, as far as a watch tells of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Whose value it is; None: nobody's that is known.
    pub value: Option<OpId>,
    pub revision: Revision,
}

impl From<&Entry> for Stored {
    fn from(entry: &Entry) -> Stored {
        Stored { value: value_of(entry), revision: entry.revision }
    }
}

pub type Objects = BTreeMap<Key, Stored>;

/// One key's change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub key: Key,
    /// What it was before; None: this watch does not tell that.
    pub old: Option<Option<Stored>>,
    pub new: Option<Stored>,
}

impl From<&Event> for Change {
    fn from(event: &Event) -> Change {
        let Event { key, old, new } = event;
        Change {
            key: key.clone(),
            old: Some(old.as_ref().map(Into::into)),
            new: new.as_ref().map(Into::into),
        }
    }
}

/// What one watcher was told, in its order.
#[derive(Clone, Debug)]
pub enum Told {
    /// All objects, by a linearizable read.
    Listed {
        revision: Revision,
        objects: Objects,
    },
    /// A watch was begun from here.
    Resumed {
        from: Revision,
    },
    Changes {
        revision: Revision,
        events: Vec<Change>,
    },
    Bookmark {
        revision: Revision,
    },
    /// What happened since is no longer kept: list again.
    Compacted,
}

impl Told {
    /// How far a watcher has seen that was told this; None: it must list.
    pub fn seen(&self) -> Option<Revision> {
        match self {
            Told::Listed { revision, .. } | Told::Changes { revision, .. } | Told::Bookmark { revision } => {
                Some(*revision)
            }
            Told::Resumed { from } => Some(*from),
            Told::Compacted => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct WatchLog {
    pub watcher: u32,
    pub told: Vec<Told>,
}

/// What a watcher writes while it watches. Clones are the same.
#[derive(Clone)]
pub struct Notebook(Arc<Mutex<WatchLog>>);

impl Notebook {
    pub fn new(watcher: u32) -> Notebook {
        Notebook(Arc::new(Mutex::new(WatchLog { watcher, told: Vec::new() })))
    }

    pub fn tell(&self, told: Told) {
        self.0.lock().told.push(told);
    }

    /// How far it has seen; None: it must list.
    pub fn seen(&self) -> Option<Revision> {
        self.0.lock().told.last().and_then(Told::seen)
    }

    pub fn watcher(&self) -> u32 {
        self.0.lock().watcher
    }

    pub fn log(&self) -> WatchLog {
        self.0.lock().clone()
    }
}

/// What the store has in the end.
#[derive(Clone, Debug, Default)]
pub struct Final {
    pub objects: Objects,
    pub revision: Revision,
}

/// Complaints kept of one watcher: one hole shows in many places.
const KEPT_MAX: usize = 4;

pub fn check(history: &History, logs: &[WatchLog], last: &Final) -> Vec<String> {
    let mut all = All::of(history);
    let mut found = Vec::new();
    for log in logs {
        let mut replay = Replay { watcher: log.watcher, ..Replay::default() };
        log.told.iter().for_each(|told| replay.take(told, &mut all));
        replay.end(last);
        replay.found.truncate(KEPT_MAX);
        found.append(&mut replay.found);
        all.stretches.append(&mut replay.stretches);
    }
    all.holes(&mut found);
    found
}

/// What is known of all revisions, from everybody.
struct All {
    /// What each key may be after a revision at which writes of it were acknowledged.
    acknowledged: BTreeMap<Revision, BTreeMap<Key, BTreeSet<Option<OpId>>>>,
    /// Writes of which nobody was told when they took effect, if they did: their values, and the keys that they
    /// delete.
    unclear: BTreeSet<OpId>,
    unclear_deletes: BTreeSet<Key>,
    /// Groups as they were shown at a revision.
    looks: BTreeMap<Revision, Vec<(Group, super::record::Contents)>>,
    /// The changes of each revision, and who told of them first.
    changes: BTreeMap<Revision, (u32, Vec<Change>)>,
    stretches: Vec<Stretch>,
}

/// What a watcher saw without a break.
struct Stretch {
    watcher: u32,
    /// After this one, up to that one.
    after: Revision,
    to: Revision,
    revisions: BTreeSet<Revision>,
}

impl All {
    fn of(history: &History) -> All {
        let mut all = All {
            acknowledged: BTreeMap::new(),
            unclear: BTreeSet::new(),
            unclear_deletes: BTreeSet::new(),
            looks: BTreeMap::new(),
            changes: BTreeMap::new(),
            stretches: Vec::new(),
        };
        for operation in &history.operations {
            let group = operation.group;
            match (&operation.what, &operation.answer) {
                (_, Answer::Read { revision, contents }) => {
                    all.looks.entry(*revision).or_default().push((group, *contents));
                }
                (What::Write(write), Answer::Applied { revision }) => {
                    let keys = all.acknowledged.entry(*revision).or_default();
                    let puts = write.puts.iter().map(|number| (number, Some(operation.id)));
                    for (number, value) in puts.chain(write.deletes.iter().map(|number| (number, None))) {
                        keys.entry(key(group, *number)).or_default().insert(value);
                    }
                }
                (What::Write(write), Answer::Open | Answer::Refused { sure: false, .. }) => {
                    all.unclear.insert(operation.id);
                    all.unclear_deletes.extend(write.deletes.iter().map(|number| key(group, *number)));
                }
                _ => {}
            }
        }
        for look in &history.looks {
            all.looks.entry(look.revision).or_default().push((look.group, look.contents));
        }
        all
    }

    /// Revisions that somebody passed over and others did not, or that were acknowledged and never told.
    fn holes(&self, found: &mut Vec<String>) {
        for stretch in &self.stretches {
            let within = (std::ops::Bound::Excluded(stretch.after), std::ops::Bound::Included(stretch.to));
            if stretch.after >= stretch.to {
                continue;
            }
            let told =
                self.changes.range(within).map(|(revision, (by, _))| (*revision, format!("watcher {by}")));
            // A write that changes nothing has no event: one that only deletes what is not there.
            let acknowledged = self.acknowledged.range(within);
            let acknowledged =
                acknowledged.filter(|(_, keys)| keys.values().any(|values| !values.contains(&None)));
            let acknowledged = acknowledged.map(|(revision, _)| (*revision, "a client".to_owned()));
            let missed: BTreeMap<_, _> = told
                .chain(acknowledged)
                .filter(|(revision, _)| !stretch.revisions.contains(revision))
                .collect();
            let watcher = stretch.watcher;
            for (revision, by) in missed.into_iter().take(KEPT_MAX) {
                found.push(format!("watcher {watcher} missed revision {revision}, of which {by} was told"));
            }
        }
    }

    fn is_unclear(&self, key: &Key, value: Option<OpId>) -> bool {
        value.map_or_else(|| self.unclear_deletes.contains(key), |value| self.unclear.contains(&value))
    }
}

#[derive(Default)]
struct Replay {
    watcher: u32,
    held: Objects,
    seen: Option<Revision>,
    must_list: bool,
    open: Option<Stretch>,
    stretches: Vec<Stretch>,
    found: Vec<String>,
}

impl Replay {
    fn complain(&mut self, what: String) {
        self.found.push(format!("watcher {}: {what}", self.watcher));
    }

    fn close(&mut self) {
        let seen = self.seen.unwrap_or(0);
        if let Some(stretch) = self.open.take() {
            self.stretches.push(Stretch { to: seen, ..stretch });
        }
    }

    fn take(&mut self, told: &Told, all: &mut All) {
        let seen = self.seen.unwrap_or(0);
        match told {
            Told::Listed { revision, objects } => {
                if *revision < seen {
                    self.complain(format!("a list at revision {revision} after {seen} had been seen"));
                }
                self.close();
                self.held = objects.clone();
                self.must_list = false;
                (self.seen, self.open) = (Some(*revision), Some(self.begin(*revision)));
                self.look(*revision, all);
            }
            _ if self.must_list || self.seen.is_none() => {
                self.complain(format!("goes on without a list: {told:?}"));
            }
            Told::Resumed { from } if *from != seen => {
                self.complain(format!("resumed from {from}, having seen {seen}"));
            }
            Told::Resumed { .. } => {}
            Told::Compacted => {
                self.close();
                self.must_list = true;
            }
            Told::Bookmark { revision } if *revision < seen => {
                self.complain(format!("a bookmark at {revision} after {seen} had been seen"));
            }
            Told::Bookmark { revision } => self.reaches(*revision, all),
            Told::Changes { revision, .. } if *revision <= seen => {
                self.complain(format!("changes of revision {revision} after {seen} had been seen"));
            }
            Told::Changes { revision, events } => {
                self.reaches(*revision - 1, all);
                self.apply(*revision, events);
                self.seen = Some(*revision);
                self.whole(*revision, events, all);
                self.look(*revision, all);
                if let Some(stretch) = &mut self.open {
                    stretch.revisions.insert(*revision);
                }
            }
        }
    }

    fn begin(&self, after: Revision) -> Stretch {
        Stretch { watcher: self.watcher, after, to: after, revisions: BTreeSet::new() }
    }

    /// Nothing has changed up to here.
    fn reaches(&mut self, revision: Revision, all: &All) {
        let shown: Vec<Revision> =
            all.looks.range(self.seen.unwrap_or(0)..=revision).map(|(r, _)| *r).collect();
        self.seen = self.seen.max(Some(revision));
        shown.into_iter().for_each(|revision| self.look(revision, all));
    }

    fn apply(&mut self, revision: Revision, events: &[Change]) {
        if events.is_empty() || events.windows(2).any(|pair| pair[0].key >= pair[1].key) {
            self.complain(format!("revision {revision} has no events, or not in the order of their keys"));
        }
        for Change { key, old, new } in events {
            let held = self.held.get(key).copied();
            if let Some(old) = old
                && *old != held
            {
                self.complain(format!(
                    "{key} at revision {revision} was {old:?}, where {held:?} was seen last"
                ));
            }
            match new {
                Some(stored) if stored.revision != revision => {
                    self.complain(format!("{key} at revision {revision} is {stored:?}"));
                }
                Some(stored) => {
                    self.held.insert(key.clone(), *stored);
                }
                None if held.is_none() => {
                    self.complain(format!("{key} at revision {revision} is deleted, and was not there"));
                }
                None => {
                    self.held.remove(key);
                }
            }
        }
    }

    /// All of what was acknowledged at this revision, and nothing of somebody else's.
    fn whole(&mut self, revision: Revision, events: &[Change], all: &mut All) {
        let (by, first) = all.changes.entry(revision).or_insert_with(|| (self.watcher, events.to_vec()));
        if first != events {
            let line = format!("revision {revision} is {events:?}, and watcher {by} was told {first:?}");
            self.complain(line);
        }
        let Some(keys) = all.acknowledged.get(&revision) else {
            return self.strangers(revision, events, &BTreeMap::new(), all);
        };
        for (key, allowed) in keys {
            let value = self.held.get(key).and_then(|stored| stored.value);
            if !allowed.contains(&value) && !all.is_unclear(key, value) {
                self.complain(format!(
                    "revision {revision} is torn: {key} is {value:?}, not one of {allowed:?}"
                ));
            }
        }
        self.strangers(revision, events, keys, all);
    }

    /// Whatever changes is what somebody asked for who was told so, or does not know.
    fn strangers(
        &mut self,
        revision: Revision,
        events: &[Change],
        acknowledged: &BTreeMap<Key, BTreeSet<Option<OpId>>>,
        all: &All,
    ) {
        for event in events {
            let value = event.new.and_then(|stored| stored.value);
            if !acknowledged.contains_key(&event.key) && !all.is_unclear(&event.key, value) {
                self.complain(format!(
                    "{} changes at revision {revision} without anybody's doing",
                    event.key
                ));
            }
        }
    }

    /// What was shown at this revision is what the watch has told.
    fn look(&mut self, revision: Revision, all: &All) {
        for (group, shown) in all.looks.get(&revision).into_iter().flatten() {
            let held = contents_of(&self.held, *group);
            if held != *shown {
                self.complain(format!(
                    "group {group} was shown at revision {revision} as {shown:?}, and the watch had told {held:?}"
                ));
            }
        }
    }

    fn end(&mut self, last: &Final) {
        self.close();
        if self.seen != Some(last.revision) {
            self.complain(format!("ended at {:?}, and the store at {}", self.seen, last.revision));
        }
        let keys: BTreeSet<&Key> = self.held.keys().chain(last.objects.keys()).collect();
        let other = keys.into_iter().find(|key| self.held.get(key) != last.objects.get(key));
        if let Some(key) = other.filter(|key| place_of(key).is_some()) {
            let (held, kept) = (self.held.get(key), last.objects.get(key));
            self.complain(format!("{key} is {kept:?} in the end, and the watch had told {held:?}"));
        }
    }
}
