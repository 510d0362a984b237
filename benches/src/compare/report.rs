//! Tables for people: what was measured, and how it stands to the goals.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::ensemble::System;
use super::figures::median;
use super::goals::{Figure, GOALS, ratio};
use super::load::Op;
use super::run::{Measured, Plan, SYSTEMS, When};

fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn of(figure: Figure, system: System, all: &[Measured]) -> String {
    let values = figure.of(system, all);
    let Some(middle) = median(&values) else { return "-".into() };
    let least = values.iter().copied().fold(f64::MAX, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    if values.len() == 1 {
        short(middle)
    } else {
        format!("{} ({}-{})", short(middle), short(least), short(most))
    }
}

fn figures(plan: &Plan) -> Vec<Figure> {
    let mut figures = vec![Figure::Fill];
    for op in [Op::Put, Op::Lin, Op::Local] {
        for clients in &plan.clients {
            figures.extend([
                Figure::PerSecond(op, *clients),
                Figure::P50(op, *clients),
                Figure::P99(op, *clients),
            ]);
        }
    }
    figures.extend(plan.watchers.iter().map(|n| Figure::FanOut(*n)));
    figures.extend([Figure::Killed, Figure::Cut, Figure::Restart]);
    for when in [When::Idle, When::Filled, When::Restarted] {
        figures.extend([Figure::Memory(when), Figure::Disk(when)]);
    }
    figures
}

/// The store by itself, and through everything that people reach it by.
const OURS: [System; 2] = [System::Bare, System::Pvcd];

/// Everything, one line a figure: the median of the rounds, and from the least to the most.
pub fn everything(plan: &Plan, all: &[Measured]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    let mut head = vec!["median (least-most)".to_owned()];
    head.extend(SYSTEMS.iter().map(ToString::to_string));
    head.extend(OURS.map(|system| format!("{system} / better")));
    table.set_header(head);
    for figure in figures(plan) {
        if OURS.iter().all(|system| figure.of(*system, all).is_empty()) {
            continue;
        }
        let mut row = vec![figure.name()];
        row.extend(SYSTEMS.iter().map(|system| of(figure, *system, all)));
        row.extend(OURS.map(|system| {
            ratio(figure, system, all).map_or_else(|| "-".into(), |ratio| format!("{:.2}", ratio.ratio))
        }));
        table.add_row(row);
    }
    for at in 1..=SYSTEMS.len() + OURS.len() {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// The goals that were measured, and whether all of them are met.
pub fn goals(all: &[Measured]) -> (String, bool) {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["to the better of ZooKeeper and etcd", "", "wanted", "measured", "rounds", ""]);
    let mut met = true;
    for (system, goal) in OURS.iter().flat_map(|system| GOALS.iter().map(move |goal| (*system, goal))) {
        let Some(found) = ratio(goal.figure, system, all) else { continue };
        let wanted = if goal.figure.more_is_better() { "at least" } else { "at most" };
        let ok = goal.is_met(found.ratio);
        met &= ok;
        table.add_row([
            goal.figure.name(),
            system.to_string(),
            format!("{wanted} {:.1}", goal.ratio),
            format!("{:.2}", found.ratio),
            format!("{:.2}-{:.2}", found.least, found.most),
            if ok { "met".into() } else { "MISSED".to_owned() },
        ]);
    }
    (table.to_string(), met)
}
