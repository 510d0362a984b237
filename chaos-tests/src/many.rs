//! Playing much: one life after the other, or each story in a process of its own, several at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use pvc_process::Cmd;

use crate::ages::life::HOURS;
use crate::ages::tally::Tally;
use crate::command::report;
use crate::run::run;
use crate::scenario;
use crate::years::{self, LIFE_HOURS};

/// One seed takes less than a second on an idle machine, a life of `ages` ten seconds; where others come first, far longer.
const ONE_WITHIN: Duration = Duration::from_secs(3600);
/// Failures that are shown in full; of the others only the seeds.
const SHOWN_MAX: usize = 5;
/// A life of `ages` is so long at most, in hours of nodes: then another cluster is founded.
const AGE_HOURS: f64 = 1000.0;

/// One life after the other, until they are so many hours of nodes together.
pub(crate) fn live_for(seed: u64, node_hours: f64, aloud: bool) -> Result<()> {
    let begun = tokio::time::Instant::now();
    let mut all = years::Tally::default();
    for life in seed.. {
        let left = node_hours - all.node_hours;
        if left <= 0.0 {
            break;
        }
        let mut tally = years::Tally::default();
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

/// Lives of `ages`, several at once, until they are so many hours of nodes together.
pub(crate) fn many_ages(seed: u64, node_hours: f64, jobs: usize) -> Result<()> {
    let lives = (node_hours / AGE_HOURS).ceil().max(1.0) as u64;
    let hours = (node_hours / lives as f64).to_string();
    let calls = (seed..seed + lives)
        .map(|life| vec!["age".to_owned(), "--node-hours".to_owned(), hours.clone(), life.to_string()]);
    let begun = tokio::time::Instant::now();
    let mut tally = Tally::default();
    let failed = each_alone(calls.collect(), jobs, |printed| tally.read(printed))?;
    print!("{tally}");
    println!("  {:<60}{:>14.1}", "hours of nodes a second", tally.of(HOURS) / begun.elapsed().as_secs_f64());
    if !failed.is_empty() {
        let seeds: Vec<&str> = failed.iter().filter_map(|args| Some(args.last()?.as_str())).collect();
        bail!("{} of {lives} lives have broken a rule: {}", failed.len(), seeds.join(", "));
    }
    Ok(())
}

/// Each seed in a process of its own, which is told `what` and the seed.
pub(crate) fn many(what: &str, from: u64, count: u64, jobs: usize) -> Result<()> {
    let seeds = (from..from + count).map(|seed| vec![what.to_owned(), seed.to_string()]);
    let failed = each_alone(seeds.collect(), jobs, |_| {})?;
    if !failed.is_empty() {
        let seeds: Vec<&str> = failed.iter().filter_map(|args| Some(args.last()?.as_str())).collect();
        bail!("{} of {count} seeds have broken a rule: {}", failed.len(), seeds.join(", "));
    }
    Ok(())
}

pub(crate) fn many_scenarios(jobs: usize, one_in: usize) -> Result<()> {
    let scenarios: Vec<_> = scenario::find(None)?.into_iter().step_by(one_in.max(1)).collect();
    let calls = scenarios.iter().map(|scenario| vec!["scenario".to_owned(), scenario.name()]);
    let failed = each_alone(calls.collect(), jobs, |_| {})?;
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
/// `heed` is told what each has printed that did not fail.
fn each_alone(calls: Vec<Vec<String>>, jobs: usize, mut heed: impl FnMut(&str)) -> Result<Vec<Vec<String>>> {
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
            match outcome {
                Ok(said) => heed(&said),
                Err(said) => {
                    if failed.len() < SHOWN_MAX {
                        println!("{said}");
                    }
                    failed.push(args);
                }
            }
            if done % (count / 10).max(1) == 0 {
                println!("{done} of {count}, {} failed, {:?}", failed.len(), begun.elapsed());
            }
        }
        failed
    }))
}

async fn one(me: &Path, args: Vec<String>) -> (Vec<String>, Result<String, String>) {
    let cmd = Cmd::new(PathBuf::from(me)).args(&args).accept_codes([0, 1, 101]);
    let outcome = match cmd.run(ONE_WITHIN).await {
        Ok(output) if output.code == 0 => Ok(output.stdout_text().to_string()),
        Ok(output) => Err(format!("{}{}", output.stdout_text(), output.stderr_text())),
        Err(error) => Err(format!("{}: {error}", args.join(" "))),
    };
    (args, outcome)
}
