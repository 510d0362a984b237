//! What we hold ourselves to: ratios to the better of ZooKeeper and etcd in the same run.

use super::ensemble::System;
use super::figures::median;
use super::load::Op;
use super::run::{Measured, Sample, When};

/// A figure that all systems have, round by round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    PerSecond(Op, usize),
    P50(Op, usize),
    P99(Op, usize),
    FanOut(usize),
    Killed,
    Cut,
    Restart,
    Memory(When),
    Disk(When),
    Fill,
}

impl Figure {
    /// The values of one system, a round each.
    pub fn of(self, system: System, all: &[Measured]) -> Vec<f64> {
        let mine = all.iter().filter(|m| m.system == system);
        mine.filter_map(|m| self.in_sample(&m.sample)).collect()
    }

    fn in_sample(self, sample: &Sample) -> Option<f64> {
        match (self, sample) {
            (Figure::PerSecond(op, n), Sample::Load { op: o, clients, cell, .. })
                if (op, n) == (*o, *clients) =>
            {
                Some(cell.per_second)
            }
            (Figure::P50(op, n), Sample::Load { op: o, clients, cell, .. }) if (op, n) == (*o, *clients) => {
                Some(cell.p50_us as f64 / 1e3)
            }
            (Figure::P99(op, n), Sample::Load { op: o, clients, cell, .. }) if (op, n) == (*o, *clients) => {
                Some(cell.p99_us as f64 / 1e3)
            }
            (Figure::FanOut(n), Sample::FanOut { watchers, fan_out, .. }) if n == *watchers => {
                Some(fan_out.last_p50_us / 1e3)
            }
            (Figure::Killed, Sample::Killed { ms, .. })
            | (Figure::Cut, Sample::Cut { ms, .. })
            | (Figure::Restart, Sample::Restart { ms, .. }) => Some(*ms),
            (Figure::Memory(when), Sample::Memory { when: w, mib }) if when == *w => Some(*mib),
            (Figure::Disk(when), Sample::Disk { when: w, mib }) if when == *w => Some(*mib),
            (Figure::Fill, Sample::Fill { per_second }) => Some(*per_second),
            _ => None,
        }
    }

    pub fn more_is_better(self) -> bool {
        matches!(self, Figure::PerSecond(..) | Figure::Fill)
    }

    pub fn name(self) -> String {
        let op = |op| match op {
            Op::Put => "durable writes",
            Op::Lin => "linearizable reads",
            Op::Local => "local reads",
        };
        let clients = |n| if n == 1 { "1 client".to_owned() } else { format!("{n} clients") };
        let when = |when| match when {
            When::Idle => "idle",
            When::Filled => "with 100,000 keys",
            When::Restarted => "with 100,000 keys, restarted",
        };
        match self {
            Figure::PerSecond(o, n) => format!("{}/s, {}", op(o), clients(n)),
            Figure::P50(o, n) => format!("{} p50 ms, {}", op(o), clients(n)),
            Figure::P99(o, n) => format!("{} p99 ms, {}", op(o), clients(n)),
            Figure::FanOut(n) => format!("write to the last of {n} watchers, ms"),
            Figure::Killed => "leader killed to next write, ms".into(),
            Figure::Cut => "leader cut off to next write, ms".into(),
            Figure::Restart => "all restarted to first write, ms".into(),
            Figure::Memory(w) => format!("memory of three, MiB, {}", when(w)),
            Figure::Disk(w) => format!("disk of three, MiB, {}", when(w)),
            Figure::Fill => "creates/s, 256 clients".into(),
        }
    }
}

/// One goal: the ratio of ours to the better of the others.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    pub figure: Figure,
    pub ratio: f64,
}

