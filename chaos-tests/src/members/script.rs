//! The script that every seed plays: found a store, let clients and watchers work while there is trouble, let it
//! heal, and judge the history.

use std::time::Duration;

use raft_store::{Checkpoint, Limits, Revision, Timing};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::clients::{Client, Work};
use super::cluster::{Members, Shape};
use super::faults::Temper;
use super::sabotage::Saboteur;
use super::watching::Watching;
use crate::dice::Dice;
use crate::history::judge;
use crate::history::record::{Answer, Recorder};
use crate::history::watches::{Final, Notebook, WatchLog};
use crate::net::Place;
use crate::script::Outcome;
use crate::witness::Rule;

const HEALS_WITHIN: Duration = Duration::from_secs(90);
/// Where clients and watchers sit.
const DESKS: u8 = 3;
const WATCHERS: u32 = 3;

/// Plays the script of one seed.
pub async fn play(seed: u64, aloud: bool) -> Outcome {
    let dice = Dice::new(seed, "script");
    let crowd = Crowd { clients: 4 + dice.roll(6) as u32, rest_max_ms: 250 };
    let stage = Stage::set(shape(&dice), seed, aloud, crowd, Saboteur::default()).await;
    let mut temper = Temper::of(seed, stage.desks.clone());
    stage.members.trace.say(format!("a storm of {:?}", temper.kinds()));
    for _ in 0..4 + dice.roll(10) {
        if dice.per_mille(700) {
            temper.strike(&stage.members);
        }
        // Some troubles outlast an election, and some come before it is over.
        stage.members.pass(dice.millis(50, 2500)).await;
    }
    temper.relent(&stage.members);
    stage.end().await
}

/// A story in which nothing goes wrong but the saboteur's lie.
pub async fn sabotaged(seed: u64, saboteur: Saboteur) -> Outcome {
    let shape =
        Shape { limits: Limits::default(), checkpoint: Checkpoint::default(), ..shape(&Dice::new(1, "")) };
    let stage = Stage::set(
        Shape { members: 3, spares: 0, ..shape },
        seed,
        false,
        Crowd { clients: 6, rest_max_ms: 250 },
        saboteur,
    )
    .await;
    stage.members.pass(Duration::from_secs(8)).await;
    stage.end().await
}

fn shape(dice: &Dice) -> Shape {
    let members = match dice.roll(20) {
        0..=3 => 5,
        4 => 1,
        _ => 3,
    };
    let small = Checkpoint { entries: 10 + dice.roll(50), bytes: 1 << 20, keep: dice.roll(20) };
    let few = Limits {
        ring_events: 4 + dice.roll(80) as usize,
        watcher_queue: 1 + dice.roll(40) as usize,
        ..Limits::default()
    };
    Shape {
        members,
        spares: 2,
        // A snapshot that is lost on its way is sent again sooner than after a minute.
        timing: Timing { snapshot: Duration::from_secs(5), ..Timing::default() },
        checkpoint: if dice.per_mille(700) { small } else { Checkpoint::default() },
        limits: if dice.per_mille(700) { few } else { Limits::default() },
        // With slow disks a crash takes more that was not synced yet.
        sync_max_ms: if dice.per_mille(300) { 60 } else { dice.roll(8) },
    }
}

/// How many work, and how long each rests between two operations at most.
pub struct Crowd {
    pub clients: u32,
    pub rest_max_ms: u64,
}

/// Members with their clients and watchers.
pub struct Stage {
    pub members: Members,
    begun: Instant,
    desks: Vec<Place>,
    work: Work,
    recorder: Recorder,
    clients: Vec<JoinHandle<()>>,
    watchers: Vec<Notebook>,
}

