//! Machines, and the processes of members that run on them now: booted, killed as by `kill -9` and a power cut at
//! once, stopped and resumed as by SIGSTOP and SIGCONT.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use raft_store::{Checkpoint, Engine, Limits, Member, MemberId, MemoryDisk, Options, Pause, Store, Timing};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::checks::replicas::{Leases, Replicas};
use crate::daemon::address;
use crate::dice::Dice;
use crate::net::{Net, Place, Reached};
use crate::setting::CLUSTER;
use crate::trace::Trace;
use crate::transport::{Directory, Wire};
use crate::witness::{Rule, Witness};

/// A store that can't be opened is tried again after this long, as a supervisor does.
const OPEN_AGAIN: Duration = Duration::from_secs(1);
const FOUNDED_WITHIN: Duration = Duration::from_secs(60);

/// What the network reaches of a member's process.
#[derive(Clone)]
pub struct Served {
    pub store: Store,
    pub gone: CancellationToken,
    pub pause: Pause,
}

impl Reached for Served {
    fn store(&self) -> &Store {
        &self.store
    }

    fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    fn pause(&self) -> Option<&Pause> {
        Some(&self.pause)
    }
}

#[derive(Clone, Debug)]
pub struct Shape {
    pub members: u8,
    /// Machines on which members can be put later.
    pub spares: u8,
    pub timing: Timing,
    pub checkpoint: Checkpoint,
    pub limits: Limits,
    /// How long a disk's sync takes at most, in milliseconds.
    pub sync_max_ms: u64,
}

struct Process {
    gone: CancellationToken,
    pause: Pause,
    store: Arc<Mutex<Option<Store>>>,
    opening: JoinHandle<()>,
}

struct Machine {
    disk: MemoryDisk,
    /// The member whose disk this is.
    member: Option<MemberId>,
    process: Option<Process>,
    boots: u64,
}

/// Clones are the same members.
#[derive(Clone)]
pub struct Members {
    pub seed: u64,
    pub trace: Trace,
    pub witness: Witness,
    pub net: Net<Served>,
    pub shape: Arc<Shape>,
    directory: Directory,
    replicas: Replicas,
    machines: Arc<Mutex<Vec<Machine>>>,
    next_id: Arc<Mutex<MemberId>>,
    /// Held while members change: one change at a time.
    pub changing: Arc<tokio::sync::Mutex<()>>,
}

impl Members {
    pub async fn found(shape: Shape, seed: u64, aloud: bool) -> Members {
        let trace = Trace::new(aloud);
        trace.say(format!("{shape:?}"));
        let dice = Dice::new(seed, "machines");
        let machines = (0..shape.members + shape.spares).map(|_| {
            let disk = MemoryDisk::new();
            disk.set_sync_delay(dice.millis(0, shape.sync_max_ms));
            Machine { disk, member: None, process: None, boots: 0 }
        });
        let witness = Witness::new(trace.clone());
        let members = Members {
            seed,
            net: Net::new(seed, trace.clone()),
            directory: Directory::default(),
            replicas: Replicas::new(witness.clone(), Leases::default()),
            machines: Arc::new(Mutex::new(machines.collect())),
            next_id: Arc::new(Mutex::new(1)),
            changing: Arc::default(),
            shape: Arc::new(shape),
            trace,
            witness,
        };
        if tokio::time::timeout(FOUNDED_WITHIN, members.begin()).await.is_err() {
            members.witness.accuse(Rule::Heals, "the store could not be founded");
        }
        members
    }

    async fn begin(&self) {
        let first = Place(1);
        self.settle(first);
        let store = self.opened(first).await;
        store.found().await.expect("an empty store can be founded");
        for number in 2..=self.shape.members {
            let member = self.settle(Place(number));
            self.opened(Place(number)).await;
            store.add_learner(Member::new(member, address(Place(number)))).await.expect("a learner");
            store.promote(member).await.expect("a voter");
        }
    }

    /// A new member's process begins on an empty machine.
    pub fn settle(&self, place: Place) -> MemberId {
        let member = {
            let mut next = self.next_id.lock();
            *next += 1;
            *next - 1
        };
        self.directory.enter(member, place);
        self.machine(place, |machine| machine.member = Some(member));
        self.boot(place);
        member
    }

