//! The node's agent: makes the host be as the cluster wants it, and says how it is.
//!
//! Level-triggered: it looks at everything again whenever something may have changed (an assignment, an
//! event of the hypervisor, the end of some work) and on a timer. It never asks the cluster what to do about
//! a guest and never remembers what it was told before: the view, the hypervisor and the lease say all.
//!
//! Never happens here: starting a guest without a valid lease or away from its placement; ending a guest
//! because this daemon starts, stops, or can't reach anybody.

pub mod decide;
mod guests;
pub mod heartbeat;
pub mod incarnation;
pub mod lease;
pub mod link;
mod memory;
mod nics;
#[cfg(test)]
pub(crate) mod tests;
pub mod view;
pub mod volumes;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pvc_host::daemon_config::STARTS_AT_ONCE;
use pvc_model::command::{VmReport, VolumeReport};
use pvc_model::node::{NetworkHealth, NodeFacts};
use pvc_model::{Name, Revision, Uid};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::hypervisor::{Ending, Hypervisor, VirtType};
use heartbeat::{Beat, Heartbeats, LoadSource, Told};
use incarnation::Incarnation;
use lease::Lease;
use link::{AssignmentStream, Assignments, CoordinatorLink, GuestCount, LinkError, Report};
use memory::VmMemory;
use view::NodeView;
use volumes::Pools;

/// Everything is looked at again this often, even if nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A report that is not in the view by then is sent again.
const REPORT_AGAIN_AFTER: Duration = Duration::from_secs(2);
const RECONNECT_AFTER: Duration = Duration::from_millis(500);
/// Work on a volume that failed or had to wait is tried again after this long.
const VOLUME_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Works on volumes at once.
const WORKS_MAX: usize = 4;

/// What the agent works with.
pub struct Parts {
    pub me: Name,
    pub link: Arc<dyn CoordinatorLink>,
    pub hypervisor: Arc<dyn Hypervisor>,
    pub pools: Pools,
    pub load: Arc<dyn LoadSource>,
    pub beat: Arc<dyn Beat>,
    pub lease: Lease,
    /// Of the cluster: a coordinator of a lower one is not listened to.
    pub incarnation: Incarnation,
    pub settings: Settings,
    /// How this host's part of the client networks is.
    pub network_health: watch::Receiver<NetworkHealth>,
    /// Draws the request ids of reports.
    pub request_id: Arc<dyn Fn() -> String + Send + Sync>,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub virt_type: VirtType,
    /// Serial logs of guests: `<dir>/<uid>.log`.
    pub console_dir: PathBuf,
    /// Guests that are started at once; those of the highest priority first.
    pub starts_at_once: usize,
    /// IP address at which other hosts' hypervisors reach this one's.
    pub migration_address: String,
    pub version: String,
    pub kernel: String,
    /// The UUID that the host's board tells; empty: it tells none.
    pub system_uuid: String,
    /// This host's addresses on other networks than the cluster's.
    pub networks: BTreeMap<Name, IpAddr>,
}

impl Settings {
    /// Of a host that is simulated.
    pub fn simulated(migration_address: impl Into<String>) -> Self {
        Settings {
            virt_type: VirtType::Qemu,
            console_dir: "/console".into(),
            starts_at_once: STARTS_AT_ONCE,
            migration_address: migration_address.into(),
            version: "simulated".to_owned(),
            kernel: "simulated".to_owned(),
            system_uuid: String::new(),
            networks: BTreeMap::new(),
        }
    }

    pub fn console_log(&self, vm: Uid) -> PathBuf {
        self.console_dir.join(format!("{vm}.log"))
    }
}

/// What the rest of the daemon may see of the agent.
pub type SharedView = watch::Receiver<Arc<NodeView>>;

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("another daemon acts for node {node}: {detail}. Stop it, or this one")]
    Superseded { node: Name, detail: String },
    #[error("the cluster refuses node {node}: {detail}")]
    Refused { node: Name, detail: String },
}

