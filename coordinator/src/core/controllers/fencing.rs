//! Fences nodes that are silent, and follows them until they are back. What is to be done is `model`'s
//! (`pvc_model::fence`, `command::fence`); here are the clocks, the probes and the BMCs.
//!
//! All that must survive is in the objects: a leader that takes over finds each fence where it stands. What is kept here may
//! be lost at any moment. What may never happen: a BMC that is asked to cut the power of a node whose fence is not committed,
//! or while the storm brake holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_model::fence::{FencePhase, HEALTHY_FOR, OnReturn, ProofKind, Verdict, verdict};
use pvc_model::{Command, Name, Node, World};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::power::{BmcAccess, PowerError, PowerState};
use super::super::seat::Seat;
use super::fault_name::{cluster_fault, fault_name};
use super::silences::Silences;
use super::{ACTOR, Controller, Outcome, outcome_of};

/// How often it looks while any node is silent or fenced.
const TICK: Duration = Duration::from_millis(200);
/// And while all are well.
const IDLE: Duration = Duration::from_millis(500);
/// A BMC that failed is asked again after so long.
const AGAIN: Duration = Duration::from_secs(2);
/// A call to a BMC that has not ended by then is taken for lost; each ends by itself long before.
const CALL_PATIENCE: Duration = Duration::from_secs(120);
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
    /// What BMCs were asked, by node.
    asked: BTreeMap<Name, Asked>,
    calls: JoinSet<()>,
    answers: Arc<Answers>,
    /// Since when a fenced or returned node is as it is, in this term.
    standing: BTreeMap<Name, (FencePhase, u64, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Look,
    Off,
    On,
}

struct Asked {
    epoch: u64,
    /// An answer is waited for, until then.
    pending: Option<Instant>,
    again: Instant,
    failure: Option<String>,
    powered_on: bool,
}

/// Where calls to BMCs leave their answers.
#[derive(Default)]
struct Answers {
    waiting: Mutex<Vec<Answer>>,
    told: Notify,
}

