//! The state machine as openraft drives it: applies entries to the state in memory, shows each step to
//! readers and watchers before its proposer is answered, and turns checkpoints into snapshots.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::audit::Audit;
use crate::engine::StateEngine;
use crate::raft::{LogId, SnapshotMeta, StoredMembership, TypeConfig};
use crate::state::State;
use crate::transaction::Revision;
use crate::view::View;
use crate::watch::Hub;

/// A snapshot in hand: an unchanging state. Sending encodes it, receiving has decoded it.
pub(crate) type SnapshotData = Arc<State>;
type MachineSnapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// What the state machine shows to the rest of the store.
pub(crate) struct Shown {
    view: RwLock<View>,
    /// The applied revision, for those who wait for it.
    pub applied: watch::Sender<Revision>,
    pub hub: Arc<Hub>,
    pub audit: Mutex<Audit>,
    /// The last durable checkpoint.
    checkpoint: Mutex<Option<Arc<State>>>,
    engine: Arc<dyn StateEngine>,
}

impl Shown {
    pub fn new(
        state: &State,
        checkpoint: Option<State>,
        hub: Arc<Hub>,
        audit: Audit,
        engine: Arc<dyn StateEngine>,
    ) -> Shown {
        Shown {
            view: RwLock::new(View::new(Arc::new(state.clone()))),
            applied: watch::Sender::new(state.revision()),
            hub,
            audit: Mutex::new(audit),
            checkpoint: Mutex::new(checkpoint.map(Arc::new)),
            engine,
        }
    }

    pub fn view(&self) -> View {
        self.view.read().clone()
    }

    fn show(&self, state: &State) {
        *self.view.write() = View::new(Arc::new(state.clone()));
        self.applied.send_replace(state.revision());
    }

    /// Checkpoints what is shown, unless the checkpoint is that far already.
    pub async fn checkpoint_shown(&self) -> io::Result<()> {
        let state = self.view().state;
        let done = self.checkpoint.lock().as_ref().is_some_and(|c| c.applied == state.applied);
        if done || state.applied.is_none() { Ok(()) } else { self.checkpoint(state, false).await }
    }

    /// Makes the state durable; afterwards it is the snapshot that peers get.
    async fn checkpoint(&self, state: Arc<State>, replace: bool) -> io::Result<()> {
        let done = self.engine.checkpoint(state.clone(), replace);
        done.await.unwrap_or_else(|_| Err(io::Error::other("the state's writer has stopped")))?;
        *self.checkpoint.lock() = Some(state);
        Ok(())
    }
}

pub(crate) struct StateMachine {
    state: State,
    shown: Arc<Shown>,
}

impl StateMachine {
    pub fn new(state: State, shown: Arc<Shown>) -> StateMachine {
        StateMachine { state, shown }
    }
}

fn snapshot_of(state: Arc<State>) -> MachineSnapshot {
    let meta = SnapshotMeta { last_log_id: state.applied, last_membership: (*state.membership).clone() };
    Snapshot { meta, snapshot: state }
}

pub(crate) struct SnapshotBuilder {
    state: Arc<State>,
    shown: Arc<Shown>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<MachineSnapshot, io::Error> {
        self.shown.checkpoint(self.state.clone(), false).await?;
        Ok(snapshot_of(self.state.clone()))
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.state.applied, (*self.state.membership).clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let step = self.state.apply(&entry)?;
            self.shown.audit.lock().add(step.audited);
            self.shown.show(&self.state);
            self.shown.hub.publish(self.state.revision(), step.changes);
            if let Some(responder) = responder {
                responder.send(step.applied);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { state: Arc::new(self.state.clone()), shown: self.shown.clone() }
    }

    async fn install_snapshot(&mut self, _: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        self.shown.checkpoint(snapshot.clone(), true).await?;
        self.state = (*snapshot).clone();
        self.shown.show(&self.state);
        self.shown.hub.reset(self.state.revision());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<MachineSnapshot>, io::Error> {
        let checkpoint = self.shown.checkpoint.lock().clone();
        Ok(checkpoint.filter(|state| state.applied.is_some()).map(snapshot_of))
    }
}
