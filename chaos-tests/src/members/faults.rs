//! Trouble for members, drawn by chance. A seed has a temper: the kinds of trouble that it makes at all.

use std::time::Duration;

use super::changes::Change;
use super::cluster::Members;
use crate::dice::Dice;
use crate::net::{Place, Weather};
use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Trouble {
    Kill,
    KillLeader,
    KillAll,
    /// Stopped for longer than an election takes, and resumed.
    Stop,
    StopLeader,
    StopMost,
    Isolate,
    IsolateLeader,
    /// The leader loses its peers, and keeps the clients.
    PartLeader,
    CutOneWay,
    Part,
    /// Two halves that reach each other only by way of one member.
    Bridge,
    BadWeather,
    Lag,
    HealNetwork,
    Transfer,
    Add,
    Remove,
    Replace,
    SlowDisk,
    LostCheckpoint,
}

use Trouble::*;

pub struct Temper {
    dice: Dice,
    kinds: Vec<Trouble>,
    desks: Vec<Place>,
    /// Members that were put down, or stopped.
    down: Vec<Place>,
    stopped: Vec<Place>,
    lost: Option<Place>,
}

impl Temper {
    pub fn of(seed: u64, desks: Vec<Place>) -> Temper {
        let dice = Dice::new(seed, "trouble");
        let share = 150 + dice.roll(700);
        let mut kinds: Vec<Trouble> =
            Trouble::value_variants().iter().copied().filter(|_| dice.per_mille(share)).collect();
        if kinds.is_empty() {
            kinds.push(KillLeader);
        }
        Temper { dice, kinds, desks, down: Vec::new(), stopped: Vec::new(), lost: None }
    }

    pub fn kinds(&self) -> &[Trouble] {
        &self.kinds
    }

    /// Makes some trouble, or takes some back.
    pub fn strike(&mut self, members: &Members) {
        if !self.down.is_empty() && self.dice.per_mille(400) {
            let place = self.down.swap_remove(self.dice.roll(self.down.len() as u64) as usize);
            return members.boot(place);
        }
        if !self.stopped.is_empty() && self.dice.per_mille(400) {
            let place = self.stopped.swap_remove(self.dice.roll(self.stopped.len() as u64) as usize);
            return members.resume(place);
        }
        let Some(kind) = self.dice.pick(&self.kinds).copied() else { return };
        let places = members.places();
        let Some(place) = self.dice.pick(&places).copied() else { return };
        let leader = members.leader().map_or(place, |(place, _)| place);
        let everybody: Vec<Place> = places.iter().chain(&self.desks).copied().collect();
        members.trace.say(format!("trouble: {kind:?} {place}"));
        let net = &members.net;
        match kind {
            Kill => self.put_down(members, place),
            KillLeader => self.put_down(members, leader),
            KillAll => {
                places.iter().for_each(|place| members.kill(*place));
                places
                    .iter()
                    .filter(|place| !self.down.contains(place))
                    .for_each(|place| members.boot(*place));
            }
            Stop => self.stop(members, place),
            StopLeader => self.stop(members, leader),
            StopMost => {
                places.iter().filter(|_| self.dice.per_mille(700)).for_each(|place| {
                    members.stop(*place);
                    self.stopped.push(*place);
                });
            }
            Isolate => net.part(&[place], &everybody),
            IsolateLeader => net.part(&[leader], &everybody),
            PartLeader => net.part(&[leader], &places),
            CutOneWay => {
                if let Some(other) = self.dice.pick(&everybody) {
                    net.cut(place, *other);
                }
            }
            Part => {
                let side: Vec<Place> = self.dice.some(&everybody);
                net.part(&side, &everybody);
            }
            Bridge => {
                let others: Vec<Place> = places.iter().copied().filter(|other| *other != place).collect();
                let side: Vec<Place> = self.dice.some(&others);
                net.part(&side, &others);
            }
            BadWeather => net.set_weather(Weather {
                lost_per_mille: self.dice.roll(100),
                slow_per_mille: self.dice.roll(300),
                slow_max_ms: 20 + self.dice.roll(2000),
            }),
            Lag => net.lag(place, self.dice.millis(10, 400)),
            HealNetwork => net.heal(),
            Transfer => self.transfer(members),
            Add => {
                if let Some(new) = self.dice.pick(&members.empty_places()) {
                    members.change(&self.dice, Change::Add(*new));
                }
            }
            Remove if places.len() > 2 => members.change(&self.dice, Change::Remove(place)),
            Remove => {}
            Replace => {
                if let Some(new) = self.dice.pick(&members.empty_places()) {
                    members.change(&self.dice, Change::Replace { old: place, new: *new });
                }
            }
            SlowDisk => members.disk(place).set_sync_delay(self.dice.millis(20, 400)),
            LostCheckpoint if places.len() < 3 || self.lost.is_some() => {}
            // It comes back from another member: more than one at a time may be for ever.
            LostCheckpoint => {
                self.lost = Some(place);
                members.kill(place);
                members.disk(place).lose_checkpoint();
                self.down.push(place);
            }
        }
    }

    fn put_down(&mut self, members: &Members, place: Place) {
        members.kill(place);
        self.down.push(place);
    }

    fn stop(&mut self, members: &Members, place: Place) {
        members.stop(place);
        self.stopped.push(place);
    }

    fn transfer(&self, members: &Members) {
        let Some((_, leader)) = members.leader() else { return };
        let others = leader.view().members();
        if let Some(to) = self.dice.pick(&others).map(|member| member.id) {
            tokio::spawn(async move { leader.transfer_leadership(to).await });
        }
    }

    /// All trouble is over: everything is joined, runs and is quick.
    pub fn relent(&mut self, members: &Members) {
        members.trace.say("all trouble is over");
        members.net.heal();
        self.down.clear();
        self.stopped.clear();
        for place in members.places() {
            members.disk(place).set_sync_delay(Duration::from_millis(1));
            members.resume(place);
            members.boot(place);
        }
    }
}
