//! VMs: guests. What people want (`spec`, `desired`), what the leader has decided (`placement`,
//! `migration`, `release`), and what the node saw (`observed`) are three things and never one field.

use std::collections::{BTreeMap, BTreeSet};

pub use crate::mac::{Mac, MacError};
use crate::name::Name;
pub use crate::nic::{Nic, NicChange, NicModel, Rate};
use crate::time::Timestamp;
use crate::{Meta, Uid};

/// What people want of a VM's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    Off,
    On,
    /// Off on purpose: like `Off`, but said so in lists and never alarmed.
    Disabled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskBus {
    Virtio,
    Scsi,
    Sata,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Name of a volume.
    pub volume: Name,
    pub bus: DiskBus,
    pub read_only: bool,
    /// Bytes of the blank volume that is made with the VM where there is none of that name;
    /// 0: the volume must exist.
    pub create_bytes: u64,
    /// Pool of the volume that is made.
    pub pool: Name,
}

/// Boots a kernel directly. Paths are on the host, below the shared volume directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectBoot {
    pub kernel: String,
    pub initrd: String,
    pub cmdline: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationMethod {
    /// Live only: refused when it can't be done.
    Live,
    /// Shut down here, start there.
    Shutdown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmSpec {
    /// 1 to 512.
    pub vcpus: u32,
    /// MiB, 16 to 16777216.
    pub memory_mib: u64,
    pub disks: Vec<Disk>,
    pub nics: Vec<Nic>,
    pub tags: BTreeSet<Name>,
    pub notes: BTreeMap<String, String>,
    pub boot: Option<DirectBoot>,
    pub migration_method: MigrationMethod,
    /// Milliseconds, 1 to 60000.
    pub migration_max_downtime_ms: u32,
    /// Nodes that it may run on; empty: any.
    pub node_limit: BTreeSet<Name>,
    pub home: Option<Name>,
    /// Restarts after a crash in ten minutes before it is `failed`; 0 to 100.
    pub max_restarts: u32,
    /// A libvirt domain XML of the user's; empty: made from this spec.
    pub raw_xml: String,
    /// libvirt's name of a CPU model; empty: the host's.
    pub cpu_model: String,
    pub machine: Machine,
    /// Seconds, 1 to 3600.
    pub shutdown_grace_seconds: u32,
    /// Whether it is started elsewhere when its node is dead.
    pub recover: bool,
    /// Who gets a place first where there is not enough for all: the higher; 0 to 1000.
    pub priority: u32,
}

/// The priority of a VM of which nothing else is said.
pub const PRIORITY_DEFAULT: u32 = 100;

impl VmSpec {
    /// A guest with no disks and no NICs, and the defaults of everything else.
    pub fn new(vcpus: u32, memory_mib: u64) -> Self {
        VmSpec {
            vcpus,
            memory_mib,
            disks: Vec::new(),
            nics: Vec::new(),
            tags: BTreeSet::new(),
            notes: BTreeMap::new(),
            boot: None,
            migration_method: MigrationMethod::Live,
            migration_max_downtime_ms: 100,
            node_limit: BTreeSet::new(),
            home: None,
            max_restarts: 5,
            raw_xml: String::new(),
            cpu_model: String::new(),
            machine: Machine::Pc,
            shutdown_grace_seconds: 180,
            recover: true,
            priority: PRIORITY_DEFAULT,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    Pc,
    Q35,
}

/// Where a VM may run now. Only this node may start it, and only at this epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub node: Name,
    /// Rises with every change of `node`.
    pub epoch: u64,
}

/// How the placed node sees the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedPhase {
    Stopped,
    /// To be started; waits for something named in the reason.
    Pending,
    Starting,
    Running,
    ShuttingDown,
    /// Ended by itself; waits to be started again.
    Backoff,
    /// Given up.
    Failed,
}

impl ObservedPhase {
    /// No qemu of this guest runs on the node, and none will before the node learns something newer.
    /// `Backoff` and `Pending` are not at rest: the node will start it by itself.
    pub fn is_at_rest(self) -> bool {
        match self {
            ObservedPhase::Stopped | ObservedPhase::Failed => true,
            ObservedPhase::Pending
            | ObservedPhase::Starting
            | ObservedPhase::Running
            | ObservedPhase::ShuttingDown
            | ObservedPhase::Backoff => false,
        }
    }
}

/// What the placed node saw, and at which intent of the VM it looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    pub node: Name,
    pub epoch: u64,
    pub phase: ObservedPhase,
    pub reason: String,
    /// The VM's `intent` that the node knew when it looked.
    pub seen_intent: u64,
    /// `boot_generation` that the guest was last started at; 0: never here.
    pub boot_generation: u64,
    /// `spec_generation` of the running guest; 0 when off.
    pub spec_generation: u64,
    /// Restarts by itself since it was last started on purpose.
    pub restarts: u32,
    pub since: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPhase {
    /// The target gets ready.
    Preparing,
    /// Memory is on its way; the source drives. Neither side may start the guest.
    Transferring,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    pub from: Name,
    pub to: Name,
    pub phase: MigrationPhase,
    /// The target becomes the home.
    pub permanent: bool,
    /// The source is to break it off.
    pub cancel: bool,
    /// Name of the task.
    pub task: Name,
    /// Address of the target's hypervisor; empty while `Preparing`.
    pub target_address: String,
    /// The source has lost the guest and does not know why; the target is to look for it.
    pub source_absent: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    pub meta: Meta,
    pub spec: VmSpec,
    pub desired: Power,
    /// None: it has never been placed; no host knows it.
    pub placement: Option<Placement>,
    pub observed: Option<Observed>,
    pub migration: Option<Migration>,
    /// Home to return to, while the VM is away.
    pub migrated_from: Option<Name>,
    /// Rises with every start or restart that a person asks for.
    pub boot_generation: u64,
    /// Rises with every change of `spec` that a running guest can't take.
    pub spec_generation: u64,
    /// Rises with every change of what its node is to do.
    pub intent: u64,
    /// Its node is to let go of it: shut it down and not start it again.
    pub release: bool,
    /// How it goes off: 0 at once, else after this many seconds of grace.
    pub off_grace_seconds: u32,
    /// The task that changes it now.
    pub task: Option<Name>,
    pub deleting: bool,
    pub delete_volumes: bool,
    /// The cluster's incarnation in which it was last known where the guest is (`World::is_confirmed`).
    pub confirmed: u64,
    /// It is to run, its node was fenced, and no other node takes it yet.
    pub waits: Option<Waiting>,
}

/// What a VM that lost its node waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub since: Timestamp,
}

