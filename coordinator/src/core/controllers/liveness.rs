//! Who is heard and who is not. Detection only: what follows from a silence is decided elsewhere.
//!
//! A node's silence is measured on this process's monotonic clock, from its last heartbeat or from the
//! start of this leader, whichever is later: an election makes nobody unreachable. When this very
//! process stood still, everybody has the full grace again.

use std::time::Duration;

use async_trait::async_trait;
use pvc_model::node::Reachability;
use pvc_model::{Command, Name, Node, World};
use tokio::time::Instant;

use super::super::seat::Seat;
use super::fault_name::fault_name;
use super::{ACTOR, Controller, Outcome, outcome_of};

/// How often silences are looked at while any node is enrolled.
const TICK: Duration = Duration::from_millis(250);
/// A tick that is late by more than this: the process was frozen or starved, not the nodes.
const STALL: Duration = Duration::from_secs(1);

pub(super) struct Liveness<S> {
    coordinator: S,
    last: Instant,
}

impl<S: Seat> Liveness<S> {
    pub fn new(coordinator: S) -> Self {
        Liveness { coordinator, last: Instant::now() }
    }

    /// What `node` should be said to be now; None: as it is.
    fn judge(&self, node: &Node) -> Option<Reachability> {
        let hearts = self.coordinator.heartbeats();
        let grace = self.coordinator.grace();
        let name = &node.meta.name;
        match node.status.reachability {
            Reachability::Reachable if hearts.silence_of(name) > grace => Some(Reachability::Unreachable),
            Reachability::Reachable => None,
            Reachability::NeverSeen | Reachability::Unreachable => {
                hearts.heard(name).is_some_and(|age| age < grace).then_some(Reachability::Reachable)
            }
        }
    }

    /// All that is to be said of nodes now.
    fn commands(&self, world: &World) -> Vec<Command> {
        self.coordinator.heartbeats().retain(|name| world.nodes.contains_key(name));
        let mut commands = Vec::new();
        for node in world.nodes.values() {
            let change = self.judge(node);
            if let Some(reachability) = change {
                commands.push(Command::SetReachability { node: node.meta.name.clone(), reachability });
            }
            let said = change.unwrap_or(node.status.reachability);
            // Mostly there is nothing to raise, and nothing to clear.
            if said != Reachability::Unreachable && world.faults.is_empty() {
                continue;
            }
            let fault = fault_name("node-unreachable", &node.meta.name);
            commands.extend(self.fault(node, said, world.faults.contains_key(&fault)));
        }
        // A removed node takes its fault with it.
        for fault in world.faults.values() {
            let gone = fault.subject.strip_prefix("node/").and_then(|node| node.parse::<Name>().ok());
            if gone.is_some_and(|node| !world.nodes.contains_key(&node)) {
                commands.push(Command::ClearFault { name: fault.meta.name.clone() });
            }
        }
        commands
    }

    /// The fault that goes with what the node is said to be, where it is not as it should be.
    fn fault(&self, node: &Node, said: Reachability, raised: bool) -> Option<Command> {
        let fault = fault_name("node-unreachable", &node.meta.name);
        let excused = node.is_excused(self.coordinator.heartbeats().silence_of(&node.meta.name));
        match said {
            Reachability::Unreachable if excused => raised.then_some(Command::ClearFault { name: fault }),
            Reachability::Unreachable if !raised => Some(self.raise(fault, &node.meta.name)),
            Reachability::Unreachable => None,
            Reachability::Reachable | Reachability::NeverSeen if raised => {
                Some(Command::ClearFault { name: fault })
            }
            Reachability::Reachable | Reachability::NeverSeen => None,
        }
    }

    fn raise(&self, fault: Name, node: &Name) -> Command {
        let grace = self.coordinator.grace();
        Command::RaiseFault {
            name: fault,
            subject: format!("node/{node}"),
            message: format!(
                "node {node} has been silent for more than {grace:?}: its VMs' state is unknown"
            ),
            help: format!(
                "check its power and network, then its daemon; see `pvc node log {node}` when it is back"
            ),
        }
    }
}

#[async_trait]
impl<S: Seat> Controller for Liveness<S> {
    const NAME: &'static str = "liveness";

    async fn reconcile(&mut self) -> Outcome {
        let now = Instant::now();
        let hearts = self.coordinator.heartbeats();
        if now - self.last > TICK + STALL {
            tracing::warn!(stood_still = ?(now - self.last), "this process stood still; all nodes have a full grace");
            hearts.rearm();
        }
        self.last = now;
        let outcome = loop {
            let commands = self.commands(&self.coordinator.world());
            let submits = commands.into_iter().map(|command| self.coordinator.submit(command, ACTOR, None));
            tokio::select! {
                biased;
                // The lane may have been busy for long, and somebody who was silent is heard by now. What
                // the lane has not taken yet is taken back, and judged again.
                () = hearts.noticed.notified() => {}
                results = futures::future::join_all(submits) => break outcome_of(results),
            }
        };
        // The time that committing took is no stall.
        self.last = Instant::now();
        outcome
    }

    fn timer(&self) -> Option<Duration> {
        Some(TICK)
    }

    async fn woken(&self) {
        self.coordinator.heartbeats().noticed.notified().await;
    }
}
