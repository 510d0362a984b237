//! Makes faults of what is wrong with the coordinators' stores, whichever of them leads: a slow or full disk, a
//! rebuilt state, a dead process on one coordinator is noticed before a second one follows.
//! `pvc_model::health` says what is wrong and for how long it must have been; the others tell their part by
//! heartbeat.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use pvc_model::health::{Condition, Following, Trend, readings};
use pvc_model::node::NodeRole;
use pvc_model::{Command, Name, World};
use raft_store::{MemberId, Status};
use tokio::time::Instant;

use super::super::coordinator::Coordinator;
use super::fault_name::fault_name;
use super::{ACTOR, Controller, Outcome, outcome_of};

/// How often the stores are looked at.
const TICK: Duration = Duration::from_secs(5);

pub(super) struct Alarms {
    coordinator: Coordinator,
    /// What each voter had at the last look, where it was missing some: the same again means that it stands still.
    missing: BTreeMap<MemberId, u64>,
    trends: BTreeMap<Name, Trend>,
    begun: Instant,
    next: Instant,
}

impl Alarms {
    pub fn new(coordinator: Coordinator) -> Self {
        let now = Instant::now();
        Alarms { coordinator, missing: BTreeMap::new(), trends: BTreeMap::new(), begun: now, next: now }
    }

    /// How each of the other voters follows; remembers it for the next look.
    fn following(&mut self, status: &Status) -> BTreeMap<MemberId, Following> {
        let mut missing = BTreeMap::new();
        let mut seen = BTreeMap::new();
        for member in status.members.iter().filter(|m| m.voter && m.member.id != status.id) {
            let id = member.member.id;
            let matched = member.matched.unwrap_or(0);
            let behind = status.committed.saturating_sub(matched);
            if behind > 0 {
                missing.insert(id, matched);
            }
            let held = status.log_held.as_ref().filter(|held| held.member.id == id);
            let following = Following {
                behind,
                stands_still: behind > 0 && self.missing.get(&id) == Some(&matched),
                silent_for: member.silent_for.unwrap_or_default(),
                held: held.map_or(0, |held| held.entries),
            };
            seen.insert(id, following);
        }
        self.missing = missing;
        seen
    }

    /// What is to be raised and cleared now.
    fn commands(&mut self, world: &World, status: &Status) -> Vec<Command> {
        let now = self.begun.elapsed();
        let following = self.following(status);
        let mut commands = Vec::new();
        let mut known = BTreeSet::new();
        for node in world.nodes.values().filter(|node| node.spec.role == NodeRole::Coordinator) {
            let (name, id) = (&node.meta.name, node.status.member_id);
            let health = if id == status.id {
                Some((self.coordinator.store_health(), Duration::ZERO))
            } else {
                self.coordinator.heartbeats().store(name)
            };
            let health = health.as_ref().map(|(health, age)| (health, *age));
            for reading in readings(name, health, following.get(&id)) {
                let fault = fault_name(reading.condition.kind(), name);
                let stands = world.faults.contains_key(&fault);
                let trend = self.trends.entry(fault.clone()).or_default();
                let shall = trend.look(reading.level, now, stands, reading.condition.patience());
                known.insert(fault.clone());
                if shall && !stands {
                    let (subject, message, help) = (format!("node/{name}"), reading.message, reading.help);
                    commands.push(Command::RaiseFault { name: fault, subject, message, help });
                } else if stands && !shall {
                    commands.push(Command::ClearFault { name: fault });
                }
            }
        }
        self.trends.retain(|fault, _| known.contains(fault));
        // Of nodes that are gone, or are no coordinators any more.
        let ours = |fault: &&Name| {
            let is = |kind: &str| fault.as_str().strip_prefix(kind).is_some_and(|rest| rest.starts_with('.'));
            Condition::ALL.iter().any(|condition| is(condition.kind()))
        };
        let stale = world.faults.keys().filter(ours).filter(|fault| !known.contains(*fault));
        commands.extend(stale.map(|fault| Command::ClearFault { name: fault.clone() }));
        commands
    }
}

#[async_trait]
impl Controller for Alarms {
    const NAME: &'static str = "alarms";

    async fn reconcile(&mut self) -> Outcome {
        // Two looks that follow each other at once say nothing about who stands still.
        if Instant::now() < self.next {
            return Outcome::Settled;
        }
        self.next = Instant::now() + TICK;
        let world = self.coordinator.world();
        let status = self.coordinator.store().status().borrow().clone();
        let commands = self.commands(&world, &status);
        let submits = commands.into_iter().map(|command| self.coordinator.submit(command, ACTOR, None));
        outcome_of(futures::future::join_all(submits).await)
    }

    fn timer(&self) -> Option<Duration> {
        Some(self.next.saturating_duration_since(Instant::now()))
    }
}
