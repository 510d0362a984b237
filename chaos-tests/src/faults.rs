//! Trouble, drawn by chance. A seed has a temper: the kinds of trouble that it makes at all, so that some
//! seeds dwell on one kind and others mix them.

use std::time::Duration;

use clap::ValueEnum;
use pvc_coordinator::core::power;
use pvc_node::hypervisor::EndReason;

use crate::boards::bmc_address;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::guard::Manner;
use crate::net::{Place, Weather};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Trouble {
    /// A daemon is killed, and is back after a while.
    Kill,
    KillLeader,
    /// The leader hands over.
    Transfer,
    /// A daemon is restarted in order.
    Restart,
    /// Everything that runs is killed at once, and is back at once.
    KillAll,
    Isolate,
    IsolateLeader,
    CutOneWay,
    Part,
    BadWeather,
    Lag,
    HealNetwork,
    /// A host loses its power, with its guests.
    Power,
    /// A guest ends by itself.
    GuestEnds,
    /// A hypervisor fails, is slow, or lies.
    Hypervisor,
    /// The migration path between two hosts is cut.
    MigrationPath,
    SlowDisk,
    FullDisk,
    LostCheckpoint,
    /// The pool that all hosts share fails.
    Pool,
    /// A BMC is dead, slow or stuck.
    Bmc,
    /// A host is shut down in order.
    ShutDown,
}

use Trouble::*;

/// What makes trouble in one seed.
pub struct Temper {
    dice: Dice,
    kinds: Vec<Trouble>,
    /// Hosts that were put down, to be put up again sooner or later.
    down: Vec<Place>,
    /// Whose checkpoint was lost last.
    lost: Option<Place>,
}

impl Temper {
    pub fn of(seed: u64) -> Temper {
        let dice = Dice::new(seed, "trouble");
        let share = 150 + dice.roll(700);
        let mut kinds: Vec<Trouble> =
            Trouble::value_variants().iter().copied().filter(|_| dice.per_mille(share)).collect();
        if kinds.is_empty() {
            kinds.push(KillLeader);
        }
        Temper { dice, kinds, down: Vec::new(), lost: None }
    }

    pub fn kinds(&self) -> &[Trouble] {
        &self.kinds
    }

    /// Makes some trouble, or takes some back.
    pub async fn strike(&mut self, cluster: &mut Cluster) {
        if !self.down.is_empty() && self.dice.per_mille(400) {
            let place = self.down.swap_remove(self.dice.roll(self.down.len() as u64) as usize);
            return cluster.power_on(place);
        }
        let Some(kind) = self.dice.pick(&self.kinds).copied() else { return };
        let places = cluster.places();
        let Some(place) = self.dice.pick(&places).copied() else { return };
        let leader = cluster.leader().map_or(place, |(place, _)| place);
        let everybody: Vec<Place> = std::iter::once(Place::PEOPLE).chain(places.iter().copied()).collect();
        cluster.setting.trace.say(format!("trouble: {kind:?} {place}"));
        let net = cluster.setting.net.clone();
        match kind {
            Kill => self.put_down(cluster, place),
            KillLeader => self.put_down(cluster, leader),
            Transfer => self.transfer(cluster),
            Restart => cluster.restart(place).await,
            KillAll => {
                places.iter().for_each(|place| cluster.kill(*place));
                let up: Vec<Place> = places.into_iter().filter(|place| !self.down.contains(place)).collect();
                up.into_iter().for_each(|place| cluster.boot(place));
            }
            Isolate => net.part(&[place], &everybody),
            IsolateLeader => net.part(&[leader], &everybody),
            CutOneWay => {
                if let Some(other) = self.dice.pick(&everybody) {
                    net.cut(place, *other);
                }
            }
            Part => {
                let side: Vec<Place> = self.dice.some(&everybody);
                net.part(&side, &everybody);
            }
            BadWeather => net.set_weather(Weather {
                lost_per_mille: self.dice.roll(100),
                slow_per_mille: self.dice.roll(300),
                slow_max_ms: 20 + self.dice.roll(2000),
            }),
            Lag => net.lag(place, self.dice.millis(10, 400)),
            HealNetwork => net.heal(),
            Power => {
                self.down.push(place);
                cluster.power_off(place);
            }
            GuestEnds => self.end_a_guest(cluster),
            Hypervisor => self.spoil_hypervisor(cluster, place),
            MigrationPath => {
                if let Some(other) = self.dice.pick(&places).filter(|other| **other != place) {
                    let up = self.dice.per_mille(500);
                    cluster.setting.guests.set_link(&place.node(), &other.node(), up);
                }
            }
            SlowDisk => cluster.disk(place).set_sync_delay(self.dice.millis(20, 400)),
            FullDisk => cluster.disk(place).set_full(self.dice.per_mille(600)),
            Bmc => self.spoil_bmc(cluster, place),
            ShutDown => {
                self.down.push(place);
                cluster.shut_down(place);
            }
            LostCheckpoint if !self.may_lose(cluster, place) => {}
            LostCheckpoint => {
                self.lost = Some(place);
                cluster.kill(place);
                cluster.disk(place).lose_checkpoint();
                self.down.push(place);
            }
            Pool => cluster.setting.pool.faults(|faults| {
                faults.fail = self.dice.roll(3) as u32;
                faults.lie = self.dice.per_mille(500);
                faults.delay = self.dice.millis(0, 500);
                faults.copy = self.dice.millis(0, 6000);
                faults.unusable = self.dice.per_mille(300).then(|| "it is not mounted".to_owned());
            }),
        }
    }

