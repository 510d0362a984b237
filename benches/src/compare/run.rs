//! One run: every part in turns, system by system, so that what else the machine does hits all of them alike.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use pvc_bare::hosts;
use tokio::time::{Instant, sleep};

use super::ensemble::{Ensemble, HOSTS, System};
use super::failover::{self, Blow};
use super::figures::{allocated_mib, resident_mib};
use super::load::{self, Cell, Op};
use super::watch::{self, FanOut};

/// Keys that are there before the load begins.
pub const KEYS: u64 = 100_000;
/// Keys that the load reads and writes.
const HOT_KEYS: u64 = 10_000;
/// The same, of VMs.
const HOT_VMS: u64 = 1_000;
const WARM: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Memory and disk: idle, and after 100,000 keys
    Fill,
    /// Writes and reads by 1 to 256 clients
    Load,
    /// Watch fan-out
    Watch,
    /// The leader killed
    Kill,
    /// The leader cut from the network
    Cut,
    /// All servers stopped and started with their data
    Restart,
    /// Ours alone under full load for a long time: nobody may be elected
    Calm,
}

impl Part {
    /// What a run without further wishes measures.
    pub const USUAL: [Part; 6] = [Part::Fill, Part::Load, Part::Watch, Part::Kill, Part::Cut, Part::Restart];
}

#[derive(Debug, Clone)]
pub struct Plan {
    /// In the order of their turns.
    pub systems: Vec<System>,
    pub parts: Vec<Part>,
    pub clients: Vec<usize>,
    pub watchers: Vec<usize>,
    pub rounds: usize,
    pub time: Duration,
    /// Blows of each kind.
    pub blows: usize,
    /// How long `Calm` lasts.
    pub calm: Duration,
    /// Where the servers keep their data: a real disk.
    pub dir: PathBuf,
    pub bare: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    Idle,
    Filled,
    Restarted,
}

/// One thing that was measured on one system.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Sample {
    Load {
        op: Op,
        clients: usize,
        round: usize,
        cell: Cell,
    },
    FanOut {
        watchers: usize,
        round: usize,
        fan_out: FanOut,
    },
    /// Keys created a second, by 256 clients.
    Fill {
        per_second: f64,
    },
    /// Of the three servers together.
    Memory {
        when: When,
        mib: f64,
    },
    Disk {
        when: When,
        mib: f64,
    },
    Killed {
        round: usize,
        ms: f64,
    },
    Cut {
        round: usize,
        ms: f64,
    },
    /// From the start of three processes to the first write on each.
    Restart {
        round: usize,
        ms: f64,
    },
    /// Elections in so many seconds of full load.
    Calm {
        seconds: f64,
        elections: u64,
        per_second: f64,
    },
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct Measured {
    pub system: System,
    #[serde(flatten)]
    pub sample: Sample,
}

/// Who can take part.
pub const SYSTEMS: [System; 4] = [System::Zookeeper, System::Etcd, System::Bare, System::Pvcd];

fn hot_keys(system: System) -> u64 {
    if system == System::Pvcd { HOT_VMS } else { HOT_KEYS }
}

/// Runs the plan. Everything that is measured is given to `tell` at once.
pub async fn run(plan: &Plan, tell: &mut dyn FnMut(Measured)) -> Result<()> {
    hosts::make(HOSTS as u8).await?;
    let mut all = Vec::new();
    for system in &plan.systems {
        all.push(Ensemble::new(*system, &plan.dir, &plan.bare)?);
    }
    for ensemble in &mut all {
        note(&format!("{}: founding", ensemble.system));
        let founded = ensemble.found().await;
        founded.with_context(|| format!("{}; it said: {}", ensemble.system, ensemble.said()))?;
    }
    let has = |part| plan.parts.contains(&part);
    fill(plan, &mut all, tell).await?;
    if has(Part::Load) {
        measure_load(plan, &all, tell).await?;
    }
    if has(Part::Watch) {
        for round in 0..plan.rounds {
            for (ensemble, watchers) in each(&all, &plan.watchers) {
                note(&format!("round {}: {} with {watchers} watchers", round + 1, ensemble.system));
                let fan_out = watch::run(ensemble, watchers, 60).await?;
                tell(Measured {
                    system: ensemble.system,
                    sample: Sample::FanOut { watchers, round, fan_out },
                });
            }
        }
    }
    for (part, blow) in [(Part::Kill, Blow::Kill), (Part::Cut, Blow::Cut)] {
        for round in 0..if has(part) { plan.blows } else { 0 } {
            for ensemble in &mut all {
                // The daemons share this process's own network.
                if ensemble.system == System::Pvcd && blow == Blow::Cut {
                    continue;
                }
                note(&format!("blow {}: {}'s leader, {blow:?}", round + 1, ensemble.system));
                let ms = failover::strike(ensemble, blow).await?;
                let sample = match blow {
                    Blow::Kill => Sample::Killed { round, ms },
                    Blow::Cut => Sample::Cut { round, ms },
                };
                tell(Measured { system: ensemble.system, sample });
            }
        }
    }
    for round in 0..if has(Part::Restart) { plan.rounds } else { 0 } {
        for ensemble in &mut all {
            note(&format!("restart {}: {}", round + 1, ensemble.system));
            ensemble.stop().await?;
            let start = Instant::now();
            ensemble.start()?;
            ensemble.ready().await?;
            let ms = start.elapsed().as_secs_f64() * 1e3;
            tell(Measured { system: ensemble.system, sample: Sample::Restart { round, ms } });
            sizes(ensemble, When::Restarted, tell);
        }
    }
    if has(Part::Calm) {
        for ensemble in all.iter().filter(|ensemble| ensemble.system == System::Bare) {
            note(&format!("{}: {:?} under full load", ensemble.system, plan.calm));
            let before = ensemble.term().await?;
            let cell = load::run(ensemble, Op::Put, 256, HOT_KEYS, WARM, plan.calm).await?;
            let (elections, per_second) = (ensemble.term().await? - before, cell.per_second);
            let sample = Sample::Calm { seconds: plan.calm.as_secs_f64(), elections, per_second };
            tell(Measured { system: ensemble.system, sample });
        }
    }
    for ensemble in &mut all {
        ensemble.stop().await?;
    }
    Ok(())
}

