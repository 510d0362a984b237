//! Gives a dead voter's place to a standby: `pvc_model::voting` decides, the decision is committed, and Raft's
//! members follow what is committed, whoever leads then.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use pvc_model::command::replaced_fault;
use pvc_model::node::{NodeRole, Reachability};
use pvc_model::voting::{SILENT, Seat, Verdict, replacement};
use pvc_model::{Command, Name, Node, World};
use raft_store::{MemberStatus, Status};
use tokio::time::Instant;

use super::super::coordinator::Coordinator;
use super::{ACTOR, Controller, Outcome, outcome_of};

const TICK: Duration = Duration::from_secs(1);
/// A standby may be so many entries behind: about as many as the store catches up before it lets one vote.
const CLOSE_ENOUGH: u64 = 100;
/// A node that fell silent longer ago than this before the dead voter counts is no sign of a broken network.
const TOGETHER: Duration = Duration::from_secs(60);

pub(super) struct Voters {
    coordinator: Coordinator,
    leads_since: Instant,
    /// Silent already when this term began, and not heard since: no news.
    long_silent: BTreeSet<Name>,
    held: String,
}

impl Voters {
    pub fn new(coordinator: Coordinator) -> Self {
        let world = coordinator.world();
        let silent = |node: &&std::sync::Arc<Node>| node.status.reachability != Reachability::Reachable;
        let long_silent = world.nodes.values().filter(silent).map(|node| node.meta.name.clone()).collect();
        Voters { coordinator, leads_since: Instant::now(), long_silent, held: String::new() }
    }

    /// Raft's members brought in line with who is to vote; None: they are.
    async fn follow(&self, world: &World, status: &Status) -> Option<Outcome> {
        let node_of = |member: &MemberStatus| {
            let id = member.member.id;
            world.nodes.values().find(|node| id != 0 && node.status.member_id == id)
        };
        let to_go =
            |member: &&MemberStatus| member.voter && node_of(member).is_some_and(|node| node.spec.standby);
        let going = status.members.iter().find(to_go)?.member.id;
        let store = self.coordinator.store();
        let to_come = status.members.iter().find(|member| {
            let wanted =
                |node: &std::sync::Arc<Node>| node.spec.role == NodeRole::Coordinator && !node.spec.standby;
            !member.voter && node_of(member).is_some_and(wanted)
        });
        let changed = match to_come {
            _ if going == status.id => {
                let heard = |m: &&MemberStatus| m.silent_for.is_some_and(|silent| silent < SILENT);
                let others = status.members.iter().filter(|m| m.voter && m.member.id != going).filter(heard);
                match others.max_by_key(|member| member.matched) {
                    Some(other) => store.transfer_leadership(other.member.id).await,
                    None => return Some(Outcome::Settled),
                }
            }
            Some(coming) => store.replace(going, coming.member.id).await,
            None => store.demote(going).await,
        };
        Some(match changed {
            Ok(()) => {
                tracing::info!(member = going, by = ?to_come.map(|m| m.member.id), "a voter stands by now");
                Outcome::Progressed
            }
            Err(error) => Outcome::Blocked(error.to_string()),
        })
    }

    /// For how long nothing was heard of a node in this term, by whichever way.
    fn silence(&self, node: &Node, status: &Status) -> Duration {
        let id = node.status.member_id;
        if id != 0 && id == status.id {
            return Duration::ZERO;
        }
        let agent = self.coordinator.heartbeats().silence_of(&node.meta.name);
        let led_for = self.leads_since.elapsed();
        match status.members.iter().find(|member| id != 0 && member.member.id == id) {
            // What was heard before this term is nobody's silence in it.
            Some(member) => agent.min(member.silent_for.unwrap_or(led_for)).min(led_for),
            None => agent,
        }
    }

    fn seats(&self, world: &World, status: &Status) -> Vec<Seat> {
        let coordinators = world.nodes.values().filter(|node| node.spec.role == NodeRole::Coordinator);
        let seat = |node: &std::sync::Arc<Node>| {
            let member = status.members.iter().find(|m| m.member.id == node.status.member_id)?;
            let behind = status.last_log.saturating_sub(member.matched.unwrap_or(0));
            Some(Seat {
                node: node.meta.name.clone(),
                votes: member.voter,
                standby: node.spec.standby,
                silent_for: self.silence(node, status),
                caught_up: member.matched.is_some() && behind <= CLOSE_ENOUGH,
            })
        };
        coordinators.filter_map(seat).collect()
    }

    fn verdict(&mut self, world: &World, status: &Status) -> Verdict {
        let after = world.settings().replace_voter_after_seconds;
        let after = after.map(|seconds| Duration::from_secs(seconds.into()));
        let silences: Vec<(&Name, Duration)> =
            world.nodes.values().map(|node| (&node.meta.name, self.silence(node, status))).collect();
        self.long_silent.retain(|name| silences.iter().any(|(n, s)| *n == name && *s >= SILENT));
        let horizon = after.unwrap_or_default() + TOGETHER;
        let news = |(name, silent): &&(&Name, Duration)| {
            *silent >= SILENT && *silent <= horizon && !self.long_silent.contains(*name)
        };
        let silent = silences.iter().filter(news).count();
        replacement(&self.seats(world, status), after, silent, world.nodes.len())
    }

    /// Replaced voters that are back: what was told of them is over.
    fn back(&self, world: &World, status: &Status) -> Vec<Command> {
        let stands_by = |node: &&std::sync::Arc<Node>| {
            world.faults.contains_key(&replaced_fault(&node.meta.name)) && self.silence(node, status) < SILENT
        };
        let back = world.nodes.values().filter(stands_by);
        back.map(|node| Command::ClearFault { name: replaced_fault(&node.meta.name) }).collect()
    }
}

#[async_trait]
impl Controller for Voters {
    const NAME: &'static str = "voters";

    async fn reconcile(&mut self) -> Outcome {
        let world = self.coordinator.world();
        let status = self.coordinator.store().status().borrow().clone();
        if let Some(outcome) = self.follow(&world, &status).await {
            return outcome;
        }
        let mut commands = self.back(&world, &status);
        match self.verdict(&world, &status) {
            Verdict::Keep => self.held.clear(),
            Verdict::Held(why) if self.held != why => {
                tracing::warn!(why, "a silent voter is not replaced");
                self.held = why;
            }
            Verdict::Held(_) => {}
            Verdict::Replace { dead, by } => {
                tracing::warn!(%dead, %by, "a silent voter is replaced by a standby");
                commands.push(Command::ReplaceVoter { dead, by });
            }
        }
        let submits = commands.into_iter().map(|command| self.coordinator.submit(command, ACTOR, None));
        outcome_of(futures::future::join_all(submits).await)
    }

    fn timer(&self) -> Option<Duration> {
        Some(TICK)
    }
}
