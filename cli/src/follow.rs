//! Follows a task: its stages and progress as they come, on stderr; its outcome at the end.
//!
//! The task lives in the cluster. Whoever stops following it stops nothing.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pvc_proto::v1::{Task, TaskState};

use crate::args::{Output, Wait};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::show;
use crate::show::words::{between, name};

/// Follows the task that a command has started, or prints it and returns with `--no-wait`.
pub async fn finish(cx: &mut Context<'_>, task: Task, wait: Wait) -> Result<(), Failure> {
    if wait.no_wait {
        return started(cx, &task);
    }
    let task = to_its_end(cx, name(task.meta.as_ref())).await?;
    outcome(cx, &task)
}

fn started(cx: &mut Context<'_>, task: &Task) -> Result<(), Failure> {
    let task_name = name(task.meta.as_ref()).to_owned();
    let sentence = format!("task {task_name}: {} of {}", task.kind, task.subject);
    cx.done(task, &task_name, sentence)?;
    if !cx.global.quiet && cx.global.output == Output::Table {
        cx.io.note(format!("follow it by: pvc task watch {task_name}"));
    }
    Ok(())
}

/// Prints the outcome of a task that has ended; an outcome that is not success is a failure.
pub fn outcome(cx: &mut Context<'_>, task: &Task) -> Result<(), Failure> {
    let task_name = name(task.meta.as_ref()).to_owned();
    match task.state() {
        TaskState::Succeeded => {
            let took = between(task.start_time.as_ref(), task.end_time.as_ref());
            let took = if took.is_empty() { String::new() } else { format!(" in {took}") };
            let message = if task.message.is_empty() { String::new() } else { format!(": {}", task.message) };
            let sentence = format!("{} of {}: succeeded{took}{message}", task.kind, task.subject);
            cx.done(task, &task_name, sentence)
        }
        TaskState::Cancelled => {
            let detail = if task.message.is_empty() { "cancelled" } else { &task.message };
            Err(Failure::new(Exit::Interrupted, &task.subject, detail).rule("task-cancelled"))
        }
        TaskState::Failed | TaskState::Running | TaskState::Unspecified => {
            let detail = if task.message.is_empty() { "the task failed" } else { &task.message };
            Err(Failure::new(Exit::TaskFailed, &task.subject, detail)
                .rule("task-failed")
                .help(format!("pvc task info {task_name}")))
        }
    }
}

/// Follows until the task has ended, or the user has had enough.
pub async fn to_its_end(cx: &mut Context<'_>, task_name: &str) -> Result<Task, Failure> {
    let client = cx.session()?.client().clone();
    let mut meter = Meter::new(cx);
    let seen = |task: &Task| {
        if task.state() == TaskState::Running {
            meter.show(cx, task);
        }
    };
    let ended = tokio::select! {
        ended = client.follow_task(task_name, seen) => Some(ended),
        _ = tokio::signal::ctrl_c() => None,
    };
    meter.end();
    match ended {
        Some(ended) => ended.map_err(|error| {
            let failure = Failure::from(error);
            if failure.exit == Exit::Unreachable {
                failure.help(format!("pvc task watch {task_name}"))
            } else {
                failure
            }
        }),
        None => {
            let failure = Failure::new(
                Exit::Interrupted,
                format!("task/{task_name}"),
                "no longer followed; it goes on in the cluster",
            );
            Err(failure.help(format!("pvc task watch {task_name}\npvc task cancel {task_name}")))
        }
    }
}

/// A bar on a terminal; else a plain line for each stage.
enum Meter {
    Silent,
    Bar(ProgressBar),
    Lines { last: String },
}

impl Meter {
    fn new(cx: &Context<'_>) -> Meter {
        if cx.global.quiet {
            return Meter::Silent;
        }
        if !cx.io.err_terminal {
            return Meter::Lines { last: String::new() };
        }
        let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
        bar.set_style(style(false));
        bar.enable_steady_tick(Duration::from_millis(120));
        Meter::Bar(bar)
    }

    fn show(&mut self, cx: &mut Context<'_>, task: &Task) {
        let stage = stage(task);
        match self {
            Meter::Silent => {}
            Meter::Bar(bar) => {
                bar.set_style(style(task.percent.is_some()));
                bar.set_position(task.percent.unwrap_or(0).min(100).into());
                let extra = [task.progress.as_str(), task.message.as_str()];
                let extra: Vec<&str> = extra.into_iter().filter(|text| !text.is_empty()).collect();
                bar.set_message(format!("{} {stage} {}", task.subject, extra.join("; ")));
            }
            Meter::Lines { last } => {
                let line = match task.message.as_str() {
                    "" => format!("{} of {}: {stage}", task.kind, task.subject),
                    message => format!("{} of {}: {stage}: {message}", task.kind, task.subject),
                };
                if *last != line {
                    cx.io.note(&line);
                    *last = line;
                }
            }
        }
    }

    fn end(&self) {
        if let Meter::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn style(with_bar: bool) -> ProgressStyle {
    let template = if with_bar {
        "{spinner} {msg} [{bar:24}] {percent} % {elapsed}"
    } else {
        "{spinner} {msg} {elapsed}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .progress_chars("=> ")
}

/// "stage 2 of 3, transfer".
fn stage(task: &Task) -> String {
    let count = task.stages.len();
    match task.stages.iter().position(|stage| *stage == task.stage) {
        Some(place) if count > 1 => format!("stage {} of {count}, {}", place + 1, task.stage),
        _ if task.stage.is_empty() => show::task::state(task),
        _ => task.stage.clone(),
    }
}
