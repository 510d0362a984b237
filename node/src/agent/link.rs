//! How the agent reaches the coordinators: a trait, so that the simulator can stand in for gRPC.

use std::time::Duration;

use async_trait::async_trait;
use pvc_model::command::{CountedGuest, PrimaryReport, VmReport, VolumeReport};
use pvc_model::guard::Guard;
use pvc_model::health::StoreHealth;
use pvc_model::network::Network;
use pvc_model::network::fabric::Fabric;
use pvc_model::network::lease::{Lease, LeaseReport};
use pvc_model::node::{Node, NodeFacts};
use pvc_model::primary::{Floating, Primary};
use pvc_model::{Name, Rejection, Revision, Uid, Vm, Volume};

/// A sign of life. What it carries is kept in the leader's memory only.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    pub node: Name,
    pub session: u64,
    /// Rises by one with each heartbeat of a session.
    pub sequence: u64,
    /// 1-minute load average.
    pub load: f64,
    pub memory_used_mib: u64,
    pub vms_running: u32,
    pub progress: Vec<WorkProgress>,
    /// On a coordinator: its store's health.
    pub store: Option<StoreHealth>,
}

/// How far a long work is.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkProgress {
    /// The task.
    pub task: Name,
    /// 0 to 100.
    pub percent: u8,
    /// The figures, for people: "83 of 128 MiB".
    pub text: String,
}

/// The leader has heard a heartbeat, within its own lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatAck {
    pub sequence: u64,
    pub term: u64,
    pub revision: Revision,
    pub incarnation: u64,
}

/// Everything that concerns the node (`full`), or what has changed of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignments {
    pub revision: Revision,
    /// True: forget what you had.
    pub full: bool,
    pub vms: Vec<Vm>,
    pub vms_gone: Vec<Uid>,
    pub volumes: Vec<Volume>,
    /// By uid: a name may have passed to another volume.
    pub volumes_gone: Vec<Uid>,
    pub node: Option<Node>,
    /// All coordinators with the addresses of their daemons; None: as they were.
    pub coordinators: Option<Vec<(Name, String)>>,
    /// All hypervisors with theirs; a hypervisor is not told. None: as they were.
    pub hypervisors: Option<Vec<(Name, String)>>,
    /// Of the cluster, at this revision.
    pub incarnation: u64,
    /// The node is to count its guests.
    pub count_guests: bool,
    /// Who is the primary and at which address; None: as it was, or nobody where all is told.
    pub primary: Option<PrimaryRole>,
    /// Client networks that concern the node, and what was lent in them.
    pub networks: Vec<Network>,
    pub networks_gone: Vec<Name>,
    pub leases: Vec<Lease>,
    pub leases_gone: Vec<Name>,
    /// None: as it was.
    pub fabric: Option<Fabric>,
}

/// The primary's role, as nodes are told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrimaryRole {
    pub primary: Option<Primary>,
    pub floating: Option<Floating>,
}

/// All guests on the node, none of them in mid-migration and none being started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestCount {
    /// For this incarnation of the cluster.
    pub incarnation: u64,
    pub guests: Vec<CountedGuest>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub node: Name,
    pub session: u64,
    pub vms: Vec<VmReport>,
    pub volumes: Vec<VolumeReport>,
    /// In the first report of a session, and whenever a fact has changed.
    pub facts: Option<NodeFacts>,
    /// Where the assignments ask for it.
    pub count: Option<GuestCount>,
    /// A retry carries the same: it is decided once.
    pub request_id: String,
}

/// What the primary has lent and what is lent no more; at most 1000 of both together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasesReport {
    pub node: Name,
    pub session: u64,
    /// Of the primary's role; at another one it is refused, by the rule "primary-epoch".
    pub epoch: u64,
    /// Lent, or for longer.
    pub put: Vec<LeaseReport>,
    /// Names of leases.
    pub gone: Vec<Name>,
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No coordinator answered, or none that leads. Whether a report was taken is unknown.
    #[error("no coordinator answers: {0}")]
    Unavailable(String),
    #[error("the coordinators refuse: {0}")]
    Rejected(#[from] Rejection),
}

/// A stream of assignments: first everything, as it is now or later (linearizable), then changes.
#[async_trait]
pub trait AssignmentStream: Send {
    /// Waits for the next message. An error ends the stream; open another. Cancel-safe: a call that is
    /// dropped while it waits has lost nothing.
    async fn next(&mut self) -> Result<Assignments, LinkError>;
}

#[async_trait]
pub trait CoordinatorLink: Send + Sync + 'static {
    /// `deadline` from now: an answer that comes later is of no use.
    async fn heartbeat(&self, heartbeat: Heartbeat, deadline: Duration) -> Result<HeartbeatAck, LinkError>;

    /// `guests`: uids of guests that are on the host; their VMs are told wherever they are placed.
    async fn assignments(
        &self,
        node: &Name,
        guests: Vec<Uid>,
    ) -> Result<Box<dyn AssignmentStream>, LinkError>;

    /// The node's own word about the primary's role at an epoch.
    async fn report_primary(
        &self,
        node: &Name,
        session: u64,
        epoch: u64,
        report: PrimaryReport,
    ) -> Result<Revision, LinkError>;

    /// The node's own word about its guard: armed, or to be relied upon no more. `after`: the number of its words before.
    async fn report_guard(
        &self,
        node: &Name,
        session: u64,
        after: u64,
        guard: Option<Guard>,
    ) -> Result<Revision, LinkError>;

    /// The primary's own word about the addresses that it lends, at an epoch of its role.
    async fn report_leases(&self, report: LeasesReport) -> Result<Revision, LinkError>;

    /// The node's own word that its host is being shut down, which it can hold up for so many seconds.
    async fn leave_node(&self, node: &Name, session: u64, within_seconds: u32)
    -> Result<Revision, LinkError>;

    /// Returns the revision that carries the report.
    async fn report(&self, report: Report) -> Result<Revision, LinkError>;
}
