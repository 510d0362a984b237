//! `pvcd`, the daemon on every host.

use std::process::ExitCode;

use clap::Parser;
use pvc_node::args::Args;
use pvc_node::daemon;

fn main() -> ExitCode {
    raft_store::give_freed_memory_back();
    raft_store::abort_on_panic();
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
