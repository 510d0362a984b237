//! Fences nodes that are silent, and follows them until they are back. What is to be done is `model`'s
//! (`pvc_model::fence`, `command::fence`); here are the clocks, the probes and the BMCs.
//!
//! All that must survive is in the objects: a leader that takes over finds each fence where it stands. What is kept here may
//! be lost at any moment. What may never happen: a BMC that is asked to cut the power of a node whose fence is not committed,
//! or while the storm brake holds; a lease that is taken for lapsed before the node's guard has certainly struck.

mod bmcs;
mod faults;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pvc_model::fence::{FencePhase, HEALTHY_FOR, OnReturn, ProofKind, Verdict, verdict};
use pvc_model::{Command, Name, Node, World};
use tokio::time::Instant;

use super::super::error::SubmitError;
use super::super::lane::Committed;
use super::super::power::BmcAccess;
use super::super::seat::Seat;
use super::silences::Silences;
use super::{ACTOR, Controller, Outcome, outcome_of};
use bmcs::{Bmcs, Order};

/// How often it looks while any node is silent or fenced.
const TICK: Duration = Duration::from_millis(200);
/// And while all are well.
const IDLE: Duration = Duration::from_millis(500);
/// A node is given power again so long after it was fenced: its VMs come first.
const POWER_ON_AFTER: Duration = Duration::from_secs(10);
/// What a leader before has ordered of a BMC has been carried out or lost so long after the term began.
const ORDERS_END: Duration = Duration::from_secs(10);
/// Heartbeats of a session after which the node has certainly looked at its guests.
const SETTLED_BEATS: u64 = 6;

pub(super) struct Fencing<S> {
    coordinator: S,
    begun: Instant,
    /// Nodes that were being fenced when the term began.
    inherited: BTreeSet<Name>,
    silences: Silences,
    bmcs: Bmcs<S>,
    /// Since when a fenced or returned node is as it is, in this term.
    standing: BTreeMap<Name, (FencePhase, u64, Instant)>,
}

impl<S: Seat> Fencing<S> {
    pub fn new(coordinator: S) -> Self {
        let world = coordinator.world();
        let silences = Silences::new(&world);
        let fencing = |node: &&Arc<Node>| {
            node.status.fence.as_ref().is_some_and(|fence| fence.phase == FencePhase::Fencing)
        };
        let inherited = world.nodes.values().filter(fencing).map(|node| node.meta.name.clone()).collect();
        Fencing {
            bmcs: Bmcs::new(coordinator.clone()),
            coordinator,
            begun: Instant::now(),
            inherited,
            silences,
            standing: BTreeMap::new(),
        }
    }

    /// All that is to be committed now.
    fn commands(&mut self, world: &World) -> Vec<Command> {
        let mut commands = Vec::new();
        let now = Instant::now();
        self.silences.follow(&self.coordinator, world, now);
        let brake = self.silences.brake(world, now);
        commands.extend(brake);
        for node in world.nodes.values() {
            match node.status.fence.as_ref().map(|fence| (fence.phase, fence.epoch)) {
                None | Some((FencePhase::Returned, _)) if self.is_lost(node) => {
                    commands.extend(self.begin(world, node));
                }
                None => {}
                Some((FencePhase::Fencing, _)) if node.is_reachable() && !wanted(node) => {
                    commands.extend(self.call_off(node));
                }
                Some((FencePhase::Fencing, epoch)) => {
                    commands.extend(self.look_for_proof(world, node, epoch))
                }
                Some((FencePhase::Fenced, epoch)) => commands.extend(self.follow_fenced(node, epoch)),
                Some((FencePhase::Returned, epoch)) => commands.extend(self.follow_returned(node, epoch)),
            }
        }
        let fenced = |name: &Name| world.nodes.get(name).is_some_and(|node| node.status.fence.is_some());
        self.bmcs.retain(world);
        self.inherited.retain(|name| fenced(name));
        self.standing.retain(|name, _| fenced(name));
        commands.extend(faults::faults(world, &self.bmcs));
        commands
    }