struct Answer {
    node: Name,
    epoch: u64,
    order: Order,
    result: Result<PowerState, PowerError>,
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
            coordinator,
            begun: Instant::now(),
            inherited,
            silences,
            asked: BTreeMap::new(),
            calls: JoinSet::new(),
            answers: Arc::default(),
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
        self.asked.retain(|name, _| world.nodes.get(name).is_some_and(|node| node.status.fence.is_some()));
        self.inherited.retain(|name| world.nodes.get(name).is_some_and(|node| node.status.fence.is_some()));
        self.standing.retain(|name, _| world.nodes.get(name).is_some_and(|node| node.status.fence.is_some()));
        commands.extend(self.faults(world));
        commands
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
        if node.is_excused(silent_for) {
            return None;
        }
        let sign = self.silences.sign(name);
        match verdict(node.spec.maintenance, !world.is_armed(), sign, silent_for) {
            Verdict::Fence(mut reason) => {
                let on = self.silences.answers_on(name);
                if !on.is_empty() {
                    reason.push_str(&format!(" (on: {on})"));
                }
                Some(Command::BeginFence { node: name.clone(), reason })
            }
            Verdict::Leave(_) | Verdict::Ask | Verdict::Patience => None,
        }
    }

    /// It is heard, and nothing proves it off: its fence is over. Not while its BMC may still carry out an order to switch it
    /// off, of this leader or of one before: it would have its lease again, and then lose its power.
    fn call_off(&self, node: &Node) -> Option<Command> {
        let name = &node.meta.name;
        let now = Instant::now();
        let ordered = self.asked.get(name).and_then(|asked| asked.pending).is_some_and(|until| until > now);
        let inherited = node.spec.bmc.is_some() && self.inherited.contains(name);
        let may_strike = ordered || inherited && self.begun.elapsed() < ORDERS_END;
        (!may_strike).then(|| Command::CallOffFence { node: name.clone() })
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
        let access = BmcAccess::of(node)?;
        let braked = world.brake().is_some_and(|brake| brake.nodes.contains(&node.meta.name));
        let order = if braked { Order::Look } else { Order::Off };
        self.ask(access, epoch, order);
        None
    }

    fn ask(&mut self, access: BmcAccess, epoch: u64, order: Order) {
        let now = Instant::now();
        let fresh = || Asked { epoch, pending: None, again: now, failure: None, powered_on: false };
        let asked = self.asked.entry(access.node.clone()).or_insert_with(fresh);
        if asked.epoch != epoch {
            *asked = fresh();
        }
        if asked.pending.is_some_and(|until| until > now) || asked.again > now {
            return;
        }
        asked.pending = Some(now + CALL_PATIENCE);
        let coordinator = self.coordinator.clone();
        let answers = self.answers.clone();
        while self.calls.try_join_next().is_some() {}
        self.calls.spawn(async move {
            let power = coordinator.power();
            let result = match order {
                Order::Look => power.status(&access).await,
                Order::Off => power.off(&access).await.map(|()| PowerState::Off),
                Order::On => power.on(&access).await.map(|()| PowerState::On),
            };
            answers.waiting.lock().push(Answer { node: access.node, epoch, order, result });
            answers.told.notify_one();
        });
    }

    /// Takes in what the BMCs have answered.
    fn take_answers(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        let answers = std::mem::take(&mut *self.answers.waiting.lock());
        for Answer { node, epoch, order, result } in answers {
            let Some(asked) = self.asked.get_mut(&node).filter(|asked| asked.epoch == epoch) else {
                continue;
            };
            asked.pending = None;
            asked.again = Instant::now() + AGAIN;
            asked.failure = None;
            match result {
                Ok(PowerState::Off) if order != Order::On => {
                    commands.push(Command::AcceptProof { node, epoch, kind: ProofKind::Power });
                }
                Ok(PowerState::On) if order == Order::On => asked.powered_on = true,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%node, %error, ?order, "its BMC did not do it");
                    asked.failure = Some(error.to_string());
                }
            }
        }
        commands
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
            return self
                .coordinator
                .heartbeats()
                .is_empty(name, SETTLED_BEATS)
                .then(|| Command::FenceReturned { node: name.clone() });
        }
        let by_power = node.status.fence.as_ref().and_then(|fence| fence.proof.as_ref());
        let by_power = by_power.is_some_and(|proof| proof.kind == ProofKind::Power);
        let done = self.asked.get(name).is_some_and(|asked| asked.epoch == epoch && asked.powered_on);
        if by_power && !done && since.elapsed() >= POWER_ON_AFTER {
            self.ask(BmcAccess::of(node)?, epoch, Order::On);
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

    /// A fence that finds no proof needs a person.
    fn faults(&self, world: &World) -> Vec<Command> {
        let mut commands = Vec::new();
        // Mostly there is nothing to raise, and nothing to clear.
        let told_of = |node: &&Arc<Node>| node.status.fence.is_some() || !world.faults.is_empty();
        for node in world.nodes.values().filter(told_of) {
            let name = &node.meta.name;
            let fault = fault_name("fence-stuck", name);
            let fencing = node.status.fence.as_ref().filter(|fence| fence.phase == FencePhase::Fencing);
            let failure = self.asked.get(name).and_then(|asked| asked.failure.clone());
            let told = match (&fencing, &node.spec.bmc, failure) {
                (None, _, _) => None,
                (Some(_), None, _) => Some("it has no BMC that could switch it off".to_owned()),
                (Some(_), Some(_), failure) => failure,
            };
            let stands = world.faults.get(&fault);
            match told {
                Some(why) if stands.is_none() => commands.push(Command::RaiseFault {
                    name: fault,
                    subject: format!("node/{name}"),
                    message: format!("node {name} can't be fenced: {why}. Its VMs stay where they are"),
                    help: format!("when it is certainly off: pvc node fence {name} --confirm-off"),
                }),
                None if stands.is_some() && fencing.is_none() => {
                    commands.push(Command::ClearFault { name: fault });
                }
                _ => {}
            }
        }
        commands.extend(cluster_fault(
            world,
            "storm-brake",
            world.brake().map(|brake| {
                let nodes: Vec<&str> = brake.nodes.iter().map(Name::as_str).collect();
                (
                    format!("{} fell silent together: taken for a fault of the network, nobody's power is touched", nodes.join(", ")),
                    "repair the network; or, if they are dead: pvc cluster release-brake",
                )
            }),
        ));
        let disarmed = world.cluster.as_ref().and_then(|cluster| cluster.status.disarmed.clone());
        commands.extend(cluster_fault(
            world,
            "recovery-disarmed",
            disarmed.map(|disarmed| {
                let why = if disarmed.reason.is_empty() { String::new() } else { format!(" ({})", disarmed.reason) };
                (
                    format!("{} has disarmed automatic recovery{why}: no VM is started elsewhere when a node dies", disarmed.by),
                    "pvc cluster arm",
                )
            }),
        ));
        commands
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
        let mut commands = self.take_answers();
        commands.extend(self.commands(&world));
        let submits = commands.into_iter().map(|command| self.coordinator.submit(command, ACTOR, None));
        outcome_of(futures::future::join_all(submits).await)
    }

    fn timer(&self) -> Option<Duration> {
        let world = self.coordinator.world();
        let busy = world.nodes.values().any(|node| !node.is_reachable() || node.status.fence.is_some());
        Some(if busy || self.silences.is_asking() { TICK } else { IDLE })
    }

    async fn woken(&self) {
        tokio::select! {
            () = self.answers.told.notified() => {}
            () = self.silences.told() => {}
        }
    }
}