    pub async fn opened(&self, place: Place) -> Store {
        loop {
            if let Some(served) = self.net.endpoint(place) {
                return served.store;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn machine<T>(&self, place: Place, what: impl FnOnce(&mut Machine) -> T) -> T {
        what(&mut self.machines.lock()[usize::from(place.0) - 1])
    }

    /// Machines with a member on them.
    pub fn places(&self) -> Vec<Place> {
        self.where_machines(|machine| machine.member.is_some())
    }

    pub fn empty_places(&self) -> Vec<Place> {
        self.where_machines(|machine| machine.member.is_none())
    }

    fn where_machines(&self, are: impl Fn(&Machine) -> bool) -> Vec<Place> {
        let machines = self.machines.lock();
        let numbers = machines.iter().enumerate().filter(|(_, machine)| are(machine));
        numbers.map(|(number, _)| Place(number as u8 + 1)).collect()
    }

    pub fn place_of(&self, member: MemberId) -> Option<Place> {
        self.directory.place(member)
    }

    pub fn member_at(&self, place: Place) -> Option<MemberId> {
        self.machine(place, |machine| machine.member)
    }

    pub fn disk(&self, place: Place) -> MemoryDisk {
        self.machine(place, |machine| machine.disk.clone())
    }

    pub fn store(&self, place: Place) -> Option<Store> {
        self.net.endpoint(place).map(|served| served.store)
    }

    /// Whoever leads; in the newest term where several believe so.
    pub fn leader(&self) -> Option<(Place, Store)> {
        let all = self.net.endpoints().into_iter().map(|(place, served)| (place, served.store));
        let leads = |store: &Store| store.leadership().borrow().map(|leadership| leadership.term);
        let leading = all.filter_map(|(place, store)| leads(&store).map(|term| (term, place, store)));
        leading.max_by_key(|(term, ..)| *term).map(|(_, place, store)| (place, store))
    }

    pub fn boot(&self, place: Place) {
        let Some(member) = self.member_at(place) else { return };
        let members = self.clone();
        self.machine(place, |machine| {
            if machine.process.is_some() {
                return;
            }
            machine.boots += 1;
            self.trace.say(format!("{place} starts member {member}"));
            let (gone, pause, store) = (CancellationToken::new(), Pause::new(), Arc::default());
            let dice = Dice::new(self.seed, &format!("member {member}, start {}", machine.boots));
            let process = (gone.clone(), pause.clone());
            let serving = members.serve(place, member, dice, process, Arc::clone(&store));
            let opening = tokio::spawn(pause.hold(serving));
            machine.process = Some(Process { gone, pause, store, opening });
        });
    }

    /// Opens the store, until it opens, and lets the network reach it.
    async fn serve(
        self,
        place: Place,
        member: MemberId,
        dice: Dice,
        (gone, pause): (CancellationToken, Pause),
        slot: Arc<Mutex<Option<Store>>>,
    ) {
        let store = loop {
            let (net, directory) = (self.net.clone(), self.directory.clone());
            let wire = Wire { net, directory, me: member, here: place, gone: gone.clone() };
            match Store::open(self.options(place, member, &dice, &pause), Arc::new(wire)).await {
                Ok(store) => break store,
                Err(error) => self.trace.say(format!("{place} can't open its store: {error}")),
            }
            tokio::time::sleep(OPEN_AGAIN).await;
        };
        *slot.lock() = Some(store.clone());
        tokio::spawn(self.replicas.clone().follow_store(place, store.clone(), gone.clone()));
        self.net.attach(place, Served { store, gone, pause });
    }

    fn options(&self, place: Place, member: MemberId, dice: &Dice, pause: &Pause) -> Options {
        let me = Member::new(member, address(place));
        Options {
            seed: Some(dice.bits()),
            timing: self.shape.timing.clone(),
            checkpoint: self.shape.checkpoint.clone(),
            limits: self.shape.limits.clone(),
            peers: self.directory.members(),
            pause: Some(pause.clone()),
            ..Options::new(Engine::Memory(self.disk(place)), me, CLUSTER)
        }
    }

    /// At once: what its disk had not synced is lost, and what was under way is never heard of.
    pub fn kill(&self, place: Place) {
        let Some(process) = self.machine(place, |machine| machine.process.take()) else { return };
        self.trace.say(format!("{place} is killed"));
        process.gone.cancel();
        process.opening.abort();
        self.net.detach(place);
        self.disk(place).crash();
        // What is left of it can reach nobody, and no disk.
        process.pause.resume();
        if let Some(store) = process.store.lock().take() {
            tokio::spawn(async move { store.kill().await });
        }
    }

    /// The machine is emptied, for another member.
    pub fn clear(&self, place: Place) {
        self.kill(place);
        self.machine(place, |machine| {
            machine.disk.wipe();
            machine.member = None;
        });
    }

    pub fn stop(&self, place: Place) {
        self.with_pause(place, |pause| {
            self.trace.say(format!("{place} is stopped"));
            pause.stop();
        });
    }

    pub fn resume(&self, place: Place) {
        self.with_pause(place, |pause| {
            if pause.is_stopped() {
                self.trace.say(format!("{place} goes on"));
            }
            pause.resume();
        });
    }

    fn with_pause(&self, place: Place, what: impl FnOnce(&Pause)) {
        let pause =
            self.machine(place, |machine| machine.process.as_ref().map(|process| process.pause.clone()));
        if let Some(pause) = pause {
            what(&pause);
        }
    }

    /// It stands still for so long; not worth a word.
    pub async fn stall(&self, place: Place, time: Duration) {
        self.with_pause(place, Pause::stop);
        tokio::time::sleep(time).await;
        self.with_pause(place, Pause::resume);
    }

    /// Starts again what has failed for good, as a supervisor does.
    pub fn supervise(&self) {
        for (place, served) in self.net.endpoints() {
            if served.store.status().borrow().is_fatal() {
                self.trace.say(format!("the store of {place} has failed"));
                self.kill(place);
                self.boot(place);
            }
        }
    }

    pub async fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && self.witness.is_content() {
            tokio::time::sleep((end - Instant::now()).min(Duration::from_millis(250))).await;
            self.supervise();
        }
    }
}
