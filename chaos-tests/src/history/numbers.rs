//! The numbers that a store gives, over all groups: what is called after something has ended is told a revision
//! that is not lower, and a request takes effect at one revision only.

use std::collections::BTreeMap;

use super::record::{Answer, History, OpId, Operation, What};

pub fn check(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    order(&history.operations, &mut found);
    once(history, &mut found);
    found
}

fn told(operation: &Operation) -> Option<u64> {
    match operation.answer {
        Answer::Applied { revision } | Answer::Read { revision, .. } => Some(revision),
        _ => None,
    }
}

/// In the order of time no revision may go back.
fn order(operations: &[Operation], found: &mut Vec<String>) {
    enum Moment<'a> {
        Call(OpId),
        End(&'a Operation, u64),
    }
    let mut moments = BTreeMap::new();
    for operation in operations {
        if let Some(revision) = told(operation) {
            moments.insert(operation.called, Moment::Call(operation.id));
            moments.insert(operation.ended, Moment::End(operation, revision));
        }
    }
    let mut highest: Option<(u64, &Operation)> = None;
    let mut least = BTreeMap::new();
    for moment in moments.into_values() {
        match moment {
            Moment::Call(id) => drop(least.insert(id, highest)),
            Moment::End(operation, revision) => {
                if let Some(Some((least, before))) = least.remove(&operation.id)
                    && (revision < least || (revision == least && matches!(operation.what, What::Write(_))))
                {
                    let line =
                        format!("the revision does not follow its elder's:\n    {before}\n    {operation}");
                    found.push(line);
                }
                if highest.is_none_or(|(highest, _)| revision > highest) {
                    highest = Some((revision, operation));
                }
            }
        }
    }
}

/// A value lies at one revision, wherever it is seen.
fn once(history: &History, found: &mut Vec<String>) {
    let mut at: BTreeMap<OpId, u64> = BTreeMap::new();
    let mut forgotten = Vec::new();
    let mut sees = |value: OpId, revision: u64| {
        let first = *at.entry(value).or_insert(revision);
        if first != revision {
            found.push(format!("op {value} has taken effect at revision {first} and at {revision}"));
        }
    };
    for operation in &history.operations {
        match operation.answer {
            Answer::Applied { revision } => sees(operation.id, revision),
            Answer::Read { contents, .. } => {
                contents.iter().flatten().for_each(|seen| sees(seen.value, seen.revision));
            }
            _ => {}
        }
    }
    for (id, told) in &history.repeats {
        match told {
            Some(revision) => sees(*id, *revision),
            None => forgotten.push(*id),
        }
    }
    for look in &history.looks {
        look.contents.iter().flatten().for_each(|seen| sees(seen.value, seen.revision));
    }
    for id in forgotten {
        found.push(format!("op {id} had been acknowledged, and was refused when it was repeated"));
    }
}
