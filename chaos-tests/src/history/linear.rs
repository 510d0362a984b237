//! Whether there is an order in which the operations of each group can have happened, one by one, each between
//! its call and its answer. The search is the one of Wing, Gong and Lowe, of the crate `todc-utils`.
//!
//! Operations without an answer are what makes such a search long: each of them may have happened at any time.
//! Two facts, both of them exact, take most of them away. A value tells who wrote it, so a write whose value was
//! met had happened before whoever met it was answered. And one whose values nobody ever met can be left out
//! wherever it was: whoever came after it would have met them.

use std::collections::BTreeMap;

use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};

use super::map::{Map, Met, Step, values};
use super::record::{Answer, Expect, Group, OpId, Operation, What, Write};

/// Operations shown of a group that has no such order.
const SHOWN_MAX: usize = 60;

/// A sentence, with the operations, for each group that has no such order.
pub fn check(operations: &[Operation]) -> Vec<String> {
    let mut groups: BTreeMap<Group, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        groups.entry(operation.group).or_default().push(operation);
    }
    groups.into_iter().filter_map(|(group, operations)| check_group(group, &operations)).collect()
}

fn check_group(group: Group, operations: &[&Operation]) -> Option<String> {
    if is_linearizable(operations, u64::MAX) {
        return None;
    }
    // What is no history stays none when more happens: the shortest beginning that is none ends with the
    // answer that can't be true.
    let mut ends: Vec<u64> = operations.iter().map(|o| o.ended).filter(|end| *end != u64::MAX).collect();
    ends.sort_unstable();
    let first = ends.partition_point(|end| is_linearizable(operations, *end));
    let end = ends.get(first).copied().unwrap_or(u64::MAX);
    let mut said = format!("group {group}: no order explains this; the last answer can't be true\n");
    let shown: Vec<_> = operations.iter().filter(|operation| operation.called < end).collect();
    let skipped = shown.len().saturating_sub(SHOWN_MAX);
    if skipped > 0 {
        said += &format!("      ({skipped} earlier ones)\n");
    }
    for operation in &shown[skipped..] {
        let mark = if operation.ended == end { "!!" } else { "  " };
        said += &format!("    {mark} {operation}\n");
    }
    Some(said)
}

/// As it stood at that moment: what was called and not answered then had no answer.
fn is_linearizable(operations: &[&Operation], until: u64) -> bool {
    let answered = |operation: &Operation| operation.ended <= until;
    let called: Vec<&Operation> = operations.iter().copied().filter(|o| o.called <= until).collect();
    let done: Vec<&Operation> = called.iter().copied().filter(|o| answered(o)).collect();
    let mut known = Known::of(&done);
    known.follow(&called);
    // (moment, order within it): a write that somebody met ends just before they do.
    let mut moments: Vec<((u64, u8), usize, Action<Step>)> = Vec::new();
    let mut add = |number: usize, operation: &Operation, end: (u64, u8), step: Step| {
        moments.push(((operation.called, 1), number, Action::Call(step.clone())));
        moments.push((end, number, Action::Response(step)));
    };
    for (number, operation) in called.into_iter().enumerate() {
        let end = (operation.ended, 1);
        let write = match &operation.what {
            What::Write(write) => write.clone(),
            What::Read => {
                if let Answer::Read { contents, .. } = operation.answer
                    && answered(operation)
                {
                    add(number, operation, end, Step::Read(values(&contents)));
                }
                continue;
            }
        };
        let id = operation.id;
        match operation.answer {
            Answer::Applied { .. } if answered(operation) => {
                add(number, operation, end, Step::Applied { id, write });
            }
            Answer::Refused { key, actual, sure: true } if answered(operation) => {
                let by = key.map(|key| (key, known.met(key, actual)));
                add(number, operation, end, Step::Refused { write, by });
            }
            Answer::NotDone => {}
            _ => match known.met_first.get(&id) {
                Some(met) => add(number, operation, (*met, 0), Step::Applied { id, write }),
                None if known.would_be_met(&write) => {}
                None => add(number, operation, (u64::MAX, 1), Step::Open { id, write }),
            },
        }
    }
    if moments.is_empty() {
        return true;
    }
    moments.sort_by_key(|(moment, number, _)| (*moment, *number));
    let actions = moments.into_iter().map(|(_, number, action)| (number, action)).collect();
    WGLChecker::<Map>::is_linearizable(History::from_actions(actions))
}

