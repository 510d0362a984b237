//! What befalls a cluster in its long life, drawn by chance, one trouble at a time; and what each may bring about: which gives
//! cause for a fence, and by when the guests of a host that died run elsewhere.

use std::time::Duration;

use clap::ValueEnum;
use pvc_coordinator::core::power::Fault;
use tokio::time::Instant;

use super::life::Life;
use crate::boards::bmc_address;
use crate::net::{Place, Weather};
use crate::witness::Rule;

/// The guests of a host that died run elsewhere in this time, if its BMC answers.
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);
/// And where more than that host is in trouble.
const RECOVERED_LATE: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Trouble {
    /// A host loses its power, guests and all.
    Death,
    /// Two hosts at once; too few to be taken for a storm.
    TwoDeaths,
    /// One host after the other.
    RollingDeaths,
    /// A host dies, and the leader's daemon, or its leadership, while it is being fenced.
    DeathInElection,
    /// A host dies whose BMC does not answer for a while.
    DeathWithoutBmc,
    /// A host loses its power and has it again at once.
    Flicker,
    /// A daemon is killed, and is back soon enough.
    DaemonAway,
    /// A daemon stands still, and goes on soon enough.
    Stall,
    /// A daemon stands still for so long that its host may be fenced.
    LongStall,
    /// A host stands still whole.
    FrozenHost,
    /// A host is cut off for a moment.
    Blink,
    /// A host is cut off for long.
    CutOff,
    /// A host can't send, or can't hear, for a while.
    OneWay,
    /// A host is cut off while its BMC is slow: the fence may be called off at each of its steps.
    CutWithSlowBmc,
    /// The leader is alone, and believes to lead.
    LoneLeader,
    /// The leader stands still, and goes on.
    FrozenLeader,
    /// The leader is alone, or stands still, while it fences a host that another leader hears again.
    DeposedInFence,
    HandOver,
    /// The leader's daemon is killed, and is back soon enough.
    LeaderAway,
    /// One leader after the other.
    ManyElections,
    /// Messages are lost or late, not many.
    BadWeather,
    /// Many hosts are cut off at once: the network's fault.
    Storm,
}

use Trouble::*;

impl Trouble {
    /// No host may be fenced because of it.
    fn gives_no_cause(self) -> bool {
        matches!(self, DaemonAway | Stall | Blink | HandOver | LeaderAway | ManyElections | BadWeather)
    }
}

impl Life {
    pub async fn something_happens(&mut self) {
        let trouble = self.dice.pick(Trouble::value_variants()).copied().unwrap_or(Death);
        let Some(place) = self.dice.pick(&self.ground.places).copied() else { return };
        self.ground.say(format!("trouble: {trouble:?} {place}"));
        self.tally.count(&format!("trouble: {trouble:?}"));
        let before = self.fences();
        self.befall(trouble, place).await;
        self.settle().await;
        let after = self.fences();
        self.tally.note("fences begun", (after.0 - before.0) as f64);
        self.tally.note("orders to take power", (after.1 - before.1) as f64);
        if trouble.gives_no_cause() && after != before {
            let detail = format!("{trouble:?} of {place} gives no cause for a fence");
            self.accuse(Rule::NoFalseFence, detail);
        }
        if trouble == Storm && after.1 != before.1 {
            let detail = "hosts that fell silent together were switched off".to_owned();
            self.accuse(Rule::NoFalseFence, detail);
        }
    }

