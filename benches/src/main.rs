//! `pvc-bench`: measures the store beside ZooKeeper and etcd on this machine.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use pvc_benches::compare::ensemble::System;
use pvc_benches::compare::run::{Part, Plan};
use pvc_benches::compare::{report, run};

/// Puts the store beside Debian's ZooKeeper and etcd: three servers each, in network namespaces of their own
/// on this machine, on one disk, in one run. Ends with 1 where a goal is missed. Needs root.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::USUAL)]
    parts: Vec<Part>,
    /// Who takes part
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = run::SYSTEMS)]
    systems: Vec<System>,
    /// Clients at once
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    clients: Vec<usize>,
    /// Watchers on one key
    #[arg(long, value_delimiter = ',', default_value = "100,1000")]
    watchers: Vec<usize>,
    /// Rounds; each measures every system in turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of load for each figure of a round
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// How often the leader is killed, and as often cut off
    #[arg(long, default_value_t = 5)]
    blows: usize,
    /// Seconds of `calm`
    #[arg(long, default_value_t = 600)]
    calm: u64,
    /// Where the servers keep their data; a folder on the disk in question. Emptied afterwards
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// The program of our servers; by default the one beside this program
    #[arg(long)]
    bare: Option<PathBuf>,
    /// Every single figure, a JSON object a line
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let bare = args.bare.unwrap_or_else(|| pvc_benches::program("pvc-bare"));
    anyhow::ensure!(bare.exists(), "{} is not there: cargo build --release -p pvc-bare", bare.display());
    let bare = bare.canonicalize()?;
    pvc_bare::hosts::step_aside()?;
    raise_limit_of_files();
    let dir = args.dir.join(format!("pvc-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let dir = dir.canonicalize()?;
    let plan = Plan {
        systems: args.systems,
        parts: args.parts,
        clients: args.clients,
        watchers: args.watchers,
        rounds: args.rounds,
        time: Duration::from_secs(args.seconds),
        blows: args.blows,
        calm: Duration::from_secs(args.calm),
        dir: dir.clone(),
        bare,
    };
    let mut out = args.out.map(File::create).transpose()?;
    let mut all = Vec::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(async {
        let mut tell = |measured: run::Measured| {
            if let (Some(file), Ok(line)) = (&mut out, serde_json::to_string(&measured)) {
                // The tables come from memory; a full disk shall not end the run.
                let _ = writeln!(file, "{line}");
            }
            all.push(measured);
        };
        tokio::select! {
            done = run::run(&plan, &mut tell) => done,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        }
    });
    let _ = std::fs::remove_dir_all(&dir);
    let (goals, met) = report::goals(&all);
    println!("{}\n\n{goals}", report::everything(&plan, &all));
    done?;
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// 256 clients and 1,000 watchers are more files than a shell usually allows.
fn raise_limit_of_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live value of the right type.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
