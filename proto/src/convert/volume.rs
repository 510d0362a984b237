//! Volumes.

use pvc_model::volume::{CloneSource, VolumePhase, VolumeSnapshot, VolumeSpec, VolumeStatus};
use pvc_model::{Rejection, Volume, World};

use super::meta::{meta, subject};
use super::refuse::{At, WireEnum, wire_enum, wire_name};
use crate::v1;

wire_enum!(v1::VolumePhase, VolumePhase, { Creating, Ready, Deleting, Failed });

/// The pool that is meant where none is named.
pub(crate) const POOL_DEFAULT: &str = "shared";

impl From<&Volume> for v1::Volume {
    fn from(volume: &Volume) -> Self {
        v1::Volume {
            meta: Some((&volume.meta).into()),
            spec: Some((&volume.spec).into()),
            status: Some((&volume.status).into()),
            ..v1::Volume::default()
        }
    }
}

impl From<&VolumeSpec> for v1::VolumeSpec {
    fn from(spec: &VolumeSpec) -> Self {
        let source = spec.clone_of.as_ref();
        v1::VolumeSpec {
            pool: spec.pool.to_string(),
            size_bytes: spec.size_bytes,
            clone_of: wire_name(source.map(|s| &s.volume)),
            clone_snapshot: wire_name(source.and_then(|s| s.snapshot.as_ref())),
        }
    }
}

impl From<&VolumeStatus> for v1::VolumeStatus {
    fn from(status: &VolumeStatus) -> Self {
        let snapshot = |s: &VolumeSnapshot| v1::VolumeSnapshot {
            name: s.name.to_string(),
            size_bytes: s.size_bytes,
            ready: s.ready,
            deleting: s.deleting,
        };
        v1::VolumeStatus {
            phase: v1::VolumePhase::from(status.phase).into(),
            reason: status.reason.clone(),
            size_bytes: status.size_bytes,
            snapshots: status.snapshots.iter().map(snapshot).collect(),
            worker: wire_name(status.worker.as_ref()),
            task: wire_name(status.task.as_ref()),
        }
    }
}

/// An empty pool is "shared". What sizes are allowed is `pvc-model`'s to say.
pub fn volume_spec(at: &At<'_>, wire: &v1::VolumeSpec) -> Result<VolumeSpec, Rejection> {
    let volume = at.field("clone_of").optional_name(&wire.clone_of)?;
    let snapshot = at.field("clone_snapshot").optional_name(&wire.clone_snapshot)?;
    let clone_of = match (volume, snapshot) {
        (Some(volume), snapshot) => Some(CloneSource { volume, snapshot }),
        (None, None) => None,
        (None, Some(_)) => {
            let detail = "names a snapshot, and clone_of names no volume";
            return Err(at.field("clone_snapshot").refuse("must-be-set", detail));
        }
    };
    let pool = if wire.pool.is_empty() { POOL_DEFAULT } else { &wire.pool };
    Ok(VolumeSpec { pool: at.field("pool").name(pool)?, size_bytes: wire.size_bytes, clone_of })
}

pub fn volume_status(at: &At<'_>, wire: &v1::VolumeStatus) -> Result<VolumeStatus, Rejection> {
    let snapshot = |(index, s): (usize, &v1::VolumeSnapshot)| {
        let name = at.item("snapshots", index).field("name").name(&s.name)?;
        Ok(VolumeSnapshot { name, size_bytes: s.size_bytes, ready: s.ready, deleting: s.deleting })
    };
    Ok(VolumeStatus {
        phase: VolumePhase::from_wire(wire.phase, &at.field("phase"))?,
        reason: wire.reason.clone(),
        size_bytes: wire.size_bytes,
        snapshots: wire.snapshots.iter().enumerate().map(snapshot).collect::<Result<_, Rejection>>()?,
        worker: at.field("worker").optional_name(&wire.worker)?,
        task: at.field("task").optional_name(&wire.task)?,
    })
}

impl TryFrom<&v1::Volume> for Volume {
    type Error = Rejection;

    fn try_from(wire: &v1::Volume) -> Result<Self, Rejection> {
        let subject = subject("volume", wire.meta.as_ref());
        let root = At::new(&subject);
        let (spec, status) = (root.field("spec"), root.field("status"));
        Ok(Volume {
            meta: meta(&root, wire.meta.as_ref())?,
            spec: volume_spec(&spec, spec.present(wire.spec.as_ref())?)?,
            status: volume_status(&status, status.present(wire.status.as_ref())?)?,
        })
    }
}

/// A volume as it is shown: with the VM that has it as a disk.
pub fn volume_view(world: &World, volume: &Volume) -> v1::Volume {
    let mut view = v1::Volume::from(volume);
    view.used_by = wire_name(world.volume_user(&volume.meta.name));
    view
}
