//! What `pvcd` is told on its command line; its man page is made from this too.

use std::path::PathBuf;

use clap::{Args as Arguments, Parser, Subcommand};

use crate::guard::emulators::STATE_DIR;

/// The daemon of the Parallel Virtual Cluster: runs this host's guests as the cluster wants them, and on a
/// coordinator keeps the cluster's state. Stopping it touches no guest.
#[derive(Debug, Parser)]
#[command(name = "pvcd", version)]
pub struct Args {
    /// Its configuration; `pvc-bootstrap` writes it
    #[arg(long, value_name = "FILE", default_value = pvc_host::daemon_config::PATH)]
    pub config: PathBuf,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Stop this host's guests when it has had no lease for ten seconds, where its isolation is `stop`. A process of its own
    /// beside the daemon, which lives on when the daemon dies
    Guard(Guard),
}

#[derive(Debug, Arguments)]
pub struct Guard {
    /// Where the daemon meets it; on a file system that ends with the host's power
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = pvc_host::daemon_config::guard_dir())]
    pub run_dir: PathBuf,
    /// Where libvirt keeps the state of its guests
    #[arg(long, value_name = "DIRECTORY", default_value = STATE_DIR)]
    pub libvirt_state: PathBuf,
    /// The watchdog that resets the host if the guard or the kernel freezes
    #[arg(long, value_name = "DEVICE", default_value = "/dev/watchdog", conflicts_with = "no_watchdog")]
    pub watchdog: PathBuf,
    /// Use no watchdog: a frozen host is not covered then
    #[arg(long)]
    pub no_watchdog: bool,
}
