//! What runs guests on this host: one narrow interface, its real adapter (libvirt) and its fake.
//!
//! Guests are *transient*: the hypervisor keeps no definition of them, so a host that comes back
//! from a power cut comes back empty. What a guest is (its uid, its epoch, the generations it was
//! started from) is written into the guest itself and read back from there: the host is the only
//! memory. Nothing here decides whether a guest may run; that is the agent's, who holds the lease.
//!
//! Nothing in this room may end a guest unless told so with its uid. Dropping an adapter, losing
//! the connection or restarting the daemon never touches a guest.

pub mod fake;
pub mod libvirt;
mod nic;
pub mod xml;

use std::path::PathBuf;

use async_trait::async_trait;
use pvc_model::vm::{DiskBus, Mac};
use pvc_model::{Name, Uid};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

pub use self::nic::{GuestNic, LiveNic, NicPort};
use crate::storage::DiskSource;

/// What a guest was last told about itself; carried by the guest, through migrations too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Placement epoch that it may run at.
    pub epoch: u64,
    /// The VM's `boot_generation` when it was started.
    pub boot_generation: u64,
    /// The VM's `spec_generation` when it was started: older than the VM's means "restart pending".
    pub spec_generation: u64,
}

/// How much of a guest there is on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuestState {
    Running,
    /// Its processors stand still: an operator's suspend, an I/O error, or the last moment of a migration.
    Paused,
    /// It has seen the power button and has not ended yet.
    ShuttingDown,
}

/// A guest of ours that exists on this host now. A guest that ended is not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    pub uid: Uid,
    pub name: Name,
    pub state: GuestState,
    pub stamp: Stamp,
    /// It is being received from another host and does not run here yet: it writes nothing.
    pub incoming: bool,
    /// It is being sent to another host; it runs here until the very end.
    pub outgoing: bool,
}

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// It turned itself off, by its own will or by the power button.
    ShutDown,
    /// [`Hypervisor::power_off`], or someone who did the same by hand.
    PoweredOff,
    /// Its operating system panicked.
    Crashed,
    /// Its emulator died or was killed.
    EmulatorDied,
    /// It runs on another host now.
    MovedAway,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub uid: Uid,
    pub reason: EndReason,
}

/// A disk of a guest, found by its storage driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedDisk {
    /// Name of the volume; raw XML names its disks by it.
    pub volume: Name,
    pub source: DiskSource,
    pub bus: DiskBus,
    pub read_only: bool,
}

/// How guests' processors are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VirtType {
    #[default]
    Kvm,
    /// Pure emulation, where there is no KVM or one that lies. (libvirt's name for it is `qemu`.)
    Qemu,
}

/// Everything needed to start a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestSpec {
    pub uid: Uid,
    pub name: Name,
    pub stamp: Stamp,
    pub spec: pvc_model::vm::VmSpec,
    /// In the order of `spec.disks`.
    pub disks: Vec<ResolvedDisk>,
    /// In the order of `spec.nics`.
    pub nics: Vec<GuestNic>,
    /// All that the guest writes on its serial console is appended to this file.
    pub console_log: PathBuf,
    pub virt_type: VirtType,
}

/// How a guest is to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationOrder {
    /// IP address of the target's hypervisor on the cluster network; its certificate names it.
    pub target_address: String,
    /// Longest pause wanted at the end, milliseconds.
    pub max_downtime_ms: u32,
    /// MiB per second; 0: no limit.
    pub bandwidth_mib: u64,
    /// Slow the guest's processors down when its memory changes faster than it can be sent.
    pub auto_converge: bool,
    /// What the guest is to carry at the target from its first moment there.
    pub stamp: Stamp,
}

/// What a finished migration cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MigrationReport {
    pub total_ms: u64,
    /// Time in which the guest ran nowhere; 0: not known.
    pub downtime_ms: u64,
    pub sent_bytes: u64,
}

