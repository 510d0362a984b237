//! Linearizable reads: many readers share one question to the quorum. A reader never joins a question that was
//! asked before it came, whose answer may be older than what it must see; it waits for the next one.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::rt::WatchReceiver;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::form::decode;
use crate::rpc::{ReadIndexForm, RpcKind, TransportError};
use crate::store::{Inner, ReadError, Store};
use crate::transaction::Revision;
use crate::view::View;

type Answer = Result<Revision, ReadError>;

/// Readers that wait for the next question.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    own: Mutex<Waiting>,
    peers: Mutex<Waiting>,
}

/// Whose question it is. One of a peer is never handed on: two members that each take the other for the
/// leader would wait for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    Own,
    Peer,
}

impl Reads {
    fn of(&self, asker: Asker) -> &Mutex<Waiting> {
        match asker {
            Asker::Own => &self.own,
            Asker::Peer => &self.peers,
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    /// A question is on its way; another follows while anybody waits.
    asking: bool,
    readers: Vec<oneshot::Sender<Answer>>,
}

impl Store {
    /// A view that holds everything that was acknowledged anywhere before the call. On a follower the
    /// leader is asked how far that is.
    pub async fn linearizable(&self) -> Result<View, ReadError> {
        let revision = read_index(&self.inner, Asker::Own).await?;
        self.applied(revision, self.inner.options.timing.contact_lost()).await?;
        Ok(self.view())
    }
}

/// How far a reader must have applied to see everything that was acknowledged before the call.
pub(crate) async fn read_index(inner: &Arc<Inner>, asker: Asker) -> Answer {
    let (sender, receiver) = oneshot::channel();
    let first = {
        let mut waiting = inner.reads.of(asker).lock();
        waiting.readers.push(sender);
        !std::mem::replace(&mut waiting.asking, true)
    };
    if first {
        // A task of its own: this reader may be given up, and the others wait for the same answer.
        tokio::spawn(ask_for_all(inner.clone(), asker));
    }
    receiver.await.unwrap_or(Err(ReadError::Stopped))
}

async fn ask_for_all(inner: Arc<Inner>, asker: Asker) {
    loop {
        let readers = {
            let mut waiting = inner.reads.of(asker).lock();
            let readers = std::mem::take(&mut waiting.readers);
            waiting.asking = !readers.is_empty();
            readers
        };
        if readers.is_empty() {
            return;
        }
        let answer = match asker {
            Asker::Own => ask(&inner).await,
            Asker::Peer => ask_quorum(&inner).await,
        };
        for reader in readers {
            // Readers that have gone need no answer.
            let _ = reader.send(answer.clone());
        }
    }
}

async fn ask(inner: &Inner) -> Answer {
    let (leader, node) = {
        let metrics = inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.running_state.is_err() {
            return Err(ReadError::Stopped);
        }
        let leader = metrics.current_leader.ok_or(ReadError::NoLeader)?;
        (leader, metrics.membership_config.membership().get_node(&leader).cloned())
    };
    if leader == inner.options.me.id {
        return ask_quorum(inner).await;
    }
    let node = node.ok_or(ReadError::NoLeader)?;
    let (target, deadline): (_, Duration) = (node.member(leader), inner.options.timing.append());
    let answer = inner.caller.call(&target, node.incarnation, RpcKind::ReadIndex, Vec::new(), deadline).await;
    let answer = answer.map_err(|error| match error {
        TransportError::Remote(reason) => ReadError::Unreachable(reason),
        other => ReadError::Unreachable(other.to_string()),
    })?;
    let form: ReadIndexForm =
        decode("read index", answer).map_err(|error| ReadError::Unreachable(error.to_string()))?;
    Ok(form.index.ok_or(ReadError::NoQuorum)?.index)
}

/// As the leader: confirmed by a round of heartbeats to a quorum.
async fn ask_quorum(inner: &Inner) -> Answer {
    match inner.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
        Ok((read, _)) => Ok(read.index()),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => Err(ReadError::NoLeader),
        Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(ReadError::NoQuorum),
        Err(RaftError::Fatal(_)) => Err(ReadError::Stopped),
    }
}
