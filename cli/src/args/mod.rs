//! What can be asked: the tree of commands, as clap types. Words only; nothing is done here.
//!
//! Man pages, completions and the parity test are all made from this one tree.

pub mod affinity;
pub mod bmc;
pub mod cluster;
pub mod connection;
pub mod network;
pub mod network_parts;
pub mod node;
pub mod storage;
pub mod task;
pub mod token;
pub mod vm;
pub mod vm_network;
pub mod why;

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
  0  it is done
  1  another failure
  2  the command line or a file given to it is wrong
  3  the object does not exist
  4  refused by a rule: not in this state, or the request is not valid
  5  permission denied
  6  the cluster can't be reached, or it has no leader
  7  a task failed
  8  interrupted, or the task was cancelled
  9  conflict: the name is taken, or the object has changed meanwhile";

/// The Parallel Virtual Cluster.
///
/// Shows and changes a cluster: its nodes, VMs, volumes, tasks, faults and tokens. Which cluster is
/// meant is told by a named connection; see `pvc connection`.
#[derive(Debug, Parser)]
#[command(
    name = "pvc",
    version,
    after_help = EXIT_CODES,
    disable_help_subcommand = true,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Connection to use; without it the default one
    #[arg(short, long, global = true, env = "PVC_CONNECTION", value_name = "NAME")]
    pub connection: Option<String>,
    /// How to print what the cluster answers
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Print results and errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Tell on stderr which connection is used and what is asked
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Do not ask before something is destroyed
    #[arg(short, long, global = true)]
    pub yes: bool,
    /// No colours; the variable NO_COLOR does the same
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Longest wait for an answer to one call: 30, 30s, 2m
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

/// How replies are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// The reply as JSON, the same as over HTTP
    Json,
    /// The reply as YAML
    Yaml,
    /// Names only, one per line
    Name,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Named connections to clusters
    #[command(subcommand)]
    Connection(connection::ConnectionCommand),
    /// The cluster itself: health, voters, faults, audit trail
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Nodes: the hosts of the cluster
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// VMs: the guests
    #[command(subcommand)]
    Vm(Box<vm::VmCommand>),
    /// Affinity rules: which VMs belong together or apart, and on which nodes
    #[command(subcommand)]
    Affinity(affinity::AffinityCommand),
    /// Client networks: what guests' NICs are attached to
    #[command(subcommand)]
    Network(Box<network::NetworkCommand>),
    /// Volumes and their snapshots
    #[command(subcommand)]
    Storage(storage::StorageCommand),
    /// Tasks: long operations
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Join tokens for hosts, API tokens for programs
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Why a VM or a node is as it is
    #[command(subcommand)]
    Why(why::WhyCommand),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  pvc completion bash > /etc/bash_completion.d/pvc")]
    Completion {
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the version
    Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// For commands that start a task.
#[derive(Clone, Copy, Debug, Args)]
pub struct Wait {
    /// Follow the task to its end (default)
    #[arg(short = 'w', long, overrides_with = "no_wait")]
    pub wait: bool,
    /// Print the task and return at once
    #[arg(short = 'W', long, overrides_with = "wait")]
    pub no_wait: bool,
}

/// For lists.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Watch {
    /// Go on showing changes: redraws on a terminal, else appends a line for each change
    #[arg(long)]
    pub watch: bool,
}

/// For what has happened to something.
#[derive(Clone, Copy, Debug, Args)]
pub struct Last {
    /// Show only the newest, 1 to 50 (default: all that are kept)
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=50))]
    pub last: Option<u32>,
}

/// Reads "90", "90s", "15m", "2h", "7d".
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: u64 = digits.parse().map_err(|_| BAD_DURATION.to_owned())?;
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err(BAD_DURATION.to_owned()),
    };
    let seconds = count.checked_mul(unit).filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(|| BAD_DURATION.to_owned())
}

const BAD_DURATION: &str = "a time is a whole number above 0 with s, m, h or d, as in 30s or 7d";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "s", "0", "1w", "-3s", "1.5h", "99999999999999999999d"] {
            assert_eq!(parse_duration(bad), Err(BAD_DURATION.to_owned()), "{bad}");
        }
    }
}
