//! Makes faults of what nodes say of their part of the client networks: `network-frr.hv2`. The nodes have waited with it, so it
//! is said at once; of a node that is silent nothing new is known, and what it said stands.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use pvc_model::{Command, Name, World};

use super::super::coordinator::Coordinator;
use super::fault_name::fault_name;
use super::{ACTOR, Controller, Outcome, outcome_of};

const KIND: &str = "network-";

pub(super) struct NetworkFaults {
    coordinator: Coordinator,
}

impl NetworkFaults {
    pub fn new(coordinator: Coordinator) -> Self {
        NetworkFaults { coordinator }
    }
}

/// What is to be raised and cleared now.
fn commands(world: &World) -> Vec<Command> {
    let mut known: BTreeSet<Name> = BTreeSet::new();
    let mut commands = Vec::new();
    for node in world.nodes.values() {
        let name = &node.meta.name;
        for (part, problem) in &node.status.facts.network_health.problems {
            let label = !part.is_empty() && part.len() <= 20 && part.bytes().all(|b| b.is_ascii_lowercase());
            if !label {
                continue;
            }
            let fault = fault_name(&format!("{KIND}{part}"), name);
            if world.faults.get(&fault).is_none_or(|stands| stands.message != *problem) {
                commands.push(Command::RaiseFault {
                    name: fault.clone(),
                    subject: format!("node/{name}"),
                    message: problem.clone(),
                    help: format!("see `pvc node history {name}` and `pvc node log {name}`"),
                });
            }
            known.insert(fault);
        }
    }
    let stale =
        world.faults.keys().filter(|fault| fault.as_str().starts_with(KIND) && !known.contains(*fault));
    commands.extend(stale.map(|fault| Command::ClearFault { name: fault.clone() }));
    commands
}

#[async_trait]
impl Controller for NetworkFaults {
    const NAME: &'static str = "network-faults";

    async fn reconcile(&mut self) -> Outcome {
        let commands = commands(&self.coordinator.world());
        let submits = commands.into_iter().map(|command| self.coordinator.submit(command, ACTOR, None));
        outcome_of(futures::future::join_all(submits).await)
    }

    /// What nodes say is in the world, whose changes wake it.
    fn timer(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvc_model::node::{NetworkHealth, NodeFacts};
    use pvc_model::{Context, Timestamp, decide};

    fn run(world: &mut World, command: &Command) {
        let mut context = Context::new(Timestamp(1_000_000), ACTOR, [world.revision, 7]);
        let changes = decide(world, command, &mut context).expect("it is decided");
        let revision = world.revision + 1;
        world.apply(&changes, revision);
    }

    fn say(world: &mut World, problems: &[(&str, &str)]) {
        let problems = problems.iter().map(|(part, problem)| ((*part).to_owned(), (*problem).to_owned()));
        let network_health = NetworkHealth { problems: problems.collect(), ..NetworkHealth::default() };
        let facts = Some(NodeFacts { network_health, ..NodeFacts::default() });
        let node = "hv1".parse().expect("a name");
        run(world, &Command::Report { node, session: 1, vms: vec![], volumes: vec![], facts });
    }

    #[test]
    fn what_a_node_says_is_a_fault_until_it_says_so_no_more() {
        let mut world = World::default();
        let name: Name = "hv1".parse().expect("a name");
        run(&mut world, &Command::FoundNode { name, address: "192.0.2.1:7741".to_owned(), member_id: 1 });
        say(&mut world, &[("frr", "bgpd does not run"), ("NO label", "x")]);
        let raised = commands(&world);
        let [Command::RaiseFault { name, message, .. }] = &raised[..] else { panic!("{raised:?}") };
        assert_eq!((name.as_str(), message.as_str()), ("network-frr.hv1", "bgpd does not run"));
        run(&mut world, &raised[0]);
        assert!(commands(&world).is_empty(), "it is said once");
        say(&mut world, &[]);
        assert!(matches!(&commands(&world)[..], [Command::ClearFault { .. }]));
    }
}
