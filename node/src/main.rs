//! `pvcd`, the daemon on every host.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use pvc_node::daemon;

/// The daemon of the Parallel Virtual Cluster: runs this host's guests as the cluster wants them, and on a
/// coordinator keeps the cluster's state. Stopping it touches no guest.
#[derive(Debug, Parser)]
#[command(name = "pvcd", version)]
struct Args {
    /// Its configuration; `pvc-bootstrap` writes it
    #[arg(long, value_name = "FILE", default_value = pvc_host::daemon_config::PATH)]
    config: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let tail = daemon::logs::start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no threads could be started");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(daemon::run(&args.config, tail)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