fn note(text: &str) {
    eprintln!("bench: {text}");
}

/// Every system with every count, the systems next to each other.
fn each<'e>(all: &'e [Ensemble], counts: &[usize]) -> impl Iterator<Item = (&'e Ensemble, usize)> {
    counts.iter().flat_map(move |count| all.iter().map(|e| (e, *count))).collect::<Vec<_>>().into_iter()
}

async fn fill(plan: &Plan, all: &mut [Ensemble], tell: &mut dyn FnMut(Measured)) -> Result<()> {
    let measured = plan.parts.contains(&Part::Fill) || plan.parts.contains(&Part::Restart);
    for ensemble in all {
        let system = ensemble.system;
        if measured {
            sleep(Duration::from_secs(3)).await;
            sizes(ensemble, When::Idle, tell);
        }
        // A VM is more than a key: so many of them, and what they take, compare with nothing.
        let measured = measured && system != System::Pvcd;
        let count = if measured { KEYS } else { hot_keys(system) };
        note(&format!("{system}: {count} keys"));
        let per_second = load::fill(ensemble, count, 256).await?;
        if measured {
            tell(Measured { system, sample: Sample::Fill { per_second } });
            sleep(Duration::from_secs(5)).await;
            sizes(ensemble, When::Filled, tell);
        }
    }
    Ok(())
}

fn sizes(ensemble: &Ensemble, when: When, tell: &mut dyn FnMut(Measured)) {
    let system = ensemble.system;
    let mib = ensemble.pids().iter().map(|pid| resident_mib(*pid)).sum();
    tell(Measured { system, sample: Sample::Memory { when, mib } });
    let mib = (1..=HOSTS).map(|host| allocated_mib(&ensemble.data(host))).sum();
    tell(Measured { system, sample: Sample::Disk { when, mib } });
}

async fn measure_load(plan: &Plan, all: &[Ensemble], tell: &mut dyn FnMut(Measured)) -> Result<()> {
    for ensemble in all {
        note(&format!("{}: warming up", ensemble.system));
        for op in [Op::Put, Op::Lin, Op::Local] {
            load::run(ensemble, op, 64, hot_keys(ensemble.system), Duration::ZERO, Duration::from_secs(2))
                .await?;
        }
    }
    for round in 0..plan.rounds {
        for op in [Op::Put, Op::Lin, Op::Local] {
            for (ensemble, clients) in each(all, &plan.clients) {
                let cell =
                    load::run(ensemble, op, clients, hot_keys(ensemble.system), WARM, plan.time).await?;
                let system = ensemble.system;
                note(&format!(
                    "round {}: {system:9} {op:?} by {clients:3}: {:.0}/s, p50 {} us, servers {} %, generator {} %, others {} %{}",
                    round + 1,
                    cell.per_second,
                    cell.p50_us,
                    cell.server_cpu_percent,
                    cell.client_cpu_percent,
                    cell.other_cpu_percent,
                    if cell.errors > 0 {
                        format!(", {} errors: {}", cell.errors, cell.last_error)
                    } else {
                        String::new()
                    },
                ));
                tell(Measured { system, sample: Sample::Load { op, clients, round, cell } });
            }
        }
    }
    Ok(())
}
