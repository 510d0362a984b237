//! Tasks.

use pvc_proto::v1::{Task, TaskState};

use super::words::{between, choice, name, time};
use crate::output::Tone;
use crate::output::page::Page;
use crate::output::table::{Cell, Column, optional, render, text};

const COLUMNS: &[Column] = &[
    text("NAME"),
    text("KIND"),
    text("SUBJECT"),
    text("STATE"),
    text("STAGE"),
    text("STARTED"),
    text("TOOK"),
    text("BY"),
    optional("NOTE"),
];

/// The state in one word.
pub fn state(task: &Task) -> String {
    choice(task.state().as_str_name(), "TASK_STATE_")
}

fn tone(task: &Task) -> Tone {
    match task.state() {
        TaskState::Succeeded => Tone::Good,
        TaskState::Running => Tone::Busy,
        TaskState::Failed => Tone::Bad,
        TaskState::Cancelled | TaskState::Unspecified => Tone::Dim,
    }
}

pub fn table(tasks: &[&Task], colour: bool) -> String {
    render(COLUMNS, tasks.iter().map(|one| row(one)).collect(), colour)
}

fn row(task: &Task) -> Vec<Cell> {
    vec![
        name(task.meta.as_ref()).into(),
        task.kind.as_str().into(),
        task.subject.as_str().into(),
        Cell::toned(state(task), tone(task)),
        task.stage.as_str().into(),
        time(task.start_time.as_ref()).into(),
        between(task.start_time.as_ref(), task.end_time.as_ref()).into(),
        task.actor.as_str().into(),
        task.message.as_str().into(),
    ]
}

/// Everything that is known of it.
pub fn page(task: &Task, colour: bool) -> String {
    let meta = task.meta.clone().unwrap_or_default();
    let stages: Vec<String> = task
        .stages
        .iter()
        .map(|stage| if *stage == task.stage { format!("{stage}  ←") } else { stage.clone() })
        .collect();
    Page::new(colour)
        .row("Name", &meta.name)
        .row("Kind", &task.kind)
        .row("Subject", &task.subject)
        .row("Asked by", &task.actor)
        .toned("State", state(task), tone(task))
        .row("Message", &task.message)
        .row("Progress", progress(task))
        .row("Cancel requested", if task.cancel_requested { "yes" } else { "" })
        .section("Stages", &stages)
        .row("Started", time(task.start_time.as_ref()))
        .row("Stage began", time(task.stage_time.as_ref()))
        .row("Ended", time(task.end_time.as_ref()))
        .row("Took", between(task.start_time.as_ref(), task.end_time.as_ref()))
        .finish()
}

/// "42 %, 83 of 128 MiB"; empty when nothing is known.
pub fn progress(task: &Task) -> String {
    match (task.percent, task.progress.as_str()) {
        (None, figures) => figures.to_owned(),
        (Some(percent), "") => format!("{percent} %"),
        (Some(percent), figures) => format!("{percent} %, {figures}"),
    }
}
