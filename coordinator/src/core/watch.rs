//! Changes of objects as `model` has them: whole transactions in order, resumable from a revision.

use std::sync::Arc;

use pvc_model::{Object, ObjectKey, World};
use raft_store::{Event, WatchEnd, WatchError, WatchEvent, Watcher};
use tokio::sync::watch;

use super::error::WatchStop;
use super::events::is_event;
use super::world::{decode, object_key};

/// What became of one object in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: ObjectKey,
    pub old: Option<Object>,
    pub new: Option<Object>,
}

#[derive(Clone, Debug)]
pub enum Changed {
    /// Everything that one log entry changed, and a world that has it (or newer).
    Objects { revision: u64, changes: Vec<Change>, world: World },
    /// Nothing that was not delivered has happened up to here.
    Bookmark { revision: u64 },
}

/// A running watch over every object. Dropping it ends it.
#[derive(Debug)]
pub struct ObjectWatch {
    watcher: Watcher,
    world: watch::Receiver<World>,
}

impl ObjectWatch {
    pub(super) fn new(watcher: Watcher, world: watch::Receiver<World>) -> Self {
        ObjectWatch { watcher, world }
    }

    /// The next changes. Cancel-safe up to the point where the world catches up with them.
    pub async fn next(&mut self) -> Result<Changed, WatchStop> {
        match self.watcher.next().await.map_err(stop)? {
            WatchEvent::Bookmark { revision } => Ok(Changed::Bookmark { revision }),
            WatchEvent::Changes { revision, events } => {
                let world = self.world.wait_for(|world| world.revision >= revision).await;
                let world = world.map_err(|_| WatchStop::Stopped)?.clone();
                Ok(Changed::Objects { revision, changes: changes(&events), world })
            }
        }
    }

    /// The next event's revision, without its objects: for those who only want to be woken.
    /// Cancel-safe.
    pub(super) async fn wake(&mut self) -> Result<u64, WatchStop> {
        Ok(self.watcher.next().await.map_err(stop)?.revision())
    }

    /// The world at `revision` or newer.
    pub(super) async fn world_at(&mut self, revision: u64) -> Result<World, WatchStop> {
        let world = self.world.wait_for(|world| world.revision >= revision).await;
        Ok(world.map_err(|_| WatchStop::Stopped)?.clone())
    }
}

fn changes(events: &Arc<[Event]>) -> Vec<Change> {
    let mut changes = Vec::with_capacity(events.len());
    for event in events.iter().filter(|event| !is_event(&event.key)) {
        let read = |entry: &Option<raft_store::Entry>| {
            entry.as_ref().map(|entry| decode(&event.key, entry)).transpose()
        };
        let change = object_key(&event.key)
            .and_then(|key| Ok(Change { key, old: read(&event.old)?, new: read(&event.new)? }));
        match change {
            Ok(change) => changes.push(change),
            Err(error) => tracing::error!(%error, "a change was left out of a watch"),
        }
    }
    changes
}

fn stop(end: WatchEnd) -> WatchStop {
    match end {
        WatchEnd::TooSlow => WatchStop::TooSlow,
        WatchEnd::LostLeader => WatchStop::LostLeader,
        WatchEnd::Compacted => WatchStop::Compacted,
        WatchEnd::Stopped => WatchStop::Stopped,
    }
}

impl From<WatchError> for WatchStop {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Compacted { .. } => WatchStop::Compacted,
            WatchError::NoLeader => WatchStop::LostLeader,
            WatchError::TooMany { limit } => WatchStop::TooMany(limit),
            WatchError::Stopped => WatchStop::Stopped,
        }
    }
}
