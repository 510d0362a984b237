//! The handle by which everything else reaches the core: cheap to clone, safe to share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use pvc_model::command::{CountedGuest, NetworkCommand, PrimaryReport, VmReport, VolumeReport};
use pvc_model::feature::{LevelError, Levels, OURS};
use pvc_model::guard::Guard;
use pvc_model::health::{SYNC_LIMIT_DEFAULT, StoreHealth};
use pvc_model::network::lease::LeaseReport;
use pvc_model::node::NodeFacts;
use pvc_model::{Changes, Command, Context, Name, Rejection, Timestamp, Uid, World, decide};
use raft_store::{Pause, Store};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::assignments::AssignmentStream;
use super::controllers;
use super::environment::Environment;
use super::error::{ReadError, SubmitError, WatchStop};
use super::health::OwnHealth;
use super::heartbeats::{Heartbeat, HeartbeatAck, Heartbeats};
use super::lane::{Committed, Lane, LaneStats, QUEUE_COMMANDS_MAX, Request};
use super::leader::leader_name;
use super::power::{NoPower, Power};
use super::probe::{Knock, Probe};
use super::round::check_size;
use super::rule_check::{RuleCheck, TakesAll};
use super::seat::Seat;
use super::watch::ObjectWatch;
use super::world::WorldFeed;

/// A follower without a leader, and a watch that was cut, look again this often.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
pub struct CoordinatorOptions {
    /// G: a node that was silent for longer is unreachable.
    pub grace: Duration,
    /// A heartbeat is acknowledged when a quorum has answered a Raft heartbeat sent less than this ago.
    /// Not longer than the shortest election timeout.
    pub lease: Duration,
    /// How long a linearizable read may take.
    pub read_deadline: Duration,
    /// How often the store was recovered from the loss of its quorum. Nodes are told nothing before the
    /// objects know of it.
    pub recoveries: u64,
    /// The log's fsync p99 above which this coordinator's disk is called slow.
    pub sync_limit: Duration,
    /// The feature levels that this build can. A test may pretend to be another build.
    pub levels: Levels,
    /// The way to look at silent nodes' hosts.
    pub probe: Arc<dyn Probe>,
    /// The way to the nodes' BMCs.
    pub power: Arc<dyn Power>,
    /// The packet filter that is asked about people's own statements.
    pub rules: Arc<dyn RuleCheck>,
    /// By which a simulation makes this coordinator stand still, as SIGSTOP does.
    pub pause: Option<Pause>,
}

impl Default for CoordinatorOptions {
    fn default() -> Self {
        CoordinatorOptions {
            grace: Duration::from_secs(3),
            lease: raft_store::Timing::default().election_max,
            read_deadline: Duration::from_secs(5),
            recoveries: 0,
            sync_limit: SYNC_LIMIT_DEFAULT,
            levels: OURS,
            probe: Arc::new(Knock),
            power: Arc::new(NoPower),
            rules: Arc::new(TakesAll),
            pause: None,
        }
    }
}

