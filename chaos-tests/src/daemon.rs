//! One run of `pvcd` on a host: the coordinator's core on its store, where the host is a coordinator, and
//! the agent. It is killed as by `kill -9` and a power cut at once: what the disk had not synced is lost,
//! and what was under way is never heard of. Guests are no part of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pvc_coordinator::core::{Coordinator, CoordinatorOptions, Environment};
use pvc_model::Timestamp;
use pvc_node::agent::heartbeat::{InTask, LoadSource};
use pvc_node::agent::incarnation::Incarnation;
use pvc_node::agent::lease::Lease;
use pvc_node::agent::volumes::Pools;
use pvc_node::agent::{Agent, Parts, Settings};
use pvc_node::guard;
use pvc_node::leave::{self, Left};
use pvc_node::primary::{self, Keeper, Record, Wish};
use raft_store::{Checkpoint, Engine, Member, MemberId, MemoryDisk, Options, Pause, Store};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::asking::Asking;
use crate::boards::{Look, Wires};
use crate::dice::Dice;
use crate::guard::SimGuard;
use crate::link::{LeaseBook, SimLink};
use crate::net::{Endpoint, Place};
use crate::setting::{CLUSTER, POOL, Setting};
use crate::storage::ReachedPool;
use crate::transport::Wire;
use crate::watched::Watched;
use crate::witness::Rule;

/// Milliseconds since 1970 at which every simulation begins.
const EPOCH_MS: i64 = 1_700_000_000_000;
/// A store that can't be opened is tried again after this long, as a supervisor does.
const OPEN_AGAIN: Duration = Duration::from_secs(2);

/// What a host has whether its daemon runs or not.
#[derive(Clone)]
pub struct Host {
    pub place: Place,
    /// None: it does not vote.
    pub member: Option<MemberId>,
    pub disk: MemoryDisk,
    pub checkpoint: Checkpoint,
    /// How wrong its wall clock is, in milliseconds; clones share it.
    pub clock_skew: Arc<AtomicI64>,
    /// Starts of its daemon so far.
    pub boots: u64,
    /// By which its daemon is made to stand still, as by SIGSTOP.
    pub pause: Pause,
    /// What its disk says of the floating address.
    pub floating: Record,
    pub guard: SimGuard,
}

/// A host's wall clock: follows virtual time, with an error of its own, which may jump.
#[derive(Clone)]
pub struct Clock {
    begun: Instant,
    skew: Arc<AtomicI64>,
}

impl Clock {
    fn now_ms(&self) -> u64 {
        (EPOCH_MS + self.skew_ms() + self.begun.elapsed().as_millis() as i64) as u64
    }

    fn skew_ms(&self) -> i64 {
        self.skew.load(Ordering::Relaxed)
    }

    /// When it showed this; wrong across a jump.
    pub fn instant(&self, shown: Timestamp) -> Instant {
        let since_begun = shown.0 as i64 - EPOCH_MS - self.skew_ms();
        self.begun + Duration::from_millis(since_begun.max(0) as u64)
    }
}

struct HostEnvironment {
    clock: Clock,
    dice: Dice,
}

impl Environment for HostEnvironment {
    fn wall_now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn seed(&self) -> [u64; 2] {
        [self.dice.bits(), self.dice.bits()]
    }
}

struct NoLoad;

impl LoadSource for NoLoad {
    fn load(&self) -> (f64, u64) {
        (0.0, 0)
    }
}

/// The parts that must be ended one by one.
type Core = Arc<Mutex<Option<(Store, Coordinator)>>>;

pub struct Daemon {
    pub lease: LeaseBook,
    gone: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    core: Core,
    /// It has ended by itself and waits for its supervisor.
    ended: Arc<AtomicBool>,
    /// Has the guard disarmed, and what does it.
    guard_stop: watch::Sender<bool>,
    guard_keeper: JoinHandle<()>,
    /// With which it leaves when its host is shut down.
    way: Arc<Mutex<Option<leave::Parts>>>,
}