    async fn befall(&mut self, trouble: Trouble, place: Place) {
        match trouble {
            Death => self.die(&[place], RECOVERED_WITHIN).await,
            TwoDeaths => {
                let other = self.another(place);
                let few = self.ground.places.len() > 6;
                let those = if few { vec![place, other] } else { vec![place] };
                self.die(&those, RECOVERED_LATE).await;
            }
            RollingDeaths => {
                let lost = self.lose(place);
                self.wait(1_000, 40_000).await;
                let other = self.another(place);
                let lost = [lost, self.lose(other)].concat();
                self.recovered(&lost, RECOVERED_LATE).await;
            }
            DeathInElection => {
                let lost = self.lose(place);
                self.wait(0, 12_000).await;
                match self.ground.leader().map(|leader| leader.place()) {
                    Some(leader) if !self.is_voter(place) && self.dice.per_mille(500) => {
                        self.host(leader).kill();
                        self.recovered(&lost, RECOVERED_LATE).await;
                        self.host(leader).boot();
                    }
                    _ => {
                        self.throne.hand_over(&self.ground, &self.hosts);
                        self.recovered(&lost, RECOVERED_LATE).await;
                    }
                }
            }
            DeathWithoutBmc => self.die_without_bmc(place).await,
            Flicker => {
                let lost = self.lose(place);
                self.wait(50, 6_000).await;
                self.power_on(place);
                self.recovered(&lost, RECOVERED_LATE).await;
            }
            DaemonAway => self.away(place).await,
            LeaderAway => self.away(self.leading(place)).await,
            Stall => self.stall(place, 100, 20_000).await,
            LongStall => self.stall(place, 20_000, 45_000).await,
            FrozenLeader => self.stall(self.leading(place), 100, 40_000).await,
            FrozenHost => {
                self.cut_off(&[place]);
                self.stall(place, 1_000, 40_000).await;
                self.heal();
            }
            Blink => self.cut(&[place], 50, 1_500).await,
            CutOff => self.cut(&[place], 2_000, 60_000).await,
            LoneLeader => self.cut(&[self.leading(place)], 100, 60_000).await,
            OneWay => self.cut_one_way(place).await,
            DeposedInFence => self.depose_in_fence(place).await,
            CutWithSlowBmc => {
                let slow = self.dice.millis(500, 4_900);
                self.ground.boards.bmcs.slow(&bmc_address(place), slow);
                self.cut(&[place], 2_500, 9_000).await;
                self.wait(0, 20_000).await;
                self.ground.boards.repair(place);
            }
            HandOver => self.throne.hand_over(&self.ground, &self.hosts),
            ManyElections => {
                for _ in 0..2 + self.dice.roll(6) {
                    self.throne.hand_over(&self.ground, &self.hosts);
                    self.wait(200, 6_000).await;
                }
            }
            BadWeather => self.weather().await,
            Storm => self.storm().await,
        }
    }

    async fn wait(&mut self, least_ms: u64, most_ms: u64) {
        let time = self.dice.millis(least_ms, most_ms);
        self.pass(time).await;
    }

    fn leading(&self, otherwise: Place) -> Place {
        self.ground.leader().map_or(otherwise, |leader| leader.place())
    }

    fn is_voter(&self, place: Place) -> bool {
        self.ground.voters.contains(&place)
    }

    /// Another host; of two one at most votes, so that a quorum is left.
    fn another(&self, place: Place) -> Place {
        let fits = |other: &Place| *other != place && !(self.is_voter(place) && self.is_voter(*other));
        let others: Vec<Place> = self.ground.places.iter().copied().filter(fits).collect();
        self.dice.pick(&others).copied().unwrap_or(place)
    }

    /// Takes a host's power; the guests that it had.
    fn lose(&mut self, place: Place) -> Vec<pvc_model::Uid> {
        let lost = self.guests_on(place);
        self.power_off(place);
        self.tally.count("hosts that died");
        lost
    }

    async fn die(&mut self, those: &[Place], within: Duration) {
        let lost: Vec<_> = those.iter().flat_map(|place| self.lose(*place)).collect();
        self.recovered(&lost, within).await;
    }