impl Stage {
    pub async fn set(shape: Shape, seed: u64, aloud: bool, crowd: Crowd, saboteur: Saboteur) -> Stage {
        let begun = Instant::now();
        let members = Members::found(shape, seed, aloud).await;
        let desks: Vec<Place> = (0..DESKS).map(|number| Place(Place::DESKS + number)).collect();
        let desk = |number: u32| desks[number as usize % desks.len()];
        let (work, recorder) = (Work::default(), Recorder::new());
        let watchers = (0..WATCHERS).map(|number| {
            let notes = Notebook::new(number);
            let watching = Watching {
                here: desk(number),
                members: members.clone(),
                dice: Dice::new(seed, &format!("watcher {number}")),
                // The others tell the truth.
                saboteur: if number == 0 { saboteur.clone() } else { Saboteur::default() },
                work: work.clone(),
                notes: notes.clone(),
            };
            tokio::spawn(watching.run());
            notes
        });
        let watchers = watchers.collect();
        let clients = (0..crowd.clients).map(|number| {
            let client = Client {
                number,
                here: desk(number),
                members: members.clone(),
                recorder: recorder.clone(),
                dice: Dice::new(seed, &format!("client {number}")),
                work: work.clone(),
                saboteur: saboteur.clone(),
                rest_max_ms: crowd.rest_max_ms,
                hint: None,
                known: Default::default(),
                done: Default::default(),
            };
            tokio::spawn(client.run())
        });
        let clients = clients.collect();
        Stage { members, begun, desks, work, recorder, clients, watchers }
    }

    /// Waits until all is well, and judges what was told.
    pub async fn end(self) -> Outcome {
        self.members.pass(Duration::from_millis(1500)).await;
        self.work.end();
        for client in &self.clients {
            while !client.is_finished() && self.members.witness.is_content() {
                self.members.pass(Duration::from_millis(100)).await;
            }
        }
        let last = self.heal().await;
        let history = self.recorder.history();
        let logs: Vec<WatchLog> = self.watchers.iter().map(Notebook::log).collect();
        let (members, trace) = (&self.members, &self.members.trace);
        if let Some(last) = last.filter(|_| members.witness.is_content()) {
            judge(&history, &logs, &last, &members.witness);
        }
        let done = |answer: &Answer| matches!(answer, Answer::Applied { .. } | Answer::Read { .. });
        Outcome {
            accusations: members.witness.accusations(),
            hash: trace.hash(),
            events: trace.events(),
            seconds: self.begun.elapsed().as_secs(),
            acknowledged: history.operations.iter().filter(|operation| done(&operation.answer)).count(),
            deeds: history.operations.len(),
            tail: trace.tail(),
        }
    }

    /// Until every member, and every watcher, is as far as the leader.
    async fn heal(&self) -> Option<Final> {
        let until = Instant::now() + HEALS_WITHIN;
        while self.members.witness.is_content() {
            let ailments = match self.members.leader() {
                None => vec!["nobody leads".to_owned()],
                Some((place, leader)) => {
                    let view = leader.view();
                    let ailments = self.ailments(place, view.revision, &view.members());
                    if ailments.is_empty() && self.members.changing.try_lock().is_ok() {
                        let objects = view.iter().map(|(key, entry)| (key.clone(), entry.into())).collect();
                        return Some(Final { objects, revision: view.revision });
                    }
                    ailments
                }
            };
            if Instant::now() > until {
                let witness = &self.members.witness;
                ailments.into_iter().for_each(|ailment| witness.accuse(Rule::Heals, ailment));
                witness.accuse(Rule::Heals, "the members do not come to rest");
            }
            self.members.pass(Duration::from_millis(250)).await;
        }
        None
    }

    fn ailments(&self, leader: Place, revision: Revision, voters: &[raft_store::Member]) -> Vec<String> {
        let mut ailments = Vec::new();
        for member in voters {
            let place = self.members.place_of(member.id);
            match place.and_then(|place| self.members.store(place)) {
                None => ailments.push(format!("member {member} does not run")),
                Some(store) if store.view().revision != revision => {
                    ailments.push(format!("member {member} is behind {leader}, which leads"));
                }
                Some(_) => {}
            }
        }
        for notes in &self.watchers {
            let seen = notes.seen();
            if seen != Some(revision) {
                ailments.push(format!("watcher {} has seen {seen:?} of {revision}", notes.watcher()));
            }
        }
        ailments
    }
}
