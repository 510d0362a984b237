//! `pvc-bootstrap local …`: the words that people type.

use std::path::PathBuf;

use crate::demo;
use crate::local::bring_up::UpOptions;
use crate::local::cut::Cut;
use crate::local::plan::{ClusterName, HostName, Net};
use crate::local::state::{ClusterDir, DEFAULT_ROOT};
use crate::local::{bmc, enter, init, power, status, teardown, up};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};

use super::faults::{self, PowerTo, Target, Victim};

#[derive(Debug, Args)]
pub struct LocalArgs {
    /// Name of the local cluster; several may exist at once
    #[arg(long, global = true, default_value = "local")]
    name: ClusterName,
    /// Folder under which local clusters keep their state
    #[arg(long, global = true, default_value = DEFAULT_ROOT, value_name = "DIR")]
    state: PathBuf,
    #[command(subcommand)]
    command: LocalCommand,
}

/// What a cluster shall be.
#[derive(Debug, Args)]
struct Shape {
    /// How many hosts
    #[arg(long, default_value_t = 3)]
    hosts: u8,
    /// How many of them vote: 1, 3 or 5 [default: 3, or 1 with fewer than 3 hosts]
    #[arg(long)]
    voters: Option<u8>,
    /// The daemon to run [default: pvcd beside this program]
    #[arg(long, value_name = "FILE")]
    pvcd: Option<PathBuf>,
    /// Let guests use the machine's /dev/kvm
    #[arg(long)]
    kvm: bool,
}

