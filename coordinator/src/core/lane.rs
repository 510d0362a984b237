//! The decision lane: the one place where commands become changes.
//!
//! ```text
//! callers ──queue (1024)──▶ take all that wait ─▶ decide each on the applied world plus this round's
//!                           changes ─▶ ONE raft entry, void unless the term is still ours ─▶ answers
//! ```
//!
//! Decisions are serial, so conflicts don't exist, and one fsync carries a whole round. Nobody is
//! answered before the round's entry is applied: not even a refusal, since it may rest on what an
//! earlier command of the round has changed. What may never happen here: deciding on a world that
//! lacks a committed entry. After a proposal of unknown outcome nothing is decided until it is known.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pvc_model::{Command, ObjectKey, World};
use raft_store::{Outcome, ProposeError, Store};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::environment::Environment;
use super::error::SubmitError;
use super::leader::leader_name;
use super::round::{Answer, Round};
use super::world::WorldFeed;

/// Commands that may wait; one more is refused as `Busy`.
pub const QUEUE_COMMANDS_MAX: usize = 1024;
/// After this long without an outcome the callers are told that it is not known.
const PROPOSAL_DEADLINE: Duration = Duration::from_secs(5);
/// While nothing can be decided, waiting commands are refused this often.
const REFUSE_INTERVAL: Duration = Duration::from_millis(500);
/// A new leader that can't catch up for this long refuses what waits.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(2);

/// A committed command, or one that found all as it should be.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Revision of the change; of the world it was decided on where there was nothing to change.
    pub revision: u64,
    /// The object that the caller is answered with.
    pub reply: Option<ObjectKey>,
    /// The world with the change in it.
    pub world: World,
}

pub(super) struct Request {
    pub command: Command,
    pub actor: String,
    pub request_id: Option<String>,
    pub answer: oneshot::Sender<Result<Committed, SubmitError>>,
}

/// How well the lane shares its entries.
#[derive(Debug, Default)]
pub struct LaneStats {
    /// Entries proposed.
    pub rounds: AtomicU64,
    /// Commands decided.
    pub commands: AtomicU64,
    /// Commands that changed something.
    pub committed: AtomicU64,
    /// Commands refused.
    pub rejected: AtomicU64,
    /// Most commands that one entry has carried.
    pub largest_round: AtomicU64,
}

pub(super) struct Lane {
    pub store: Store,
    pub feed: Arc<WorldFeed>,
    pub environment: Arc<dyn Environment>,
    pub queue: mpsc::Receiver<Request>,
    /// The term in which commands are decided now: tells the controllers when to run.
    pub leading: watch::Sender<Option<u64>>,
    pub stats: Arc<LaneStats>,
    /// The wall clock of the last round: it never goes backwards within one leader.
    pub last_now_ms: u64,
}

impl Lane {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut leadership = self.store.leadership();
        loop {
            let term = leadership.borrow_and_update().as_ref().map(|l| l.term);
            let over = async {
                while leadership.changed().await.is_ok() {
                    if leadership.borrow_and_update().as_ref().map(|l| l.term) != term {
                        return;
                    }
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // A round that is under way is dropped with its callers' channels: they learn that the
                // outcome is not known, which is the truth.
                () = over => {}
                () = self.serve(term) => {}
            }
            self.leading.send_replace(None);
        }
        self.leading.send_replace(None);
        self.queue.close();
        while let Ok(request) = self.queue.try_recv() {
            let _ = request.answer.send(Err(SubmitError::Stopped));
        }
    }

    /// Serves one term, or the time without one. Ends only by being dropped.
    async fn serve(&mut self, term: Option<u64>) {
        let Some(term) = term else {
            while let Some(request) = self.queue.recv().await {
                self.refuse(request);
            }
            return std::future::pending().await;
        };
        self.catch_up().await;
        self.leading.send_replace(Some(term));
        let mut carried = Vec::new();
        loop {
            if carried.is_empty() {
                let Some(request) = self.queue.recv().await else { return std::future::pending().await };
                carried.push(request);
            }
            while carried.len() < QUEUE_COMMANDS_MAX {
                let Ok(request) = self.queue.try_recv() else { break };
                carried.push(request);
            }
            carried = self.round(term, carried).await;
        }
    }

    /// The leader's first read: nothing is decided before every earlier entry is applied here.
    async fn catch_up(&mut self) {
        let since = tokio::time::Instant::now();
        loop {
            match tokio::time::timeout(REFUSE_INTERVAL, self.store.linearizable()).await {
                Ok(Ok(view)) => {
                    self.feed.advance(&view);
                    return;
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "can't read as the leader yet");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(_) => {}
            }
            if since.elapsed() > CATCH_UP_PATIENCE {
                self.refuse_waiting();
            }
        }
    }

