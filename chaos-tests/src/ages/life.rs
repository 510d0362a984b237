//! One cluster's life: founded, then quiet for minutes, then some trouble, and so on until its hours are over. What must hold:
//! the rules of every story, looked at in the moment in which they could be broken; no fence where the trouble gives no cause
//! for one; and after each trouble all guests running and all nodes trusted.

use std::time::Duration;

use pvc_coordinator::core::power::PowerState;
use pvc_coordinator::core::{Seat, SubmitError};
use pvc_model::vm::VmSpec;
use pvc_model::{Command, Name, Uid};
use pvc_node::storage::fake::FakeStorage;
use tokio::time::Instant;

use super::ground::Ground;
use super::host::{AgeHost, founding};
use super::sabotage::Sabotage;
use super::stillness::Stillness;
use super::tally::Tally;
use super::throne::Throne;
use crate::checks::guests::GuestWatch;
use crate::dice::Dice;
use crate::net::Place;
use crate::script::Outcome;
use crate::setting::POOL;
use crate::witness::Rule;

/// How often a cluster is looked at while something is the matter with it, and while nothing is.
const TICK: Duration = Duration::from_millis(50);
const QUIET_TICK: Duration = Duration::from_secs(1);
/// How often it is asked whether a cluster is well again.
const HEALING_TICK: Duration = Duration::from_millis(500);
const FOUNDED_WITHIN: Duration = Duration::from_secs(60);
/// So long after the last trouble all nodes are trusted: a host is given power again after 10 s, and has to be well for a
/// minute.
const HEALS_WITHIN: Duration = Duration::from_secs(300);
const QUIET_MIN_MS: u64 = 20_000;
const QUIET_MAX_MS: u64 = 1_000_000;
pub const HOURS: &str = "hours of nodes";
/// Of these, how many were passed over in stillness.
pub const UNPLAYED: &str = "hours of nodes in which nothing could change, not played";

pub struct Life {
    pub ground: Ground,
    pub hosts: Vec<AgeHost>,
    pub throne: Throne,
    pub dice: Dice,
    pub tally: Tally,
    watch: GuestWatch,
}

/// How a life is lived.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub node_hours: f64,
    pub sabotage: Option<Sabotage>,
    /// Quiet spans are played too.
    pub whole: bool,
    pub aloud: bool,
}

/// Lives for so many hours of nodes, or until a rule is broken.
pub async fn live(seed: u64, order: Order) -> (Outcome, Tally) {
    let Order { node_hours, sabotage, whole, aloud } = order;
    let dice = Dice::new(seed, "ages");
    let voters = if dice.per_mille(300) { 5 } else { 3 };
    let ground = Ground::new(seed, voters, 2 + dice.roll(9) as u8, sabotage, aloud);
    let pool = FakeStorage::new(POOL.parse().expect("a name"), 1 << 30);
    let watch = GuestWatch::new(ground.guests.clone(), pool, ground.witness.clone());
    let hosts = ground.places.iter().map(|place| AgeHost::new(&ground, *place)).collect();
    let mut life = Life { ground, hosts, throne: Throne::default(), dice, tally: Tally::default(), watch };
    life.found().await;
    let nodes = life.ground.places.len() as f64;
    let until = Duration::from_secs_f64(node_hours / nodes * 3600.0);
    while life.is_content() && life.ground.lived() < until {
        let quiet = life.dice.millis(QUIET_MIN_MS, QUIET_MAX_MS);
        life.stay_quiet(quiet.min(until.saturating_sub(life.ground.lived())), whole).await;
        life.something_happens().await;
    }
    life.ground.trace.count(&[life.likeness()]);
    let lived = life.ground.lived();
    life.tally.count("clusters");
    life.tally.note(HOURS, lived.as_secs_f64() / 3600.0 * nodes);
    life.tally.note("changes of leader", life.throne.elections as f64);
    let outcome = Outcome {
        accusations: life.ground.witness.accusations(),
        hash: life.ground.trace.hash(),
        events: life.ground.trace.events(),
        seconds: lived.as_secs(),
        deeds: 0,
        acknowledged: 0,
        tail: life.ground.trace.tail(),
    };
    (outcome, life.tally)
}

