//! Makes faults of what the store complains of, and of coordinators that lag behind: a full disk or a
//! dead process on one coordinator is noticed before a second one follows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use pvc_model::{Command, Name, World};
use raft_store::{Alarm, MemberId, Status};
use tokio::time::Instant;

use super::super::coordinator::Coordinator;
use super::super::leader::member_name;
use super::fault_name::fault_name;
use super::{ACTOR, Controller, Outcome, outcome_of};

/// How often the store is asked.
const TICK: Duration = Duration::from_secs(5);
/// A voter that has answered nothing for longer is behind.
const SILENT_MAX: Duration = Duration::from_secs(10);

const BEHIND: &str = "coordinator-behind";
const REBUILT: &str = "store-rebuilt";
const FAILED: &str = "store-failed";

pub(super) struct Alarms {
    coordinator: Coordinator,
    /// What each voter was missing at the last look: the same again means that it stands still.
    missing: BTreeMap<MemberId, u64>,
    next: Instant,
}

impl Alarms {
    pub fn new(coordinator: Coordinator) -> Self {
        Alarms { coordinator, missing: BTreeMap::new(), next: Instant::now() }
    }

    /// Everything that should be a fault now, by name.
    fn wanted(&mut self, world: &World, status: &Status) -> BTreeMap<Name, Command> {
        let mut wanted = BTreeMap::new();
        let own = member_name(world, status.id);
        for alarm in &status.alarms {
            let Some(node) = &own else { continue };
            let (kind, help) = match alarm {
                Alarm::StateRebuilt { .. } => (REBUILT, "check the disk; restart its pvcd to clear this"),
                Alarm::DiskFailed { .. } | Alarm::Stopped { .. } => {
                    (FAILED, "make space or replace the disk, then restart its pvcd")
                }
            };
            raise(&mut wanted, kind, node, format!("on node {node}, {alarm}"), help.to_owned());
        }
        let mut missing = BTreeMap::new();
        for member in status.members.iter().filter(|m| m.voter && m.member.id != status.id) {
            let id = member.member.id;
            let matched = member.matched.unwrap_or(0);
            if matched < status.committed {
                missing.insert(id, matched);
            }
            let silent = member.silent_for.is_some_and(|silent| silent > SILENT_MAX);
            let stands = self.missing.get(&id) == Some(&matched) && missing.contains_key(&id);
            if let Some(node) = member_name(world, id).filter(|_| silent || stands) {
                let message =
                    format!("coordinator {node} does not take part: it does not confirm what is committed");
                let help =
                    format!("check that its pvcd runs and that its disk has space: pvc node log {node}");
                raise(&mut wanted, BEHIND, &node, message, help);
            }
        }
        self.missing = missing;
        wanted
    }
}

fn raise(wanted: &mut BTreeMap<Name, Command>, kind: &str, node: &Name, message: String, help: String) {
    let name = fault_name(kind, node);
    let subject = format!("node/{node}");
    wanted.insert(name.clone(), Command::RaiseFault { name, subject, message, help });
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
        let wanted = self.wanted(&world, &status);
        let ours = |name: &&Name| {
            [BEHIND, REBUILT, FAILED]
                .iter()
                .any(|kind| name.as_str().strip_prefix(kind).is_some_and(|rest| rest.starts_with('.')))
        };
        let raised: BTreeSet<&Name> = world.faults.keys().filter(ours).collect();
        let missing =
            wanted.iter().filter(|(name, _)| !raised.contains(name)).map(|(_, command)| command.clone());
        // What other coordinators' stores complain of is theirs to say when they lead.
        let own = member_name(&world, status.id);
        let stale = raised.iter().filter(|name| {
            let behind = name.as_str().starts_with(BEHIND);
            let of_us = own.as_ref().is_some_and(|own| name.as_str().ends_with(own.as_str()));
            !wanted.contains_key(*name) && (behind || of_us)
        });
        let clear = stale.map(|name| Command::ClearFault { name: Name::clone(name) });
        let commands: Vec<Command> = missing.chain(clear).collect();
        let submits = commands.into_iter().map(|command| self.coordinator.submit(command, ACTOR, None));
        outcome_of(futures::future::join_all(submits).await)
    }

    fn timer(&self) -> Option<Duration> {
        Some(self.next.saturating_duration_since(Instant::now()))
    }
}