impl Daemon {
    pub fn boot(setting: &Setting, host: &mut Host) -> Daemon {
        host.boots += 1;
        setting.trace.say(format!("{} boots its daemon", host.place));
        let dice = Dice::new(setting.seed, &format!("daemon {} of {}", host.boots, host.place));
        let (guard_stop, guard_stopped) = watch::channel(false);
        let mut daemon = Daemon {
            lease: LeaseBook::default(),
            gone: CancellationToken::new(),
            tasks: Vec::new(),
            core: Core::default(),
            ended: Arc::default(),
            guard_stop,
            guard_keeper: tokio::spawn(std::future::ready(())),
            way: Arc::default(),
        };
        setting.leases.lock().insert(host.place, daemon.lease.clone());
        let (acting, keeper) = daemon.act(setting, host, dice.clone(), guard_stopped);
        let pause = host.pause.clone();
        daemon.guard_keeper = tokio::spawn(async move { pause.hold(keeper.run()).await });
        daemon.tasks = vec![tokio::spawn(acting)];
        if let Some(member) = host.member {
            let serving = daemon.serve(setting, host, member, dice);
            daemon.tasks.push(tokio::spawn(serving));
        }
        daemon
    }

    /// The agent's part, and the guard's keeper.
    fn act(
        &self,
        setting: &Setting,
        host: &Host,
        dice: Dice,
        guard_stop: watch::Receiver<bool>,
    ) -> (impl Future<Output = ()> + use<>, guard::Keeper) {
        let place = host.place;
        let asking = Asking::new(setting.net.clone(), place, setting.coordinators.clone(), dice);
        let mut pools = Pools::new();
        let pool =
            ReachedPool { inner: setting.pool.clone(), here: place, cuts: setting.storage_cuts.clone() };
        pools.insert(POOL.parse().expect("a name"), Arc::new(pool));
        let (boots, drawn) = (host.boots, AtomicU64::new(0));
        let parts = Parts {
            me: place.node(),
            link: Arc::new(SimLink {
                asking,
                here: place,
                lease: self.lease.clone(),
                pause: host.pause.clone(),
            }),
            hypervisor: Arc::new(Watched {
                inner: setting.guests.hypervisor(&place.node()),
                here: place,
                lease: self.lease.clone(),
                witness: setting.witness.clone(),
                pause: host.pause.clone(),
            }),
            pools,
            load: Arc::new(NoLoad),
            beat: Arc::new(InTask),
            lease: Lease::default(),
            incarnation: Incarnation::default(),
            settings: Settings::simulated(migration_address(place)),
            network_health: tokio::sync::watch::channel(pvc_model::node::NetworkHealth::default()).1,
            request_id: Arc::new(move || {
                format!("{place}-{boots}-{}", drawn.fetch_add(1, Ordering::Relaxed))
            }),
        };
        let keeping = primary::Parts {
            me: place.node(),
            link: parts.link.clone(),
            lease: parts.lease.clone(),
            addresses: Arc::new(setting.segment.host(&place.node())),
            record: host.floating.clone(),
            networks: watch::channel(pvc_network::drive::Health::default()).1,
            view: watch::channel(Arc::default()).1,
        };
        let (link, lease) = (parts.link.clone(), parts.lease.clone());
        let way = leave::Parts {
            me: place.node(),
            link: link.clone(),
            lease: lease.clone(),
            view: watch::channel(Arc::default()).1,
            within: leave::HOLD_UP,
        };
        let (agent, view) = Agent::new(parts);
        *self.way.lock() = Some(leave::Parts { view: view.clone(), ..way });
        let port = Arc::new(host.guard.clone());
        let guarding = guard::keeper::Parts { me: place.node(), link, lease, view: view.clone(), port };
        let guard_keeper = guard::Keeper::new(guarding, guard_stop);
        let (wishes, wish) = watch::channel(Wish::default());
        let (keeper, _) = Keeper::new(primary::Parts { view, ..keeping }, wish);
        let (witness, ended, pause) = (setting.witness.clone(), self.ended.clone(), host.pause.clone());
        let acting = async move {
            let _open = wishes;
            let mut keeping = JoinSet::new();
            keeping.spawn(pause.hold(keeper.run()));
            let error = pause.hold(agent.run()).await;
            witness.accuse(Rule::NobodyGivesUp, format!("the agent of {place} gave up: {error}"));
            ended.store(true, Ordering::Relaxed);
        };
        (acting, guard_keeper)
    }