pub struct Agent {
    parts: Arc<Parts>,
    session: u64,
    view: NodeView,
    view_out: watch::Sender<Arc<NodeView>>,
    memories: BTreeMap<Uid, VmMemory>,
    works: JoinSet<Done>,
    volumes_busy: BTreeMap<Uid, ()>,
    volume_reports: BTreeMap<Uid, VolumeSaid>,
    /// Volumes whose work is to wait, until then.
    volumes_wait: BTreeMap<Uid, Instant>,
    told: Arc<Mutex<Told>>,
    facts: NodeFacts,
    reported_at: Option<(Revision, Instant)>,
    unknown_guests: Vec<Uid>,
    /// Endings told since the last look.
    endings: BTreeMap<Uid, Ending>,
    /// What the next report is to say of VMs.
    pending: Vec<VmReport>,
    /// The guests as they were counted at the last look, where that is asked for and can be said.
    count: Option<GuestCount>,
    counted_at: Option<Instant>,
}

/// What came of work on a volume, until the view shows it.
struct VolumeSaid {
    report: VolumeReport,
    /// The revision that carries it, once the leader has taken it.
    taken: Option<Revision>,
}

/// The end of some work.
enum Done {
    Guest(Uid, guests::GuestDone),
    Volume(Uid, Option<VolumeReport>),
}

impl Agent {
    pub fn new(parts: Parts) -> (Self, SharedView) {
        let (view_out, view_in) = watch::channel(Arc::new(NodeView::default()));
        let agent = Agent {
            parts: Arc::new(parts),
            session: 0,
            view: NodeView::default(),
            view_out,
            memories: BTreeMap::new(),
            works: JoinSet::new(),
            volumes_busy: BTreeMap::new(),
            volume_reports: BTreeMap::new(),
            volumes_wait: BTreeMap::new(),
            told: Arc::default(),
            facts: NodeFacts::default(),
            reported_at: None,
            unknown_guests: Vec::new(),
            endings: BTreeMap::new(),
            pending: Vec::new(),
            count: None,
            counted_at: None,
        };
        (agent, view_in)
    }

    /// Runs until it is dropped. Returns only when this daemon has no business here any more.
    pub async fn run(mut self) -> AgentError {
        let error = match self.begin().await {
            Err(error) => error,
            Ok(mut stream) => {
                let heartbeats = Heartbeats {
                    node: self.parts.me.clone(),
                    session: self.session,
                    link: self.parts.link.clone(),
                    lease: self.parts.lease.clone(),
                    told: self.told.clone(),
                    load: self.parts.load.clone(),
                    incarnation: self.parts.incarnation.clone(),
                };
                let _beating = self.parts.beat.begin(heartbeats);
                self.serve(&mut stream).await
            }
        };
        tracing::error!(%error, "the agent stops; guests go on");
        error
    }

    /// Learns what there is, and opens a session: from then on nothing that an earlier daemon of this node
    /// still had on its way is believed.
    async fn begin(&mut self) -> Result<Box<dyn AssignmentStream>, AgentError> {
        loop {
            let stream = self.open_stream().await?;
            let known = self.view.node.as_ref().map_or(0, |n| n.status.session);
            self.session = known + 1;
            self.facts = self.look_at_host().await;
            match self.send(Vec::new(), Vec::new(), Some(self.facts.clone()), None).await {
                Ok(_) => {
                    self.view.session = self.session;
                    self.view_out.send_replace(Arc::new(self.view.clone()));
                    return Ok(stream);
                }
                Err(LinkError::Rejected(refusal)) if refusal.rule == "stale-session" => {
                    // An earlier daemon's session has just become known: learn of it and open a later one.
                    tracing::warn!(%refusal, "opening a later session");
                }
                Err(LinkError::Rejected(refusal)) => {
                    let (node, detail) = (self.parts.me.clone(), refusal.to_string());
                    return Err(AgentError::Refused { node, detail });
                }
                Err(error) => tracing::warn!(%error, "can't open a session yet"),
            }
            tokio::time::sleep(RECONNECT_AFTER).await;
        }
    }

