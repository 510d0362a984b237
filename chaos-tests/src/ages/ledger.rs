//! The objects of one cluster as a quorum has them: the store and the decision lane in one. Commands are decided by `model` one
//! after the other on the newest world, by whoever leads in the newest term.
//!
//! Request ids are not remembered: what agents repeat here are reports, which say how things are.

use std::sync::Arc;

use parking_lot::Mutex;
use pvc_coordinator::core::{Committed, SubmitError};
use pvc_model::{Command, Context, World, decide};
use tokio::sync::watch;

use super::news::News;
use crate::dice::Dice;

/// Clones are the same objects.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    /// In which term objects may be changed.
    term: Mutex<u64>,
    world: News<World>,
}

impl Ledger {
    pub fn new(seed: u64) -> Ledger {
        let world = News::new(World::default(), Dice::new(seed, "who hears of a change first"));
        Ledger(Arc::new(Inner { term: Mutex::default(), world }))
    }

    pub fn world(&self) -> World {
        self.0.world.newest()
    }

    pub fn revision(&self) -> u64 {
        self.0.world.look(|world| world.revision)
    }

    pub fn worlds(&self) -> watch::Receiver<World> {
        self.0.world.subscribe()
    }

    pub fn term(&self) -> u64 {
        *self.0.term.lock()
    }

    /// A quorum has voted: nobody of an earlier term changes anything any more.
    pub fn begin_term(&self) -> u64 {
        let mut term = self.0.term.lock();
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
            self.0.world.tell(world.clone());
        }
        Ok(Committed { revision: world.revision, reply: changes.reply, world })
    }
}
