//! Watches: a list and then changes, or changes from a revision on, in one stream.

use std::sync::Arc;

use imbl::OrdMap;
use pvc_model::network::Network;
use pvc_model::network::lease::Lease;
use pvc_model::{Name, Node, Object, Rule, Vm, Volume, World};
use pvc_proto::v1::ChangeKind;
use tonic::Status;

use super::answers::{Answers, Sink, answers};
use super::shared::Shared;
use crate::core::{Change, Changed};
use crate::status;

/// Objects that can be watched.
pub trait Watched: Sized + Send + Sync + 'static {
    fn all(world: &World) -> &OrdMap<Name, Arc<Self>>;
    fn of(object: &Object) -> Option<&Self>;
}

impl Watched for Vm {
    fn all(world: &World) -> &OrdMap<Name, Arc<Self>> {
        &world.vms
    }
    fn of(object: &Object) -> Option<&Self> {
        if let Object::Vm(vm) = object { Some(vm) } else { None }
    }
}

impl Watched for Node {
    fn all(world: &World) -> &OrdMap<Name, Arc<Self>> {
        &world.nodes
    }
    fn of(object: &Object) -> Option<&Self> {
        if let Object::Node(node) = object { Some(node) } else { None }
    }
}

impl Watched for Volume {
    fn all(world: &World) -> &OrdMap<Name, Arc<Self>> {
        &world.volumes
    }
    fn of(object: &Object) -> Option<&Self> {
        if let Object::Volume(volume) = object { Some(volume) } else { None }
    }
}

impl Watched for Rule {
    fn all(world: &World) -> &OrdMap<Name, Arc<Self>> {
        &world.rules
    }
    fn of(object: &Object) -> Option<&Self> {
        if let Object::Rule(rule) = object { Some(rule) } else { None }
    }
}

impl Watched for Network {
    fn all(world: &World) -> &OrdMap<Name, Arc<Self>> {
        &world.networks
    }
    fn of(object: &Object) -> Option<&Self> {
        if let Object::Network(network) = object { Some(network) } else { None }
    }
}

impl Watched for Lease {
    fn all(world: &World) -> &OrdMap<Name, Arc<Self>> {
        &world.leases
    }
    fn of(object: &Object) -> Option<&Self> {
        if let Object::Lease(lease) = object { Some(lease) } else { None }
    }
}

/// One watch: what it lets through and how an object becomes a message.
pub struct Watch<O, T> {
    pub matches: Box<dyn Fn(&O) -> bool + Send + Sync>,
    /// None: a bookmark.
    pub message: fn(&Shared, &World, ChangeKind, Option<&O>, u64) -> T,
    /// Objects whose message depends on something else that has changed.
    pub touched: fn(&World, &[Change]) -> Vec<Arc<O>>,
}

impl<O: Watched, T: Send + 'static> Watch<O, T> {
    /// From a list (`start` is 0), or from the changes after `start`.
    pub fn run(self, shared: &Shared, start: u64) -> Answers<T> {
        let own = shared.clone();
        answers(&shared.closing, move |sink| async move { self.produce(own, start, sink).await })
    }

    async fn produce(self, shared: Shared, start: u64, sink: Sink<T>) -> Result<(), Status> {
        let listed = match start {
            0 => {
                let world = shared.core.linearizable_world().await.map_err(|error| status::read(&error))?;
                Some(world)
            }
            _ => None,
        };
        let from = listed.as_ref().map_or(start, |world| world.revision);
        let mut watch = shared.core.watch(from).map_err(status::watch)?;
        if let Some(world) = listed {
            for object in O::all(&world).values().filter(|object| (self.matches)(object)) {
                let message = (self.message)(&shared, &world, ChangeKind::Created, Some(object), from);
                sink.send(message).await?;
            }
            sink.send((self.message)(&shared, &world, ChangeKind::Bookmark, None, from)).await?;
        }
        loop {
            match watch.next().await.map_err(status::watch)? {
                Changed::Bookmark { revision } => {
                    let world = shared.core.world();
                    sink.send((self.message)(&shared, &world, ChangeKind::Bookmark, None, revision)).await?;
                }
                Changed::Objects { revision, changes, world } => {
                    for change in &changes {
                        if let Some((kind, object)) = self.kind(change) {
                            sink.send((self.message)(&shared, &world, kind, Some(object), revision)).await?;
                        }
                    }
                    let touched = (self.touched)(&world, &changes);
                    for object in touched.iter().filter(|object| (self.matches)(object)) {
                        let message =
                            (self.message)(&shared, &world, ChangeKind::Updated, Some(object), revision);
                        sink.send(message).await?;
                    }
                }
            }
        }
    }

    /// What a change is to this watch: an object that comes to match is created, one that ceases to is
    /// deleted, whatever became of it in itself. Follows from the change alone, so that a watch that was
    /// resumed says the same.
    fn kind<'a>(&self, change: &'a Change) -> Option<(ChangeKind, &'a O)> {
        let old = change.old.as_ref().and_then(O::of).filter(|object| (self.matches)(object));
        let new = change.new.as_ref().and_then(O::of);
        match (old, new) {
            (Some(_), Some(new)) if (self.matches)(new) => Some((ChangeKind::Updated, new)),
            (None, Some(new)) if (self.matches)(new) => Some((ChangeKind::Created, new)),
            (Some(old), None) => Some((ChangeKind::Deleted, old)),
            // It shows what it has become.
            (Some(_), Some(new)) => Some((ChangeKind::Deleted, new)),
            (None, _) => None,
        }
    }
}