    /// A lost checkpoint comes back from another coordinator: more than one at a time may be for ever.
    fn may_lose(&self, cluster: &Cluster, place: Place) -> bool {
        let others = &cluster.setting.coordinators;
        others.contains(&place)
            && others.len() > 1
            && self.lost.is_none_or(|lost| cluster.core(lost).is_some())
    }

    fn put_down(&mut self, cluster: &mut Cluster, place: Place) {
        cluster.kill(place);
        self.down.push(place);
    }

    fn transfer(&self, cluster: &Cluster) {
        let Some((_, leader)) = cluster.leader() else { return };
        let members = leader.store().view().members();
        if let Some(to) = self.dice.pick(&members).map(|member| member.id) {
            tokio::spawn(async move { leader.store().transfer_leadership(to).await });
        }
    }

    fn end_a_guest(&self, cluster: &Cluster) {
        let guests: Vec<_> = cluster.setting.guests.all_writers().into_keys().collect();
        let reasons = [EndReason::Crashed, EndReason::ShutDown, EndReason::EmulatorDied];
        if let (Some(uid), Some(reason)) = (self.dice.pick(&guests), self.dice.pick(&reasons)) {
            cluster.setting.guests.end_guest(*uid, *reason);
        }
    }

    fn spoil_bmc(&self, cluster: &Cluster, place: Place) {
        let (bmcs, address) = (&cluster.setting.boards.bmcs, bmc_address(place));
        match self.dice.roll(4) {
            0 => bmcs.fail(&address, power::Fault::Dead),
            1 => bmcs.fail(&address, power::Fault::Stuck),
            2 => bmcs.slow(&address, self.dice.millis(100, 8000)),
            _ => bmcs.repair(&address),
        }
    }

    fn spoil_hypervisor(&self, cluster: &Cluster, place: Place) {
        cluster.setting.guests.faults(&place.node(), |faults| match self.dice.roll(9) {
            0 => faults.delay = self.dice.millis(0, 4000),
            1 => faults.unreachable = !faults.unreachable,
            2 => faults.hang = !faults.hang,
            3 => faults.fail_starts = 1 + self.dice.roll(3) as u32,
            4 => faults.lose_starts = 1,
            5 => faults.deaf_guests = !faults.deaf_guests,
            6 => faults.fail_migrations = 1,
            7 => faults.lose_migrations = 1,
            _ => faults.mute_endings = !faults.mute_endings,
        });
    }

    /// All trouble is over: everything is joined, powered, started and well.
    pub fn relent(&mut self, cluster: &mut Cluster) {
        cluster.setting.trace.say("all trouble is over");
        cluster.setting.net.heal();
        cluster.setting.pool.faults(|faults| *faults = Default::default());
        self.down.clear();
        let places = cluster.places();
        for place in &places {
            let frozen = cluster.setting.frozen.lock().contains(place);
            if frozen {
                cluster.freeze(*place, false);
            }
            cluster.setting.boards.cut_from_bmcs(*place, false);
            cluster.setting.storage_cuts.set(*place, false);
            cluster.setting.boards.repair(*place);
            cluster.setting.guests.faults(&place.node(), |faults| *faults = Default::default());
            for other in places.iter().filter(|other| *other != place) {
                cluster.setting.guests.set_link(&place.node(), &other.node(), true);
            }
            cluster.disk(*place).set_full(false);
            cluster.disk(*place).set_sync_delay(Duration::from_millis(2));
            cluster.set_guard(*place, Manner::Honest);
            cluster.power_on(*place);
        }
    }
}
