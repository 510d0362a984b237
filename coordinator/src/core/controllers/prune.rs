//! Forgets ended tasks beyond their number and age, and dead tokens. Commits only where there are any.

use std::time::Duration;

use async_trait::async_trait;
use pvc_model::Command;
use tokio::time::Instant;

use super::super::coordinator::Coordinator;
use super::{ACTOR, Controller, Outcome, outcome_of};

const INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct Prune {
    coordinator: Coordinator,
    next: Instant,
}

impl Prune {
    pub fn new(coordinator: Coordinator) -> Self {
        Prune { coordinator, next: Instant::now() + INTERVAL }
    }
}

#[async_trait]
impl Controller for Prune {
    const NAME: &'static str = "prune";

    async fn reconcile(&mut self) -> Outcome {
        // A change of the world is no reason to look: what is old does not come with changes.
        if Instant::now() < self.next {
            return Outcome::Settled;
        }
        self.next = Instant::now() + INTERVAL;
        let world = self.coordinator.world();
        match self.coordinator.check(&world, &Command::Prune, ACTOR) {
            Ok(changes) if changes.is_empty() => Outcome::Settled,
            Ok(_) => outcome_of([self.coordinator.submit(Command::Prune, ACTOR, None).await]),
            Err(rejection) => Outcome::Blocked(rejection.to_string()),
        }
    }

    fn timer(&self) -> Option<Duration> {
        Some(self.next.saturating_duration_since(Instant::now()))
    }
}
