//! Goes on with running tasks. A task holds no code and no memory: its next step follows from the
//! objects, so each pass asks `model` what there is to do and commits only where there is something.

use std::time::Duration;

use async_trait::async_trait;
use pvc_model::Command;

use super::super::seat::Seat;
use super::{ACTOR, Controller, Outcome, outcome_of};

/// While any task runs, some may wait for time to pass.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Tasks<S> {
    coordinator: S,
}

impl<S: Seat> Tasks<S> {
    pub fn new(coordinator: S) -> Self {
        Tasks { coordinator }
    }
}

#[async_trait]
impl<S: Seat> Controller for Tasks<S> {
    const NAME: &'static str = "tasks";

    async fn reconcile(&mut self) -> Outcome {
        let world = self.coordinator.world();
        let ready = world.running_tasks().filter_map(|task| {
            let command = Command::AdvanceTask { name: task.meta.name.clone() };
            // Deciding is pure and cheap; the lane decides again on the world it finds.
            let changes = self.coordinator.check(&world, &command, ACTOR).ok()?;
            (!changes.is_empty()).then_some(command)
        });
        let submits = ready.map(|command| self.coordinator.submit(command, ACTOR, None));
        outcome_of(futures::future::join_all(submits).await)
    }

    fn timer(&self) -> Option<Duration> {
        self.coordinator.world().running_tasks().next().map(|_| TICK)
    }
}