    fn refuse(&self, request: Request) {
        let _ = request.answer.send(Err(SubmitError::NotLeader { leader: self.leader() }));
    }

    fn refuse_waiting(&mut self) {
        while let Ok(request) = self.queue.try_recv() {
            let _ = request.answer.send(Err(SubmitError::NotLeader { leader: None }));
        }
    }

    fn leader(&self) -> Option<pvc_model::Name> {
        leader_name(&self.store, &self.feed.current())
    }

    /// Decides what fits into one entry; gives back the rest.
    async fn round(&mut self, term: u64, requests: Vec<Request>) -> Vec<Request> {
        let view = self.store.view();
        let world = self.feed.advance(&view);
        self.last_now_ms = self.last_now_ms.max(self.environment.wall_now_ms());
        let mut round = Round::new(world, view, self.last_now_ms);
        let mut rest = requests.into_iter();
        for request in rest.by_ref() {
            // A caller that has gone would ask again: what it wanted is not done behind its back.
            if request.answer.is_closed() {
                continue;
            }
            if let Some(request) = round.take(request, self.environment.seed()) {
                let mut carried = vec![request];
                carried.extend(rest);
                self.conclude(term, round).await;
                return carried;
            }
        }
        self.conclude(term, round).await;
        Vec::new()
    }

    async fn conclude(&mut self, term: u64, mut round: Round) {
        self.stats.commands.fetch_add(round.answers.len() as u64, Ordering::Relaxed);
        let transactions = std::mem::take(&mut round.transactions);
        if transactions.is_empty() {
            if round.needs_proof() {
                self.prove(round).await;
            } else {
                self.answer(round, Vec::new());
            }
            return;
        }
        let count = transactions.len() as u64;
        self.stats.rounds.fetch_add(1, Ordering::Relaxed);
        self.stats.largest_round.fetch_max(count, Ordering::Relaxed);
        let store = self.store.clone();
        let mut proposal = pin!(store.propose(term, transactions, round.now_ms));
        let in_time = tokio::time::timeout(PROPOSAL_DEADLINE, &mut proposal).await;
        match in_time {
            Ok(result) => self.finish(round, result),
            Err(_) => {
                round.fail_proposed(&SubmitError::Unknown("no quorum has confirmed it in time".to_owned()));
                loop {
                    match tokio::time::timeout(REFUSE_INTERVAL, &mut proposal).await {
                        Ok(_) => break,
                        Err(_) => self.refuse_waiting(),
                    }
                }
                // Whatever became of it, it is known only once this replica is caught up.
                self.catch_up().await;
            }
        }
    }

    /// Refusals and "nothing to do" change nothing, but they too must not rest on a deposed leader's world.
    async fn prove(&mut self, round: Round) {
        match tokio::time::timeout(PROPOSAL_DEADLINE, self.store.linearizable()).await {
            Ok(Ok(_)) => self.answer(round, Vec::new()),
            Ok(Err(_)) | Err(_) => round.fail_all(&SubmitError::NotLeader { leader: None }),
        }
    }

    fn finish(&mut self, round: Round, result: Result<Vec<Outcome>, ProposeError>) {
        match result {
            Ok(outcomes) => self.answer(round, outcomes),
            Err(ProposeError::NotLeader { .. } | ProposeError::StaleTerm) => {
                round.fail_all(&SubmitError::NotLeader { leader: self.leader() });
            }
            Err(ProposeError::Unknown { .. }) => {
                round.fail_proposed(&SubmitError::Unknown("leadership changed in between".to_owned()));
            }
            Err(ProposeError::Stopped) => round.fail_all(&SubmitError::Stopped),
            Err(ProposeError::Limit(error)) => {
                tracing::warn!(%error, "the store refused a round");
                round.fail_all(&SubmitError::Busy);
            }
        }
    }

    fn answer(&self, round: Round, outcomes: Vec<Outcome>) {
        let world = self.feed.advance(&self.store.view());
        for (answer, sender) in round.answers {
            let proposed = matches!(answer, Answer::Proposed(_));
            let result = match answer {
                Answer::Proposed(index) => super::round::outcome(outcomes.get(index), &world),
                Answer::Refused(rejection) => Err(SubmitError::Rejected(rejection)),
                Answer::Nothing { reply } => {
                    Ok(Committed { revision: round.base_revision, reply, world: world.clone() })
                }
                Answer::Recorded { revision, reply } => {
                    Ok(Committed { revision, reply, world: world.clone() })
                }
            };
            match &result {
                Ok(_) if proposed => drop(self.stats.committed.fetch_add(1, Ordering::Relaxed)),
                Ok(_) => {}
                Err(_) => drop(self.stats.rejected.fetch_add(1, Ordering::Relaxed)),
            }
            let _ = sender.send(result);
        }
    }
}
