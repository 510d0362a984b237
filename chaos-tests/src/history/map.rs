//! What a group of keys is, one step after the other: the specification that a history is held against.

use todc_utils::specifications::Specification;

use super::record::{Contents, Expect, KEYS, OpId, Write};

/// Who wrote each key last.
pub type Values = [Option<OpId>; KEYS];

pub fn values(contents: &Contents) -> Values {
    contents.map(|seen| seen.map(|seen| seen.value))
}

/// An operation with its answer.
#[derive(Clone, Debug)]
pub enum Step {
    Read(Values),
    Applied {
        id: OpId,
        write: Write,
    },
    /// An expectation did not hold; by which key, and what it met, where that was told.
    Refused {
        write: Write,
        by: Option<(usize, Met)>,
    },
    /// Nobody knows.
    Open {
        id: OpId,
        write: Write,
    },
}

/// What a refusal tells of the key that it met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Met {
    Absent,
    Value(OpId),
    /// Something, at a revision that nobody has seen otherwise.
    Something,
}

impl Write {
    /// The first expectation that does not hold.
    fn fails_at(&self, values: &Values) -> Option<usize> {
        let holds = |(key, expect): &(usize, Expect)| match expect {
            Expect::Absent => values[*key].is_none(),
            Expect::Exists => values[*key].is_some(),
            Expect::Is(seen) => values[*key] == Some(seen.value),
        };
        self.expects.iter().find(|expect| !holds(expect)).map(|(key, _)| *key)
    }

    pub fn apply(&self, id: OpId, values: &Values) -> Values {
        let mut values = *values;
        self.puts.iter().for_each(|key| values[*key] = Some(id));
        self.deletes.iter().for_each(|key| values[*key] = None);
        values
    }
}

pub struct Map;

impl Specification for Map {
    type State = Values;
    type Operation = Step;

    fn init() -> Values {
        [None; KEYS]
    }

    fn apply(step: &Step, values: &Values) -> (bool, Values) {
        match step {
            Step::Read(seen) => (seen == values, *values),
            Step::Applied { id, write } if write.fails_at(values).is_none() => {
                (true, write.apply(*id, values))
            }
            Step::Applied { .. } => (false, *values),
            Step::Refused { write, by: None } => (write.fails_at(values).is_some(), *values),
            Step::Refused { write, by: Some((key, actual)) } => {
                let met = match actual {
                    Met::Absent => values[*key].is_none(),
                    Met::Value(id) => values[*key] == Some(*id),
                    Met::Something => values[*key].is_some(),
                };
                (met && write.fails_at(values) == Some(*key), *values)
            }
            Step::Open { id, write } if write.fails_at(values).is_none() => (true, write.apply(*id, values)),
            Step::Open { .. } => (true, *values),
        }
    }
}
