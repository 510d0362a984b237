//! After a restore or a recovery: begins the new incarnation, tells whom it waits for, and settles what was
//! found on no node. The rules are `model`'s (`command::adopt`).

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use pvc_model::{Command, Name, World};
use tokio::time::Instant;

use super::super::coordinator::Coordinator;
use super::{ACTOR, Controller, Outcome, outcome_of};

const TICK: Duration = Duration::from_secs(5);
/// Nodes that are up have counted by then.
const PATIENCE: Duration = Duration::from_secs(10);
/// Names that a fault tells one by one.
const TOLD_MAX: usize = 10;
const FAULT: &str = "guests-not-counted";

pub(super) struct Adoption {
    coordinator: Coordinator,
    waits_since: Option<Instant>,
}

impl Adoption {
    pub fn new(coordinator: Coordinator) -> Self {
        Adoption { coordinator, waits_since: None }
    }

    /// The fault that goes with what is waited for, where it is not as it should be.
    fn fault(&mut self, world: &World) -> Option<Command> {
        let name: Name = FAULT.parse().expect("a label is a name");
        let awaited: BTreeSet<Name> =
            world.cluster.iter().flat_map(|cluster| cluster.status.awaited.iter().cloned()).collect();
        let raised = world.faults.contains_key(&name);
        if awaited.is_empty() {
            self.waits_since = None;
            return raised.then_some(Command::ClearFault { name });
        }
        if self.waits_since.get_or_insert_with(Instant::now).elapsed() < PATIENCE {
            return None;
        }
        let vms = world.vms.values().filter(|vm| !world.is_confirmed(vm)).count();
        let told: Vec<&str> = awaited.iter().take(TOLD_MAX).map(Name::as_str).collect();
        let more = awaited.len() - told.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(Command::RaiseFault {
            name,
            subject: "cluster".to_owned(),
            message: format!(
                "{vms} VMs are not found yet, and may run on nodes that have not said so since the restore or recovery: {}{more}",
                told.join(", ")
            ),
            help: "bring these nodes back, joined anew where they must; for one on which certainly nothing runs: pvc node confirm-off NODE".to_owned(),
        })
    }

    fn commands(&mut self, world: &World) -> Vec<Command> {
        let mut commands = Vec::new();
        let recoveries = self.coordinator.recoveries();
        if !self.coordinator.knows_recovery(world) {
            let status = self.coordinator.store().status().borrow().clone();
            let members = status.members.iter().map(|member| member.member.id).collect();
            commands.push(Command::BeginRecovery { recoveries, members });
        }
        commands.extend(self.fault(world));
        commands.push(Command::SettleUnfound);
        // Deciding is cheap; only what changes something is worth an entry.
        commands.retain(|command| {
            self.coordinator.check(world, command, ACTOR).is_ok_and(|changes| !changes.is_empty())
        });
        commands
    }
}

#[async_trait]
impl Controller for Adoption {
    const NAME: &'static str = "adoption";

    async fn reconcile(&mut self) -> Outcome {
        let commands = self.commands(&self.coordinator.world());
        let submits = commands.into_iter().map(|command| self.coordinator.submit(command, ACTOR, None));
        outcome_of(futures::future::join_all(submits).await)
    }

    fn timer(&self) -> Option<Duration> {
        let world = self.coordinator.world();
        let waits = world.cluster.as_ref().is_some_and(|cluster| !cluster.status.awaited.is_empty());
        waits.then_some(TICK)
    }
}
