//! The script that every seed plays: found a cluster, start guests, change leaders and see that nothing
//! moves, make trouble while people work, and then see that all is well again and nothing was lost.

use std::time::Duration;

use pvc_model::Command;
use pvc_model::phase::{VmPhase, vm_phase};
use raft_store::{Checkpoint, View};
use tokio::time::Instant;

use crate::checks::healed::ailments;
use crate::checks::history::{self, End};
use crate::checks::watching::Onlooker;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::faults::Temper;
use crate::people::{People, Told};
use crate::shape::Shape;
use crate::witness::{Accusation, Rule};
use crate::workload::{self, VMS, name, spec};

/// All must be well within this time after the last trouble: a migration's keepalive, its answer, the
/// longest pause between two starts, and some more.
const HEALS_WITHIN: Duration = Duration::from_secs(240);
/// A new leader is there within this time when the others are well.
const ELECTED_WITHIN: Duration = Duration::from_secs(6);
/// A cluster is at rest when nothing was committed for so long. Some seeds wait for longer than any of the
/// leader's timers.
const REST: Duration = Duration::from_millis(1500);
const LONG_REST: Duration = Duration::from_secs(7);

/// How a run came out.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub accusations: Vec<Accusation>,
    /// Of everything that happened: the same seed gives the same.
    pub hash: u64,
    pub events: u64,
    /// Seconds of virtual time.
    pub seconds: u64,
    /// What people asked for, and how much of it was acknowledged.
    pub deeds: usize,
    pub acknowledged: usize,
    pub tail: Vec<String>,
}

/// Plays the script of one seed.
pub async fn play(seed: u64, aloud: bool) -> Outcome {
    let dice = Dice::new(seed, "script");
    let mut stage = Stage::set(&shape(&dice), seed, aloud).await;
    let guests = 1 + dice.roll(4) as usize;
    stage.start_guests(guests).await;
    let elections = [0, 0, 0, 1, 1, 2];
    for _ in 0..*dice.pick(&elections).unwrap_or(&1) {
        stage.quiet_election(&dice).await;
    }
    let steps = 6 + dice.roll(14);
    stage.storm(&dice, steps).await;
    stage.end().await
}

fn shape(dice: &Dice) -> Shape {
    let coordinators = match dice.roll(20) {
        0 => 5,
        1 | 2 => 1,
        _ => 3,
    };
    let small = Checkpoint { entries: 20 + dice.roll(60), bytes: 1 << 20, keep: dice.roll(30) };
    Shape {
        coordinators,
        spares: 0,
        hypervisors: dice.roll(3) as u8,
        checkpoint: if dice.per_mille(600) { small } else { Checkpoint::default() },
        sync_max_ms: dice.roll(10),
        clock_skew_max_ms: if dice.per_mille(300) { 3_600_000 } else { 2_000 },
        bmcs: dice.per_mille(700),
        guards: dice.per_mille(300),
    }
}

/// A cluster with its people and its trouble-maker.
pub struct Stage {
    pub cluster: Cluster,
    pub people: People,
    pub temper: Temper,
}

impl Stage {
    pub async fn set(shape: &Shape, seed: u64, aloud: bool) -> Stage {
        let cluster = Cluster::found(shape, seed, aloud).await;
        let people = People::new(&cluster.setting);
        let stage = Stage { people, temper: Temper::of(seed), cluster };
        stage.onlook(false);
        stage
    }

    /// Somebody begins to watch all changes; `deaf`: one of them, on purpose, is not told.
    pub(crate) fn onlook(&self, deaf: bool) {
        let setting = &self.cluster.setting;
        let onlooker = Onlooker {
            net: setting.net.clone(),
            dice: Dice::new(setting.seed, "onlooker"),
            replicas: setting.replicas.clone(),
            coordinators: setting.coordinators.clone(),
            deaf,
        };
        tokio::spawn(onlooker.run());
    }

    pub fn accuse(&self, rule: Rule, detail: String) {
        self.cluster.setting.witness.accuse(rule, detail);
    }

    fn is_content(&self) -> bool {
        self.cluster.setting.witness.is_content()
    }

    /// Defines and starts the first VMs, and waits until they run.
    pub async fn start_guests(&mut self, count: usize) {
        for vm in VMS.iter().take(count).map(|vm| name(vm)) {
            for command in [
                Command::CreateVm { spec: spec(&vm), name: vm.clone() },
                Command::StartVm { name: vm, node: None },
            ] {
                let told = self.people.ask(command.clone()).await;
                if !matches!(told, Told::Done { .. }) {
                    self.accuse(Rule::Heals, format!("{command:?} is answered with {told:?}"));
                }
            }
        }
        let running = |stage: &Stage| {
            let world = stage.cluster.world();
            VMS.iter().take(count).all(|vm| {
                world.vms.get(&name(vm)).is_some_and(|vm| vm_phase(&world, vm).0 == VmPhase::Running)
            })
        };
        self.wait_for(Duration::from_secs(20), "the first guests run", running).await;
    }

    async fn wait_for(&mut self, within: Duration, what: &str, done: impl Fn(&Stage) -> bool) {
        let until = Instant::now() + within;
        while !done(self) && self.is_content() {
            if Instant::now() >= until {
                return self.accuse(Rule::Heals, format!("not within {within:?}: {what}"));
            }
            self.cluster.pass(Duration::from_millis(100)).await;
        }
    }