impl Life {
    async fn found(&mut self) {
        self.hosts.iter_mut().for_each(AgeHost::boot);
        let mut commands = founding(&self.ground);
        for number in 0..self.ground.places.len() + self.dice.roll(8) as usize {
            let name: Name = format!("vm{number}").parse().expect("a name");
            let spec = VmSpec { max_restarts: 100, ..VmSpec::new(1, 64) };
            commands.push(Command::CreateVm { name: name.clone(), spec });
            commands.push(Command::StartVm { name, node: None });
        }
        // VMs are started where nodes are heard.
        let nodes_only = commands.iter().position(|command| matches!(command, Command::CreateVm { .. }));
        let vms = commands.split_off(nodes_only.unwrap_or(commands.len()));
        for command in commands {
            self.decree(command).await;
        }
        let heard = |life: &Life| {
            let world = life.ground.ledger.world();
            world.nodes.values().all(|node| node.is_reachable() && node.status.facts.memory_mib > 0)
        };
        self.wait_for("all nodes are heard", FOUNDED_WITHIN, heard).await;
        for command in vms {
            self.decree(command).await;
        }
        self.settle().await;
    }

    pub fn is_content(&self) -> bool {
        self.ground.witness.is_content()
    }

    pub fn accuse(&self, rule: Rule, detail: String) {
        self.ground.witness.accuse(rule, detail);
    }

    /// Lets so much time pass, and looks at the cluster once.
    pub async fn tick(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
        self.watch.look_at_happenings();
        for (place, power) in self.ground.boards.switched() {
            match power {
                PowerState::Off => self.power_off(place),
                PowerState::On => self.power_on(place),
            }
        }
        self.throne.look(&self.ground, &self.hosts);
    }

