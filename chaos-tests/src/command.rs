//! What `pvc-sim` can be told.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use crate::ages::life;
use crate::ages::sabotage::Sabotage;
use crate::many::{live_for, many, many_ages, many_scenarios};
use crate::members;
use crate::members::calm::stay_calm;
use crate::processes;

use crate::processes::run::Order;
use crate::run::{count_panics, run, run_within};
use crate::scenario::{self, Scenario, real};
use crate::script::{self, Outcome};
use crate::stories;

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
    /// Plays scenarios on real hosts of this machine (`pvc-bootstrap local`). Needs root.
    Local {
        /// FILE or FILE:TEXT, as of `scenario`; several may be given.
        #[arg(required = true)]
        which: Vec<String>,
        /// Only say which of them can be played, and what there are no hands for.
        #[arg(long)]
        dry_run: bool,
        /// The folder with pvc, pvcd and pvc-bootstrap; the one of this program, if none is given.
        #[arg(long)]
        programs: Option<PathBuf>,
        /// The folder with the little guest.
        #[arg(long, default_value = "target/guest")]
        guest: PathBuf,
        /// Name of the local cluster.
        #[arg(long, default_value = "stories")]
        name: String,
        /// How many times its time `within` is given.
        #[arg(long, default_value_t = 3)]
        patience: u32,
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
    /// Lets one cluster of the deciding parts alone live.
    Age {
        seed: u64,
        #[arg(long, default_value_t = 100.0)]
        node_hours: f64,
        /// Break this rule, to see that it is noticed.
        #[arg(long)]
        sabotage: Option<Sabotage>,
        /// Play quiet spans too, in which nothing can change.
        #[arg(long)]
        whole: bool,
        #[arg(long)]
        aloud: bool,
    },
    /// Lets many clusters of the deciding parts alone live, several at once; prints what they lived through.
    Ages {
        /// Of the first life.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Hours of nodes, over all lives.
        #[arg(long, default_value_t = 1000.0)]
        node_hours: f64,
        #[arg(long, default_value_t = 2)]
        jobs: usize,
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
            | What::Age { seed, .. }
            | What::Story { seed, .. } => Some(*seed),
            What::Scenario { .. }
            | What::Local { .. }
            | What::Scenarios { .. }
            | What::Seeds { .. }
            | What::StoreSeeds { .. }
            | What::Ages { .. }
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
        What::Local { which, dry_run, programs, guest, name, patience } => {
            let beside = std::env::current_exe().context("where is this program?")?;
            let beside = beside.parent().context("it is in no folder")?.to_owned();
            let place = real::Place {
                programs: programs.clone().unwrap_or(beside),
                guest: std::path::absolute(guest)?,
                name: name.clone(),
                patience: (*patience).max(1),
            };
            play_local(which, *dry_run, &place)
        }
        What::Scenarios { jobs, one_in } => many_scenarios(*jobs, *one_in),
        What::Years { seed, node_hours, aloud } => {
            count_panics();
            live_for(*seed, *node_hours, *aloud)
        }
        What::Age { seed, node_hours, sabotage, whole, aloud } => {
            count_panics();
            let mut tally = None;
            // A cluster has five nodes at least, and a trouble goes on beyond the last hour.
            let longest = Duration::from_secs_f64((node_hours / 5.0 + 24.0) * 3600.0);
            let outcome = run_within(longest, async {
                let order = life::Order {
                    node_hours: *node_hours,
                    sabotage: *sabotage,
                    whole: *whole,
                    aloud: *aloud,
                };
                let (outcome, lived) = life::live(*seed, order).await;
                tally = Some(lived);
                outcome
            });
            let again =
                format!("cargo run -p pvc-chaos-tests -- age {seed} --node-hours {node_hours} --aloud");
            report(&format!("the age of seed {seed}"), &outcome, &again)?;
            tally.iter().for_each(|tally| print!("{tally}"));
            Ok(())
        }
        What::Ages { seed, node_hours, jobs } => many_ages(*seed, *node_hours, *jobs),
        What::Seeds { from, count, jobs } => many("seed", *from, *count, *jobs),
        What::StoreSeeds { from, count, jobs } => many("store-seed", *from, *count, *jobs),
    }
}

pub(crate) fn report(what: &str, outcome: &Outcome, again: &str) -> Result<()> {
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

fn play_local(which: &[String], dry_run: bool, place: &real::Place) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut played, mut refused, mut failed) = (0, 0, Vec::new());
    for scenario in
        which.iter().map(|which| scenario::find(Some(which))).collect::<Result<Vec<_>>>()?.concat()
    {
        let name = scenario.name();
        if let Some(why) = real::refusal(&scenario) {
            println!("not played: {name}: {why}");
            refused += 1;
            continue;
        }
        played += 1;
        println!("{name}");
        if dry_run {
            continue;
        }
        if let Err(error) = runtime.block_on(real::play(&scenario, place)) {
            println!("  !! {error:#}");
            failed.push(name);
        }
    }
    println!("{played} played, {refused} refused");
    if !failed.is_empty() {
        bail!("{} came out otherwise:\n  {}", failed.len(), failed.join("\n  "));
    }
    Ok(())
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
