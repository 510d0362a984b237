//! Raises the cluster's feature level when all nodes can: one commit for each upgrade of the whole cluster.

use std::time::Duration;

use async_trait::async_trait;
use pvc_model::Command;
use pvc_model::feature::raise_to;

use super::super::coordinator::Coordinator;
use super::{ACTOR, Controller, Outcome, outcome_of};

pub(super) struct Levels {
    coordinator: Coordinator,
}

impl Levels {
    pub fn new(coordinator: Coordinator) -> Self {
        Levels { coordinator }
    }
}

#[async_trait]
impl Controller for Levels {
    const NAME: &'static str = "levels";

    async fn reconcile(&mut self) -> Outcome {
        let leader = self.coordinator.levels();
        let Some(level) = raise_to(&self.coordinator.world(), leader) else { return Outcome::Settled };
        tracing::info!(level, "all nodes can do it: the cluster's feature level is raised");
        outcome_of([self.coordinator.submit(Command::RaiseLevel { leader }, ACTOR, None).await])
    }

    /// What nodes can is in the world, whose changes wake it.
    fn timer(&self) -> Option<Duration> {
        None
    }
}