impl MigrationReport {
    /// For people; empty when nothing is known.
    pub fn in_words(&self) -> String {
        let paused = (self.downtime_ms > 0).then(|| format!("paused for {} ms", self.downtime_ms));
        let sent = (self.sent_bytes > 0).then(|| format!("{} MiB sent", self.sent_bytes >> 20));
        paused.into_iter().chain(sent).collect::<Vec<_>>().join(", ")
    }
}

/// How far a migration is. Figures are the hypervisor's and may go back (memory that changes is sent again).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MigrationProgress {
    pub elapsed_ms: u64,
    pub total_bytes: u64,
    pub sent_bytes: u64,
    pub remaining_bytes: u64,
    /// Passes over the memory so far.
    pub pass: u64,
}

impl MigrationProgress {
    /// 0 to 99: a migration that is still asked about is not done.
    pub fn percent(&self) -> u8 {
        let done = self.total_bytes.saturating_sub(self.remaining_bytes).saturating_mul(100);
        let percent = done.checked_div(self.total_bytes).unwrap_or(0);
        percent.min(99) as u8
    }
}

/// The host as the hypervisor sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    pub cpus: u32,
    pub memory_mib: u64,
    /// For example `QEMU 7.2.22`.
    pub emulator: String,
    /// For example `libvirt 9.0.0`.
    pub hypervisor: String,
}

/// A guest's serial console. Dropping it detaches; the guest does not notice.
pub trait Console: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Console for T {}