impl Vm {
    /// As it is defined: off, and nowhere. `incarnation`: the cluster's, in which that happens.
    pub fn new(meta: Meta, spec: VmSpec, incarnation: u64) -> Self {
        Vm {
            meta,
            spec,
            desired: Power::Off,
            placement: None,
            observed: None,
            migration: None,
            migrated_from: None,
            boot_generation: 0,
            spec_generation: 1,
            intent: 1,
            release: false,
            off_grace_seconds: 0,
            task: None,
            deleting: false,
            delete_volumes: false,
            confirmed: incarnation,
            waits: None,
        }
    }

    pub fn subject(&self) -> String {
        format!("vm/{}", self.meta.name)
    }

    pub fn uid(&self) -> Uid {
        self.meta.uid
    }

    pub fn placed_on(&self, node: &Name) -> bool {
        self.placement.as_ref().is_some_and(|p| p.node == *node)
    }

    /// The node on which it runs or may run; None: it is off, and takes nothing of any node.
    pub fn runs_on(&self) -> Option<&Name> {
        let placed = self.placement.as_ref().filter(|_| self.desired == Power::On || !self.is_proven_off());
        placed.map(|placement| &placement.node)
    }

    /// What the placed node reported at the present placement; an older placement's report says nothing.
    pub fn current_observation(&self) -> Option<&Observed> {
        let placement = self.placement.as_ref()?;
        self.observed.as_ref().filter(|o| o.node == placement.node && o.epoch == placement.epoch)
    }

    /// True when it is proven that no host runs the guest and none will start it before it learns of a
    /// newer intent: never placed, or the placed node said "at rest" knowing the present intent, and
    /// that intent does not ask it to run.
    pub fn is_proven_off(&self) -> bool {
        if self.migration.is_some() {
            return false;
        }
        if self.placement.is_none() {
            return true;
        }
        let asked_to_run = self.desired == Power::On && !self.release && !self.deleting;
        self.current_observation().is_some_and(|o| {
            let settled = match o.phase {
                ObservedPhase::Stopped => !asked_to_run,
                // Given up at this boot generation: it is not tried again before a person asks.
                ObservedPhase::Failed => o.boot_generation >= self.boot_generation || !asked_to_run,
                ObservedPhase::Pending
                | ObservedPhase::Starting
                | ObservedPhase::Running
                | ObservedPhase::ShuttingDown
                | ObservedPhase::Backoff => false,
            };
            settled && o.seen_intent >= self.intent
        })
    }

    /// Whether its placed node is to have it running.
    pub fn should_run(&self) -> bool {
        self.desired == Power::On && !self.release && !self.deleting && self.placement.is_some()
    }
}