    /// Opens the stream of assignments and takes its first message, which holds everything.
    async fn open_stream(&mut self) -> Result<Box<dyn AssignmentStream>, AgentError> {
        loop {
            match self.try_open_stream().await {
                Ok(stream) => return Ok(stream),
                Err(LinkError::Rejected(refusal)) => {
                    let (node, detail) = (self.parts.me.clone(), refusal.to_string());
                    return Err(AgentError::Refused { node, detail });
                }
                Err(error) => tracing::debug!(%error, "no assignments yet"),
            }
            tokio::time::sleep(RECONNECT_AFTER).await;
        }
    }

    async fn try_open_stream(&mut self) -> Result<Box<dyn AssignmentStream>, LinkError> {
        let guests = self.parts.hypervisor.guests().await.unwrap_or_default();
        let uids = guests.iter().map(|g| g.uid).collect();
        let mut stream = self.parts.link.assignments(&self.parts.me, uids).await?;
        let first = stream.next().await?;
        self.take(first)?;
        Ok(stream)
    }

    /// What a coordinator of the past says is not taken.
    fn take(&mut self, told: Assignments) -> Result<(), LinkError> {
        if !self.parts.incarnation.admits(told.incarnation) {
            let past =
                format!("it speaks for incarnation {} of the cluster, which is over", told.incarnation);
            return Err(LinkError::Unavailable(past));
        }
        self.view.take(told);
        self.view_out.send_replace(Arc::new(self.view.clone()));
        let view = &self.view;
        self.memories.retain(|uid, memory| view.vms.contains_key(uid) || memory.doing.is_some());
        Ok(())
    }

    async fn serve(&mut self, stream: &mut Box<dyn AssignmentStream>) -> AgentError {
        let mut wakeups = self.parts.hypervisor.wakeups();
        let mut facts_at = Instant::now() + Duration::from_secs(60);
        let mut network_health = self.parts.network_health.clone();
        let mut known_guests_asked = Instant::now();
        loop {
            if Instant::now() >= facts_at {
                self.facts = self.look_at_host().await;
                facts_at = Instant::now() + Duration::from_secs(60);
            }
            self.facts.network_health.clone_from(&network_health.borrow_and_update());
            let look_at = self.reconcile().await;
            if let Err(LinkError::Rejected(refusal)) = self.report().await {
                if refusal.rule == "stale-session" {
                    let (node, detail) = (self.parts.me.clone(), refusal.to_string());
                    return AgentError::Superseded { node, detail };
                }
                tracing::error!(%refusal, "the cluster refused a report");
            }
            // A guest that the view doesn't know: ask again, naming it.
            let ask_again =
                !self.unknown_guests.is_empty() && known_guests_asked.elapsed() > Duration::from_secs(30);
            tokio::select! {
                biased;
                told = stream.next(), if !ask_again => match told.and_then(|told| self.take(told)) {
                    Ok(()) => {}
                    Err(error) => {
                        tracing::info!(%error, "assignments ended; opening them again");
                        match self.open_stream().await {
                            Ok(opened) => *stream = opened,
                            Err(error) => return error,
                        }
                    }
                },
                Some(done) = self.works.join_next(), if !self.works.is_empty() => match done {
                    Ok(done) => self.finish(done),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                _ = wakeups.changed() => {}
                Ok(()) = network_health.changed() => {}
                () = tokio::time::sleep_until(look_at) => {}
            }
            if ask_again {
                known_guests_asked = Instant::now();
                if let Ok(opened) = self.try_open_stream().await {
                    *stream = opened;
                }
            }
        }
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Guest(uid, done) => self.finish_guest(uid, done),
            Done::Volume(uid, report) => {
                self.volumes_busy.remove(&uid);
                if let Some(report) = report {
                    if !report.status.reason.is_empty() {
                        self.volumes_wait.insert(uid, Instant::now() + VOLUME_AGAIN_AFTER);
                    }
                    self.volume_reports.insert(uid, VolumeSaid { report, taken: None });
                }
            }
        }
    }

