//! `pvc cluster`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::{Last, Wait, parse_duration};

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// What the cluster is and how it is
    Status,
    /// Show what has happened to the cluster: its primary, its storm brake, restores
    History {
        #[command(flatten)]
        newest: Last,
    },
    /// Change the cluster's settings
    #[command(group = clap::ArgGroup::new("setting").required(true).multiple(true)
        .args([
            "replace_voter_after",
            "admission",
            "migrations_per_node",
            "balance",
            "floating_address",
            "floating_device",
        ]))]
    Set {
        /// Replace a voter that was silent for so long by a standby, 5s to 1d; or `never`
        #[arg(long, value_name = "TIME", value_parser = parse_replace_after)]
        replace_voter_after: Option<u32>,
        /// What to do about a VM after whose start the death of some one node could not be borne
        #[arg(long, value_enum)]
        admission: Option<AdmissionWord>,
        /// Migrations that leave a node, and that come to it, at once, 1 to 16
        #[arg(long, value_name = "COUNT")]
        migrations_per_node: Option<u32>,
        /// Whether VMs are moved to better places by themselves
        #[arg(long, value_enum)]
        balance: Option<BalanceWord>,
        /// Reach the primary at this address, 10.0.0.9/24 or 2001:db8::9/64; or `none`
        #[arg(long, value_name = "ADDRESS")]
        floating_address: Option<String>,
        /// The network device that carries it, the same on all coordinators
        #[arg(long, value_name = "DEVICE")]
        floating_device: Option<String>,
        /// Refuse unless this is the revision of the cluster's settings
        #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
        expected_revision: u64,
    },
    /// Show which moves would be worth it, or carry them out: broken rules first, then the load of memory
    Balance {
        /// Show the moves, change nothing (default)
        #[arg(long, conflicts_with = "apply")]
        dry_run: bool,
        /// Carry them out
        #[arg(long)]
        apply: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Write a backup of everything that the cluster knows to a file, and check it
    Backup {
        /// `-` is stdout
        file: PathBuf,
        /// Only check a file that is there; needs no cluster
        #[arg(long)]
        verify: bool,
    },
    /// Restore a backup into a cluster that is new and empty; VMs that run are found and adopted
    Restore { file: PathBuf },
    /// Switch automatic fencing and recovery off, for work on the network or the power
    Disarm {
        /// Why, for those who find it so
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Switch automatic fencing and recovery on again
    Arm,
    /// Say that nodes which fell silent together are dead: they are fenced, and their VMs started elsewhere
    ReleaseBrake,
    /// Nodes that vote: 1, 3 or 5 of them
    #[command(subcommand)]
    Voter(VoterCommand),
    /// Show which node leads, or hand leadership over
    Leader {
        /// Hand over to any other voter
        #[arg(long, conflicts_with = "to")]
        hand_over: bool,
        /// Hand over to this voter
        #[arg(long, value_name = "NODE")]
        to: Option<String>,
    },
    /// Faults: problems that a person should know of
    #[command(subcommand)]
    Fault(FaultCommand),
    /// Who changed what, newest first
    Audit {
        /// How many changes, 1 to 1000
        #[arg(short, long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        lines: u32,
        /// Only changes before this revision
        #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
        before: u64,
    },
    /// Who you are, as the cluster sees it
    Whoami,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AdmissionWord {
    /// Nothing
    Off,
    /// A fault says so
    Warn,
    /// It is not started
    Refuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BalanceWord {
    Manual,
    Automatic,
}

#[derive(Debug, Subcommand)]
pub enum VoterCommand {
    /// Make a coordinator a voter
    Add { node: String },
    /// Make a voter a standby: it keeps its copy of the state, and takes the place of a voter that dies
    Standby { node: String },
    /// Make a voter a plain hypervisor again
    Remove { node: String },
}

#[derive(Debug, Subcommand)]
pub enum FaultCommand {
    /// List faults
    List,
    /// Mark faults as seen
    Ack {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// Seconds; 0 is never.
fn parse_replace_after(text: &str) -> Result<u32, String> {
    if text == "never" {
        return Ok(0);
    }
    let seconds = parse_duration(text)?.as_secs();
    match u32::try_from(seconds) {
        Ok(seconds @ 5..=86_400) => Ok(seconds),
        _ => Err("5s to 1d, or never".to_owned()),
    }
}