    /// Guests that were lost run again, each on one host.
    async fn recovered(&mut self, lost: &[pvc_model::Uid], within: Duration) {
        if lost.is_empty() {
            return;
        }
        let since = Instant::now();
        if !self.comes_true(within, |life| life.all_run(lost)).await {
            let detail = format!("guests of a host that died don't run after {within:?}");
            return self.accuse(Rule::Heals, detail);
        }
        let took = since.elapsed().as_secs_f64();
        self.tally.count("recoveries");
        self.tally.note("guests that were recovered", lost.len() as f64);
        self.tally.note("seconds until recovered, in sum", took);
        self.tally.note("longest until recovered, in seconds", took);
    }

    async fn die_without_bmc(&mut self, place: Place) {
        let address = bmc_address(place);
        if self.dice.per_mille(500) {
            self.ground.boards.bmcs.fail(&address, Fault::Dead);
        } else {
            self.ground.boards.bmcs.slow(&address, Duration::from_secs(60));
        }
        let lost = self.lose(place);
        self.wait(5_000, 300_000).await;
        if lost.iter().any(|guest| !self.ground.guests.writers(*guest).is_empty()) {
            self.accuse(
                Rule::OneWriter,
                format!("guests of {place} run elsewhere, and nothing proves it off"),
            );
        }
        self.ground.boards.repair(place);
        self.recovered(&lost, RECOVERED_LATE).await;
    }

    async fn away(&mut self, place: Place) {
        self.host(place).kill();
        self.wait(50, 20_000).await;
        self.host(place).boot();
    }

    async fn stall(&mut self, place: Place, least_ms: u64, most_ms: u64) {
        self.freeze(place, true);
        self.wait(least_ms, most_ms).await;
        // It may have lost its power meanwhile.
        self.freeze(place, false);
    }

    async fn cut(&mut self, those: &[Place], least_ms: u64, most_ms: u64) {
        self.cut_off(those);
        self.wait(least_ms, most_ms).await;
        self.heal();
    }

    async fn cut_one_way(&mut self, place: Place) {
        let sends = self.dice.per_mille(500);
        self.ground.say(format!("{place} can't {}", if sends { "send" } else { "hear" }));
        for other in self.ground.places.iter().filter(|other| **other != place) {
            let (from, to) = if sends { (place, *other) } else { (*other, place) };
            self.ground.net.cut(from, to);
        }
        self.ground.changed();
        self.wait(100, 30_000).await;
        self.heal();
    }

    /// Its BMC does not answer at first, so that the fence finds no proof.
    async fn depose_in_fence(&mut self, place: Place) {
        let address = bmc_address(place);
        self.ground.boards.bmcs.fail(&address, Fault::Dead);
        self.cut_off(&[place]);
        self.wait(3_000, 12_000).await;
        let leader = self.leading(place);
        let frozen = self.dice.per_mille(500);
        if frozen {
            self.freeze(leader, true);
        } else {
            self.cut_off(&[leader]);
        }
        self.wait(0, 2_000).await;
        if place != leader {
            self.ground.net.rejoin(place);
            if !frozen {
                self.cut_off(&[leader]);
            }
            self.ground.changed();
        }
        self.wait(0, 30_000).await;
        self.ground.boards.repair(place);
        self.wait(0, 20_000).await;
        if frozen {
            self.freeze(leader, false);
        }
        self.heal();
    }

    async fn weather(&mut self) {
        self.ground.net.set_weather(Weather {
            lost_per_mille: self.dice.roll(20),
            slow_per_mille: self.dice.roll(100),
            slow_max_ms: 20 + self.dice.roll(300),
        });
        self.wait(5_000, 120_000).await;
        self.heal();
    }

    /// A third or more of the hosts, none of which votes: nobody is elected, and the brake is to hold.
    async fn storm(&mut self) {
        let mut those: Vec<Place> =
            self.ground.places.iter().copied().filter(|place| !self.ground.voters.contains(place)).collect();
        let least = self.ground.places.len().div_ceil(3).max(2);
        if those.len() < least {
            return;
        }
        those.truncate(least + self.dice.roll((those.len() - least + 1) as u64) as usize);
        self.cut(&those, 4_000, 60_000).await;
    }
}
