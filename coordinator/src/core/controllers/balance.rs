//! Balances the cluster by itself where people have set it so (`pvc cluster set --balance automatic`). Everything
//! else that moves VMs comes first: it waits until nothing is under way, and until the same is worth it for a while.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use pvc_model::task::Subject;
use pvc_model::{Command, World, cluster, plan};
use tokio::time::Instant;

use super::super::coordinator::Coordinator;
use super::{ACTOR, Controller, Outcome, outcome_of};

/// How often it is judged at most.
const TICK: Duration = Duration::from_secs(15);
/// For so long some step must have been worth it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Balance {
    coordinator: Coordinator,
    next: Instant,
    /// Since when some step is worth it.
    worth_since: Option<Instant>,
}

impl Balance {
    pub fn new(coordinator: Coordinator) -> Self {
        Balance { coordinator, next: Instant::now(), worth_since: None }
    }
}

fn is_automatic(world: &World) -> bool {
    world.settings().balance == cluster::Balance::Automatic
}

/// Nothing is done to a node, a VM or the cluster.
fn is_calm(world: &World) -> bool {
    let all_heard = world.nodes.values().all(|node| node.is_reachable());
    all_heard && world.running_tasks().all(|task| matches!(task.subject, Subject::Volume { .. }))
}

#[async_trait]
impl Controller for Balance {
    const NAME: &'static str = "balance";

    async fn reconcile(&mut self) -> Outcome {
        let world = self.coordinator.world();
        if !is_automatic(&world) || !is_calm(&world) {
            self.worth_since = None;
            return Outcome::Settled;
        }
        if Instant::now() < self.next {
            return Outcome::Settled;
        }
        self.next = Instant::now() + TICK;
        if plan::balance(&world, &BTreeSet::new()).is_empty() {
            self.worth_since = None;
            return Outcome::Settled;
        }
        let since = *self.worth_since.get_or_insert_with(Instant::now);
        if since.elapsed() < PATIENCE {
            return Outcome::Settled;
        }
        self.worth_since = None;
        outcome_of([self.coordinator.submit(Command::BalanceCluster, ACTOR, None).await])
    }

    fn timer(&self) -> Option<Duration> {
        let world = self.coordinator.world();
        is_automatic(&world).then(|| self.next.saturating_duration_since(Instant::now()).max(TICK / 15))
    }
}
