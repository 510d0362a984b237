//! The objects of one cluster as a quorum has them: the store and the decision lane in one. Commands are decided by `model` one
//! after the other on the newest world, by whoever leads in the newest term.
//!
//! Request ids are not remembered: what agents repeat here are reports, which say how things are.

use std::sync::Arc;

use parking_lot::Mutex;
use pvc_coordinator::core::{Committed, SubmitError};
use pvc_model::{Command, Context, World, decide};
use tokio::sync::watch;

/// Clones are the same objects.
#[derive(Clone)]
pub struct Ledger {
    /// In which term objects may be changed.
    term: Arc<Mutex<u64>>,
    world: watch::Sender<World>,
}

impl Ledger {
    pub fn new() -> Ledger {
        Ledger { term: Arc::default(), world: watch::Sender::new(World::default()) }
    }

    pub fn world(&self) -> World {
        self.world.borrow().clone()
    }

    pub fn worlds(&self) -> watch::Receiver<World> {
        self.world.subscribe()
    }

    pub fn term(&self) -> u64 {
        *self.term.lock()
    }

    /// A quorum has voted: nobody of an earlier term changes anything any more.
    pub fn begin_term(&self) -> u64 {
        let mut term = self.term.lock();
        *term += 1;
        *term
    }

    pub fn commit(
        &self,
        term: u64,
        command: &Command,
        context: &mut Context,
    ) -> Result<Committed, SubmitError> {
        if term != self.term() {
            return Err(SubmitError::NotLeader { leader: None });
        }
        let mut world = self.world();
        let changes = decide(&world, command, context)?;
        if !changes.is_empty() {
            let revision = world.revision + 1;
            world.apply(&changes, revision);
            self.world.send_replace(world.clone());
        }
        Ok(Committed { revision: world.revision, reply: changes.reply, world })
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger::new()
    }
}
