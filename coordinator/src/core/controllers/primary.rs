//! Elects the primary, and sees its hand-overs through. What each step means is `model`'s (`command::primary`).
//!
//! The holder is followed when its lease has certainly lapsed: the leader has heard nothing of it for L and a
//! margin, on its own monotonic clock and within its own term, and acknowledges nothing of it from then on
//! until the election is applied. No fence is waited for. The role never goes back by itself.

use std::time::Duration;

use async_trait::async_trait;
use pvc_model::command::Ending;
use pvc_model::primary::{Candidate, LEASE, Primary as Role, PrimaryPhase, choose, votes};
use pvc_model::{Command, Name, World};
use tokio::time::Instant;

use super::super::coordinator::Coordinator;
use super::super::error::SubmitError;
use super::{ACTOR, Controller, Outcome, outcome_of};

/// Two clocks never run quite alike.
const MARGIN: Duration = Duration::from_millis(50);
/// Looked at this often at least; sooner where something is due.
const TICK: Duration = Duration::from_millis(500);
/// A tick that is late by more than this: this process stood still, not the others.
const STALL: Duration = Duration::from_secs(1);
/// A holder that should give the role to somebody else, and could not, is asked again after this.
const RELIEVE_AGAIN: Duration = Duration::from_secs(60);
/// The target of a hand-over must be ready within this.
const READY_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Primary {
    coordinator: Coordinator,
    last: Instant,
    /// The epoch and phase that this leader saw last, and since when.
    seen: Option<((u64, PrimaryPhase), Instant)>,
    due: Option<Instant>,
    /// The epoch whose holder is worked on, and when it was last to hand over.
    relieved: Option<(u64, Instant)>,
    /// The epoch whose end was asked for with an unknown outcome: nothing but asking again is sound.
    uncertain: Option<u64>,
}

impl Primary {
    pub fn new(coordinator: Coordinator) -> Self {
        Primary { coordinator, last: Instant::now(), seen: None, due: None, relieved: None, uncertain: None }
    }

    /// Since when this leader has seen the role at this epoch and phase.
    fn since(&mut self, role: &Role) -> Instant {
        let now = (role.epoch, role.phase.clone());
        match &self.seen {
            Some((seen, since)) if *seen == now => *since,
            _ => {
                self.seen = Some((now, Instant::now()));
                Instant::now()
            }
        }
    }

    fn candidates(&self, world: &World, without: Option<&Name>) -> Vec<Candidate> {
        let hearts = self.coordinator.heartbeats();
        let leader = self.coordinator.leader();
        let named = world.nodes.keys().filter(|name| Some(*name) != without);
        let candidate = |name: &Name| {
            let (node, leads) = (name.clone(), leader.as_ref() == Some(name));
            Some(Candidate { node, silent_for: hearts.heard(name)?, unbroken: hearts.unbroken(name), leads })
        };
        named.filter_map(candidate).collect()
    }

    /// Makes `node` the primary after `role`.
    fn elect(node: Name, role: Option<&Role>, ending: Ending, reason: String) -> Command {
        Command::ElectPrimary { node, epoch: role.map_or(0, |role| role.epoch), ending, reason }
    }

    /// A holder that is in maintenance, or whose host is shut down, gives the role to somebody else, in order.
    fn relieve(&mut self, world: &World, role: &Role) -> Option<Command> {
        let holder = world.nodes.get(&role.node)?;
        let goes = holder.spec.maintenance || holder.status.leaving.is_some();
        let asked =
            self.relieved.is_some_and(|(epoch, at)| epoch == role.epoch && at.elapsed() < RELIEVE_AGAIN);
        if !goes || asked || role.phase != PrimaryPhase::Holding {
            return None;
        }
        // Where nobody can follow, it is the best there is.
        let to = choose(world, &self.candidates(world, Some(&role.node)))?;
        self.relieved = Some((role.epoch, Instant::now()));
        Some(Command::HandOverPrimary { from: Some(role.node.clone()), to: Some(to) })
    }