#[derive(Debug, thiserror::Error)]
pub enum HypervisorError {
    /// Nothing was done. Guests go on; nothing is known about them.
    #[error("the hypervisor ({uri}) does not answer: {detail}")]
    Unreachable { uri: String, detail: String },
    /// It may have been done, may yet be, or not: list the guests before anything else.
    #[error("the hypervisor did not {request} within {seconds} s; whether it will is unknown")]
    Deadline { request: &'static str, seconds: u64 },
    #[error("there is no guest {uid} on this host")]
    NoSuchGuest { uid: Uid },
    /// The wish came too late: it runs (or is being received) already.
    #[error("guest {uid} runs on this host already")]
    AlreadyHere { uid: Uid },
    /// The console is attached elsewhere.
    #[error("the console of guest {uid} is in use; attach with take-over to disconnect the other")]
    ConsoleBusy { uid: Uid },
    #[error("guest {uid} can't be described to the hypervisor: {source}")]
    Render {
        uid: Uid,
        #[source]
        source: xml::RenderError,
    },
    /// The hypervisor said no, in its own words.
    #[error("the hypervisor refused to {request}: {detail}")]
    Refused { request: &'static str, detail: String },
}

impl HypervisorError {
    /// Whether the request may have taken effect all the same.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, HypervisorError::Deadline { .. })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("there is no guest {uid} on this host")]
    NoSuchGuest { uid: Uid },
    /// A migration of it is under way (perhaps begun before this daemon was restarted): watch
    /// [`Hypervisor::guests`] for its end.
    #[error("guest {uid} is being migrated already")]
    UnderWay { uid: Uid },
    #[error("the migration was cancelled; the guest runs on here")]
    Cancelled,
    /// The guest runs on here, and the target keeps nothing of it.
    #[error("the migration failed, the guest runs on here: {detail}")]
    Failed { detail: String },
    /// The hypervisor was lost on the way: the guest may be on either host; both must be asked.
    #[error("the end of the migration is unknown: {detail}")]
    Unknown { detail: String },
}

/// What runs guests. Every request may be repeated; each says what repeating it does.
///
/// Safe to call from several tasks at once, and to drop at any await: dropping a call does not
/// undo it.
#[async_trait]
pub trait Hypervisor: Send + Sync + 'static {
    /// All guests of ours on this host, those being received too. Always legal. The one truth
    /// about what runs; everything else here is a hint.
    async fn guests(&self) -> Result<Vec<Guest>, HypervisorError>;

    /// Endings seen since this was last asked; each is told once, oldest first. One may be told a
    /// moment after the guest has left [`Hypervisor::guests`] (a wake-up comes with it), and never when
    /// the guest ended while the daemon or its connection was down.
    fn endings(&self) -> Vec<Ending>;

    /// Boots a guest. Legal only for the agent that holds the placement at `spec.stamp.epoch` and a
    /// live lease. Answered when the emulator runs, not when the guest is up. Repeated:
    /// [`HypervisorError::AlreadyHere`].
    async fn start(&self, spec: &GuestSpec) -> Result<(), HypervisorError>;

    /// Presses the power button. Legal while it runs; the end is observed, not returned, and may never
    /// come. Repeated: pressed again.
    async fn power_button(&self, uid: Uid) -> Result<(), HypervisorError>;

    /// Ends a guest at once, as by pulling its plug. Always legal, also while it is being received;
    /// one that is not here is a success. When this returns `Ok` nothing of it writes on this host.
    async fn power_off(&self, uid: Uid) -> Result<(), HypervisorError>;

    /// Writes a new stamp into a guest that is here (after a migration or an adoption). Repeated: no change.
    async fn stamp(&self, uid: Uid, stamp: Stamp) -> Result<(), HypervisorError>;

    /// Tells a running guest that a disk of it has grown. Legal after the storage driver has grown it.
    /// Repeated: no change.
    async fn disk_grown(&self, uid: Uid, disk: &DiskSource, size_bytes: u64) -> Result<(), HypervisorError>;

    /// Whether this host has a bridge of that name: without it no guest with a NIC there can be started or received.
    fn has_bridge(&self, bridge: &str) -> bool;

    /// The NICs that a guest on this host has now.
    async fn nics(&self, uid: Uid) -> Result<Vec<LiveNic>, HypervisorError>;

    /// Gives a running guest a NIC. Repeated: no change, whatever the NIC with that address is like.
    async fn attach_nic(&self, uid: Uid, nic: &GuestNic) -> Result<(), HypervisorError>;

    /// Makes a NIC of a running guest be so. Legal where the guest has it. Repeated: no change.
    async fn update_nic(&self, uid: Uid, port: &NicPort) -> Result<(), HypervisorError>;

    /// Takes a NIC from a running guest; one that it hasn't is a success. It is gone when [`Hypervisor::nics`] does
    /// not show it any more: the guest's operating system must let go of it, and may never do so.
    async fn detach_nic(&self, uid: Uid, mac: Mac) -> Result<(), HypervisorError>;

    /// Moves a running guest to another host, live; returns at the end. Legal while the target has
    /// agreed to receive it (the leader's `Transferring`). On an error but `Unknown` the guest is here
    /// as before and the target is clean. It goes on when the caller is dropped or the daemon dies:
    /// the hypervisors do it among themselves.
    async fn migrate(&self, uid: Uid, order: &MigrationOrder) -> Result<MigrationReport, MigrateError>;

    /// How far the guest's migration away from here is; `None` when there is none.
    async fn migration_progress(&self, uid: Uid) -> Result<Option<MigrationProgress>, HypervisorError>;

    /// Breaks a migration off: [`Hypervisor::migrate`] then ends as `Cancelled`, unless it was faster.
    /// Legal always, at the source; without a migration it does nothing.
    async fn cancel_migration(&self, uid: Uid) -> Result<(), HypervisorError>;

    /// Attaches to the serial console. One at a time: `take_over` disconnects the other. Ends (reads
    /// nothing more) when the guest ends or leaves.
    async fn console(&self, uid: Uid, take_over: bool) -> Result<Box<dyn Console>, HypervisorError>;

    /// The hypervisor's live description of a guest that is here.
    async fn xml(&self, uid: Uid) -> Result<String, HypervisorError>;

    /// The description that [`Hypervisor::start`] would use. Pure.
    fn render(&self, spec: &GuestSpec) -> Result<String, HypervisorError> {
        xml::render(spec).map_err(|source| HypervisorError::Render { uid: spec.uid, source })
    }

    async fn facts(&self) -> Result<HostFacts, HypervisorError>;

    /// Changes whenever something may have changed (a guest began, ended, paused; the connection
    /// came back). Only a wake-up: list again, and list on a timer too.
    fn wakeups(&self) -> watch::Receiver<u64>;
}