/// The core of one coordinator. Clones share it.
#[derive(Clone)]
pub struct Coordinator {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub store: Store,
    pub feed: Arc<WorldFeed>,
    pub hearts: Heartbeats,
    pub health: OwnHealth,
    pub environment: Arc<dyn Environment>,
    pub options: CoordinatorOptions,
    /// The term in which this coordinator decides now.
    pub leading: watch::Receiver<Option<u64>>,
    queue: mpsc::Sender<Request>,
    stats: Arc<LaneStats>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Coordinator {
    /// Starts the lane, the feed and the controllers' supervisor on an open store. Refused where the cluster
    /// is at a feature level that this build can't do: nothing is started then.
    pub fn start(
        store: Store,
        environment: Arc<dyn Environment>,
        options: CoordinatorOptions,
    ) -> Result<Self, LevelError> {
        let feed = WorldFeed::new(&store.view());
        options.levels.admit(feed.current().level())?;
        let (queue, requests) = mpsc::channel(QUEUE_COMMANDS_MAX);
        let (leading, led) = watch::channel(None);
        let stats = Arc::new(LaneStats::default());
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let lane = Lane {
            store: store.clone(),
            feed: Arc::clone(&feed),
            environment: Arc::clone(&environment),
            queue: requests,
            leading,
            stats: Arc::clone(&stats),
            last_now_ms: 0,
        };
        let hearts = Heartbeats::default();
        let shared = Shared {
            store: store.clone(),
            feed,
            hearts,
            health: OwnHealth::new(store.clone(), options.sync_limit),
            environment,
            options,
            leading: led,
            queue,
            stats,
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        let coordinator = Coordinator { shared: Arc::new(shared) };
        let following = follow(coordinator.shared.store.clone(), Arc::clone(&coordinator.shared.feed));
        let measuring = coordinator.shared.health.clone().measure();
        coordinator.spawn(lane.run(stop.clone()));
        coordinator.spawn(stop.clone().run_until_cancelled_owned(following).map(|_ended| ()));
        coordinator.spawn(stop.clone().run_until_cancelled_owned(measuring).map(|_ended| ()));
        coordinator.spawn(controllers::supervise(coordinator.clone(), stop));
        tasks.close();
        Ok(coordinator)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match &self.shared.options.pause {
            None => drop(self.shared.tasks.spawn(task)),
            Some(pause) => drop(self.shared.tasks.spawn(pause.hold(task))),
        }
    }

    /// The same, standing still with this coordinator.
    pub(super) fn held(&self, drive: controllers::Drive) -> controllers::Drive {
        match &self.shared.options.pause {
            None => drive,
            Some(pause) => Box::pin(pause.hold(drive)),
        }
    }

    /// Stops the core's tasks and waits for them. The store is left open.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.wait().await;
    }

    /// Decides and commits a command. `actor` is for the audit ("admin/root"); a command repeated with
    /// the same `request_id` within ten minutes is answered with what was recorded the first time.
    pub async fn submit(
        &self,
        command: Command,
        actor: &str,
        request_id: Option<String>,
    ) -> Result<Committed, SubmitError> {
        let (answer, answered) = oneshot::channel();
        let request = Request { command, actor: actor.to_owned(), request_id, answer };
        self.shared.queue.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SubmitError::Busy,
            mpsc::error::TrySendError::Closed(_) => SubmitError::Stopped,
        })?;
        let dropped = || SubmitError::Unknown("leadership changed in between".to_owned());
        answered.await.unwrap_or_else(|_| Err(dropped()))
    }

    /// Decides on the world as it is, and changes nothing: what `submit` would do now.
    pub fn check(&self, world: &World, command: &Command, actor: &str) -> Result<Changes, Rejection> {
        let changes = decide(world, command, &mut self.context(actor))?;
        check_size(&changes)?;
        Ok(changes)
    }

    pub(super) fn context(&self, actor: &str) -> Context {
        let environment = &self.shared.environment;
        Context::new(Timestamp(environment.wall_now_ms()), actor, environment.seed())
    }

    /// The world as this coordinator has it now; may lag.
    pub fn world(&self) -> World {
        self.shared.feed.current()
    }

    /// The world with every write in it that was acknowledged before the call.
    pub async fn linearizable_world(&self) -> Result<World, ReadError> {
        let read = tokio::time::timeout(self.shared.options.read_deadline, self.shared.store.linearizable());
        match read.await {
            Ok(Ok(view)) => Ok(self.shared.feed.advance(&view)),
            Ok(Err(error)) => Err(ReadError::NotConfirmed(error.to_string())),
            Err(_) => Err(ReadError::NotConfirmed("nobody answered in time".to_owned())),
        }
    }

    /// Told with each new revision.
    pub fn worlds(&self) -> watch::Receiver<World> {
        self.shared.feed.subscribe()
    }

    /// The term in which this coordinator leads and decides; None: it does not.
    pub fn leading(&self) -> Option<u64> {
        *self.shared.leading.borrow()
    }

    /// Told when `leading` changes.
    pub fn leadership(&self) -> watch::Receiver<Option<u64>> {
        self.shared.leading.clone()
    }

    /// The node that leads, as far as this coordinator knows.
    pub fn leader(&self) -> Option<Name> {
        leader_name(&self.shared.store, &self.world())
    }

    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    pub fn environment(&self) -> &dyn Environment {
        &*self.shared.environment
    }

    pub fn lane_stats(&self) -> &LaneStats {
        &self.shared.stats
    }

    pub fn heartbeats(&self) -> &Heartbeats {
        &self.shared.hearts
    }

    /// How this coordinator's own store is.
    pub fn store_health(&self) -> StoreHealth {
        self.shared.health.read()
    }

    /// G: a node that was silent for longer is unreachable.
    pub(super) fn grace(&self) -> Duration {
        self.shared.options.grace
    }

    /// The way to look at silent nodes' hosts.
    pub(super) fn probe(&self) -> &dyn Probe {
        &*self.shared.options.probe
    }

    /// The way to the nodes' BMCs.
    pub fn power(&self) -> &dyn Power {
        &*self.shared.options.power
    }

    /// The packet filter that is asked about people's own statements.
    pub fn rule_check(&self) -> &dyn RuleCheck {
        &*self.shared.options.rules
    }

    /// The feature levels that this build can.
    pub fn levels(&self) -> Levels {
        self.shared.options.levels
    }

    /// Resolves when the cluster is at a feature level that this build can't do: it must not go on.
    pub async fn outdated(&self) -> LevelError {
        let mut worlds = self.worlds();
        loop {
            if let Err(error) = self.levels().admit(worlds.borrow_and_update().level()) {
                return error;
            }
            if worlds.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// A node's sign of life. Acknowledged only by the leader and only within its own lease: the node's
    /// permission to act rests on it.
    pub fn heartbeat(&self, node: &Name, beat: Heartbeat) -> Result<HeartbeatAck, SubmitError> {
        let Some(term) = self.leading() else {
            return Err(SubmitError::NotLeader { leader: self.leader() });
        };
        if !self.knows_recovery(&self.world()) {
            return Err(SubmitError::NotLeader { leader: None });
        }
        self.hear(term, node, beat)
    }

    /// What a node has seen and done.
    pub async fn report(
        &self,
        node: &Name,
        session: u64,
        vms: Vec<VmReport>,
        volumes: Vec<VolumeReport>,
        facts: Option<NodeFacts>,
        request_id: Option<String>,
    ) -> Result<Committed, SubmitError> {
        let command = Command::Report { node: node.clone(), session, vms, volumes, facts };
        self.submit(command, &format!("node/{node}"), request_id).await
    }

    /// What a node has found on itself, as it was asked for.
    pub async fn count_guests(
        &self,
        node: &Name,
        session: u64,
        incarnation: u64,
        guests: Vec<CountedGuest>,
    ) -> Result<Committed, SubmitError> {
        let command = Command::CountGuests { node: node.clone(), session, incarnation, guests };
        self.submit(command, &format!("node/{node}"), None).await
    }

    /// A node's word about its guard.
    pub async fn report_guard(
        &self,
        node: &Name,
        session: u64,
        after: u64,
        guard: Option<Guard>,
    ) -> Result<Committed, SubmitError> {
        let command = Command::ReportGuard { node: node.clone(), session, after, guard };
        self.submit(command, &format!("node/{node}"), None).await
    }

    /// A node's word about the primary's role.
    pub async fn report_primary(
        &self,
        node: &Name,
        session: u64,
        epoch: u64,
        report: PrimaryReport,
    ) -> Result<Committed, SubmitError> {
        let command = Command::ReportPrimary { node: node.clone(), session, epoch, report };
        self.submit(command, &format!("node/{node}"), None).await
    }

    /// The primary's word about the addresses that it lends, at an epoch of its role.
    pub async fn report_leases(
        &self,
        node: &Name,
        (session, epoch): (u64, u64),
        put: Vec<LeaseReport>,
        gone: Vec<Name>,
    ) -> Result<Committed, SubmitError> {
        let command = NetworkCommand::ReportLeases { node: node.clone(), session, epoch, put, gone };
        self.submit(Command::Network(Box::new(command)), &format!("node/{node}"), None).await
    }

    /// A node's word that its host is being shut down.
    pub async fn leave_node(
        &self,
        node: &Name,
        session: u64,
        within_seconds: u32,
    ) -> Result<Committed, SubmitError> {
        let command = Command::LeaveNode { node: node.clone(), session, within_seconds };
        self.submit(command, &format!("node/{node}"), None).await
    }

    /// How often the store was recovered from the loss of its quorum.
    pub fn recoveries(&self) -> u64 {
        self.shared.options.recoveries
    }

    /// Whether the objects know how often the store was recovered: before, they tell a past as if it were
    /// the present.
    pub(super) fn knows_recovery(&self, world: &World) -> bool {
        world.cluster.as_ref().map_or(0, |cluster| cluster.status.recoveries) >= self.recoveries()
    }

    /// What is to be done on a node: all of it (linearizable), then changes. `guests` are on the host now:
    /// their VMs are told wherever they are placed.
    pub async fn assignments(
        &self,
        node: &Name,
        guests: BTreeSet<Uid>,
    ) -> Result<AssignmentStream, AssignmentsError> {
        let world = self.linearizable_world().await?;
        if !self.knows_recovery(&world) {
            let detail = "the cluster begins anew after the loss of its quorum".to_owned();
            return Err(ReadError::NotConfirmed(detail).into());
        }
        world.node(node)?;
        let watch = self.watch(world.revision)?;
        Ok(AssignmentStream::new(node.clone(), guests, world, watch))
    }

    /// Changes of all objects after `revision`.
    pub fn watch(&self, revision: u64) -> Result<ObjectWatch, WatchStop> {
        let watcher = self.shared.store.watch(revision)?;
        Ok(ObjectWatch::new(watcher, self.worlds()))
    }
}

/// Why a node can't be told its assignments here and now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentsError {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Watch(#[from] WatchStop),
}

/// Keeps the world in step with what is applied here, whoever leads.
async fn follow(store: Store, feed: Arc<WorldFeed>) {
    loop {
        let mut watcher = match store.watch(feed.current().revision) {
            Ok(watcher) => watcher,
            Err(_) => {
                // No leader, or a snapshot has replaced everything: the difference of views tells all.
                feed.advance(&store.view());
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            }
        };
        while watcher.next().await.is_ok() {
            feed.advance(&store.view());
        }
    }
}
