//! `pvcd`, the daemon on every host.

use std::process::ExitCode;

use clap::Parser;
use pvc_node::args::{Args, Command, Guard};
use pvc_node::guard::process::Options;
use pvc_node::guard::watchdog::Kennel;
use pvc_node::{daemon, guard};

fn main() -> ExitCode {
    raft_store::give_freed_memory_back();
    raft_store::abort_on_panic();
    let args = Args::parse();
    let tail = daemon::logs::start();
    if let Some(Command::Guard(Guard { run_dir, libvirt_state, watchdog, no_watchdog })) = args.command {
        let kennel = Kennel::at((!no_watchdog).then_some(watchdog));
        return exit_code(guard::process::run(Options { run_dir, libvirt_state, kennel }));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no threads could be started");
            return ExitCode::FAILURE;
        }
    };
    exit_code(runtime.block_on(daemon::run(&args.config, tail)))
}

fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