    /// What is to be done now; sets when to look again.
    fn command(&mut self, world: &World) -> Option<Command> {
        self.due = None;
        let Some(role) = world.primary() else {
            let node = choose(world, &self.candidates(world, None))?;
            return Some(Self::elect(node, None, Ending::Lapsed, "the first primary".to_owned()));
        };
        let since = self.since(role);
        let lapsed_after = LEASE + MARGIN;
        if !world.nodes.get(&role.node).is_some_and(|node| votes(node)) {
            let node = choose(world, &self.candidates(world, Some(&role.node)))?;
            let reason = format!("{} is no voting coordinator any more", role.node);
            return Some(Self::elect(node, Some(role), Ending::Alive, reason));
        }
        let silent = self.coordinator.heartbeats().silence_of(&role.node);
        if silent >= lapsed_after || self.uncertain == Some(role.epoch) {
            // Where nobody can follow, the holder is the best there is: it gets its lease again.
            let node = choose(world, &self.candidates(world, Some(&role.node)))?;
            if self.coordinator.heartbeats().withhold(&role.node, lapsed_after) {
                let reason = format!("{} was silent for {:.1} s", role.node, silent.as_secs_f64());
                tracing::warn!(%node, was = %role.node, reason, "the primary is followed");
                return Some(Self::elect(node, Some(role), Ending::Lapsed, reason));
            }
        }
        if let Some(command) = self.relieve(world, role) {
            return Some(command);
        }
        let look = |after: Duration, from: Instant| (from + after).saturating_duration_since(Instant::now());
        let own = lapsed_after.saturating_sub(silent);
        let wait = match &role.phase {
            PrimaryPhase::Holding => own,
            PrimaryPhase::HandingOver { to } => {
                let silent = self.coordinator.heartbeats().silence_of(to) >= lapsed_after;
                let left = look(READY_WITHIN, since);
                if silent || left.is_zero() {
                    let why = if silent { "fell silent" } else { "was not ready in time" };
                    let reason = format!("{to} {why}; see `pvc node log {to}`");
                    return Some(Command::CallOffHandOver { epoch: role.epoch, reason });
                }
                own.min(left)
            }
            // A lease that covers an older epoch began before this leader saw the newer one.
            PrimaryPhase::TakingOver { .. } => {
                let left = look(lapsed_after, since);
                if left.is_zero() {
                    return Some(Command::ReleasePrimary { epoch: role.epoch });
                }
                own.min(left)
            }
        };
        self.due = Some(Instant::now() + wait);
        None
    }
}

#[async_trait]
impl Controller for Primary {
    const NAME: &'static str = "primary";

    async fn reconcile(&mut self) -> Outcome {
        let now = Instant::now();
        if now - self.last > TICK + STALL {
            tracing::warn!(stood_still = ?(now - self.last), "this process stood still; the primary has its full lease");
            self.coordinator.heartbeats().rearm();
        }
        let command = self.command(&self.coordinator.world());
        let outcome = match command {
            None => Outcome::Settled,
            Some(command) => {
                let elects = matches!(command, Command::ElectPrimary { .. });
                let done = self.coordinator.submit(command, ACTOR, None).await;
                if elects && matches!(done, Err(SubmitError::Unknown(_))) {
                    self.uncertain = self.coordinator.world().primary().map(|role| role.epoch);
                }
                outcome_of([done])
            }
        };
        let epoch = self.coordinator.world().primary().map(|role| role.epoch);
        if self.uncertain.is_none() || self.uncertain != epoch {
            self.uncertain = None;
            self.coordinator.heartbeats().acknowledge_all();
        }
        self.last = Instant::now();
        outcome
    }

    fn timer(&self) -> Option<Duration> {
        let due = self.due.map(|due| due.saturating_duration_since(Instant::now()));
        Some(due.map_or(TICK, |due| due.clamp(Duration::from_millis(1), TICK)))
    }
}
