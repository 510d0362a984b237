//! Recovers VMs of fenced nodes: each time the world changes, what is given up and what can be placed is decided anew
//! (`command::recovery`). Tells of those that wait.

use std::time::Duration;

use async_trait::async_trait;
use pvc_model::{Command, World};

use super::super::seat::Seat;
use super::fault_name::cluster_fault;
use super::{ACTOR, Controller, Outcome, outcome_of};

/// VMs that the fault names one by one.
const NAMED_MAX: usize = 10;

pub(super) struct Recovery<S> {
    coordinator: S,
}

impl<S: Seat> Recovery<S> {
    pub fn new(coordinator: S) -> Self {
        Recovery { coordinator }
    }

    fn commands(&self, world: &World) -> Vec<Command> {
        let recover = Command::Recover;
        // Deciding is cheap; only what changes something is worth an entry.
        let changes = self.coordinator.check(world, &recover, ACTOR);
        let mut commands = Vec::new();
        if changes.is_ok_and(|changes| !changes.is_empty()) {
            commands.push(recover);
        }
        let waiting: Vec<_> = world.waiting_vms().map(|vm| vm.meta.name.as_str()).collect();
        let told = (!waiting.is_empty()).then(|| {
            let more = waiting.len().saturating_sub(NAMED_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let named = waiting[..waiting.len().min(NAMED_MAX)].join(", ");
            let message = format!("{} VMs lost their node and find no other: {named}{more}", waiting.len());
            (message, "pvc vm list --phase pending tells why; bring nodes back, or make room")
        });
        commands.extend(cluster_fault(world, "vms-wait-for-a-node", told));
        commands
    }
}

#[async_trait]
impl<S: Seat> Controller for Recovery<S> {
    const NAME: &'static str = "recovery";

    async fn reconcile(&mut self) -> Outcome {
        let commands = self.commands(&self.coordinator.world());
        let submits = commands.into_iter().map(|command| self.coordinator.submit(command, ACTOR, None));
        outcome_of(futures::future::join_all(submits).await)
    }

    /// All that it looks at is in the world, whose changes wake it.
    fn timer(&self) -> Option<Duration> {
        None
    }
}
