//! A cluster of simulated hosts: founded as a real one is, and let live from tick to tick, with the checks
//! that look at each of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use pvc_coordinator::core::power::PowerState;
use pvc_coordinator::core::{Coordinator, SubmitError};
use pvc_model::{Command, World};
use pvc_node::leave::Left;
use pvc_node::primary::Record;
use raft_store::{MemberId, MemoryDisk, Pause, Store};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::checks::guests::GuestWatch;
use crate::checks::roles::RoleWatch;
use crate::daemon::{Daemon, Host, migration_address};
use crate::dice::Dice;
use crate::guard::{Manner, SimGuard};
use crate::net::Place;
use crate::setting::Setting;
use crate::shape::Shape;
use crate::witness::Rule;

/// How often the checks look, in virtual time.
const TICK: Duration = Duration::from_millis(50);
/// A daemon that has ended by itself is started again after this long.
const RESTART_AFTER: Duration = Duration::from_secs(2);
const FOUNDED_WITHIN: Duration = Duration::from_secs(120);

/// A host and the daemon that runs on it now.
pub(crate) struct Machine {
    pub(crate) host: Host,
    pub(crate) daemon: Option<Daemon>,
    /// It belongs to the cluster.
    pub(crate) enrolled: bool,
    powered: bool,
    broken: bool,
    /// Its daemon is not to be started again by itself.
    held: bool,
    restart_at: Option<Instant>,
    /// It is being shut down: what its daemon does first.
    leaving: Option<JoinHandle<Left>>,
}

pub struct Cluster {
    pub setting: Setting,
    pub dice: Dice,
    machines: Vec<Machine>,
    watch: GuestWatch,
    roles: RoleWatch,
}

impl Cluster {
    /// Founds a cluster, and returns when all of its nodes are heard.
    pub async fn found(shape: &Shape, seed: u64, aloud: bool) -> Cluster {
        let setting = Setting::new(seed, shape.coordinators + shape.spares, aloud);
        setting.trace.say(format!("{shape:?}"));
        let dice = Dice::new(seed, "cluster");
        let mut machines = Vec::new();
        for number in 1..=shape.coordinators + shape.spares + shape.hypervisors {
            let place = Place(number);
            setting.guests.add_host(&place.node(), &migration_address(place));
            setting.boards.add(place);
            let disk = MemoryDisk::new();
            disk.set_sync_delay(dice.millis(0, shape.sync_max_ms));
            let skew = dice.roll(2 * shape.clock_skew_max_ms + 1) as i64 - shape.clock_skew_max_ms as i64;
            let (checkpoint, member) = (shape.checkpoint.clone(), None);
            let floating = Record::default();
            let clock_skew = Arc::new(AtomicI64::new(skew));
            let pause = Pause::new();
            let guard = SimGuard::new();
            tokio::spawn(guard.clone().run(place, setting.clone()));
            let host = Host { place, member, disk, checkpoint, clock_skew, boots: 0, pause, floating, guard };
            let spare = shape.coordinators < number && number <= shape.coordinators + shape.spares;
            machines.push(Machine {
                host,
                daemon: None,
                enrolled: !spare,
                powered: true,
                broken: false,
                held: false,
                restart_at: None,
                leaving: None,
            });
        }
        let watch = GuestWatch::new(setting.guests.clone(), setting.pool.clone(), setting.witness.clone());
        let mut cluster = Cluster { setting, dice, machines, watch, roles: RoleWatch::default() };
        let founding = cluster.enrol_all(shape);
        if tokio::time::timeout(FOUNDED_WITHIN, founding).await.is_err() {
            cluster.setting.witness.accuse(Rule::Heals, "the cluster could not be founded");
        }
        cluster
    }

    pub(crate) fn vote(&mut self, place: Place, member: MemberId) {
        self.setting.directory.enter(member, place);
        self.machine(place).host.member = Some(member);
    }

