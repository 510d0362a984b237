//! `pvc affinity`.

use clap::{Args, Subcommand, ValueEnum};

use super::Watch;

#[derive(Debug, Subcommand)]
pub enum AffinityCommand {
    /// Make a rule; one that contradicts another is refused
    #[command(after_help = ADD_EXAMPLES)]
    Add {
        name: String,
        #[arg(value_enum)]
        kind: KindWord,
        #[command(flatten)]
        about: About,
        /// Keep it only where that costs no VM its place
        #[arg(long)]
        should: bool,
    },
    /// Change a rule: what is given replaces what it had
    Modify(Modify),
    /// List rules
    List(RuleList),
    /// Show everything about a rule
    Get { name: String },
    /// Remove a rule
    Remove { name: String },
}

const ADD_EXAMPLES: &str = "\
Examples:
  pvc affinity add db apart --vm db1 --vm db2 --vm db3
  pvc affinity add web apart --tag web --should
  pvc affinity add licence on-nodes --vm erp --node hv1 --node hv2";

#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).args(["vms", "tag"]))]
pub struct About {
    /// A VM; may be repeated
    #[arg(long = "vm", value_name = "VM")]
    pub vms: Vec<String>,
    /// All VMs with this tag
    #[arg(short = 'g', long, value_name = "TAG")]
    pub tag: Option<String>,
    /// A node; may be repeated
    #[arg(long = "node", value_name = "NODE")]
    pub nodes: Vec<String>,
}

#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
    .args(["vms", "tag", "nodes", "should", "must"]))]
pub struct Modify {
    pub name: String,
    /// Its VMs anew; may be repeated
    #[arg(long = "vm", value_name = "VM", conflicts_with = "tag")]
    pub vms: Vec<String>,
    /// All VMs with this tag instead
    #[arg(short = 'g', long, value_name = "TAG")]
    pub tag: Option<String>,
    /// Its nodes anew; may be repeated
    #[arg(long = "node", value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Keep it only where that costs no VM its place
    #[arg(long, conflicts_with = "must")]
    pub should: bool,
    /// A VM rather waits than breaks it
    #[arg(long)]
    pub must: bool,
    /// Refuse unless this is the rule's revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    pub expected_revision: u64,
}

#[derive(Clone, Debug, Args)]
pub struct RuleList {
    /// Regular expression that the name must match somewhere
    pub limit: Option<String>,
    /// Only rules about this VM
    #[arg(long, value_name = "VM")]
    pub vm: Option<String>,
    #[command(flatten)]
    pub watch: Watch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindWord {
    /// Its VMs run on one node
    Together,
    /// No two of its VMs run on one node
    Apart,
    /// Its VMs run on its nodes
    OnNodes,
    /// Its VMs do not run on its nodes
    NotOnNodes,
}