    /// Changes the leader, by death or by hand-over, while nothing else happens.
    pub async fn quiet_election(&mut self, dice: &Dice) {
        if self.cluster.setting.coordinators.len() < 3 {
            return;
        }
        self.wait_for(HEALS_WITHIN, "the cluster is calm", |stage| ailments(&stage.cluster).is_empty()).await;
        let Some((place, leader)) = self.cluster.leader() else { return };
        let (term, world) = (leader.leading(), leader.world());
        let happenings = self.cluster.happenings();
        let killed = dice.per_mille(600);
        self.cluster
            .setting
            .trace
            .say(format!("election: {place} {}", if killed { "dies" } else { "hands over" }));
        if killed {
            self.cluster.kill(place);
        } else {
            let others: Vec<_> = leader
                .store()
                .view()
                .members()
                .into_iter()
                .filter(|m| m.id != leader.store().options().me.id)
                .collect();
            let Some(to) = dice.pick(&others) else { return };
            drop(leader.store().transfer_leadership(to.id).await);
        }
        drop(leader);
        let elected =
            move |stage: &Stage| stage.cluster.leader().is_some_and(|(_, leader)| leader.leading() > term);
        self.wait_for(ELECTED_WITHIN, "a new leader", elected).await;
        self.cluster.boot(place);
        self.cluster.pass(dice.millis(2000, 4500)).await;
        if self.cluster.happenings() != happenings {
            self.accuse(Rule::ElectionsAreQuiet, "a guest began or ended".to_owned());
        }
        let now = self.cluster.world();
        for (name, vm) in &world.vms {
            let same = now
                .vms
                .get(name)
                .is_some_and(|n| (n.intent, n.placement.clone()) == (vm.intent, vm.placement.clone()));
            if !same {
                self.accuse(
                    Rule::ElectionsAreQuiet,
                    format!("vm {name} was changed: {:?}", now.vms.get(name)),
                );
            }
        }
        for (name, node) in world.nodes.iter().filter(|(name, _)| **name != place.node()) {
            if now.nodes.get(name).is_none_or(|n| n.status.since != node.status.since) {
                self.accuse(
                    Rule::ElectionsAreQuiet,
                    format!("node {name} was given up: {:?}", now.nodes.get(name)),
                );
            }
        }
    }

    /// People work while there is trouble.
    pub async fn storm(&mut self, dice: &Dice, steps: u64) {
        self.cluster.setting.trace.say(format!("a storm of {:?}", self.temper.kinds()));
        for _ in 0..steps {
            if dice.per_mille(500) && self.is_content() {
                self.temper.strike(&mut self.cluster).await;
            }
            self.work(dice, 1).await;
        }
    }

    /// People work.
    pub async fn work(&mut self, dice: &Dice, steps: u64) {
        for _ in 0..steps {
            if !self.is_content() {
                return;
            }
            for _ in 0..dice.roll(3) {
                match workload::next(dice, &self.cluster.world(), self.people.next()) {
                    Some(command) => self.people.send(command),
                    None => self.people.read(),
                }
            }
            self.cluster.pass(dice.millis(50, 1000)).await;
        }
    }

    /// The trouble is over: all must become well, stay quiet, and nothing may be missing.
    pub async fn end(mut self) -> Outcome {
        if self.is_content() {
            self.temper.relent(&mut self.cluster);
            self.heal().await;
        }
        if self.is_content() {
            self.verify().await;
        }
        let setting = &self.cluster.setting;
        let deeds = self.people.deeds();
        Outcome {
            accusations: setting.witness.accusations(),
            hash: setting.trace.hash(),
            events: setting.trace.events(),
            seconds: setting.begun.elapsed().as_secs(),
            acknowledged: deeds.iter().filter(|deed| matches!(deed.told, Told::Done { .. })).count(),
            deeds: deeds.len(),
            tail: setting.trace.tail(),
        }
    }

    /// Waits until all is well and nothing has been committed for a while.
    pub async fn heal(&mut self) {
        let until = Instant::now() + HEALS_WITHIN;
        let rest = if self.cluster.dice.per_mille(100) { LONG_REST } else { REST };
        let mut calm: Option<(Instant, View)> = None;
        while self.is_content() {
            let mut ailments = ailments(&self.cluster);
            if self.people.waiting() > 0 {
                ailments.push("somebody still waits for an answer".to_owned());
            }
            let view = self.cluster.leader().map(|(_, leader)| leader.store().view());
            let same = |before: &View| view.as_ref().is_some_and(|view| view.revision == before.revision);
            match calm.take().filter(|(_, before)| ailments.is_empty() && same(before)) {
                Some((since, _)) if since.elapsed() >= rest => {
                    return self.cluster.setting.trace.say("all is well");
                }
                still => calm = still.or_else(|| Some((Instant::now(), view?))),
            }
            if Instant::now() >= until {
                if ailments.is_empty() {
                    let detail = "something is committed again and again, though nobody asks for anything";
                    self.accuse(Rule::IdleIsQuiet, detail.to_owned());
                }
                return ailments.into_iter().for_each(|ailment| self.accuse(Rule::Heals, ailment));
            }
            self.cluster.pass(Duration::from_millis(250)).await;
        }
    }

    async fn verify(&mut self) {
        let told = self.people.ask(Command::UpdateNode {
            name: crate::net::Place(1).node(),
            schedulable: Some(false),
            on_return: None,
            isolation: None,
            on_shutdown: None,
            expected_revision: 0,
        });
        match told.await {
            Told::Done { .. } => {}
            told => self.accuse(Rule::Heals, format!("a last command is answered with {told:?}")),
        }
        let Some((_, leader)) = self.cluster.leader() else { return };
        match leader.linearizable_world().await {
            Ok(world) => {
                let view = leader.store().view();
                let end = End { world: &world, view: &view };
                history::check(&self.people.deeds(), &end, &self.cluster.setting.witness);
            }
            Err(error) => self.accuse(Rule::Heals, format!("the last read fails: {error}")),
        }
    }
}
