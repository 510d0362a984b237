//! `pvc cluster`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// What the cluster is and how it is
    Status,
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

#[derive(Debug, Subcommand)]
pub enum VoterCommand {
    /// Make a node a voter
    Add { node: String },
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
