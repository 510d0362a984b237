//! What `pvc-sim` can be told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use futures::StreamExt;
use pvc_process::Cmd;

use crate::members;
use crate::members::calm::stay_calm;
use crate::processes;

use crate::processes::run::Order;
use crate::run::{count_panics, run};
use crate::script::{self, Outcome};
use crate::stories;

/// One seed takes less than a second on an idle machine.
const ONE_WITHIN: Duration = Duration::from_secs(300);
/// Failures that are shown in full; of the others only the seeds.
const SHOWN_MAX: usize = 5;

/// Simulates whole clusters: real coordinators and agents on a simulated network and fake hosts.
#[derive(Clone, Debug, Parser)]
#[command(name = "pvc-sim")]
pub struct Sim {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Plays one seed.
    Seed {
        seed: u64,
        /// Tell everything as it happens.
        #[arg(long)]
        aloud: bool,
    },
    /// Plays many seeds, one after the other or several at once.
    Seeds {
        #[arg(long, default_value_t = 0)]
        from: u64,
        #[arg(long, default_value_t = 1000)]
        count: u64,
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Plays one seed of the store alone.
    StoreSeed {
        seed: u64,
        #[arg(long)]
        aloud: bool,
    },
    /// Plays many seeds of the store alone.
    StoreSeeds {
        #[arg(long, default_value_t = 0)]
        from: u64,
        #[arg(long, default_value_t = 500)]
        count: u64,
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Lets the store live on busy machines, where nobody may be elected.
    StoreCalm {
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Of virtual time.
        #[arg(long, default_value_t = 3600)]
        seconds: u64,
        /// How long a member stands still at most, in place of what is usual, in milliseconds.
        #[arg(long)]
        stall_ms: Option<u64>,
    },
    /// Runs the store in real processes, and judges what it tells its clients. Needs root.
    Processes {
        #[arg(long, default_value_t = 0)]
        seed: u64,
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// `pvc-bare`; the one beside this program, if none is given.
        #[arg(long)]
        bare: Option<PathBuf>,
        /// The folder to which the file of a failure is written.
        #[arg(long)]
        failures: Option<PathBuf>,
        /// Tell what befalls the members as it happens.
        #[arg(long)]
        aloud: bool,
    },
    /// Plays a story.
    Story {
        name: String,
        #[arg(long, default_value_t = 0)]
        seed: u64,
        #[arg(long)]
        aloud: bool,
    },
    /// Names the stories.
    Stories,
}

impl Sim {
    pub fn seed(&self) -> Option<u64> {
        match &self.what {
            What::Seed { seed, .. }
            | What::StoreSeed { seed, .. }
            | What::StoreCalm { seed, .. }
            | What::Processes { seed, .. }
            | What::Story { seed, .. } => Some(*seed),
            What::Seeds { .. } | What::StoreSeeds { .. } | What::Stories => None,
        }
    }
}

pub fn carry_out(sim: &Sim) -> Result<()> {
    match &sim.what {
        What::Seed { seed, aloud } => {
            count_panics();
            let again = format!("PVC_SEED={seed} cargo test -p pvc-chaos-tests seeds -- --nocapture");
            report(&format!("seed {seed}"), &run(script::play(*seed, *aloud)), &again)
        }
        What::StoreSeed { seed, aloud } => {
            count_panics();
            let again = format!("cargo run -p pvc-chaos-tests -- store-seed {seed} --aloud");
            report(&format!("store, seed {seed}"), &run(members::script::play(*seed, *aloud)), &again)
        }
        What::StoreCalm { seed, seconds, stall_ms } => {
            count_panics();
            let calm = stay_calm(*seed, Duration::from_secs(*seconds), *stall_ms);
            let again =
                format!("cargo run -p pvc-chaos-tests -- store-calm --seed {seed} --seconds {seconds}");
            report(&format!("calm store, seed {seed}"), &run(calm), &again)
        }
        What::Processes { seed, seconds, bare, failures, aloud } => {
            if *aloud {
                tracing_subscriber::fmt().with_writer(std::io::stderr).init();
            }
            let beside =
                std::env::current_exe().context("where is this program?")?.with_file_name("pvc-bare");
            let order = Order {
                seed: *seed,
                time: Duration::from_secs(*seconds),
                program: bare.clone().unwrap_or(beside),
                failures: failures.clone().unwrap_or_else(std::env::temp_dir),
            };
            pvc_bare::hosts::step_aside()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(processes::run::play(&order))
        }
        What::Story { name, seed, aloud } => {
            count_panics();
            let story = stories::find(name).with_context(|| format!("there is no story {name:?}"))?;
            let again = format!("cargo run -p pvc-chaos-tests -- story {name} --seed {seed} --aloud");
            report(&format!("story {name}, seed {seed}"), &run(story(*seed, *aloud)), &again)
        }
        What::Stories => {
            stories::NAMES.iter().for_each(|name| println!("{name}"));
            Ok(())
        }
        What::Seeds { from, count, jobs } => many("seed", *from, *count, *jobs),
        What::StoreSeeds { from, count, jobs } => many("store-seed", *from, *count, *jobs),
    }
}

fn report(what: &str, outcome: &Outcome, again: &str) -> Result<()> {
    let Outcome { hash, events, seconds, deeds, acknowledged, .. } = outcome;
    println!(
        "{what}: {hash:016x}, {events} events in {seconds} s, {acknowledged} of {deeds} deeds acknowledged"
    );
    if outcome.accusations.is_empty() {
        return Ok(());
    }
    println!("  what happened last:");
    outcome.tail.iter().for_each(|line| println!("    {line}"));
    println!("  rules that were broken:");
    outcome.accusations.iter().for_each(|accusation| println!("    {accusation}"));
    bail!("{what} has broken a rule; once more: {again}")
}

/// Each seed in a process of its own, which is told `what` and the seed.
fn many(what: &str, from: u64, count: u64, jobs: usize) -> Result<()> {
    let me = std::env::current_exe().context("where is this program?")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begun = tokio::time::Instant::now();
    let failed = runtime.block_on(async {
        let seeds = futures::stream::iter(from..from + count).map(|seed| one(&me, what, seed));
        let mut outcomes = seeds.buffer_unordered(jobs.max(1));
        let (mut failed, mut done) = (Vec::new(), 0);
        while let Some((seed, outcome)) = outcomes.next().await {
            done += 1;
            if let Err(said) = outcome {
                if failed.len() < SHOWN_MAX {
                    println!("{said}");
                }
                failed.push(seed);
            }
            if done % (count / 10).max(1) == 0 {
                println!("{done} of {count} seeds, {} failed, {:?}", failed.len(), begun.elapsed());
            }
        }
        failed
    });
    if !failed.is_empty() {
        bail!("{} of {count} seeds have broken a rule: {failed:?}", failed.len());
    }
    Ok(())
}

async fn one(me: &Path, what: &str, seed: u64) -> (u64, Result<(), String>) {
    let cmd = Cmd::new(PathBuf::from(me)).args([what, &seed.to_string()]).accept_codes([0, 1, 101]);
    let outcome = match cmd.run(ONE_WITHIN).await {
        Ok(output) if output.code == 0 => Ok(()),
        Ok(output) => Err(format!("{}{}", output.stdout_text(), output.stderr_text())),
        Err(error) => Err(format!("seed {seed}: {error}")),
    };
    (seed, outcome)
}