pub const GOALS: [Goal; 15] = [
    Goal { figure: Figure::PerSecond(Op::Put, 1), ratio: 1.0 },
    Goal { figure: Figure::PerSecond(Op::Put, 16), ratio: 1.5 },
    Goal { figure: Figure::PerSecond(Op::Put, 64), ratio: 2.0 },
    Goal { figure: Figure::PerSecond(Op::Put, 256), ratio: 2.0 },
    Goal { figure: Figure::PerSecond(Op::Lin, 1), ratio: 2.0 },
    Goal { figure: Figure::PerSecond(Op::Lin, 16), ratio: 2.0 },
    Goal { figure: Figure::PerSecond(Op::Lin, 64), ratio: 2.0 },
    Goal { figure: Figure::PerSecond(Op::Lin, 256), ratio: 2.0 },
    Goal { figure: Figure::FanOut(100), ratio: 0.5 },
    Goal { figure: Figure::FanOut(1000), ratio: 0.5 },
    Goal { figure: Figure::Killed, ratio: 0.7 },
    Goal { figure: Figure::Cut, ratio: 0.7 },
    Goal { figure: Figure::Memory(When::Idle), ratio: 0.5 },
    Goal { figure: Figure::Memory(When::Filled), ratio: 0.5 },
    Goal { figure: Figure::Disk(When::Filled), ratio: 1.0 },
];

/// How ours stands to the better of the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Of the medians.
    pub ratio: f64,
    /// Of the rounds, each for itself.
    pub least: f64,
    pub most: f64,
}

/// Whom we measure ourselves against.
const OTHERS: [System; 2] = [System::Zookeeper, System::Etcd];

/// None where somebody has no figure.
pub fn ratio(figure: Figure, ours: System, all: &[Measured]) -> Option<Ratio> {
    let ours = figure.of(ours, all);
    let others = OTHERS.map(|system| figure.of(system, all));
    let better = |a: f64, b: f64| if figure.more_is_better() { a.max(b) } else { a.min(b) };
    let medians: Option<Vec<f64>> = others.iter().map(|values| median(values)).collect();
    let best = medians?.into_iter().reduce(better)?;
    let rounds: Vec<f64> = (0..ours.len())
        .filter_map(|round| {
            let theirs: Option<Vec<f64>> = others.iter().map(|v| v.get(round).copied()).collect();
            Some(ours[round] / theirs?.into_iter().reduce(better)?)
        })
        .collect();
    let least = rounds.iter().copied().reduce(f64::min)?;
    let most = rounds.iter().copied().reduce(f64::max)?;
    Some(Ratio { ratio: median(&ours)? / best, least, most })
}

impl Goal {
    pub fn is_met(&self, ratio: f64) -> bool {
        if self.figure.more_is_better() { ratio >= self.ratio } else { ratio <= self.ratio }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn killed(system: System, ms: &[f64]) -> Vec<Measured> {
        let sample = |(round, ms): (usize, &f64)| Sample::Killed { round, ms: *ms };
        ms.iter().enumerate().map(|m| Measured { system, sample: sample(m) }).collect()
    }

    #[test]
    fn ours_is_held_against_the_better_of_the_others() {
        let mut all = killed(System::Zookeeper, &[600.0, 700.0, 650.0]);
        all.extend(killed(System::Etcd, &[1200.0, 500.0, 1100.0]));
        assert_eq!(ratio(Figure::Killed, System::Bare, &all), None);
        all.extend(killed(System::Bare, &[325.0, 325.0, 325.0]));
        let found = ratio(Figure::Killed, System::Bare, &all).unwrap();
        assert_eq!(found, Ratio { ratio: 0.5, least: 0.5, most: 0.65 }.with_least(325.0 / 650.0));
        let goal = Goal { figure: Figure::Killed, ratio: 0.7 };
        assert!(goal.is_met(found.ratio) && !goal.is_met(0.71));
        let goal = Goal { figure: Figure::PerSecond(Op::Put, 1), ratio: 1.0 };
        assert!(goal.is_met(1.0) && !goal.is_met(0.99));
    }

    impl Ratio {
        fn with_least(self, least: f64) -> Ratio {
            Ratio { least, ..self }
        }
    }
}