#[derive(Debug, Subcommand)]
enum LocalCommand {
    /// Bring a cluster up, from nothing or from what is left of it
    Up {
        #[command(flatten)]
        shape: Shape,
        /// Hosts with libvirt only
        #[arg(long, conflicts_with = "pvcd")]
        no_pvcd: bool,
    },
    /// Bring a cluster up, run a VM, move it live, kill the leader; tells what it does and how long it takes
    Demo {
        #[command(flatten)]
        shape: Shape,
        /// Where the little guest was built before, or is to be built [default: with the cluster]
        #[arg(long, value_name = "DIR")]
        guest: Option<PathBuf>,
    },
    /// Clear the cluster away, whatever state it is in; nothing is left behind
    Down,
    /// Show hosts, their power and processes, and what the cluster says of them
    Status {
        /// How to show it
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Run a program inside a host
    Exec {
        host: HostName,
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Kill a service of a host (it is started again), its BMC, or the whole host (as if its power was cut)
    Kill {
        /// A host, or `leader`: the host that leads Raft now
        target: Target,
        /// What to kill there
        #[arg(long, value_enum, default_value_t = Victim::Pvcd)]
        what: Victim,
        /// Do not let the service be started again until `local start` or the next power-on
        #[arg(long)]
        hold: bool,
    },
    /// Start what `kill` has ended: a host that is off, its BMC, and services that `kill --hold` keeps down
    #[command(visible_alias = "release")]
    Start { host: HostName },
    /// Cut a host from another, or from everyone; what is sent just vanishes
    Cut {
        host: HostName,
        /// Cut only from this one
        peer: Option<HostName>,
        /// Cut only in this network: cluster, vm or upstream [default: all]
        #[arg(long)]
        net: Option<Net>,
        /// Drop only what HOST sends
        #[arg(long)]
        one_way: bool,
    },
    /// Undo cuts: all, those of one host, or those between two
    Heal { host: Option<HostName>, peer: Option<HostName> },
    /// Stop every process of a host where it stands, guests included
    Freeze { host: HostName },
    /// Let a frozen host go on
    Thaw { host: HostName },
    /// Switch a host on, or take its power away
    Power {
        host: HostName,
        #[arg(value_enum)]
        to: PowerTo,
    },
    /// What a BMC asks of its host's board
    #[command(name = "__bmc", hide = true)]
    Bmc {
        #[arg(long)]
        host: HostName,
        /// `get WHAT…`, `set WHAT VALUE…` or `check`
        #[arg(trailing_var_arg = true)]
        words: Vec<String>,
    },
    /// What a BMC has ordered, carried out
    #[command(name = "__board", hide = true)]
    Board {
        #[arg(long)]
        host: HostName,
        #[arg(long, value_enum)]
        order: bmc::Order,
    },
    /// The first process of a host
    #[command(name = "__init", hide = true)]
    Init {
        #[arg(long)]
        host: HostName,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

impl LocalArgs {
    /// Whether this is the hidden entry of a host's first process.
    pub fn is_init(&self) -> bool {
        matches!(self.command, LocalCommand::Init { .. })
    }

    fn dir(&self) -> anyhow::Result<ClusterDir> {
        Ok(ClusterDir::new(&self.state, self.name.clone())?)
    }

    /// Enters a host's first process; the caller has a single thread.
    pub fn run_init(self) -> anyhow::Result<()> {
        let dir = self.dir()?;
        match self.command {
            LocalCommand::Init { host } => Ok(init::start(&dir, host)?),
            _ => bail!("not the entry of a first process"),
        }
    }

    /// Does what was asked.
    pub async fn run(self) -> anyhow::Result<()> {
        let dir = self.dir()?;
        match self.command {
            LocalCommand::Up { shape, no_pvcd } => {
                up::up(&dir, &shape.options(no_pvcd)?, &mut tell).await.map(drop)
            }
            LocalCommand::Demo { shape, guest } => {
                demo::run(&dir, &shape.options(false)?, guest.as_deref()).await
            }
            LocalCommand::Down => down(&dir).await,
            LocalCommand::Status { output } => {
                let found = status::look(&dir, &dir.load()?).await;
                match output {
                    Output::Table => print!("{}", found.table()),
                    Output::Json => println!("{}", serde_json::to_string_pretty(&found)?),
                }
                Ok(())
            }
            LocalCommand::Exec { host, command } => {
                let init = power::require_on(&dir.load()?, host)?;
                Err(enter::become_inside(&init, &command)).context("could not run nsenter")
            }
            LocalCommand::Kill { target, what, hold } => faults::kill(&dir, target, what, hold).await,
            LocalCommand::Start { host } => faults::start(&dir, host).await,
            LocalCommand::Cut { host, peer, net, one_way } => {
                faults::cut(&dir, Cut { from: host, to: peer, net, one_way }).await
            }
            LocalCommand::Heal { host, peer } => faults::heal(&dir, host, peer).await,
            LocalCommand::Freeze { host } => faults::freeze(&dir, host).await,
            LocalCommand::Thaw { host } => faults::thaw(&dir, host),
            LocalCommand::Power { host, to } => faults::power(&dir, host, to).await,
            LocalCommand::Bmc { host, words } => {
                print!("{}", bmc::board_asked(&dir, &dir.load()?, host, &words)?);
                Ok(())
            }
            LocalCommand::Board { host, order } => Ok(bmc::carry_out(&dir, host, order).await?),
            LocalCommand::Init { .. } => bail!("a first process is entered before the runtime"),
        }
    }
}

impl Shape {
    fn options(self, no_pvcd: bool) -> anyhow::Result<UpOptions> {
        let bootstrap = this_program()?;
        let pvcd = match (self.pvcd, no_pvcd) {
            (_, true) => None,
            (Some(path), false) => Some(std::path::absolute(path).context("could not resolve --pvcd")?),
            (None, false) => Some(bootstrap.with_file_name("pvcd")),
        };
        Ok(UpOptions {
            hosts: self.hosts,
            voters: self.voters.unwrap_or(if self.hosts < 3 { 1 } else { 3 }),
            kvm: self.kvm,
            pvcd,
            bootstrap,
        })
    }
}

fn tell(line: &str) {
    eprintln!("{line}");
}

fn this_program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("could not find this program's own file")?;
    // Linux marks a program whose file was replaced since it was started
    let text = program.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or(program.clone(), PathBuf::from))
}

async fn down(dir: &ClusterDir) -> anyhow::Result<()> {
    let removed = teardown::down(dir).await?;
    for file in &removed.connections {
        eprintln!("connection \"{}\" is removed from {}", dir.name(), file.display());
    }
    eprintln!(
        "local cluster {} is gone ({} running hosts, {} namespaces)",
        dir.name(),
        removed.hosts,
        removed.namespaces
    );
    Ok(())
}
