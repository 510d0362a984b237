//! `pvc task`.

use clap::{Args, Subcommand, ValueEnum};

use super::Watch;

#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// List tasks, newest first
    List(TaskList),
    /// Show everything about a task
    Info { task: String },
    /// Follow a task to its end
    Watch { task: String },
    /// Ask a task to stop
    Cancel { task: String },
}

#[derive(Clone, Debug, Args)]
pub struct TaskList {
    /// Only tasks of this object, as in vm/web1
    pub subject: Option<String>,
    /// Only tasks in this state
    #[arg(short, long, value_enum)]
    pub state: Option<TaskStateWord>,
    #[command(flatten)]
    pub watch: Watch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TaskStateWord {
    Running,
    Succeeded,
    Failed,
    Cancelled,
}
