//! The typed world, kept in step with the store: what has changed between two views is decoded, and
//! nothing else. Every reader takes an O(1) clone; nobody but this file writes it.

use std::sync::Arc;

use parking_lot::Mutex;
use pvc_model::change::Collection;
use pvc_model::{Name, Object, ObjectKey, World};
use raft_store::{Entry, Key, View};
use tokio::sync::watch;

use super::events::is_event;

/// An object of the store that this version can't read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{key} is in a collection that this version does not know")]
    Collection { key: String },
    #[error("{key} has a name that is none")]
    Name { key: String },
    #[error("{key} could not be read: {detail}")]
    Object { key: String, detail: String },
}

/// The object's key as `model` has it.
pub fn object_key(key: &Key) -> Result<ObjectKey, DecodeError> {
    let collection = Collection::from_str_opt(&key.collection)
        .ok_or_else(|| DecodeError::Collection { key: key.to_string() })?;
    let name: Name = key.name.parse().map_err(|_| DecodeError::Name { key: key.to_string() })?;
    Ok(ObjectKey { collection, name })
}

/// The key under which the store keeps an object.
pub fn store_key(key: &ObjectKey) -> Key {
    Key { collection: key.collection.as_str().into(), name: key.name.as_str().into() }
}

/// The object as `model` has it, with its revision filled in.
pub fn decode(key: &Key, entry: &Entry) -> Result<Object, DecodeError> {
    let object_key = object_key(key)?;
    pvc_proto::convert::decode_object(object_key.collection, &entry.value, entry.revision)
        .map_err(|error| DecodeError::Object { key: key.to_string(), detail: error.to_string() })
}

/// Publishes the world at each revision that this coordinator has applied.
#[derive(Debug)]
pub struct WorldFeed {
    /// The view that the published world shows.
    shown: Mutex<Option<View>>,
    sender: watch::Sender<World>,
}

impl WorldFeed {
    pub fn new(view: &View) -> Arc<Self> {
        let feed =
            Arc::new(WorldFeed { shown: Mutex::new(None), sender: watch::Sender::new(World::default()) });
        feed.advance(view);
        feed
    }

    /// Takes the world to `view`, and gives it back. A view older than the one shown changes nothing.
    pub fn advance(&self, view: &View) -> World {
        let mut shown = self.shown.lock();
        let mut world = self.sender.borrow().clone();
        match &*shown {
            Some(older) if older.revision >= view.revision => return world,
            Some(older) => {
                for (key, _, new) in view.diff(older) {
                    take(&mut world, &key, new.as_ref());
                }
            }
            None => {
                for (key, entry) in view.iter() {
                    take(&mut world, key, Some(entry));
                }
            }
        }
        world.revision = view.revision;
        *shown = Some(view.clone());
        self.sender.send_replace(world.clone());
        world
    }

    pub fn current(&self) -> World {
        self.sender.borrow().clone()
    }

    pub fn subscribe(&self) -> watch::Receiver<World> {
        self.sender.subscribe()
    }
}

fn take(world: &mut World, key: &Key, entry: Option<&Entry>) {
    if is_event(key) {
        return;
    }
    let change = match entry {
        Some(entry) => decode(key, entry).map(|object| world.put(object)),
        None => object_key(key).map(|key| world.delete(&key)),
    };
    // What a newer version wrote is left alone here; the objects that are understood still count.
    if let Err(error) = change {
        tracing::error!(%error, "an object of the store was left out");
    }
}
