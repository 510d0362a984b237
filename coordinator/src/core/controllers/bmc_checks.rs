//! Asks every BMC now and then whether it answers, takes its password and is still the one that was enrolled: a BMC that would
//! fail is a fault long before a fence needs it. Dry: nothing is switched.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use pvc_model::bmc::Wiring;
use pvc_model::command::bmc_wiring;
use pvc_model::{Command, Name, World};
use tokio::time::Instant;

use super::super::coordinator::Coordinator;
use super::super::power::{BmcAccess, PowerError};
use super::fault_name::fault_name;
use super::{ACTOR, Controller, Outcome, outcome_of};

/// Between two checks of a BMC that was well, spread by a quarter to both sides.
const EVERY: Duration = Duration::from_secs(240);
/// A BMC that failed is asked again after so long: one lost answer is no fault, and one that is well again is seen soon.
const AGAIN: Duration = Duration::from_secs(20);
/// The first checks of a new leader are spread over so long.
const FIRST: Duration = Duration::from_secs(30);
/// How often it is looked whether any is due.
const TICK: Duration = Duration::from_secs(5);
/// So many failures in a row are a fault.
const FAILURES: u32 = 2;
/// So many BMCs are asked at once.
const AT_ONCE: usize = 16;

const UNREACHABLE: &str = "bmc-unreachable";
const WRONG: &str = "bmc-wrong";

pub(super) struct BmcChecks {
    coordinator: Coordinator,
    checks: BTreeMap<Name, Check>,
    next: Instant,
}

/// What is known of one node's BMC.
struct Check {
    /// What was asked: one that is set anew is asked anew.
    access: BmcAccess,
    due: Instant,
    failures: u32,
    found: Option<Found>,
}

/// How a BMC was found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Well,
    Unreachable(String),
    Wrong(String),
}

impl BmcChecks {
    pub fn new(coordinator: Coordinator) -> Self {
        BmcChecks { coordinator, checks: BTreeMap::new(), next: Instant::now() }
    }

    /// A part of `span`, by chance.
    fn spread(&self, span: Duration) -> Duration {
        let part = self.coordinator.environment().seed()[0] % 1000;
        span.mul_f64(part as f64 / 1000.0)
    }

    /// Takes in new and changed BMCs, and forgets those that are gone.
    fn follow(&mut self, world: &World) {
        let mut known = std::mem::take(&mut self.checks);
        for node in world.nodes.values() {
            let Some(bmc) = &node.spec.bmc else { continue };
            let name = node.meta.name.clone();
            let check = match known.remove(&name) {
                Some(check) if check.access.bmc == *bmc => check,
                // It was asked a moment ago, when it was set: what is told of the one before is put right soon.
                _ => Check {
                    access: BmcAccess { node: name.clone(), bmc: bmc.clone() },
                    due: Instant::now() + self.spread(FIRST),
                    failures: 0,
                    found: None,
                },
            };
            self.checks.insert(name, check);
        }
    }

    async fn ask_those_due(&mut self, world: &World) {
        let now = Instant::now();
        let due: Vec<(Name, BmcAccess)> = self
            .checks
            .iter()
            .filter(|(_, check)| check.due <= now)
            .map(|(name, check)| (name.clone(), check.access.clone()))
            .collect();
        let asked = futures::stream::iter(due).map(|(name, access)| {
            let coordinator = self.coordinator.clone();
            async move {
                let found = coordinator.power().identity(&access).await;
                (name, access, found)
            }
        });
        let answers: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
        for (name, access, answer) in answers {
            let found = judge(world, &access, answer);
            let pause = if found == Found::Well {
                EVERY.mul_f64(0.75) + self.spread(EVERY / 2)
            } else {
                AGAIN.mul_f64(0.75) + self.spread(AGAIN / 2)
            };
            let Some(check) = self.checks.get_mut(&name) else { continue };
            check.failures = if found == Found::Well { 0 } else { check.failures.saturating_add(1) };
            check.found = Some(found);
            check.due = Instant::now() + pause;
        }
    }

    /// What is to be raised and cleared now.
    fn commands(&self, world: &World) -> Vec<Command> {
        let mut commands = Vec::new();
        let mut known = Vec::new();
        for (name, check) in &self.checks {
            for kind in [UNREACHABLE, WRONG] {
                let fault = fault_name(kind, name);
                let stands = world.faults.get(&fault);
                let told = match &check.found {
                    Some(Found::Unreachable(message)) if kind == UNREACHABLE => Some(message),
                    Some(Found::Wrong(message)) if kind == WRONG => Some(message),
                    _ => None,
                };
                match told {
                    // How it is silent changes from time to time, and is no news.
                    Some(message)
                        if check.failures >= FAILURES
                            && stands.is_none_or(|old| kind == WRONG && old.message != *message) =>
                    {
                        commands.push(Command::RaiseFault {
                            name: fault.clone(),
                            subject: format!("node/{name}"),
                            message: message.clone(),
                            help: format!(
                                "without it the node can't be fenced: see `pvc node bmc check {name}`"
                            ),
                        });
                    }
                    None if stands.is_some() && check.found.is_some() => {
                        commands.push(Command::ClearFault { name: fault.clone() });
                    }
                    _ => {}
                }
                known.push(fault);
            }
        }
        // Of nodes that are gone, or have no BMC any more.
        let ours = |fault: &&Name| {
            let is = |kind: &str| fault.as_str().strip_prefix(kind).is_some_and(|rest| rest.starts_with('.'));
            is(UNREACHABLE) || is(WRONG)
        };
        let stale = world.faults.keys().filter(ours).filter(|fault| !known.contains(fault));
        commands.extend(stale.map(|fault| Command::ClearFault { name: fault.clone() }));
        commands
    }
}

/// What an answer means. That the BMC told its identity says that it answers and takes its password.
fn judge(world: &World, access: &BmcAccess, answer: Result<String, PowerError>) -> Found {
    let bmc = &access.bmc;
    let wrong = |found: &str| {
        let node = world.nodes.get(&access.node);
        node.is_some_and(|node| bmc_wiring(world, node, bmc, found) == Wiring::Wrong)
    };
    match answer {
        Err(error) if error.is_wrong() => Found::Wrong(error.to_string()),
        Err(error) => Found::Unreachable(error.to_string()),
        Ok(found) if !bmc.identity.is_empty() && found != bmc.identity => {
            let (address, expected) = (bmc.address.clone(), bmc.identity.clone());
            Found::Wrong(PowerError::AnotherIdentity { address, expected, found }.to_string())
        }
        Ok(found) if wrong(&found) => Found::Wrong(format!(
            "the BMC at {} is another host's: it tells the system GUID {found}",
            bmc.address
        )),
        Ok(_) => Found::Well,
    }
}

#[async_trait]
impl Controller for BmcChecks {
    const NAME: &'static str = "bmc-checks";

    async fn reconcile(&mut self) -> Outcome {
        if Instant::now() < self.next {
            return Outcome::Settled;
        }
        self.next = Instant::now() + TICK;
        let world = self.coordinator.world();
        self.follow(&world);
        self.ask_those_due(&world).await;
        let commands = self.commands(&self.coordinator.world());
        let submits = commands.into_iter().map(|command| self.coordinator.submit(command, ACTOR, None));
        outcome_of(futures::future::join_all(submits).await)
    }

    fn timer(&self) -> Option<Duration> {
        Some(self.next.saturating_duration_since(Instant::now()))
    }
}