    pub async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && self.is_content() {
            self.tick(TICK.min(until - Instant::now())).await;
        }
    }

    async fn stay_quiet(&mut self, time: Duration, whole: bool) {
        let mut left = time;
        let mut stillness = Stillness::new();
        while !left.is_zero() && self.is_content() {
            if !whole {
                let unplayed = stillness.passes(self, left);
                self.pass_over(unplayed);
                left -= unplayed;
            }
            self.tick(QUIET_TICK).await;
            left = left.saturating_sub(QUIET_TICK);
        }
    }

    fn pass_over(&mut self, time: Duration) {
        if !time.is_zero() {
            self.ground.trace.pass_over(time);
            self.tally.note(UNPLAYED, time.as_secs_f64() / 3600.0 * self.ground.places.len() as f64);
        }
    }

    pub fn happenings(&self) -> usize {
        self.watch.seen()
    }

    /// Of all that is there, and of each daemon's leases: two lives that end alike have the same.
    fn likeness(&self) -> u64 {
        let leases: Vec<_> =
            self.ground.leases.lock().iter().map(|(place, book)| format!("{place} {book:?}")).collect();
        let guests: Vec<_> =
            self.ground.places.iter().map(|place| self.ground.guests.guests_on(&place.node())).collect();
        let all = format!("{:?} {leases:?} {guests:?}", self.ground.ledger.world());
        u64::from(crc32c::crc32c(all.as_bytes()))
    }

    /// Lets time pass until it is so. False: it was not in time.
    pub async fn comes_true(&mut self, within: Duration, so: impl Fn(&Life) -> bool) -> bool {
        let until = Instant::now() + within;
        while self.is_content() && !so(self) {
            if Instant::now() >= until {
                return false;
            }
            self.tick(TICK).await;
        }
        true
    }

    async fn wait_for(&mut self, what: &str, within: Duration, so: impl Fn(&Life) -> bool) {
        if !self.comes_true(within, so).await {
            self.accuse(Rule::Heals, format!("not within {within:?}: {what}"));
        }
    }

    pub fn host(&mut self, place: Place) -> &mut AgeHost {
        &mut self.hosts[usize::from(place.0) - 1]
    }

    /// The whole host, with its guests.
    pub fn power_off(&mut self, place: Place) {
        self.ground.say(format!("{place} loses its power"));
        self.host(place).powered = false;
        self.ground.boards.plug(place, PowerState::Off);
        self.ground.guests.power_off(&place.node());
        self.host(place).kill();
    }

    pub fn power_on(&mut self, place: Place) {
        if !std::mem::replace(&mut self.host(place).powered, true) {
            self.ground.say(format!("{place} has power"));
            self.ground.boards.plug(place, PowerState::On);
            self.ground.guests.power_on(&place.node());
        }
        self.host(place).boot();
    }

    /// Its daemon stands still, or goes on.
    pub fn freeze(&mut self, place: Place, frozen: bool) {
        self.ground.say(format!("the daemon of {place} {}", if frozen { "stands still" } else { "goes on" }));
        let pause = self.ground.pause(place);
        if frozen {
            pause.stop()
        } else {
            pause.resume()
        }
        self.ground.changed();
    }

    pub fn cut_off(&mut self, those: &[Place]) {
        self.ground.say(format!("{those:?} are cut off"));
        self.ground.net.part(those, &self.ground.places);
        self.ground.changed();
    }

    pub fn heal(&mut self) {
        self.ground.say("the network is whole");
        self.ground.net.heal();
        self.ground.changed();
    }

    /// At the leader itself, until it is decided.
    async fn decree(&mut self, command: Command) {
        while self.is_content() {
            if let Some(leader) = self.ground.leader() {
                match leader.submit(command.clone(), "admin/scene", None).await {
                    Ok(_) => return,
                    Err(SubmitError::Rejected(rejection)) => {
                        return self.accuse(Rule::Heals, format!("{command:?} is refused: {rejection}"));
                    }
                    Err(_) => {}
                }
            }
            self.tick(TICK).await;
        }
    }

    /// Fences that were ever begun, and orders to BMCs to take power.
    pub fn fences(&self) -> (u64, usize) {
        let world = self.ground.ledger.world();
        let begun = world.nodes.values().map(|node| node.status.fences).sum();
        let orders = self.ground.boards.bmcs.orders();
        (begun, orders.iter().filter(|order| order.starts_with("off ")).count())
    }

    pub fn guests_on(&self, place: Place) -> Vec<Uid> {
        self.ground.guests.guests_on(&place.node()).into_iter().map(|guest| guest.uid).collect()
    }

    pub fn all_run(&self, guests: &[Uid]) -> bool {
        guests.iter().all(|uid| self.ground.guests.writers(*uid).len() == 1)
    }

    /// What is not as it should be.
    pub fn ailments(&self) -> Vec<String> {
        let world = self.ground.ledger.world();
        let mut ailments = Vec::new();
        if self.ground.leader().is_none() {
            ailments.push("nobody leads".to_owned());
        }
        for node in world.nodes.values() {
            if !node.is_reachable() || node.status.fence.is_some() {
                let (name, status) = (&node.meta.name, &node.status);
                ailments
                    .push(format!("node {name} is {:?}, its fence {:?}", status.reachability, status.fence));
            }
        }
        if !ailments.is_empty() {
            return ailments;
        }
        let mut writers = self.ground.guests.all_writers();
        for vm in world.vms.values() {
            let hosts = writers.remove(&vm.uid()).unwrap_or_default();
            if !hosts.iter().eq(vm.placement.as_ref().map(|placement| &placement.node)) {
                let placed = &vm.placement;
                ailments.push(format!("{} runs on {hosts:?}, placed {placed:?}", vm.meta.name));
            }
        }
        ailments
    }

    /// All is well, soon.
    pub async fn settle(&mut self) {
        let until = Instant::now() + HEALS_WITHIN;
        while self.is_content() {
            let ailments = self.ailments();
            if ailments.is_empty() {
                break;
            }
            if Instant::now() >= until {
                return ailments.into_iter().for_each(|ailment| self.accuse(Rule::Heals, ailment));
            }
            self.pass(HEALING_TICK).await;
        }
        self.pass(Duration::from_secs(2)).await;
    }
}
