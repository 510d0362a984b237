//! Gives each volume that has work a living worker.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use imbl::ordmap::DiffItem;
use pvc_model::{Command, Name, World};

use super::super::coordinator::Coordinator;
use super::{ACTOR, Controller, Outcome, outcome_of};

pub(super) struct Volumes {
    coordinator: Coordinator,
    /// The world of the last pass: only what has changed since is looked through.
    seen: World,
    /// Volumes that have work: few, while volumes may be a hundred thousand.
    at_work: BTreeSet<Name>,
}

impl Volumes {
    pub fn new(coordinator: Coordinator) -> Self {
        Volumes { coordinator, seen: World::default(), at_work: BTreeSet::new() }
    }

    fn look(&mut self, world: &World) {
        for item in self.seen.volumes.diff(&world.volumes) {
            match item {
                DiffItem::Add(name, volume) | DiffItem::Update { new: (name, volume), .. }
                    if volume.has_work() =>
                {
                    self.at_work.insert(name.clone());
                }
                DiffItem::Add(name, _)
                | DiffItem::Update { new: (name, _), .. }
                | DiffItem::Remove(name, _) => {
                    self.at_work.remove(name);
                }
            }
        }
        self.seen = world.clone();
    }
}

#[async_trait]
impl Controller for Volumes {
    const NAME: &'static str = "volumes";

    async fn reconcile(&mut self) -> Outcome {
        let world = self.coordinator.world();
        self.look(&world);
        let ready = self.at_work.iter().filter_map(|name| {
            let command = Command::AssignVolumeWorker { name: name.clone() };
            let changes = self.coordinator.check(&world, &command, ACTOR).ok()?;
            (!changes.is_empty()).then_some(command)
        });
        let submits = ready.map(|command| self.coordinator.submit(command, ACTOR, None));
        outcome_of(futures::future::join_all(submits).await)
    }

    fn timer(&self) -> Option<Duration> {
        None
    }
}
