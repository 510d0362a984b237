//! The command line of `pvc-bootstrap`.

mod faults;
mod host;
mod local;
mod recover;
mod service;

use std::path::PathBuf;

use crate::guest;
use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Founds PVC clusters: on real hosts, and whole ones on a single machine.
#[derive(Debug, Parser)]
#[command(name = "pvc-bootstrap", version)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A whole cluster on this machine: hosts in namespaces, each with its own libvirtd and pvcd
    Local(local::LocalArgs),
    /// Found a cluster: this host becomes its first coordinator
    Init(host::InitArgs),
    /// Join a cluster with a token from `pvc token join`
    Join(host::JoinArgs),
    /// The quorum is lost for ever: make this surviving coordinator the only one (pvcd must be stopped)
    Recover(recover::RecoverArgs),
    /// Make the certificate of a program that is no node, such as the HTTP gateway (on a coordinator)
    ServiceCertificate(service::ServiceArgs),
    /// The little guest for tests and demos
    Guest {
        #[command(subcommand)]
        command: GuestCommand,
    },
}

#[derive(Debug, Subcommand)]
enum GuestCommand {
    /// Build kernel and first file system from Debian's packages, or take a finished build of the same
    Build {
        /// Where the two files go
        outdir: PathBuf,
    },
}

/// Does what was asked.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        // before any thread exists: the host's first process is forked off
        Command::Local(args) if args.is_init() => args.run_init(),
        Command::Local(args) => block_on(args.run()),
        Command::Init(args) => block_on(args.run()),
        Command::Join(args) => block_on(args.run()),
        Command::Recover(args) => block_on(args.run()),
        Command::ServiceCertificate(args) => args.run(),
        Command::Guest { command: GuestCommand::Build { outdir } } => block_on(build_guest(outdir)),
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?
        .block_on(work)
}

async fn build_guest(outdir: PathBuf) -> anyhow::Result<()> {
    let guest = guest::build(&outdir).await?;
    let how = if guest.built { "built" } else { "finished before, nothing has changed since" };
    eprintln!("guest {how}");
    println!("{}\n{}", guest.kernel.display(), guest.initramfs.display());
    Ok(())
}
