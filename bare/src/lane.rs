//! The way of writes into the store: whatever waits is proposed as one entry of the log, and while that one is
//! on its way the next gathers. No decision is made here; `coordinator`'s lane does that.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use raft_store::{Outcome, ProposeError, Store, Transaction};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::talk::{Failed, Tell, Why, Written};

/// Entries on their way at once: one is being written while another is being replicated.
const AHEAD: usize = 4;
/// Transactions of one entry, at most, and about so many bytes.
const BATCH_COUNT: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// After this long without an outcome the client is told that it is unknown.
const PATIENCE: Duration = Duration::from_secs(10);

struct Waiting {
    transaction: Transaction,
    answer: oneshot::Sender<Tell>,
}

/// Hands transactions in.
#[derive(Clone)]
pub struct Lane(mpsc::UnboundedSender<Waiting>);

impl Lane {
    pub fn start(store: Store) -> Lane {
        let (sender, queue) = mpsc::unbounded_channel();
        tokio::spawn(run(store, queue));
        Lane(sender)
    }

    /// The answer comes once the transaction has been applied or is lost.
    pub fn write(&self, transaction: Transaction) -> oneshot::Receiver<Tell> {
        let (answer, receiver) = oneshot::channel();
        // A lane that is gone drops the answer, and the receiver learns of it.
        let _ = self.0.send(Waiting { transaction, answer });
        receiver
    }
}

async fn run(store: Store, mut queue: mpsc::UnboundedReceiver<Waiting>) {
    let mut waiting: VecDeque<Waiting> = VecDeque::new();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.try_join_next().is_some() {}
        if waiting.is_empty() {
            match queue.recv().await {
                Some(first) => waiting.push_back(first),
                None => return,
            }
        }
        while waiting.len() < BATCH_COUNT
            && let Ok(next) = queue.try_recv()
        {
            waiting.push_back(next);
        }
        if under_way.len() >= AHEAD {
            under_way.join_next().await;
            continue;
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(next) = waiting.front() {
            bytes += next.transaction.puts.iter().map(|(_, value)| value.len() + 128).sum::<usize>();
            if !batch.is_empty() && bytes > BATCH_BYTES {
                break;
            }
            batch.extend(waiting.pop_front());
        }
        under_way.spawn(propose(store.clone(), batch));
    }
}

async fn propose(store: Store, batch: Vec<Waiting>) {
    let (transactions, answers): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|w| (w.transaction, w.answer)).unzip();
    let term = store.leadership().borrow().map(|leadership| leadership.term);
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    let result = match term {
        Some(term) => {
            let proposal = store.propose(term, transactions, now_ms);
            tokio::time::timeout(PATIENCE, proposal)
                .await
                .unwrap_or_else(|_| Err(ProposeError::Unknown("no quorum in time".into())))
        }
        None => Err(ProposeError::NotLeader { leader: store.status().borrow().leader.clone() }),
    };
    match result {
        Ok(outcomes) => {
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                let _ = answer.send(Tell::Written(written(&outcome)));
            }
        }
        Err(error) => {
            let failed = failed(&error);
            for answer in answers {
                let _ = answer.send(Tell::Failed(failed.clone()));
            }
        }
    }
}

fn written(outcome: &Outcome) -> Written {
    match outcome {
        Outcome::Applied { revision, duplicate, .. } => {
            Written { revision: *revision, conflict: false, duplicate: *duplicate }
        }
        Outcome::Conflict { actual, .. } => Written { revision: *actual, conflict: true, duplicate: false },
    }
}

fn failed(error: &ProposeError) -> Failed {
    let (why, leader) = match error {
        ProposeError::NotLeader { leader } => (Why::NotLeader, leader.as_ref().map(|l| l.address.clone())),
        ProposeError::StaleTerm => (Why::NotLeader, None),
        ProposeError::Unknown(_) => (Why::Unknown, None),
        ProposeError::Limit(raft_store::LimitError::Busy { .. }) => (Why::Unavailable, None),
        ProposeError::Limit(_) => (Why::Refused, None),
        ProposeError::Stopped => (Why::Unavailable, None),
    };
    Failed { why: why.into(), text: error.to_string(), leader: leader.unwrap_or_default(), oldest: 0 }
}
