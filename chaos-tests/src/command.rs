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
use crate::scenario::{self, Scenario};
use crate::script::{self, Outcome};
use crate::stories;
use crate::years::{self, LIFE_HOURS, Tally};

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
    /// Plays scenarios: all of a file, or those of which the title contains a text.
    Scenario {
        /// FILE or FILE:TEXT; a file without a folder is one of those beside this program's source.
        which: String,
        #[arg(long)]
        aloud: bool,
    },
    /// Lets clusters live for long, with rare troubles; prints what they lived through.
    Years {
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Hours of nodes: ten nodes for an hour are ten.
        #[arg(long, default_value_t = 100.0)]
        node_hours: f64,
        #[arg(long)]
        aloud: bool,
    },
    /// Plays all scenarios, each in a process of its own.
    Scenarios {
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Of each so many, one: a look that takes less time.
        #[arg(long, default_value_t = 1)]
        one_in: usize,
    },
}

impl Sim {
    pub fn seed(&self) -> Option<u64> {
        match &self.what {
            What::Seed { seed, .. }
            | What::StoreSeed { seed, .. }
            | What::StoreCalm { seed, .. }
            | What::Processes { seed, .. }
            | What::Years { seed, .. }
            | What::Story { seed, .. } => Some(*seed),
            What::Scenario { .. }
            | What::Scenarios { .. }
            | What::Seeds { .. }
            | What::StoreSeeds { .. }
            | What::Stories => None,
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
        What::Scenario { which, aloud } => {
            count_panics();
            scenario::find(Some(which))?.iter().try_for_each(|scenario| play_scenario(scenario, *aloud))
        }
        What::Scenarios { jobs, one_in } => many_scenarios(*jobs, *one_in),
        What::Years { seed, node_hours, aloud } => {
            count_panics();
            live_for(*seed, *node_hours, *aloud)
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

fn play_scenario(scenario: &Scenario, aloud: bool) -> Result<()> {
    let name = scenario.name();
    let outcome = run(scenario::play(scenario, aloud));
    if !outcome.accusations.is_empty() {
        println!("{}", scenario.text);
    }
    let again = format!("cargo run -p pvc-chaos-tests -- scenario {name:?} --aloud");
    report(&name, &outcome, &again)
}

/// One life after the other, until they are so many hours of nodes together.
fn live_for(seed: u64, node_hours: f64, aloud: bool) -> Result<()> {
    let begun = tokio::time::Instant::now();
    let mut all = Tally::default();
    for life in seed.. {
        let left = node_hours - all.node_hours;
        if left <= 0.0 {
            break;
        }
        let mut tally = Tally::default();
        let outcome = run(async {
            let (outcome, lived) = years::live(life, left.min(LIFE_HOURS), aloud).await;
            tally = lived;
            outcome
        });
        all.add(&tally);
        if !outcome.accusations.is_empty() {
            let again = format!(
                "cargo run -p pvc-chaos-tests -- years --seed {life} --node-hours {LIFE_HOURS} --aloud"
            );
            return report(&format!("the life of seed {life}"), &outcome, &again);
        }
    }
    println!("{all}");
    let rate = all.node_hours / begun.elapsed().as_secs_f64();
    println!("{:<44}{rate:>12.2}", "hours of nodes a second");
    Ok(())
}

/// Each seed in a process of its own, which is told `what` and the seed.
fn many(what: &str, from: u64, count: u64, jobs: usize) -> Result<()> {
    let seeds = (from..from + count).map(|seed| vec![what.to_owned(), seed.to_string()]);
    let failed = each_alone(seeds.collect(), jobs)?;
    if !failed.is_empty() {
        let seeds: Vec<&str> = failed.iter().filter_map(|args| Some(args.last()?.as_str())).collect();
        bail!("{} of {count} seeds have broken a rule: {}", failed.len(), seeds.join(", "));
    }
    Ok(())
}

fn many_scenarios(jobs: usize, one_in: usize) -> Result<()> {
    let scenarios: Vec<_> = scenario::find(None)?.into_iter().step_by(one_in.max(1)).collect();
    let calls = scenarios.iter().map(|scenario| vec!["scenario".to_owned(), scenario.name()]);
    let failed = each_alone(calls.collect(), jobs)?;
    if !failed.is_empty() {
        let names: Vec<&str> = failed.iter().filter_map(|args| Some(args.last()?.as_str())).collect();
        bail!(
            "{} of {} scenarios came out otherwise:\n  {}",
            failed.len(),
            scenarios.len(),
            names.join("\n  ")
        );
    }
    println!("all {} scenarios came out as told", scenarios.len());
    Ok(())
}

/// Runs this program once for each of these arguments, several at once; those that failed. The first of them are shown.
fn each_alone(calls: Vec<Vec<String>>, jobs: usize) -> Result<Vec<Vec<String>>> {
    let me = std::env::current_exe().context("where is this program?")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begun = tokio::time::Instant::now();
    let count = calls.len();
    Ok(runtime.block_on(async {
        let runs = futures::stream::iter(calls).map(|args| one(&me, args));
        let mut outcomes = runs.buffer_unordered(jobs.max(1));
        let (mut failed, mut done) = (Vec::new(), 0);
        while let Some((args, outcome)) = outcomes.next().await {
            done += 1;
            if let Err(said) = outcome {
                if failed.len() < SHOWN_MAX {
                    println!("{said}");
                }
                failed.push(args);
            }
            if done % (count / 10).max(1) == 0 {
                println!("{done} of {count}, {} failed, {:?}", failed.len(), begun.elapsed());
            }
        }
        failed
    }))
}

async fn one(me: &Path, args: Vec<String>) -> (Vec<String>, Result<(), String>) {
    let cmd = Cmd::new(PathBuf::from(me)).args(&args).accept_codes([0, 1, 101]);
    let outcome = match cmd.run(ONE_WITHIN).await {
        Ok(output) if output.code == 0 => Ok(()),
        Ok(output) => Err(format!("{}{}", output.stdout_text(), output.stderr_text())),
        Err(error) => Err(format!("{}: {error}", args.join(" "))),
    };
    (args, outcome)
}
