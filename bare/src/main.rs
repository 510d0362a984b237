//! `pvc-bare`: one member of a bare store.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use pvc_bare::client::Client;
use pvc_bare::talk::Verb;
use raft_store::{Checkpoint, Engine, Limits, Member, Options, Timing};
use tokio::net::TcpListener;

/// One member of a bare store: for tests and measurements, without any protection.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Serve a member; it founds nothing by itself
    Serve(Serve),
    /// Found a cluster of running members, the first of which founds it
    Found {
        /// ID=HOST:PORT, several times
        #[arg(required = true)]
        members: Vec<String>,
    },
}

#[derive(clap::Args)]
struct Serve {
    /// The member's number, from 1
    #[arg(long)]
    id: u64,
    /// Where it listens and where its peers reach it, HOST:PORT
    #[arg(long)]
    listen: String,
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, default_value = "bare")]
    cluster: String,
    /// Checkpoint after so many entries
    #[arg(long)]
    checkpoint_entries: Option<u64>,
    /// Entries kept behind a checkpoint
    #[arg(long)]
    checkpoint_keep: Option<u64>,
    /// Events kept for watchers that resume
    #[arg(long)]
    ring_events: Option<usize>,
    /// Worker threads; 0: everything but the disk on one thread
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

fn main() -> anyhow::Result<()> {
    raft_store::give_freed_memory_back();
    raft_store::abort_on_panic();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let command = Command::parse();
    let threads = if let Command::Serve(serve) = &command { serve.threads } else { 0 };
    let mut builder = match threads {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads > 0 {
        builder.worker_threads(threads);
    }
    let runtime = builder.enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Serve(serve) => self::serve(serve).await,
            Command::Found { members } => found(&members).await,
        }
    })
}

async fn serve(serve: Serve) -> anyhow::Result<()> {
    let me = Member::new(serve.id, serve.listen.clone());
    let defaults = Checkpoint::default();
    let options = Options {
        timing: Timing::default(),
        limits: Limits {
            ring_events: serve.ring_events.unwrap_or(Limits::default().ring_events),
            ..Limits::default()
        },
        checkpoint: Checkpoint {
            entries: serve.checkpoint_entries.unwrap_or(defaults.entries),
            keep: serve.checkpoint_keep.unwrap_or(defaults.keep),
            ..defaults
        },
        ..Options::new(Engine::Disk { dir: serve.dir }, me, serve.cluster)
    };
    let listener = TcpListener::bind(&serve.listen).await.with_context(|| serve.listen.clone())?;
    pvc_bare::server::run(options, listener).await
}

async fn found(members: &[String]) -> anyhow::Result<()> {
    let parse = |member: &String| {
        let (id, address) = member.split_once('=')?;
        Some((id.parse::<u64>().ok()?, address.to_owned()))
    };
    let members: Option<Vec<_>> = members.iter().map(parse).collect();
    let members = members.context("a member is given as ID=HOST:PORT")?;
    let (first, rest) = members.split_first().context("no members")?;
    let mut client = reach(&first.1).await?;
    client.change(Verb::Found, first.0, "").await?;
    for (id, address) in rest {
        drop(reach(address).await?);
        client.change(Verb::AddLearner, *id, address).await?;
        client.change(Verb::Promote, *id, "").await?;
    }
    Ok(())
}

/// Members may be on their way up yet.
async fn reach(address: &str) -> anyhow::Result<Client> {
    let mut tries = 0;
    loop {
        match Client::connect(address, Duration::from_secs(2)).await {
            Ok(client) => return Ok(client),
            Err(error) if tries == 100 => return Err(error).with_context(|| address.to_owned()),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