/// What the answers tell of others' writes.
#[derive(Default)]
struct Known {
    /// Whose value a key had at a revision.
    at: BTreeMap<(usize, u64), OpId>,
    /// The first answer that shows a write's value.
    met_first: BTreeMap<OpId, u64>,
    /// Keys of which somebody was told something that would not name its writer.
    nameless: [bool; super::record::KEYS],
}

impl Known {
    fn of(done: &[&Operation]) -> Known {
        let mut known = Known::default();
        for operation in done {
            match (&operation.what, &operation.answer) {
                (_, Answer::Read { contents, .. }) => {
                    for (key, seen) in contents.iter().enumerate().filter_map(|(k, s)| Some((k, (*s)?))) {
                        known.at.insert((key, seen.revision), seen.value);
                        known.meets(seen.value, operation.ended);
                    }
                }
                (What::Write(write), Answer::Applied { revision }) => {
                    known.at.extend(write.puts.iter().map(|key| ((*key, *revision), operation.id)));
                    for (key, expect) in &write.expects {
                        match expect {
                            Expect::Is(seen) => {
                                known.meets(seen.value, operation.ended);
                            }
                            Expect::Exists => known.nameless[*key] = true,
                            Expect::Absent => {}
                        }
                    }
                }
                _ => {}
            }
        }
        for operation in done {
            if let (What::Write(write), Answer::Refused { key, actual, .. }) =
                (&operation.what, operation.answer)
            {
                let Some(key) = key else {
                    write.expects.iter().for_each(|(key, _)| known.nameless[*key] = true);
                    continue;
                };
                match known.at.get(&(key, actual)).copied() {
                    Some(value) => {
                        known.meets(value, operation.ended);
                    }
                    None => known.nameless[key] |= actual != 0,
                }
                // The expectations before that one held.
                for (key, expect) in write.expects.iter().take_while(|(other, _)| *other != key) {
                    known.nameless[*key] |= *expect == Expect::Exists;
                }
            }
        }
        known
    }

    /// A write that was met has happened, so what it expected was there: others' writes are met by that.
    fn follow(&mut self, called: &[&Operation]) {
        let mut again = true;
        while again {
            again = false;
            for operation in called {
                let Some(moment) = self.met_first.get(&operation.id).copied() else { continue };
                let What::Write(write) = &operation.what else { continue };
                for (key, expect) in &write.expects {
                    match expect {
                        Expect::Is(seen) => again |= self.meets(seen.value, moment),
                        Expect::Exists => self.nameless[*key] = true,
                        Expect::Absent => {}
                    }
                }
            }
        }
    }

    /// Whether that says more than was known.
    fn meets(&mut self, value: OpId, moment: u64) -> bool {
        let first = self.met_first.entry(value).or_insert(u64::MAX);
        let news = moment < *first;
        *first = moment.min(*first);
        news
    }

    fn met(&self, key: usize, actual: u64) -> Met {
        match self.at.get(&(key, actual)) {
            _ if actual == 0 => Met::Absent,
            Some(value) => Met::Value(*value),
            None => Met::Something,
        }
    }

    /// Whether somebody would have met the write, had it any effect on the answers.
    fn would_be_met(&self, write: &Write) -> bool {
        write.deletes.is_empty() && write.puts.iter().all(|key| !self.nameless[*key])
    }
}