    /// The lane may be busy for long. What it has not taken yet is taken back where it would fence a node that is heard by now.
    async fn submit(&self, command: Command) -> Option<Result<Committed, SubmitError>> {
        let begins = match &command {
            Command::BeginFence { node, .. } => Some(node.clone()),
            _ => None,
        };
        let done = self.coordinator.submit(command, ACTOR, None);
        let Some(node) = begins else { return Some(done.await) };
        tokio::select! {
            biased;
            () = self.coordinator.heartbeats().is_heard(&node, self.coordinator.grace()) => None,
            done = done => Some(done),
        }
    }

    fn is_lost(&self, node: &Node) -> bool {
        node.status.reachability == pvc_model::node::Reachability::Unreachable
    }

    /// The host that this leader runs on is alive, whatever is not heard of it.
    fn is_own(&self, node: &Node) -> bool {
        self.coordinator.leader().as_ref() == Some(&node.meta.name)
    }

    fn begin(&self, world: &World, node: &Node) -> Option<Command> {
        let name = &node.meta.name;
        if self.is_own(node) {
            return None;
        }
        let silent_for = self.coordinator.heartbeats().silence_of(name);
        // The world says so a moment later than it is heard; and a new leader has no news of it yet.
        if node.is_excused(silent_for) || silent_for <= self.coordinator.grace() {
            return None;
        }
        let sign = self.silences.sign(name);
        let mut reason = match verdict(node.spec.maintenance, !world.is_armed(), sign, silent_for) {
            Verdict::Fence(reason) => reason,
            // There is nothing left that patience could save.
            Verdict::Ask | Verdict::Patience if self.has_struck(node) => {
                "its daemon is silent, and its guard has stopped its guests".to_owned()
            }
            Verdict::Leave(_) | Verdict::Ask | Verdict::Patience => return None,
        };
        let on = self.silences.answers_on(name);
        if !on.is_empty() {
            reason.push_str(&format!(" (on: {on})"));
        }
        Some(Command::BeginFence { node: name.clone(), reason })
    }

    /// Whether its BMC may still carry out an order to switch it off, of this leader or of one before: it would have its lease
    /// again, and then lose its power.
    fn may_strike(&self, node: &Node) -> bool {
        let name = &node.meta.name;
        let inherited = node.spec.bmc.is_some() && self.inherited.contains(name);
        self.bmcs.may_strike(name) || inherited && self.begun.elapsed() < ORDERS_END
    }

    /// It is heard, and nothing proves it off: its fence is over.
    fn call_off(&self, node: &Node) -> Option<Command> {
        (!self.may_strike(node)).then(|| Command::CallOffFence { node: node.meta.name.clone() })
    }

    /// The first proof that can be had. One that takes time is asked for on the side.
    fn look_for_proof(&mut self, world: &World, node: &Node, epoch: u64) -> Option<Command> {
        // A new leader has no news of it yet: it may be on its way back since the one before decided.
        let silent = self.coordinator.heartbeats().silence_of(&node.meta.name) > self.coordinator.grace();
        if self.is_own(node) || !silent && !wanted(node) {
            return None;
        }
        // One that is alone, or that stood still, may be deposed: the fence may be over, and the node alive.
        if !self.coordinator.quorum_acked() {
            return None;
        }
        if let Some(access) = BmcAccess::of(node) {
            let braked = world.brake().is_some_and(|brake| brake.nodes.contains(&node.meta.name));
            self.bmcs.ask(access, epoch, if braked { Order::Look } else { Order::Off });
        }
        self.by_lease(node, epoch)
    }

    /// Whether its lease lapsed so long ago that its guard has certainly stopped its guests.
    fn has_struck(&self, node: &Node) -> bool {
        let unacknowledged = || self.coordinator.unacknowledged_for(&node.meta.name);
        node.relied_guard().is_some_and(|guard| unacknowledged() >= guard.certain_after())
    }

