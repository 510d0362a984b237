//! The volumes that this node is the worker of: the next piece of work on each, and what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use pvc_model::Name;
use pvc_model::command::VolumeReport;
use pvc_model::volume::{Volume, VolumePhase, VolumeSnapshot, VolumeStatus};

use tokio_util::sync::CancellationToken;

use super::link::WorkProgress;
use super::view::NodeView;
use crate::storage::{Origin, StorageDriver, StorageError, Work};

/// Storage pools of this node, by name.
pub type Pools = BTreeMap<Name, Arc<dyn StorageDriver>>;

/// The next thing to do for a volume.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Create,
    Clone(Origin),
    Resize,
    Snapshot(Name),
    DeleteSnapshot(Name),
    Delete,
    /// It can't be done yet.
    Wait(String),
}

fn next_step(volume: &Volume, view: &NodeView) -> Option<Step> {
    let status = &volume.status;
    match status.phase {
        VolumePhase::Deleting => return Some(Step::Delete),
        VolumePhase::Creating => {
            let Some(source) = &volume.spec.clone_of else { return Some(Step::Create) };
            let Some(found) = view.volume(&source.volume) else {
                return Some(Step::Wait(format!("volume {} is not known here yet", source.volume)));
            };
            return Some(Step::Clone(Origin { volume: found.meta.uid, snapshot: source.snapshot.clone() }));
        }
        VolumePhase::Failed => return None,
        VolumePhase::Ready => {}
    }
    if status.size_bytes < volume.spec.size_bytes {
        return Some(Step::Resize);
    }
    let snapshot = status.snapshots.iter().find(|s| s.deleting || !s.ready)?;
    Some(match snapshot.deleting {
        true => Step::DeleteSnapshot(snapshot.name.clone()),
        false => Step::Snapshot(snapshot.name.clone()),
    })
}

/// Whether this node has something to do for the volume now.
pub fn has_work_here(volume: &Volume, me: &Name) -> bool {
    volume.status.worker.as_ref() == Some(me) && volume.has_work()
}

/// Does the next piece of work, whole, and says how the volume is then. None: it was called off.
pub async fn work(
    volume: Volume,
    view: Arc<NodeView>,
    pools: Arc<Pools>,
    progress: impl Fn(WorkProgress) + Send + Sync + 'static,
    called_off: CancellationToken,
) -> Option<VolumeReport> {
    let uid = volume.meta.uid;
    let step = next_step(&volume, &view)?;
    let Some(pool) = pools.get(&volume.spec.pool) else {
        let why = format!("pool {} is not configured on this node", volume.spec.pool);
        return Some(report(&volume, volume.status.clone(), Err(why)));
    };
    let task = volume.status.task.clone();
    let attended = Work {
        progress: Arc::new(move |percent| {
            if let Some(task) = task.clone() {
                progress(WorkProgress { task, percent, text: String::new() });
            }
        }),
        cancel: called_off,
    };
    let mut status = volume.status.clone();
    let done: Result<(), StorageError> = match &step {
        Step::Create => pool.create(uid, volume.spec.size_bytes).await.map(|size| status.size_bytes = size),
        Step::Clone(origin) => pool
            .clone_volume(uid, origin, volume.spec.size_bytes, &attended)
            .await
            .map(|size| status.size_bytes = size),
        Step::Resize => {
            let want = volume.spec.size_bytes;
            pool.resize(uid, want).await.map(|()| status.size_bytes = want)
        }
        Step::Snapshot(name) => pool.snapshot(uid, name, &attended).await.map(|taken| {
            let mine = status.snapshots.iter_mut().find(|s| s.name == taken.name);
            if let Some(mine) = mine {
                *mine = VolumeSnapshot { ready: true, size_bytes: taken.size_bytes, ..mine.clone() };
            }
        }),
        Step::DeleteSnapshot(name) => {
            pool.delete_snapshot(uid, name).await.map(|()| status.snapshots.retain(|s| s.name != *name))
        }
        Step::Delete => {
            return Some(match pool.delete(uid).await {
                Ok(()) => VolumeReport { name: volume.meta.name.clone(), uid, status, deleted: true },
                Err(error) => report(&volume, status, Err(error.to_string())),
            });
        }
        Step::Wait(why) => return Some(waiting(&volume, why)),
    };
    match done {
        Ok(()) => {
            status.phase = VolumePhase::Ready;
            Some(report(&volume, status, Ok(())))
        }
        Err(StorageError::Cancelled) => None,
        // The pool may come back: it stays asked for, and people see why it takes so long.
        Err(error @ StorageError::PoolUnusable { .. }) => Some(waiting(&volume, &error.to_string())),
        Err(error) => {
            // A pending snapshot that can't be taken is given up: it leaves the list, with the reason.
            if let Step::Snapshot(name) = &step {
                status.snapshots.retain(|s| s.name != *name);
            }
            Some(report(&volume, status, Err(error.to_string())))
        }
    }
}

fn report(volume: &Volume, mut status: VolumeStatus, outcome: Result<(), String>) -> VolumeReport {
    match outcome {
        Ok(()) => status.reason.clear(),
        Err(why) => {
            status.reason = why;
            if volume.status.phase == VolumePhase::Creating {
                status.phase = VolumePhase::Failed;
            }
        }
    }
    VolumeReport { name: volume.meta.name.clone(), uid: volume.meta.uid, status, deleted: false }
}

fn waiting(volume: &Volume, why: &str) -> VolumeReport {
    let mut status = volume.status.clone();
    status.reason = why.to_string();
    VolumeReport { name: volume.meta.name.clone(), uid: volume.meta.uid, status, deleted: false }
}

/// The disk that a volume of the view is, on this host.
pub async fn attach(pools: &Pools, volume: &Volume) -> Result<crate::storage::DiskSource, StorageError> {
    let Some(pool) = pools.get(&volume.spec.pool) else {
        let detail = "it is not configured on this node".to_string();
        return Err(StorageError::PoolUnusable { pool: volume.spec.pool.clone(), detail });
    };
    pool.attach(volume.meta.uid).await
}
