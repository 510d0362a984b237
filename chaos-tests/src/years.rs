//! Long lives of clusters with BMCs: mostly nothing happens, now and then a host dies, a daemon stalls, the network is bad or
//! a BMC is away. Counted in hours of nodes; what must hold: the rules of every story, no BMC that switches off a host which
//! is alive, and every dead host's guests running elsewhere soon.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::boards::bmc_address;
use crate::dice::Dice;
use crate::net::{Place, Weather};
use crate::script::{Outcome, Stage};
use crate::shape::Shape;
use crate::witness::Rule;
use crate::workload::VMS;

/// A life is so long at most, in hours of nodes: then another cluster is founded.
pub const LIFE_HOURS: f64 = 20.0;
/// A dead host's guests run elsewhere within this time, where there is room.
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);
/// A host that was dead is trusted again within this time.
const TRUSTED_WITHIN: Duration = Duration::from_secs(200);

/// What was lived through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub lives: u32,
    pub node_hours: f64,
    pub deaths: u32,
    pub recovered: u32,
    /// From a host's death until the last of its guests runs elsewhere.
    pub longest: Duration,
    pub all: Duration,
    pub stalls: u32,
    pub cuts: u32,
    pub elections: u32,
    pub weathers: u32,
    pub bmc_outages: u32,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.lives += other.lives;
        self.node_hours += other.node_hours;
        self.deaths += other.deaths;
        self.recovered += other.recovered;
        self.longest = self.longest.max(other.longest);
        self.all += other.all;
        self.stalls += other.stalls;
        self.cuts += other.cuts;
        self.elections += other.elections;
        self.weathers += other.weathers;
        self.bmc_outages += other.bmc_outages;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = self.all.checked_div(self.recovered).unwrap_or_default();
        writeln!(f, "{:<44}{:>12}", "clusters", self.lives)?;
        writeln!(f, "{:<44}{:>12.1}", "hours of nodes", self.node_hours)?;
        writeln!(f, "{:<44}{:>12}", "hosts that died with guests", self.deaths)?;
        writeln!(f, "{:<44}{:>12}", "of them recovered", self.recovered)?;
        writeln!(f, "{:<44}{:>12.1?}", "until all its guests ran elsewhere, mean", mean)?;
        writeln!(f, "{:<44}{:>12.1?}", "and longest", self.longest)?;
        writeln!(f, "{:<44}{:>12}", "daemons that were away for up to 20 s", self.stalls)?;
        writeln!(f, "{:<44}{:>12}", "cuts of up to 2 s", self.cuts)?;
        writeln!(f, "{:<44}{:>12}", "changes of leader", self.elections)?;
        writeln!(f, "{:<44}{:>12}", "times of bad network", self.weathers)?;
        write!(f, "{:<44}{:>12}", "BMCs that were away for a while", self.bmc_outages)
    }
}

/// One cluster's life, of so many hours of nodes.
pub async fn live(seed: u64, node_hours: f64, aloud: bool) -> (Outcome, Tally) {
    let dice = Dice::new(seed, "years");
    let coordinators = if dice.per_mille(250) { 5 } else { 3 };
    let hypervisors = 2 + dice.roll(2) as u8;
    let shape = Shape { coordinators, hypervisors, bmcs: true, ..Shape::default() };
    let nodes = f64::from(coordinators + hypervisors);
    let mut life = Life { stage: Stage::set(&shape, seed, aloud).await, dice, tally: Tally::default() };
    life.stage.start_guests(VMS.len()).await;
    let until = life.stage.cluster.setting.begun + Duration::from_secs_f64(node_hours / nodes * 3600.0);
    while Instant::now() < until && life.is_content() {
        let quiet = life.dice.millis(10_000, 300_000);
        life.stage.cluster.pass(quiet.min(until.saturating_duration_since(Instant::now()))).await;
        life.something_happens().await;
    }
    life.tally.lives = 1;
    life.tally.node_hours = life.stage.cluster.setting.begun.elapsed().as_secs_f64() / 3600.0 * nodes;
    let setting = &life.stage.cluster.setting;
    let outcome = Outcome {
        accusations: setting.witness.accusations(),
        hash: setting.trace.hash(),
        events: setting.trace.events(),
        seconds: setting.begun.elapsed().as_secs(),
        deeds: 0,
        acknowledged: 0,
        tail: setting.trace.tail(),
    };
    (outcome, life.tally)
}

struct Life {
    stage: Stage,
    dice: Dice,
    tally: Tally,
}

impl Life {
    fn is_content(&self) -> bool {
        self.stage.cluster.setting.witness.is_content()
    }

