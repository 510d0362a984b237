//! Nodes that are to stop their own guests when they are cut off, and have no guard that would: a fault long before anybody
//! needs it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use pvc_model::guard::Isolation;
use pvc_model::{Command, Name, Node, World};
use tokio::time::Instant;

use super::super::coordinator::Coordinator;
use super::fault_name::fault_name;
use super::{ACTOR, Controller, Outcome, outcome_of};

const TICK: Duration = Duration::from_secs(5);
/// A guard that is armed within so long is no ill: a daemon that was restarted arms it anew.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Guards {
    coordinator: Coordinator,
    /// Since when a node has been heard without its guard.
    missing: BTreeMap<Name, Instant>,
}

impl Guards {
    pub fn new(coordinator: Coordinator) -> Self {
        Guards { coordinator, missing: BTreeMap::new() }
    }

    fn commands(&mut self, world: &World) -> Vec<Command> {
        self.missing.retain(|name, _| world.nodes.contains_key(name));
        world.nodes.values().filter_map(|node| self.command(world, node)).collect()
    }

    fn command(&mut self, world: &World, node: &Node) -> Option<Command> {
        let name = &node.meta.name;
        let fault = fault_name("guard-missing", name);
        let stands = world.faults.contains_key(&fault);
        let missing = node.spec.isolation == Isolation::Stop && node.status.guard.is_none();
        if !missing || !node.is_reachable() {
            self.missing.remove(name);
            return (stands && !missing).then_some(Command::ClearFault { name: fault });
        }
        let since = *self.missing.entry(name.clone()).or_insert_with(Instant::now);
        (!stands && since.elapsed() >= PATIENCE).then(|| Command::RaiseFault {
            name: fault,
            subject: format!("node/{name}"),
            message: format!(
                "node {name} is to stop its guests when it is cut off, and its guard is not armed: if its BMC is dead too, \
                 its VMs stay down until a person fences it"
            ),
            help: format!("on {name}: systemctl start pvc-guard; or: pvc node update {name} --isolation keep"),
        })
    }
}

#[async_trait]
impl Controller for Guards {
    const NAME: &'static str = "guards";

    async fn reconcile(&mut self) -> Outcome {
        let commands = self.commands(&self.coordinator.world());
        let submits = commands.into_iter().map(|command| self.coordinator.submit(command, ACTOR, None));
        outcome_of(futures::future::join_all(submits).await)
    }

    fn timer(&self) -> Option<Duration> {
        Some(TICK)
    }
}
