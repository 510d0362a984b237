//! One leader's time: a seat for the real controllers. It begins with an empty memory of who was heard, and ends when its
//! process does, or when it learns of a later term; until then it believes that it leads.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pvc_coordinator::core::controllers::watch_over_nodes;
use pvc_coordinator::core::power::Power;
use pvc_coordinator::core::{Committed, Environment, Heartbeats, Probe, Seat, SubmitError};
use pvc_model::fence::ProofKind;
use pvc_model::node::Reachability;
use pvc_model::{Command, Context, Name, Timestamp, World};
use raft_store::Pause;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, vote_silence};
use super::news::News;
use super::sabotage::Sabotage;
use crate::boards::{Look, Wires};
use crate::dice::Dice;
use crate::net::Place;
use crate::trace::Trace;
use crate::witness::Rule;

const GRACE: Duration = Duration::from_secs(3);
/// After so long without a quorum whoever submits is told that nothing is known.
const PROPOSAL_PATIENCE: Duration = Duration::from_secs(5);

/// Clones are the same leader.
#[derive(Clone)]
pub struct Reign(Arc<Inner>);

struct Inner {
    ground: Ground,
    place: Place,
    node: Name,
    term: u64,
    pause: Pause,
    hearts: Arc<Heartbeats>,
    /// Commands are decided in the order in which they are asked for.
    lane: tokio::sync::Mutex<()>,
    /// The world as it has it: no newer than what its own term has committed.
    world: News<World>,
    /// When a quorum was last seen to answer it.
    acked: Mutex<Instant>,
    probe: Look<()>,
    power: Wires,
    clock: Wall,
    over: CancellationToken,
}

/// A wall clock somewhere near the truth, and chance.
struct Wall {
    trace: Trace,
    skew_ms: u64,
    dice: Dice,
}

impl Environment for Wall {
    fn wall_now_ms(&self) -> u64 {
        1_700_000_000_000 + self.skew_ms + self.trace.millis()
    }

    fn seed(&self) -> [u64; 2] {
        [self.dice.bits(), self.dice.bits()]
    }
}

impl Reign {
    /// Begins to lead in a new term. `hearts`: this coordinator's memory of heartbeats, which lives as long as its process.
    pub fn begin(ground: &Ground, place: Place, hearts: Arc<Heartbeats>) -> Reign {
        let term = ground.ledger.begin_term();
        ground.say(format!("{place} leads in term {term}"));
        let pause = ground.pause(place);
        let inner = Inner {
            place,
            node: place.node(),
            term,
            hearts,
            lane: tokio::sync::Mutex::default(),
            world: News::new(ground.ledger.world(), ground.dice.clone()),
            acked: Mutex::new(Instant::now()),
            probe: Look { here: place, net: ground.net.clone(), boards: ground.boards.clone() },
            power: Wires { here: place, boards: ground.boards.clone(), pause: pause.clone() },
            clock: Wall {
                trace: ground.trace.clone(),
                skew_ms: ground.dice.roll(120_000),
                dice: ground.dice.clone(),
            },
            over: CancellationToken::new(),
            pause,
            ground: ground.clone(),
        };
        if ground.sabotage != Some(Sabotage::NotArmed) {
            inner.hearts.arm();
        }
        let reign = Reign(Arc::new(inner));
        for drive in watch_over_nodes(&reign) {
            tokio::spawn(reign.0.over.clone().run_until_cancelled_owned(reign.0.pause.hold(drive)));
        }
        reign
    }

    pub fn term(&self) -> u64 {
        self.0.term
    }

    pub fn place(&self) -> Place {
        self.0.place
    }

    /// Its process has ended, or it knows better.
    pub fn end(&self) {
        self.0.over.cancel();
        self.0.ground.forget_reign(self.0.term);
    }

    pub fn is_over(&self) -> bool {
        self.0.over.is_cancelled()
    }

