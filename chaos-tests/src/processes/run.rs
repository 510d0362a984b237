//! One run: three members, clients and watchers, trouble for as long as was asked, and the judgement.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::clients::Client;
use super::ground::Ground;
use super::members::Members;
use super::troubles::Deck;
use super::watching::{Watching, list};
use crate::dice::Dice;
use crate::history::judge;
use crate::history::record::{Answer, History, Recorder};
use crate::history::watches::{Final, Notebook, Told, WatchLog};
use crate::members::clients::Work;
use crate::trace::Trace;
use crate::witness::{Accusation, Rule, Witness};

const MACHINES: u8 = 5;
const MEMBERS: u8 = 3;
const CLIENTS: u32 = 10;
const WATCHERS: u32 = 3;
const REST_MAX_MS: u64 = 80;
const HEALS_WITHIN: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What is asked of a run.
#[derive(Clone, Debug)]
pub struct Order {
    pub seed: u64,
    pub time: Duration,
    /// `pvc-bare`.
    pub program: PathBuf,
    /// Where a failure is written to.
    pub failures: PathBuf,
}

struct Stage {
    members: Arc<Members>,
    recorder: Recorder,
    work: Work,
    watched: Vec<Notebook>,
    witness: Witness,
}

/// Plays it, on this thread, which must have stepped aside before.
pub async fn play(order: &Order) -> Result<()> {
    let folder = tempfile::tempdir().context("a folder for the members")?;
    let ground = Ground::make(MACHINES).await?;
    let members = Arc::new(Members::new(order.program.clone(), folder.path().to_owned(), MACHINES));
    members.found(MEMBERS).await?;
    let stage = Stage {
        members: members.clone(),
        recorder: Recorder::new(),
        work: Work::default(),
        watched: Vec::new(),
        witness: Witness::new(Trace::new(false)),
    };
    let (stage, clients) = stage.people(order.seed);
    let term = stage.term().await;
    let mut deck = Deck::new(order.seed);
    let until = Instant::now() + order.time;
    while Instant::now() < until {
        deck.episode(&members, &ground).await?;
    }
    stage.work.end();
    for client in clients {
        client.await.context("a client")?;
    }
    let last = stage.heal().await;
    let elections = stage.term().await - term;
    let history = stage.recorder.history();
    let logs: Vec<WatchLog> = stage.watched.iter().map(Notebook::log).collect();
    if let Some(last) = last {
        judge(&history, &logs, &last, &stage.witness);
    }
    let accusations = stage.witness.accusations();
    println!("{}", summary(order, &history, &logs, &members, elections, ground.has_netem()));
    if accusations.is_empty() {
        return Ok(());
    }
    let path = failure(order, &accusations, &members, &history)?;
    bail!("seed {}: {} rules were broken; see {}", order.seed, accusations.len(), path.display());
}

impl Stage {
    fn people(mut self, seed: u64) -> (Stage, Vec<JoinHandle<()>>) {
        for number in 0..WATCHERS {
            let notes = Notebook::new(number);
            let watching = Watching {
                members: self.members.clone(),
                dice: Dice::new(seed, &format!("watcher {number}")),
                work: self.work.clone(),
                notes: notes.clone(),
            };
            tokio::spawn(watching.run());
            self.watched.push(notes);
        }
        let clients = (0..CLIENTS).map(|number| {
            let client = Client {
                number,
                members: self.members.clone(),
                recorder: self.recorder.clone(),
                dice: Dice::new(seed, &format!("client {number}")),
                work: self.work.clone(),
                rest_max_ms: REST_MAX_MS,
                leader: None,
                connections: Default::default(),
                known: Default::default(),
                done: Default::default(),
            };
            tokio::spawn(client.run())
        });
        let clients = clients.collect();
        (self, clients)
    }

    async fn term(&self) -> u64 {
        self.members.statuses().await.values().map(|status| status.term).max().unwrap_or(0)
    }

    /// Until every member, and every watcher, is as far as the leader; what the store has then.
    async fn heal(&self) -> Option<Final> {
        let until = Instant::now() + HEALS_WITHIN;
        loop {
            let ailment = match self.look().await {
                Ok(last) => return Some(last),
                Err(ailment) => ailment,
            };
            if Instant::now() > until {
                self.witness.accuse(Rule::Heals, ailment);
                return None;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn look(&self) -> Result<Final, String> {
        self.members.tidy().await;
        let statuses = self.members.statuses().await;
        let leader = statuses.iter().filter(|(_, status)| status.leads).max_by_key(|(_, status)| status.term);
        let (place, leader) = leader.ok_or("nobody leads")?;
        for member in self.members.places() {
            let status = statuses.get(&member).ok_or(format!("machine {member} does not answer"))?;
            if status.applied != leader.applied {
                return Err(format!(
                    "machine {member} is at {}, the leader at {}",
                    status.applied, leader.applied
                ));
            }
        }
        for notes in &self.watched {
            let seen = notes.seen();
            if seen != Some(leader.applied) {
                let watcher = notes.watcher();
                return Err(format!("watcher {watcher} has seen {seen:?} of {}", leader.applied));
            }
        }
        let (revision, objects) =
            list(*place, self.work.groups()).await.map_err(|error| error.to_string())?;
        if revision != leader.applied {
            return Err("something is written yet".to_owned());
        }
        Ok(Final { objects, revision })
    }
}

fn summary(
    order: &Order,
    history: &History,
    logs: &[WatchLog],
    members: &Members,
    elections: u64,
    has_netem: bool,
) -> String {
    let of = |is: &dyn Fn(&Answer) -> bool| history.operations.iter().filter(|op| is(&op.answer)).count();
    let told =
        |is: &dyn Fn(&Told) -> bool| logs.iter().flat_map(|log| &log.told).filter(|told| is(told)).count();
    let (seed, seconds) = (order.seed, order.time.as_secs());
    let slow = if has_netem { "delayed" } else { "thin" };
    format!(
        "seed {seed}, {seconds} s: {} operations ({} applied, {} refused, {} reads, {} unknown), {} looks, {} changes \
         watched, {} resumes, {} lists; {} faults, {elections} elections; slow links were {slow}",
        history.operations.len(),
        of(&|answer| matches!(answer, Answer::Applied { .. })),
        of(&|answer| matches!(answer, Answer::Refused { .. })),
        of(&|answer| matches!(answer, Answer::Read { .. })),
        of(&|answer| matches!(answer, Answer::Open)),
        history.looks.len(),
        told(&|told| matches!(told, Told::Changes { .. })),
        told(&|told| matches!(told, Told::Resumed { .. })),
        told(&|told| matches!(told, Told::Listed { .. })),
        members.counts.lock().get("faults").copied().unwrap_or(0),
    )
}

/// Writes down what broke, what befell the members, and what they said.
fn failure(order: &Order, found: &[Accusation], members: &Members, history: &History) -> Result<PathBuf> {
    let path = order.failures.join(format!("pvc-store-seed-{}.txt", order.seed));
    let mut text = format!("seed {}\n\nrules that were broken:\n", order.seed);
    found.iter().for_each(|accusation| text += &format!("  {accusation}\n"));
    text += &format!("\nwhat happened:\n  {}\n\n{}\n", members.said().join("\n  "), members.logs());
    text += "\nall operations:\n";
    history
        .operations
        .iter()
        .for_each(|operation| text += &format!("  group {} {operation}\n", operation.group));
    write(&path, &text)?;
    Ok(path)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