    async fn look_at_host(&self) -> NodeFacts {
        let settings = &self.parts.settings;
        let mut facts = NodeFacts {
            version: settings.version.clone(),
            kernel: settings.kernel.clone(),
            system_uuid: settings.system_uuid.clone(),
            networks: settings.networks.clone(),
            level: pvc_model::feature::OURS.newest,
            network_health: self.parts.network_health.borrow().clone(),
            ..self.facts.clone()
        };
        match self.parts.hypervisor.facts().await {
            Ok(host) => {
                facts.cpus = host.cpus;
                facts.memory_mib = host.memory_mib;
                facts.hypervisor = format!("{}, {}", host.hypervisor, host.emulator);
                facts.problem.clear();
            }
            Err(error) => facts.problem = error.to_string(),
        }
        facts
    }

    async fn send(
        &self,
        vms: Vec<VmReport>,
        volumes: Vec<VolumeReport>,
        facts: Option<NodeFacts>,
        count: Option<GuestCount>,
    ) -> Result<Revision, LinkError> {
        let report = Report {
            node: self.parts.me.clone(),
            session: self.session,
            vms,
            volumes,
            facts,
            count,
            request_id: (self.parts.request_id)(),
        };
        self.parts.link.report(report).await
    }

    /// Gives the volumes that this node works on their next piece of work.
    fn reconcile_volumes(&mut self) {
        let view = &self.view;
        let now = Instant::now();
        // What the view shows already needs no saying. Where there is work even so, it is tried again.
        self.volume_reports.retain(|uid, said| {
            said.taken.is_none_or(|taken| view.revision < taken)
                && view.volumes().any(|v| v.meta.uid == *uid && volumes::has_work_here(v, &self.parts.me))
        });
        self.volumes_wait.retain(|_, until| now < *until);
        let due: Vec<_> = view
            .volumes()
            .filter(|v| volumes::has_work_here(v, &self.parts.me))
            .filter(|v| !self.volumes_busy.contains_key(&v.meta.uid))
            .filter(|v| !self.volume_reports.contains_key(&v.meta.uid))
            .filter(|v| !self.volumes_wait.contains_key(&v.meta.uid))
            .take(WORKS_MAX.saturating_sub(self.volumes_busy.len()))
            .cloned()
            .collect();
        // Another node may have got the work: a silent node's is given away, and what this one hears late
        // is old. Nothing is begun on a view that was not the newest within the lease.
        if due.is_empty() || !self.parts.lease.covers(view.revision) {
            return;
        }
        let (view, pools) = (Arc::new(view.clone()), Arc::new(self.parts.pools.clone()));
        for volume in due {
            let uid = volume.meta.uid;
            let task = volume.status.task.clone();
            let (view, pools, told) = (view.clone(), pools.clone(), self.told.clone());
            let (forget, lease) = (self.told.clone(), self.parts.lease.clone());
            self.volumes_busy.insert(uid, ());
            self.works.spawn(async move {
                let progress =
                    move |p: link::WorkProgress| drop(told.lock().progress.insert(p.task.clone(), p));
                let called_off = CancellationToken::new();
                // What is under way ends with the lease: after it the work may be another node's.
                let report = tokio::select! {
                    biased;
                    report = volumes::work(volume, view, pools, progress, called_off.clone()) => report,
                    () = lease.lapsed() => {
                        called_off.cancel();
                        None
                    }
                };
                if let Some(task) = task {
                    forget.lock().progress.remove(&task);
                }
                Done::Volume(uid, report)
            });
        }
    }

    /// Whether a report that was sent a moment ago is still to show in the view.
    fn report_on_its_way(&self) -> bool {
        self.reported_at
            .is_some_and(|(revision, at)| self.view.revision < revision && at.elapsed() < REPORT_AGAIN_AFTER)
    }
}