    /// The proof that needs nothing but time. The storm brake does not matter here: nobody's power is touched, and whatever
    /// silenced the node, nothing runs on it any more.
    fn by_lease(&self, node: &Node, epoch: u64) -> Option<Command> {
        let node_name = node.meta.name.clone();
        let proof = Command::AcceptProof { node: node_name, epoch, kind: ProofKind::Lease };
        self.has_struck(node).then_some(proof)
    }

    /// Since when it stands in this phase, as far as this term knows.
    fn stands_since(&mut self, node: &Name, phase: FencePhase, epoch: u64) -> Instant {
        let now = Instant::now();
        let known = self.standing.entry(node.clone()).or_insert((phase, epoch, now));
        if (known.0, known.1) != (phase, epoch) {
            *known = (phase, epoch, now);
        }
        known.2
    }

    /// Fenced: it is given power again, and when it is heard and has no guest, it is back.
    fn follow_fenced(&mut self, node: &Node, epoch: u64) -> Option<Command> {
        let name = &node.meta.name;
        let since = self.stands_since(name, FencePhase::Fenced, epoch);
        if node.is_reachable() {
            let empty = self.coordinator.heartbeats().is_empty(name, SETTLED_BEATS);
            // An order that another proof has overtaken counts as before one.
            return (empty && !self.may_strike(node)).then(|| Command::FenceReturned { node: name.clone() });
        }
        let proof = node.status.fence.as_ref().and_then(|fence| fence.proof.as_ref());
        let by_power = proof.is_some_and(|proof| proof.kind == ProofKind::Power);
        let off = self.bmcs.is_off(name, epoch) || by_power && !self.bmcs.has_powered_on(name, epoch);
        if off && since.elapsed() >= POWER_ON_AFTER {
            self.bmcs.ask(BmcAccess::of(node)?, epoch, Order::On);
        }
        None
    }

    /// Back: it takes VMs again when it has been well for a while, or when a person says so.
    fn follow_returned(&mut self, node: &Node, epoch: u64) -> Option<Command> {
        let name = &node.meta.name;
        if !node.is_reachable() || !node.status.facts.problem.is_empty() {
            self.standing.remove(name);
            return None;
        }
        let since = self.stands_since(name, FencePhase::Returned, epoch);
        let healthy = since.elapsed() >= HEALTHY_FOR && node.spec.on_return != OnReturn::Manual;
        (healthy && !node.spec.maintenance).then(|| Command::EndFence { name: name.clone() })
    }
}

/// A person wants it fenced, whether it is heard or not.
fn wanted(node: &Node) -> bool {
    node.status.fence.as_ref().is_some_and(|fence| fence.by_person)
}

#[async_trait]
impl<S: Seat> Controller for Fencing<S> {
    const NAME: &'static str = "fencing";

    async fn reconcile(&mut self) -> Outcome {
        let world = self.coordinator.world();
        let proven = self.bmcs.read_off().into_iter();
        let proven = proven.map(|(node, epoch)| Command::AcceptProof { node, epoch, kind: ProofKind::Power });
        let mut commands: Vec<Command> = proven.collect();
        commands.extend(self.commands(&world));
        let submits = commands.into_iter().map(|command| self.submit(command));
        outcome_of(futures::future::join_all(submits).await.into_iter().flatten())
    }

    fn timer(&self) -> Option<Duration> {
        let world = self.coordinator.world();
        let busy = world.nodes.values().any(|node| !node.is_reachable() || node.status.fence.is_some());
        Some(if busy || self.silences.is_asking() { TICK } else { IDLE })
    }

    async fn woken(&self) {
        tokio::select! {
            biased;
            () = self.bmcs.told() => {}
            () = self.silences.told() => {}
        }
    }
}
