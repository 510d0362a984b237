//! `pvc-bootstrap local …`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use pvc_bootstrap::local::bring_up::{self, UpOptions};
use pvc_bootstrap::local::cut::Cut;
use pvc_bootstrap::local::plan::{ClusterName, HostName, Net};
use pvc_bootstrap::local::state::{ClusterDir, DEFAULT_ROOT};
use pvc_bootstrap::local::{connection, enrolment, enter, init, power, processes, status, teardown, wiring};
use pvc_client::Connections;

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

#[derive(Debug, Subcommand)]
enum LocalCommand {
    /// Bring a cluster up, from nothing or from what is left of it
    Up {
        /// How many hosts
        #[arg(long, default_value_t = 3)]
        hosts: u8,
        /// How many of them vote: 1, 3 or 5 [default: 3, or 1 with fewer than 3 hosts]
        #[arg(long)]
        voters: Option<u8>,
        /// The daemon to run [default: pvcd beside this program]
        #[arg(long, value_name = "FILE", conflicts_with = "no_pvcd")]
        pvcd: Option<PathBuf>,
        /// Hosts with libvirt only
        #[arg(long)]
        no_pvcd: bool,
        /// Let guests use the machine's /dev/kvm
        #[arg(long)]
        kvm: bool,
    },
    /// Clear the cluster away, whatever state it is in; nothing is left behind
    Down,
    /// Show hosts, their power and their processes
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
    /// Kill a host's daemon (it is started again) or the whole host (as if its power was cut)
    Kill {
        host: HostName,
        /// What to kill
        #[arg(long, value_enum, default_value_t = Victim::Pvcd)]
        what: Victim,
        /// Do not let the service be started again until `local release` or the next power-on
        #[arg(long)]
        hold: bool,
    },
    /// Let services that `kill --hold` keeps down be started again
    Release { host: HostName },
    /// Cut a host from another, or from everyone; what is sent just vanishes
    Cut {
        host: HostName,
        /// Cut only from this one
        peer: Option<HostName>,
        /// Cut only in this network: cluster or vm [default: both]
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Victim {
    Pvcd,
    Libvirtd,
    Host,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PowerTo {
    On,
    Off,
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
            LocalCommand::Up { hosts, voters, pvcd, no_pvcd, kvm } => {
                let bootstrap = this_program()?;
                let pvcd = match (pvcd, no_pvcd) {
                    (_, true) => None,
                    (Some(path), false) => {
                        Some(std::path::absolute(path).context("could not resolve --pvcd")?)
                    }
                    (None, false) => Some(bootstrap.with_file_name("pvcd")),
                };
                let options = UpOptions {
                    hosts,
                    voters: voters.unwrap_or(if hosts < 3 { 1 } else { 3 }),
                    kvm,
                    pvcd,
                    bootstrap,
                };
                let state = bring_up::hosts_up(&dir, &options, &mut tell).await?;
                let cluster_id = enrolment::enrol(&dir, &state, &mut tell).await?;
                enrolment::wait_for_libvirt(&dir, &state).await?;
                tell("every host's libvirtd listens");
                if state.pvcd.is_some() {
                    if let Some(file) = Connections::user_file() {
                        connection::write(&file, &dir, &state, &cluster_id)?;
                    }
                    enrolment::wait_for_daemons(&dir, &state).await?;
                    tell("every host's pvcd answers");
                }
                Ok(())
            }
            LocalCommand::Down => {
                let removed = teardown::down(&dir).await?;
                if let Some(file) = Connections::user_file() {
                    connection::remove(&file, &dir)?;
                }
                eprintln!(
                    "local cluster {} is gone ({} running hosts, {} namespaces)",
                    dir.name(),
                    removed.hosts,
                    removed.namespaces
                );
                Ok(())
            }
            LocalCommand::Status { output } => {
                let found = status::look(&dir.load()?);
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
            LocalCommand::Kill { host, what, hold } => kill(&dir, host, what, hold).await,
            LocalCommand::Release { host } => {
                let init = power::require_on(&dir.load()?, host)?;
                let released = power::release(&init)?;
                eprintln!("host {host}: {released} services may be started again");
                Ok(())
            }
            LocalCommand::Cut { host, peer, net, one_way } => {
                let cut = Cut { from: host, to: peer, net, one_way };
                add_cut(&dir, cut).await
            }
            LocalCommand::Heal { host, peer } => heal(&dir, host, peer).await,
            LocalCommand::Freeze { host } => {
                let init = power::require_on(&dir.load()?, host)?;
                let count = power::freeze(host, &init).await?;
                eprintln!("host {host} is frozen ({count} processes)");
                Ok(())
            }
            LocalCommand::Thaw { host } => {
                let init = power::require_on(&dir.load()?, host)?;
                let count = power::thaw(&init);
                eprintln!("host {host} goes on ({count} processes)");
                Ok(())
            }
            LocalCommand::Power { host, to } => set_power(&dir, host, to).await,
            LocalCommand::Init { .. } => bail!("a first process is entered before the runtime"),
        }
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

async fn set_power(dir: &ClusterDir, host: HostName, to: PowerTo) -> anyhow::Result<()> {
    let _lock = dir.lock().await?;
    let state = dir.load()?;
    let (changed, word) = match to {
        PowerTo::On => {
            state.host(host)?;
            (power::on(dir, &state, host).await?, "on")
        }
        PowerTo::Off => (power::off(&state, host).await?, "off"),
    };
    let already = if changed { "" } else { " already" };
    eprintln!("host {host} is {word}{already}");
    Ok(())
}

async fn kill(dir: &ClusterDir, host: HostName, what: Victim, hold: bool) -> anyhow::Result<()> {
    let service = match what {
        Victim::Host if hold => bail!("a host without power stays off by itself; leave out --hold"),
        Victim::Host => return set_power(dir, host, PowerTo::Off).await,
        Victim::Pvcd => "pvcd",
        Victim::Libvirtd => "libvirtd",
    };
    let init = power::require_on(&dir.load()?, host)?;
    if hold {
        power::hold(&init, service)?;
    }
    let Some(victim) = processes::service(&init, service) else {
        if hold {
            eprintln!("host {host}: {service} does not run, and will not be started");
            return Ok(());
        }
        bail!("host {host} runs no {service}; `pvc-bootstrap local status` shows what runs");
    };
    victim.signal(libc::SIGKILL);
    eprintln!("host {host}: {service} (pid {}) is killed", victim.pid);
    Ok(())
}

async fn add_cut(dir: &ClusterDir, cut: Cut) -> anyhow::Result<()> {
    let _lock = dir.lock().await?;
    let mut state = dir.load()?;
    state.host(cut.from)?;
    if let Some(to) = cut.to {
        state.host(to)?;
        if to == cut.from {
            bail!("{to} cannot be cut from itself");
        }
    }
    if !state.cuts.contains(&cut) {
        state.cuts.push(cut);
    }
    dir.save(&state)?;
    wiring::apply_cuts(dir, &state).await?;
    eprintln!("cut: {cut}");
    Ok(())
}

async fn heal(dir: &ClusterDir, host: Option<HostName>, peer: Option<HostName>) -> anyhow::Result<()> {
    let _lock = dir.lock().await?;
    let mut state = dir.load()?;
    for name in [host, peer].into_iter().flatten() {
        state.host(name)?;
    }
    let (healed, kept): (Vec<Cut>, Vec<Cut>) = state.cuts.iter().partition(|cut| cut.concerns(host, peer));
    state.cuts = kept;
    dir.save(&state)?;
    wiring::apply_cuts(dir, &state).await?;
    for cut in &healed {
        eprintln!("healed: {cut}");
    }
    if healed.is_empty() {
        eprintln!("nothing was cut");
    }
    Ok(())
}
