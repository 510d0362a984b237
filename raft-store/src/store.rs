//! The store's handle: proposing, reading, watching. Cheap to clone; all clones are one member.
//! Nothing here decides what is stored: transactions come decided, and are applied or refused as a whole.

use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{ClientWriteError, RaftError};
use openraft::rt::WatchReceiver;
use openraft::{Raft, ServerState};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::audit::Audited;
use crate::engine::{IoFigures, LogEngine, StateEngine};
use crate::form::{BatchForm, IdentityForm};
use crate::limits::LimitError;
use crate::log::LogStore;
use crate::machine::{Shown, StateMachine};
use crate::member::{Member, MemberNode};
use crate::network::Caller;
use crate::open::{Engine, Options};
use crate::pull::Pulls;
use crate::raft::{Applied, Command, CommittedLeader, TypeConfig};
use crate::reads::Reads;
use crate::status::{Alarm, Footprint, Leadership, Status, instant};
use crate::transaction::{Outcome, Revision, Transaction};
use crate::view::View;
use crate::watch::{WatchEnd, WatchError, Watcher};

/// One member of a replicated store. Lives until `shutdown` or `kill`.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub raft: Raft<TypeConfig, StateMachine>,
    pub options: Options,
    pub identity: IdentityForm,
    pub opened: Instant,
    pub caller: Caller,
    pub shown: Arc<Shown>,
    pub log: LogStore,
    pub log_engine: Arc<dyn LogEngine>,
    pub state_engine: Arc<dyn StateEngine>,
    pub figures: Arc<IoFigures>,
    pub alarms: Mutex<Vec<Alarm>>,
    pub leadership: watch::Sender<Option<Leadership>>,
    pub status: watch::Sender<Status>,
    /// When a message of the present leader last came.
    pub heard_leader: Mutex<Option<Instant>>,
    pub closing: watch::Sender<bool>,
    pub proposals: Semaphore,
    /// Held during a change of members: one at a time.
    pub members: tokio::sync::Mutex<()>,
    pub pulls: Mutex<Pulls>,
    pub reads: Reads,
}

/// What became of a proposal that has no outcomes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was proposed. Go to the leader, if one is known.
    #[error("this member does not lead")]
    NotLeader { leader: Option<Member> },
    /// Nothing was or will be applied: the term for which it was decided is over.
    #[error("the term of the proposal is over")]
    StaleTerm,
    /// It may have been applied, or be applied yet. Repeat it with the same request id.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// Nothing was proposed.
    #[error("the store has stopped")]
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("no leader is known")]
    NoLeader,
    #[error("the leader has no quorum")]
    NoQuorum,
    #[error("the leader does not answer: {0}")]
    Unreachable(String),
    #[error("this member did not catch up in time")]
    Behind,
    #[error("the store has stopped")]
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoundError {
    #[error("this member's data already belongs to a founded cluster")]
    AlreadyFounded,
    #[error("founding failed: {0}")]
    Failed(String),
}

impl Inner {
    pub fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    pub fn quorum_acked_within(&self, d: Duration) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.running_state.is_err() || metrics.state != ServerState::Leader {
            return false;
        }
        let membership = metrics.membership_config.membership();
        if membership.voter_ids().eq([metrics.id]) {
            return true;
        }
        metrics.last_quorum_acked.is_some_and(|sent| instant(sent).elapsed() < d)
    }

    /// Notes a sign of life of the leader.
    pub fn heard_leader(&self) {
        let now = Instant::now();
        let before = self.heard_leader.lock().replace(now);
        if before.is_none_or(|before| now - before > self.options.timing.heartbeat * 2) {
            self.shown.hub.reopen();
        }
    }

    pub fn me(&self) -> MemberNode {
        MemberNode { address: self.options.me.address.clone(), incarnation: self.identity.incarnation }
    }
}

