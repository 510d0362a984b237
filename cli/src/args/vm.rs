//! `pvc vm`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::vm_network::NetworkCommand;
use super::{Last, Wait, Watch, parse_duration};
use crate::spec::size::parse_mib;

#[derive(Debug, Subcommand)]
pub enum VmCommand {
    /// Define a VM; it is not started
    #[command(after_help = DEFINE_EXAMPLES)]
    Define(Define),
    /// List VMs
    List(VmList),
    /// Show everything about a VM
    Info { vm: String },
    /// Print the libvirt XML of a VM, or its spec
    Dump {
        vm: String,
        /// Print its spec as YAML, as `define` and `modify` take it
        #[arg(long)]
        spec: bool,
    },
    /// Start a VM; leaves `failed` and `disabled` too
    Start {
        vm: String,
        /// Start it on this node, this time
        #[arg(short = 't', long, value_name = "NODE")]
        node: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Press the power button; after the grace the guest is switched off
    Shutdown {
        vm: String,
        #[command(flatten)]
        grace: Grace,
        #[command(flatten)]
        wait: Wait,
    },
    /// Switch a VM off at once; its guest may lose data
    Stop {
        vm: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Shut a VM down (grace, then off) and start it again
    Restart {
        vm: String,
        #[command(flatten)]
        grace: Grace,
        #[command(flatten)]
        wait: Wait,
    },
    /// Shut a VM down and mark it off on purpose: nothing starts it but `start`
    Disable {
        vm: String,
        /// Off at once; its guest may lose data
        #[arg(long, conflicts_with = "grace")]
        force: bool,
        #[command(flatten)]
        grace: Grace,
        #[command(flatten)]
        wait: Wait,
    },
    /// Rename a VM that is off
    Rename {
        vm: String,
        new_name: String,
        #[command(flatten)]
        expected: Expected,
    },
    /// Change a VM's spec: from a file the whole of it, else only what is given
    Modify(Modify),
    /// Show or change a VM's notes and its settings for placement and migration
    Meta(Meta),
    /// A VM's tags
    #[command(subcommand)]
    Tag(TagCommand),
    /// A VM's number of virtual CPUs
    #[command(subcommand)]
    Vcpu(VcpuCommand),
    /// A VM's memory
    #[command(subcommand)]
    Memory(MemoryCommand),
    /// A VM's NICs
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Remove a VM that is off; its volumes stay
    Undefine {
        vm: String,
        #[command(flatten)]
        expected: Expected,
        #[command(flatten)]
        wait: Wait,
    },
    /// Remove a VM that is off, and its volumes
    Remove {
        vm: String,
        #[command(flatten)]
        expected: Expected,
        #[command(flatten)]
        wait: Wait,
    },
    /// Move a VM away for a while; its home is remembered
    Migrate {
        vm: String,
        /// Where to; without it the scheduler chooses
        #[arg(short = 't', long, value_name = "NODE")]
        node: Option<String>,
        #[command(flatten)]
        method: Method,
        #[command(flatten)]
        wait: Wait,
    },
    /// Bring a migrated VM home
    Unmigrate {
        vm: String,
        #[command(flatten)]
        method: Method,
        #[command(flatten)]
        wait: Wait,
    },
    /// Move a VM for good: the target becomes its home
    Move {
        vm: String,
        /// Where to; without it the scheduler chooses
        #[arg(short = 't', long, value_name = "NODE")]
        node: Option<String>,
        #[command(flatten)]
        method: Method,
        #[command(flatten)]
        wait: Wait,
    },
    /// Work on a VM's serial console; Ctrl-] detaches
    Console {
        vm: String,
        /// When stdin is not a terminal: stay this long after its end
        #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "2s")]
        linger: Duration,
    },
    /// Show what has happened to a VM: starts, moves, ends
    History {
        vm: String,
        #[command(flatten)]
        newest: Last,
    },
    /// Show the log of a VM's serial console
    Log {
        vm: String,
        /// Lines to begin with, 1 to 10000
        #[arg(short, long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10000))]
        lines: u32,
        /// Go on with what comes
        #[arg(short, long)]
        follow: bool,
    },
}

const DEFINE_EXAMPLES: &str = "\
Examples:
  pvc vm define web1 -f web1.yaml
  pvc vm define web1 --vcpus 2 --memory 2G --disk web1-root:10G --nic network=1001 --tag web
  pvc vm define old1 --xml old1.xml

A spec file holds the fields of VmSpec; sizes may have K, M, G or T:
  vcpus: 2
  memory: 2G
  disks:
    - volume: web1-root
      size: 10G
  nics:
    - network: 1001";

#[derive(Clone, Debug, Args)]
pub struct Define {
    pub vm: String,
    /// Spec as a YAML or JSON file; - is stdin
    #[arg(short, long, value_name = "FILE", conflicts_with = "xml")]
    pub file: Option<PathBuf>,
    /// A libvirt domain XML instead; - is stdin
    #[arg(long, value_name = "FILE")]
    pub xml: Option<PathBuf>,
    #[command(flatten)]
    pub spec: SpecFlags,
    /// Check everything, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// A spec by flags; with a file or an XML, what is given here wins.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Spec")]
pub struct SpecFlags {
    /// Virtual CPUs, 1 to 512
    #[arg(long, value_name = "COUNT")]
    pub vcpus: Option<u32>,
    /// Memory in MiB, or as in 2G
    #[arg(long, value_name = "SIZE", value_parser = parse_mib)]
    pub memory: Option<u64>,
    /// VOLUME of that name, or VOLUME:SIZE to make it when there is none; then ,bus=scsi ,pool=NAME ,ro
    #[arg(long = "disk", value_name = "VOLUME[:SIZE]")]
    pub disks: Vec<String>,
    /// network=NUMBER, upstream, cluster or storage, or bridge=NAME; then ,mac= ,model= ,link=up|down ,rate-in= ,rate-out=
    /// ,spoof-check=on|off ,address=IP
    #[arg(long = "nic", value_name = "network=NETWORK")]
    pub nics: Vec<String>,
    /// A tag; may be repeated
    #[arg(short = 'g', long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// A note, KEY=VALUE; may be repeated
    #[arg(long = "meta", value_name = "KEY=VALUE")]
    pub meta: Vec<String>,
    /// A node that it may run on; may be repeated
    #[arg(long = "node-limit", value_name = "NODE")]
    pub node_limit: Vec<String>,
    /// Its home node; without it chosen at the first start
    #[arg(long, value_name = "NODE")]
    pub home: Option<String>,
    /// Boot this kernel directly: a path on the host
    #[arg(long, value_name = "PATH")]
    pub kernel: Option<String>,
    /// With this initrd
    #[arg(long, value_name = "PATH", requires = "kernel")]
    pub initrd: Option<String>,
    /// And this kernel command line
    #[arg(long, value_name = "TEXT", requires = "kernel")]
    pub cmdline: Option<String>,
    /// How it is migrated
    #[arg(long = "migration-method", value_name = "METHOD", value_enum)]
    pub migration_method: Option<MethodWord>,
    /// Longest pause that live migration may cause, ms
    #[arg(long = "max-downtime", value_name = "MS")]
    pub max_downtime: Option<u32>,
    /// Seconds that a shutdown waits before it switches off, or as in 3m
    #[arg(long = "shutdown-grace", value_name = "TIME", value_parser = parse_duration)]
    pub shutdown_grace: Option<Duration>,
    /// Restarts in ten minutes before a crashing guest is given up
    #[arg(long = "max-restarts", value_name = "COUNT")]
    pub max_restarts: Option<u32>,
    /// Who gets a place first where there is not enough for all: the higher; 0 to 1000, without it 100
    #[arg(long, value_name = "NUMBER")]
    pub priority: Option<u32>,
    /// When its node is dead, leave it to a person to start it elsewhere
    #[arg(long = "no-recover")]
    pub no_recover: bool,
    /// CPU model as libvirt names it; without it the host's
    #[arg(long = "cpu-model", value_name = "NAME")]
    pub cpu_model: Option<String>,
    /// pc or q35
    #[arg(long, value_name = "TYPE")]
    pub machine: Option<String>,
}

#[derive(Clone, Debug, Default, Args)]
pub struct VmList {
    /// Regular expression that the name must match somewhere
    pub limit: Option<String>,
    /// Only VMs on this node
    #[arg(short = 't', long, value_name = "NODE")]
    pub node: Option<String>,
    /// Only VMs in this state
    #[arg(short, long, value_enum)]
    pub state: Option<PhaseWord>,
    /// Only VMs with this tag; may be repeated
    #[arg(short = 'g', long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Turn the filters around: list what does not match
    #[arg(short, long)]
    pub negate: bool,
    #[command(flatten)]
    pub watch: Watch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PhaseWord {
    Stopped,
    Pending,
    Starting,
    Running,
    ShuttingDown,
    Migrating,
    Backoff,
    Failed,
    Unknown,
    Deleting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MethodWord {
    /// While it runs
    Live,
    /// Shut down here, start there
    Shutdown,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Method {
    /// How; without it the VM's own
    #[arg(short, long, value_enum)]
    pub method: Option<MethodWord>,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Grace {
    /// Wait this long for the guest, as in 60s; without it the VM's own
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub grace: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Expected {
    /// Refuse unless this is the VM's revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    pub expected_revision: u64,
}

#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
    .args(["file", "vcpus", "memory", "add_tag", "remove_tag", "set", "unset"]))]
pub struct Modify {
    pub vm: String,
    /// The whole spec anew, as a YAML or JSON file; - is stdin
    #[arg(short, long, value_name = "FILE",
        conflicts_with_all = ["vcpus", "memory", "add_tag", "remove_tag", "set", "unset"])]
    pub file: Option<PathBuf>,
    /// Virtual CPUs
    #[arg(long, value_name = "COUNT")]
    pub vcpus: Option<u32>,
    /// Memory in MiB, or as in 2G
    #[arg(long, value_name = "SIZE", value_parser = parse_mib)]
    pub memory: Option<u64>,
    /// Give it this tag; may be repeated
    #[arg(long, value_name = "TAG")]
    pub add_tag: Vec<String>,
    /// Take this tag away; may be repeated
    #[arg(long, value_name = "TAG")]
    pub remove_tag: Vec<String>,
    /// Set a note; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Remove a note; may be repeated
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    #[command(flatten)]
    pub expected: Expected,
    /// Check everything, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Meta {
    pub vm: String,
    /// Set a note; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Remove a note; may be repeated
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// The nodes that it may run on, as in hv1,hv2; an empty text: any
    #[arg(long, value_name = "NODES")]
    pub node_limit: Option<String>,
    /// How it is migrated
    #[arg(short, long, value_enum)]
    pub migration_method: Option<MethodWord>,
    /// Longest pause that live migration may cause, ms
    #[arg(short = 'd', long, value_name = "MS")]
    pub max_downtime: Option<u32>,
    /// Who gets a place first where there is not enough for all: the higher; 0 to 1000
    #[arg(long, value_name = "NUMBER")]
    pub priority: Option<u32>,
    /// Whether it is started elsewhere when its node is dead
    #[arg(long, value_name = "BOOL")]
    pub recover: Option<bool>,
    #[command(flatten)]
    pub expected: Expected,
}

impl Meta {
    /// True when nothing is to be changed, only shown.
    pub fn only_shows(&self) -> bool {
        self.set.is_empty()
            && self.unset.is_empty()
            && self.node_limit.is_none()
            && self.migration_method.is_none()
            && self.max_downtime.is_none()
            && self.priority.is_none()
            && self.recover.is_none()
    }
}

#[derive(Debug, Subcommand)]
pub enum TagCommand {
    /// Show a VM's tags
    Get { vm: String },
    /// Give a VM tags
    Add {
        vm: String,
        #[arg(required = true)]
        tags: Vec<String>,
    },
    /// Take tags away
    Remove {
        vm: String,
        #[arg(required = true)]
        tags: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum VcpuCommand {
    /// Show the number
    Get { vm: String },
    /// Change the number
    Set { vm: String, count: u32 },
}

#[derive(Debug, Subcommand)]
pub enum MemoryCommand {
    /// Show the memory
    Get { vm: String },
    /// Change the memory
    Set {
        vm: String,
        /// In MiB, or as in 2G
        #[arg(value_parser = parse_mib)]
        size: u64,
    },
}
