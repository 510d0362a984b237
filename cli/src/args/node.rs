//! `pvc node`.

use clap::{Args, Subcommand, ValueEnum};

use super::bmc::{BmcCommand, PowerWord};
use super::{Last, Wait, Watch};

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List nodes
    List(NodeList),
    /// Show everything about a node
    Info { node: String },
    /// Show the log of a node's daemon
    Log {
        node: String,
        /// Lines to begin with, 1 to 10000
        #[arg(short, long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10000))]
        lines: u32,
        /// Go on with new lines
        #[arg(short, long)]
        follow: bool,
    },
    /// Show what has happened to a node: silences, fences, maintenance
    History {
        node: String,
        #[command(flatten)]
        newest: Last,
    },
    /// Change a node's settings
    Update {
        node: String,
        /// Whether new VMs may be placed on it
        #[arg(long, value_enum, required_unless_present_any = ["on_return", "isolation", "on_shutdown"])]
        schedulable: Option<OnOff>,
        /// What it does when it is back from a fence
        #[arg(long, value_enum)]
        on_return: Option<OnReturnWord>,
        /// What becomes of its guests when it is cut off from the cluster: they run on, or its guard stops them after ten
        /// seconds, so that they may run elsewhere though its BMC is dead
        #[arg(long, value_enum)]
        isolation: Option<IsolationWord>,
        /// What becomes of its VMs when its host is shut down: they move away and return; are shut down and started when it
        /// is back; or end with it
        #[arg(long, value_enum)]
        on_shutdown: Option<OnShutdownWord>,
        /// Refuse unless this is the node's revision
        #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
        expected_revision: u64,
    },
    /// Make a coordinator the primary, which carries the cluster's single-holder services
    Primary { node: String },
    /// Make the primary hand its role over to any other coordinator
    Secondary { node: String },
    /// Empty a node for maintenance: its VMs are moved away, and nothing new is placed there
    Flush {
        node: String,
        /// Show who would go where, change nothing
        #[arg(long)]
        dry_run: bool,
        /// Shut down VMs that fit nowhere else, or can't be moved, until the node is ready
        #[arg(long)]
        stop_unmovable: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// End a node's maintenance: it takes VMs again, and those that left it return
    Ready {
        node: String,
        /// Those that left it stay where they are
        #[arg(long)]
        no_return: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Say that certainly nothing runs on a node whose guests are looked for after a restore or a recovery
    ConfirmOff { node: String },
    /// Make certain that a node writes no guest disk any more, and start its VMs elsewhere
    Fence {
        node: String,
        /// You say that it is off: nothing is asked, and your word is the proof
        #[arg(long, conflicts_with = "force")]
        confirm_off: bool,
        /// Fence it although it is reachable: its guests are cut off
        #[arg(long)]
        force: bool,
    },
    /// The BMC by which a node can be switched off when nothing else answers
    #[command(subcommand)]
    Bmc(BmcCommand),
    /// Switch a node on or off by its BMC, as its power button would, or ask whether it is on
    Power {
        node: String,
        #[arg(value_enum)]
        to: PowerWord,
        /// Take the power away though VMs are placed on the node
        #[arg(long)]
        force: bool,
    },
    /// Remove a node that holds no VM; its certificate is refused from then on
    Remove { node: String },
}

#[derive(Clone, Debug, Default, Args)]
pub struct NodeList {
    /// Regular expression that the name must match somewhere
    pub limit: Option<String>,
    /// Only nodes of this role
    #[arg(long, value_enum)]
    pub role: Option<RoleWord>,
    /// Only nodes in this state
    #[arg(short, long, value_enum)]
    pub state: Option<ReachabilityWord>,
    #[command(flatten)]
    pub watch: Watch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnReturnWord {
    /// It takes VMs again when it has been well for a minute
    Automatic,
    /// The same, and the VMs that left it return to it
    Home,
    /// It waits for `pvc node ready`
    Manual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IsolationWord {
    Keep,
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnShutdownWord {
    Move,
    Stop,
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleWord {
    Coordinator,
    Hypervisor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReachabilityWord {
    NeverSeen,
    Reachable,
    Unreachable,
}
