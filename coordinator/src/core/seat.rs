//! The leader's seat: what the controllers on which guests' safety rests see of the leader that they act for, and what they
//! ask of it. `Coordinator` is the real one. The simulator has another, which drives the very same controllers through years
//! in which nothing happens, without a Raft beneath them.
//!
//! What may never happen here: a decision about a node or a VM.

use std::time::Duration;

use pvc_model::{Changes, Command, Context, Name, Rejection, Timestamp, World, decide};
use tokio::sync::watch;

use super::coordinator::Coordinator;
use super::environment::Environment;
use super::error::SubmitError;
use super::heartbeats::{Heartbeat, HeartbeatAck, Heartbeats};
use super::lane::Committed;
use super::power::Power;
use super::probe::Probe;

/// A leader, as those see it who act in its name. Clones are the same leader.
pub trait Seat: Clone + Send + Sync + 'static {
    /// The world as this coordinator has it now.
    fn world(&self) -> World;

    /// Told with each new revision.
    fn worlds(&self) -> watch::Receiver<World>;

    /// The node that leads, as far as this coordinator knows.
    fn leader(&self) -> Option<Name>;

    /// A quorum has answered a sign of life that was sent so lately that nobody else can lead yet.
    fn quorum_acked(&self) -> bool;

    fn heartbeats(&self) -> &Heartbeats;

    /// G: a node that was silent for longer is unreachable.
    fn grace(&self) -> Duration;

    /// The way to look at silent nodes' hosts.
    fn probe(&self) -> &dyn Probe;

    /// The way to the nodes' BMCs.
    fn power(&self) -> &dyn Power;

    fn environment(&self) -> &dyn Environment;

    /// Decides and commits a command.
    fn submit(
        &self,
        command: Command,
        actor: &str,
        request_id: Option<String>,
    ) -> impl Future<Output = Result<Committed, SubmitError>> + Send;

    /// Decides on the world as it is, and changes nothing: what `submit` would do now.
    fn check(&self, world: &World, command: &Command, actor: &str) -> Result<Changes, Rejection> {
        let environment = self.environment();
        let mut context = Context::new(Timestamp(environment.wall_now_ms()), actor, environment.seed());
        decide(world, command, &mut context)
    }

    /// A node's sign of life, heard in `term`, in which this coordinator leads. The node's permission to act rests on what
    /// is answered.
    fn hear(&self, term: u64, node: &Name, beat: Heartbeat) -> Result<HeartbeatAck, SubmitError> {
        self.world().node(node)?;
        let sequence = beat.sequence;
        let acknowledged = self.heartbeats().hear(node, beat);
        // Looked at after it was heard: what was decided while the node got no acknowledgement is in it.
        let world = self.world();
        if world.node(node)?.is_denied_lease() {
            let detail = "it is fenced: it has no lease before it is back and empty";
            return Err(Rejection::precondition("node-not-fenced", format!("node/{node}"), detail).into());
        }
        if !acknowledged || !self.quorum_acked() {
            return Err(SubmitError::NotLeader { leader: None });
        }
        Ok(HeartbeatAck { sequence, term, revision: world.revision, incarnation: world.incarnation() })
    }
}

impl Seat for Coordinator {
    fn world(&self) -> World {
        Coordinator::world(self)
    }

    fn worlds(&self) -> watch::Receiver<World> {
        Coordinator::worlds(self)
    }

    fn leader(&self) -> Option<Name> {
        Coordinator::leader(self)
    }

    fn quorum_acked(&self) -> bool {
        self.shared.store.quorum_acked_within(self.shared.options.lease)
    }

    fn heartbeats(&self) -> &Heartbeats {
        Coordinator::heartbeats(self)
    }

    fn grace(&self) -> Duration {
        Coordinator::grace(self)
    }

    fn probe(&self) -> &dyn Probe {
        Coordinator::probe(self)
    }

    fn power(&self) -> &dyn Power {
        Coordinator::power(self)
    }

    fn environment(&self) -> &dyn Environment {
        Coordinator::environment(self)
    }

    fn submit(
        &self,
        command: Command,
        actor: &str,
        request_id: Option<String>,
    ) -> impl Future<Output = Result<Committed, SubmitError>> + Send {
        Coordinator::submit(self, command, actor, request_id)
    }

    fn check(&self, world: &World, command: &Command, actor: &str) -> Result<Changes, Rejection> {
        Coordinator::check(self, world, command, actor)
    }
}
