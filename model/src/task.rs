//! Tasks: durable, cancellable, resumable long operations. A task holds no code: where it stands
//! follows from the objects it is about, so any leader can go on with it.

use crate::name::Name;
use crate::time::Timestamp;
use crate::{Meta, Uid};

/// What a task does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskKind {
    VmStart,
    VmShutdown,
    VmStop,
    VmRestart,
    VmDisable,
    VmMigrate {
        to: Name,
        method: crate::vm::MigrationMethod,
    },
    VmUnmigrate {
        to: Name,
        method: crate::vm::MigrationMethod,
    },
    VmMove {
        to: Name,
        method: crate::vm::MigrationMethod,
    },
    /// To a better place; neither its home nor away from it.
    VmRebalance {
        to: Name,
        method: crate::vm::MigrationMethod,
    },
    VmDelete,
    VolumeCreate,
    VolumeResize,
    VolumeDelete,
    VolumeSnapshotCreate {
        snapshot: Name,
    },
    VolumeSnapshotDelete {
        snapshot: Name,
    },
    /// `vms`: guests that were to leave it.
    NodeFlush {
        vms: u32,
        stop_unmovable: bool,
    },
    /// Its host is being shut down. `vms`: guests that ran there.
    NodeShutdown {
        vms: u32,
    },
    /// `vms`: VMs that were to return.
    NodeReady {
        vms: u32,
    },
    ClusterBalance,
}

impl TaskKind {
    pub fn as_str(&self) -> &'static str {
        match self {
            TaskKind::VmStart => "vm.start",
            TaskKind::VmShutdown => "vm.shutdown",
            TaskKind::VmStop => "vm.stop",
            TaskKind::VmRestart => "vm.restart",
            TaskKind::VmDisable => "vm.disable",
            TaskKind::VmMigrate { .. } => "vm.migrate",
            TaskKind::VmUnmigrate { .. } => "vm.unmigrate",
            TaskKind::VmMove { .. } => "vm.move",
            TaskKind::VmRebalance { .. } => "vm.rebalance",
            TaskKind::VmDelete => "vm.remove",
            TaskKind::VolumeCreate => "volume.create",
            TaskKind::VolumeResize => "volume.resize",
            TaskKind::VolumeDelete => "volume.delete",
            TaskKind::VolumeSnapshotCreate { .. } => "volume.snapshot",
            TaskKind::VolumeSnapshotDelete { .. } => "volume.snapshot-delete",
            TaskKind::NodeFlush { .. } => "node.flush",
            TaskKind::NodeShutdown { .. } => "node.shutdown",
            TaskKind::NodeReady { .. } => "node.ready",
            TaskKind::ClusterBalance => "cluster.balance",
        }
    }

    /// The stages that it goes through, in order.
    pub fn stages(&self) -> &'static [&'static str] {
        use crate::vm::MigrationMethod::{Live, Shutdown};
        match self {
            TaskKind::VmStart => &["place", "start"],
            TaskKind::VmShutdown | TaskKind::VmDisable => &["shut down"],
            TaskKind::VmStop => &["stop"],
            TaskKind::VmRestart => &["shut down", "start"],
            TaskKind::VmMigrate { method: Live, .. }
            | TaskKind::VmUnmigrate { method: Live, .. }
            | TaskKind::VmMove { method: Live, .. }
            | TaskKind::VmRebalance { method: Live, .. } => &["prepare", "transfer"],
            TaskKind::VmMigrate { method: Shutdown, .. }
            | TaskKind::VmUnmigrate { method: Shutdown, .. }
            | TaskKind::VmMove { method: Shutdown, .. }
            | TaskKind::VmRebalance { method: Shutdown, .. } => &["shut down", "start"],
            TaskKind::VmDelete => &["release", "delete volumes"],
            TaskKind::VolumeCreate => &["create"],
            TaskKind::VolumeResize => &["resize"],
            TaskKind::VolumeDelete => &["delete"],
            TaskKind::VolumeSnapshotCreate { .. } => &["snapshot"],
            TaskKind::VolumeSnapshotDelete { .. } => &["delete"],
            TaskKind::NodeFlush { .. } | TaskKind::NodeShutdown { .. } => {
                &["move VMs away", "finish volumes"]
            }
            TaskKind::NodeReady { .. } => &["bring VMs back"],
            TaskKind::ClusterBalance => &["move VMs"],
        }
    }
}

/// What a task is about. By uid: a rename must not confuse a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Vm { uid: Uid, name: Name },
    Volume { uid: Uid, name: Name },
    Node { uid: Uid, name: Name },
    Cluster { uid: Uid },
}

impl Subject {
    pub fn uid(&self) -> Uid {
        match self {
            Subject::Vm { uid, .. }
            | Subject::Volume { uid, .. }
            | Subject::Node { uid, .. }
            | Subject::Cluster { uid } => *uid,
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::Vm { name, .. } => write!(f, "vm/{name}"),
            Subject::Volume { name, .. } => write!(f, "volume/{name}"),
            Subject::Node { name, .. } => write!(f, "node/{name}"),
            Subject::Cluster { .. } => f.write_str("cluster"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub meta: Meta,
    pub kind: TaskKind,
    pub subject: Subject,
    pub actor: String,
    pub state: TaskState,
    /// Index into `kind.stages()`.
    pub stage: u32,
    /// When the present stage began.
    pub stage_since: Timestamp,
    /// Why it failed, or what it waits for.
    pub message: String,
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    pub cancel_requested: bool,
}

impl Task {
    pub fn is_over(&self) -> bool {
        self.state != TaskState::Running
    }

    pub fn stage_name(&self) -> &'static str {
        let stages = self.kind.stages();
        stages.get(self.stage as usize).or(stages.last()).copied().unwrap_or("")
    }
}