    fn is_newest(&self) -> bool {
        self.0.term == self.0.ground.ledger.term()
    }

    /// What the real leader's decisions may never be. Looked at in the very moment in which they take effect.
    fn judge(&self, command: &Command) {
        let ground = &self.0.ground;
        let lease = |node: &Name| {
            let place = Place::of_node(node)?;
            let lease = ground.leases.lock().get(&place).cloned();
            lease.filter(|lease| lease.is_valid()).map(|lease| format!("{place} has its lease: {lease:?}"))
        };
        let (rule, has_lease) = match command {
            Command::SetReachability { node, reachability: Reachability::Unreachable } => {
                (Rule::GraceOutlastsLease, lease(node))
            }
            Command::BeginFence { node, .. } | Command::AcceptProof { node, .. } => {
                (Rule::NoFalseFence, lease(node))
            }
            _ => return,
        };
        if let Some(has_lease) = has_lease {
            ground.witness.accuse(rule, format!("{command:?}: {has_lease}"));
        }
    }

    fn commit(&self, command: &Command, actor: &str) -> Result<Committed, SubmitError> {
        let inner = &self.0;
        let mut context = Context::new(Timestamp(inner.clock.wall_now_ms()), actor, inner.clock.seed());
        let before = inner.ground.ledger.world().revision;
        let committed = inner.ground.ledger.commit(self.0.term, command, &mut context)?;
        if committed.revision > before {
            inner.ground.say(format!("{}: {command:?}", inner.place));
            self.judge(command);
            inner.world.tell(committed.world.clone());
        }
        Ok(committed)
    }
}

impl Seat for Reign {
    fn world(&self) -> World {
        self.0.world.newest()
    }

    fn worlds(&self) -> watch::Receiver<World> {
        self.0.world.subscribe()
    }

    fn leader(&self) -> Option<Name> {
        Some(self.0.node.clone())
    }

    fn quorum_acked(&self) -> bool {
        let now = Instant::now();
        let mut acked = self.0.acked.lock();
        if self.is_newest() && self.0.ground.has_quorum(self.0.place) {
            *acked = now;
        }
        now - *acked < vote_silence() || self.0.ground.sabotage == Some(Sabotage::NoQuorumAsked)
    }

    fn heartbeats(&self) -> &Heartbeats {
        &self.0.hearts
    }

    fn lease(&self) -> Duration {
        vote_silence()
    }

    fn grace(&self) -> Duration {
        match self.0.ground.sabotage {
            Some(Sabotage::ShortGrace) => GRACE - Duration::from_millis(1200),
            _ => GRACE,
        }
    }

    fn probe(&self) -> &dyn Probe {
        &self.0.probe
    }

    fn power(&self) -> &dyn Power {
        &self.0.power
    }

    fn environment(&self) -> &dyn Environment {
        &self.0.clock
    }

    async fn submit(
        &self,
        command: Command,
        actor: &str,
        _: Option<String>,
    ) -> Result<Committed, SubmitError> {
        let ground = &self.0.ground;
        let turn = self.0.lane.lock().await;
        // A round of the lane: an fsync here and at a quorum.
        tokio::time::sleep(ground.dice.millis(1, 4)).await;
        if self.is_over() || !self.is_newest() || !ground.has_quorum(self.0.place) {
            drop(turn);
            tokio::time::sleep(PROPOSAL_PATIENCE).await;
            return Err(SubmitError::Unknown("no quorum has confirmed it in time".to_owned()));
        }
        let committed = self.commit(&command, actor)?;
        if let (Some(Sabotage::NoProof), Command::BeginFence { node, .. }) = (ground.sabotage, &command)
            && let Some(fence) = &committed.world.nodes[node].status.fence
        {
            let proof =
                Command::AcceptProof { node: node.clone(), epoch: fence.epoch, kind: ProofKind::Power };
            self.commit(&proof, actor)?;
        }
        Ok(committed)
    }
}