    async fn something_happens(&mut self) {
        let places = self.stage.cluster.places();
        let Some(place) = self.dice.pick(&places).copied() else { return };
        let offs = self.offs();
        match self.dice.roll(10) {
            0..3 => return self.die(place).await,
            3..5 => self.stall(place).await,
            5..7 => self.cut(place, &places).await,
            7 => self.hand_over().await,
            8 => self.weather().await,
            _ => self.bmc_outage(place).await,
        }
        if self.offs() != offs {
            let detail = format!("a host that is alive was switched off; what befell was about {place}");
            self.stage.accuse(Rule::NoFalseFence, detail);
        }
    }

    /// Orders to switch hosts off so far.
    fn offs(&self) -> usize {
        self.stage
            .cluster
            .setting
            .boards
            .bmcs
            .orders()
            .iter()
            .filter(|order| order.starts_with("off "))
            .count()
    }

    async fn die(&mut self, place: Place) {
        let guests = self.stage.cluster.setting.guests.clone();
        let lost: Vec<_> = guests.guests_on(&place.node()).into_iter().map(|guest| guest.uid).collect();
        self.stage.cluster.power_off(place);
        let died = Instant::now();
        self.tally.deaths += u32::from(!lost.is_empty());
        while self.is_content() && !lost.iter().all(|uid| guests.writers(*uid).len() == 1) {
            if died.elapsed() > RECOVERED_WITHIN {
                let what =
                    format!("the guests of {place}, which died, do not run after {RECOVERED_WITHIN:?}");
                return self.stage.accuse(Rule::Heals, what);
            }
            self.stage.cluster.pass(Duration::from_millis(50)).await;
        }
        if !lost.is_empty() && self.is_content() {
            self.tally.recovered += 1;
            self.tally.longest = self.tally.longest.max(died.elapsed());
            self.tally.all += died.elapsed();
        }
        let trusted = |life: &Life| {
            let world = life.stage.cluster.world();
            let node = &world.nodes[&place.node()];
            node.is_reachable() && node.status.fence.is_none() && life.stage.cluster.leader().is_some()
        };
        // Its BMC gives it power again; one that was back before the fence has it already.
        let off = Instant::now();
        self.stage.cluster.pass(Duration::from_secs(20)).await;
        while self.is_content() && !trusted(self) {
            if off.elapsed() > TRUSTED_WITHIN {
                return self.stage.accuse(Rule::Heals, format!("{place} does not come back from its fence"));
            }
            self.stage.cluster.pass(Duration::from_secs(1)).await;
        }
    }

    async fn stall(&mut self, place: Place) {
        self.tally.stalls += 1;
        self.stage.cluster.kill(place);
        let away = self.dice.millis(100, 20_000);
        self.stage.cluster.pass(away).await;
        self.stage.cluster.boot(place);
        self.settle().await;
    }

    async fn cut(&mut self, place: Place, all: &[Place]) {
        self.tally.cuts += 1;
        self.stage.cluster.setting.net.part(&[place], all);
        let away = self.dice.millis(100, 2_000);
        self.stage.cluster.pass(away).await;
        self.stage.cluster.setting.net.heal();
        self.settle().await;
    }

    async fn hand_over(&mut self) {
        self.tally.elections += 1;
        let Some((_, leader)) = self.stage.cluster.leader() else { return };
        let members = leader.store().view().members();
        if let Some(to) = self.dice.pick(&members).map(|member| member.id) {
            drop(leader.store().transfer_leadership(to).await);
        }
        self.settle().await;
    }

    async fn weather(&mut self) {
        self.tally.weathers += 1;
        self.stage.cluster.setting.net.set_weather(Weather {
            lost_per_mille: self.dice.roll(30),
            slow_per_mille: self.dice.roll(100),
            slow_max_ms: 20 + self.dice.roll(300),
        });
        let lasts = self.dice.millis(5_000, 120_000);
        self.stage.cluster.pass(lasts).await;
        self.stage.cluster.setting.net.heal();
        self.settle().await;
    }

    async fn bmc_outage(&mut self, place: Place) {
        self.tally.bmc_outages += 1;
        self.stage.cluster.setting.boards.bmcs.slow(&bmc_address(place), Duration::from_secs(60));
        let lasts = self.dice.millis(5_000, 600_000);
        self.stage.cluster.pass(lasts).await;
        self.stage.cluster.setting.boards.repair(place);
    }

    /// What has just ended is to be over for the cluster too before the next begins.
    async fn settle(&mut self) {
        self.stage.cluster.pass(Duration::from_secs(20)).await;
    }
}