impl Store {
    /// Founds the cluster, once, on its first member: writes a membership of this member alone and
    /// returns when it leads. Needs no other member.
    pub async fn found(&self) -> Result<(), FoundError> {
        let inner = &self.inner;
        if !inner.log.is_pristine() {
            return Err(FoundError::AlreadyFounded);
        }
        let members = std::collections::BTreeMap::from([(inner.options.me.id, inner.me())]);
        match inner.raft.initialize(members).await {
            Ok(()) => {}
            Err(RaftError::APIError(openraft::errors::InitializeError::NotAllowed(_))) => {
                return Err(FoundError::AlreadyFounded);
            }
            Err(error) => return Err(FoundError::Failed(error.to_string())),
        }
        let mut leadership = inner.leadership.subscribe();
        let leads = leadership.wait_for(Option::is_some);
        let most = inner.options.timing.contact_lost() + Duration::from_secs(10);
        match tokio::time::timeout(most, leads).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(FoundError::Failed("no leadership in time".into())),
        }
    }

    /// Proposes transactions as one entry of the log, to be applied only in `term`, which must be a term
    /// that `leadership` showed. They are applied in order, each whole or not at all, and share the
    /// entry's revision. `now_ms` is the proposer's wall clock; it is told in the audit.
    ///
    /// The outcomes come in the transactions' order, after `view` shows them. The future does not end
    /// while there is no quorum: give it a deadline, past which the outcome is unknown.
    pub async fn propose(
        &self,
        term: u64,
        transactions: Vec<Transaction>,
        now_ms: u64,
    ) -> Result<Vec<Outcome>, ProposeError> {
        let inner = &self.inner;
        inner.options.limits.check(&transactions)?;
        if inner.is_closing() || inner.raft.metrics().borrow_watched().running_state.is_err() {
            return Err(ProposeError::Stopped);
        }
        let limit = inner.options.limits.proposals;
        let _permit = inner.proposals.try_acquire().map_err(|_| LimitError::Busy { limit })?;
        let leader_ms = u64::try_from(inner.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        let command = Command(BatchForm::new(term, now_ms, leader_ms, &transactions).encode_to_vec().into());
        let (responder, written) = openraft::impls::ProgressResponder::complete_only();
        let write = inner.raft.write(command).with_leader(CommittedLeader::new(term)).responder(responder);
        // Raft has not even taken it.
        write.await.map_err(|_| ProposeError::Stopped)?;
        let written = written.await;
        match written.map_err(|_| ProposeError::Unknown("the store stopped meanwhile".into()))? {
            Ok(response) => match response.data {
                Applied::Outcomes(outcomes) => Ok(outcomes),
                Applied::StaleTerm | Applied::Nothing => Err(ProposeError::StaleTerm),
            },
            Err(ClientWriteError::ForwardToLeader(forward)) => match forward.leader_id {
                Some(id) if id == inner.options.me.id => Err(ProposeError::StaleTerm),
                id => {
                    let leader = id.zip(forward.leader_node).map(|(id, node)| node.member(id));
                    Err(ProposeError::NotLeader { leader })
                }
            },
            Err(other) => Err(ProposeError::Unknown(other.to_string())),
        }
    }

    /// The state as applied here. O(1). May lag behind the leader's; see `linearizable`.
    pub fn view(&self) -> View {
        self.inner.shown.view()
    }

    /// Waits until this member has applied `revision`.
    pub async fn applied(&self, revision: Revision, most: Duration) -> Result<(), ReadError> {
        let mut applied = self.inner.shown.applied.subscribe();
        let mut closing = self.inner.closing.subscribe();
        tokio::select! {
            done = tokio::time::timeout(most, applied.wait_for(|applied| *applied >= revision)) => match done {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) => Err(ReadError::Stopped),
                Err(_) => Err(ReadError::Behind),
            },
            _ = closing.wait_for(|closing| *closing) => Err(ReadError::Stopped),
        }
    }

    /// Who changed what, the newest first: at least `most` changes before the revision `before` (0: the
    /// newest), as far as this member remembers ([`AUDIT_MEMORY_COUNT`]). Changes of one revision are never
    /// parted: the next page is what lies before the last one's revision.
    ///
    /// [`AUDIT_MEMORY_COUNT`]: crate::AUDIT_MEMORY_COUNT
    pub fn audit(&self, before: Revision, most: usize) -> Vec<Audited> {
        self.inner.shown.audit.lock().before(before, most)
    }

    /// How long a sync of the log takes: 99 in 100 of the latest were done within this. None: there was none.
    pub fn log_sync_p99(&self) -> Option<Duration> {
        self.inner.figures.sync_p99()
    }

    /// How many syncs of the log ended within `window` (of the latest thousand), and their 99th percentile.
    pub fn log_syncs_within(&self, window: Duration) -> (usize, Duration) {
        self.inner.figures.syncs_within(window)
    }

    /// How long ago the last checkpoint became durable. None: there was none since the opening.
    pub fn checkpoint_age(&self) -> Option<Duration> {
        self.inner.figures.checkpoint_age()
    }

    /// What the store takes of its disk. Asks the file system, and waits as long as that takes.
    pub async fn footprint(&self) -> std::io::Result<Footprint> {
        match &self.inner.options.engine {
            Engine::Disk { dir } => crate::disk::footprint(dir).await,
            Engine::Memory(_) => Ok(Footprint::default()),
        }
    }

    /// Events with revisions greater than `from`, in order and without a hole. Start from the revision
    /// of a view, an event or a bookmark, of whichever member.
    pub fn watch(&self, from: Revision) -> Result<Watcher, WatchError> {
        self.inner.shown.hub.watch(from)
    }

    /// `Some` while this member leads and has applied the first entry of its term. Decisions may be made
    /// then, on `view`, and proposed for that term.
    pub fn leadership(&self) -> watch::Receiver<Option<Leadership>> {
        self.inner.leadership.subscribe()
    }

    /// Whether this member leads and a quorum, itself included, has answered messages that it *sent* less
    /// than `d` ago, by its own monotonic clock. It proves that at the moment of sending no newer leader
    /// had been elected with those members' votes, and that none of them votes for another until its
    /// election timeout has passed since. It does not prove that this member leads now. A sole voter is
    /// its own quorum at all times.
    pub fn quorum_acked_within(&self, d: Duration) -> bool {
        self.inner.quorum_acked_within(d)
    }

    /// What this member knows of itself and the others. Follows by milliseconds; for people and metrics.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.inner.status.subscribe()
    }

    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Stops in order: what is applied is checkpointed, so that the next start is quick.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        self.stop().await;
        if inner.figures.failure().is_none() {
            if let Err(error) = inner.log.flush().await {
                tracing::warn!(%error, "the last flush of the log failed");
            }
            if let Err(error) = inner.shown.checkpoint_shown().await {
                tracing::warn!(%error, "the last checkpoint failed");
            }
        }
        self.close_engines().await;
    }

    /// Stops as if the process had died: nothing more is written. For simulations.
    pub async fn kill(&self) {
        self.stop().await;
        self.close_engines().await;
    }

    async fn stop(&self) {
        let inner = &self.inner;
        inner.closing.send_replace(true);
        inner.leadership.send_replace(None);
        inner.shown.hub.close(WatchEnd::Stopped);
        if let Err(error) = inner.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop in order");
        }
    }

    async fn close_engines(&self) {
        // An engine whose thread has died has nothing left to close.
        let _ = self.inner.state_engine.close().await;
        let _ = self.inner.log_engine.close().await;
    }
}