    /// The coordinator's part.
    fn serve(
        &self,
        setting: &Setting,
        host: &Host,
        member: MemberId,
        dice: Dice,
    ) -> impl Future<Output = ()> + use<> {
        let (setting, host) = (setting.clone(), host.clone());
        let (gone, core, ended) = (self.gone.clone(), self.core.clone(), self.ended.clone());
        async move {
            let place = host.place;
            let store = loop {
                match Store::open(
                    options(&host, member, &setting, &dice),
                    wire(&setting, member, place, &gone),
                )
                .await
                {
                    Ok(store) => break store,
                    Err(error) => setting.trace.say(format!("{place} can't open its store: {error}")),
                }
                tokio::time::sleep(OPEN_AGAIN).await;
            };
            let clock = Clock { begun: setting.begun, skew: host.clock_skew.clone() };
            let environment = HostEnvironment { clock: clock.clone(), dice };
            let (net, boards, pause) = (setting.net.clone(), setting.boards.clone(), host.pause.clone());
            let wires = Wires { here: place, boards: boards.clone(), pause: pause.clone() };
            let look = Look { here: place, net, boards };
            let options = CoordinatorOptions {
                power: Arc::new(wires),
                probe: Arc::new(look),
                pause: Some(pause.clone()),
                ..CoordinatorOptions::default()
            };
            let coordinator = Coordinator::start(store.clone(), Arc::new(environment), options);
            let coordinator = coordinator.expect("there is one version only");
            *core.lock() = Some((store.clone(), coordinator.clone()));
            let endpoint = Endpoint {
                store: store.clone(),
                coordinator: coordinator.clone(),
                gone: gone.clone(),
                pause,
            };
            setting.net.attach(place, endpoint);
            let replicas = setting.replicas.clone();
            tokio::spawn(replicas.follow(place, store.clone(), coordinator, clock, gone));
            // A store that has failed for good ends its process.
            let mut status = store.status();
            if status.wait_for(raft_store::Status::is_fatal).await.is_ok() {
                setting.trace.say(format!("the store of {place} has failed"));
                ended.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Its host is being shut down: what the daemon does first. None: it was asked to before.
    pub fn leave(&self) -> Option<JoinHandle<Left>> {
        self.way.lock().take().map(|parts| tokio::spawn(leave::leave(parts)))
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub fn core(&self) -> Option<(Store, Coordinator)> {
        self.core.lock().clone()
    }

    /// At once, with all that was under way.
    pub fn kill(self, setting: &Setting, host: &Host) {
        setting.trace.say(format!("the daemon of {} is killed", host.place));
        self.vanish(setting, host);
        host.disk.crash();
        if let Some((store, coordinator)) = self.core.lock().take() {
            // What is left of it can reach nobody, and no disk.
            tokio::spawn(async move { tokio::join!(coordinator.stop(), store.kill()) });
        }
    }

    /// In order, as an upgrade does it.
    pub async fn stop(mut self, setting: &Setting, host: &Host) {
        setting.trace.say(format!("the daemon of {} stops", host.place));
        let keeper = std::mem::replace(&mut self.guard_keeper, tokio::spawn(std::future::ready(())));
        guard::keeper::stop(&self.guard_stop, keeper).await;
        self.vanish(setting, host);
        let core = self.core.lock().take();
        if let Some((store, coordinator)) = core {
            coordinator.stop().await;
            store.shutdown().await;
        }
    }

    fn vanish(&self, setting: &Setting, host: &Host) {
        self.gone.cancel();
        self.guard_keeper.abort();
        self.tasks.iter().for_each(JoinHandle::abort);
        setting.net.detach(host.place);
        setting.leases.lock().remove(&host.place);
    }
}

/// Where other hosts' hypervisors reach this one's.
pub fn migration_address(place: Place) -> String {
    format!("address-of-{place}")
}

/// Where its daemon is reached.
pub fn address(place: Place) -> String {
    format!("{place}:7443")
}

fn options(host: &Host, member: MemberId, setting: &Setting, dice: &Dice) -> Options {
    let me = Member::new(member, address(host.place));
    let mut options = Options::new(Engine::Memory(host.disk.clone()), me, CLUSTER);
    options.seed = Some(dice.bits());
    options.checkpoint = host.checkpoint.clone();
    options.peers = setting.directory.members();
    options.pause = Some(host.pause.clone());
    options
}

fn wire(setting: &Setting, me: MemberId, here: Place, gone: &CancellationToken) -> Arc<Wire> {
    let (net, directory) = (setting.net.clone(), setting.directory.clone());
    Arc::new(Wire { net, directory, me, here, gone: gone.clone() })
}