    pub(crate) async fn wait_for_core(&self, place: Place) -> (Store, Coordinator) {
        loop {
            if let Some(core) = self.core(place) {
                return core;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn machine(&mut self, place: Place) -> &mut Machine {
        &mut self.machines[usize::from(place.0) - 1]
    }

    /// Hosts of the cluster.
    pub fn places(&self) -> Vec<Place> {
        let enrolled = self.machines.iter().filter(|machine| machine.enrolled);
        enrolled.map(|machine| machine.host.place).collect()
    }

    /// Hosts that vote.
    pub fn voters(&self) -> Vec<Place> {
        let voting = self.machines.iter().filter(|machine| machine.host.member.is_some());
        voting.map(|machine| machine.host.place).collect()
    }

    pub fn disk(&self, place: Place) -> MemoryDisk {
        self.machines[usize::from(place.0) - 1].host.disk.clone()
    }

    /// Store and core of the coordinator that runs there.
    pub fn core(&self, place: Place) -> Option<(Store, Coordinator)> {
        self.machines[usize::from(place.0) - 1].daemon.as_ref()?.core()
    }

    /// The coordinator that leads and decides; the one of the newest term where several believe so.
    pub fn leader(&self) -> Option<(Place, Coordinator)> {
        let cores = self.places().into_iter().filter_map(|place| Some((place, self.core(place)?.1)));
        cores.filter(|(_, core)| core.leading().is_some()).max_by_key(|(_, core)| core.leading())
    }

    /// The newest world that any coordinator shows.
    pub fn world(&self) -> World {
        let worlds = self.places().into_iter().filter_map(|place| Some(self.core(place)?.1.world()));
        worlds.max_by_key(|world| world.revision).unwrap_or_default()
    }

    pub fn runs(&self, place: Place) -> bool {
        self.machines[usize::from(place.0) - 1].daemon.is_some()
    }

    pub fn boot(&mut self, place: Place) {
        let setting = self.setting.clone();
        let machine = self.machine(place);
        machine.held = false;
        if machine.daemon.is_none() && machine.powered && !machine.broken {
            machine.daemon = Some(Daemon::boot(&setting, &mut machine.host));
        }
    }

    /// It stays down until it is booted.
    pub fn kill(&mut self, place: Place) {
        let setting = self.setting.clone();
        let machine = self.machine(place);
        machine.held = true;
        if let Some(leaving) = machine.leaving.take() {
            leaving.abort();
        }
        setting.frozen.lock().remove(&place);
        machine.host.pause.resume();
        if let Some(daemon) = machine.daemon.take() {
            daemon.kill(&setting, &machine.host);
        }
    }

    /// In order; back at once.
    pub async fn restart(&mut self, place: Place) {
        let setting = self.setting.clone();
        let machine = self.machine(place);
        if let Some(daemon) = machine.daemon.take() {
            daemon.stop(&setting, &machine.host).await;
        }
        self.boot(place);
    }

    /// In order: its daemon sees its guests off, and then it has no power. Where no daemon runs, at once.
    pub fn shut_down(&mut self, place: Place) {
        self.setting.trace.say(format!("{place} shuts down"));
        let machine = self.machine(place);
        match &machine.daemon {
            None => self.power_off(place),
            // Asked once more, it goes on with what it does.
            Some(_) if machine.leaving.is_some() => {}
            Some(daemon) => machine.leaving = daemon.leave(),
        }
    }

    /// Its daemon stands still, or goes on: with the timers that it had.
    pub fn freeze(&mut self, place: Place, frozen: bool) {
        let what = if frozen { "stands still" } else { "goes on" };
        self.setting.trace.say(format!("the daemon of {place} {what}"));
        let pause = self.machine(place).host.pause.clone();
        if frozen {
            self.setting.frozen.lock().insert(place);
            pause.stop();
        } else {
            self.setting.frozen.lock().remove(&place);
            pause.resume();
        }
    }

    /// The whole host stands still, its kernel too, or goes on.
    pub fn freeze_host(&mut self, place: Place, frozen: bool) {
        self.freeze(place, frozen);
        self.machine(place).host.guard.freeze(frozen);
        if frozen {
            self.setting.net.part(&[place], &[self.places(), vec![Place::PEOPLE]].concat());
        } else {
            self.setting.net.rejoin(place);
        }
    }

    /// The whole host, with its guests.
    pub fn power_off(&mut self, place: Place) {
        self.kill(place);
        self.setting.trace.say(format!("{place} loses its power"));
        self.setting.boards.plug(place, PowerState::Off);
        self.machine(place).powered = false;
        self.machine(place).host.guard.power(false);
        self.setting.guests.power_off(&place.node());
        self.setting.segment.lose(&place.node());
        self.machine(place).host.floating = Record::default();
    }

    /// One that is being shut down is reset: nothing calls a shutdown back.
    pub fn power_on(&mut self, place: Place) {
        if self.machine(place).leaving.is_some() {
            self.power_off(place);
        }
        if !std::mem::replace(&mut self.machine(place).powered, true) {
            self.setting.trace.say(format!("{place} has power again"));
            self.setting.boards.plug(place, PowerState::On);
            self.machine(place).host.guard.power(true);
            self.setting.guests.power_on(&place.node());
        }
        self.boot(place);
    }

    /// What is the matter with its guard.
    pub fn set_guard(&mut self, place: Place, manner: Manner) {
        self.setting.trace.say(format!("the guard of {place} is {manner:?}"));
        self.machine(place).host.guard.set(manner);
    }

    /// Its wall clock is set by so many milliseconds, ahead or back.
    pub fn jump_clock(&mut self, place: Place, by_ms: i64) {
        self.setting.trace.say(format!("the clock of {place} jumps by {by_ms} ms"));
        self.machine(place).host.clock_skew.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// For ever.
    pub fn break_down(&mut self, place: Place) {
        self.kill(place);
        self.machine(place).broken = true;
    }

    /// It belongs to the cluster no more.
    pub fn retire(&mut self, place: Place) {
        self.kill(place);
        self.machine(place).enrolled = false;
    }

    /// Lets time pass, looks at it, and starts again what has ended by itself. Ends early when a rule is
    /// broken.
    pub async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && self.setting.witness.is_content() {
            self.tick(TICK).await;
        }
    }

    /// Lets this time pass, and looks at it once.
    pub async fn tick(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
        self.watch.look();
        self.roles.look(&self.setting);
        self.supervise();
    }

    fn supervise(&mut self) {
        for (place, power) in self.setting.boards.switched() {
            match power {
                PowerState::Off => self.power_off(place),
                PowerState::On => self.power_on(place),
            }
        }
        for place in self.places() {
            if self.machine(place).leaving.as_ref().is_some_and(JoinHandle::is_finished) {
                self.power_off(place);
            }
            let setting = self.setting.clone();
            let machine = self.machine(place);
            if machine.daemon.as_ref().is_some_and(Daemon::has_ended)
                && let Some(daemon) = machine.daemon.take()
            {
                daemon.kill(&setting, &machine.host);
                machine.restart_at = Some(Instant::now() + RESTART_AFTER);
            }
            if !machine.held && machine.restart_at.is_some_and(|at| at <= Instant::now()) {
                machine.restart_at = None;
                self.boot(place);
            }
        }
    }

    /// Boots and ends of guests so far.
    pub fn happenings(&self) -> usize {
        self.watch.seen()
    }

    /// Submits at the leader itself, past all networks, until it is decided: for preparing a scene.
    pub async fn decree(&mut self, command: Command) -> World {
        loop {
            if let Some((_, leader)) = self.leader() {
                match leader.submit(command.clone(), "admin/scene", Some(format!("{command:?}"))).await {
                    Ok(committed) => return committed.world,
                    Err(SubmitError::Rejected(rejection)) => {
                        let what = format!("{command:?} is refused: {rejection}");
                        self.setting.witness.accuse(Rule::Heals, what);
                        return self.world();
                    }
                    Err(_) => {}
                }
            }
            self.pass(Duration::from_millis(100)).await;
        }
    }
}
