//! Volumes: the disks of VMs, kept by a storage driver.

use crate::Meta;
use crate::name::Name;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumePhase {
    /// Asked for; its worker is making it.
    Creating,
    Ready,
    Deleting,
    /// Could not be made.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSpec {
    pub pool: Name,
    /// Bytes wanted; a multiple of 512, 1 MiB to 64 TiB. Never shrinks.
    pub size_bytes: u64,
    pub clone_of: Option<CloneSource>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneSource {
    pub volume: Name,
    pub snapshot: Option<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSnapshot {
    pub name: Name,
    pub size_bytes: u64,
    /// Taken; false: its worker is taking it.
    pub ready: bool,
    pub deleting: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeStatus {
    pub phase: VolumePhase,
    pub reason: String,
    /// Bytes that it has now.
    pub size_bytes: u64,
    pub snapshots: Vec<VolumeSnapshot>,
    /// The one node that works on it now.
    pub worker: Option<Name>,
    /// The task that this work belongs to.
    pub task: Option<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub meta: Meta,
    pub spec: VolumeSpec,
    pub status: VolumeStatus,
}

impl Volume {
    pub fn subject(&self) -> String {
        format!("volume/{}", self.meta.name)
    }

    /// Whether its worker still has something to do.
    pub fn has_work(&self) -> bool {
        let growing =
            self.status.phase == VolumePhase::Ready && self.status.size_bytes < self.spec.size_bytes;
        matches!(self.status.phase, VolumePhase::Creating | VolumePhase::Deleting)
            || growing
            || self.status.snapshots.iter().any(|s| !s.ready || s.deleting)
    }
}
