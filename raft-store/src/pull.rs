//! Giving and getting a state piece by piece over plain calls: for a member that starts without its state
//! database, before it has a Raft that could be sent a snapshot.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio::time::Instant;

use crate::form::decode;
use crate::member::Member;
use crate::network::Caller;
use crate::rpc::{PullAnswerForm, PullForm, RpcError, RpcKind};
use crate::snapshot::SnapshotReader;
use crate::state::State;
use crate::view::View;

/// Bytes in one answer, about.
const PIECE: usize = 1 << 20;
/// Pulls served at once, and how long an idle one is kept.
const SESSIONS: usize = 4;
const IDLE: Duration = Duration::from_secs(60);

/// The pulls that this member serves.
#[derive(Debug, Default)]
pub(crate) struct Pulls {
    last_session: u64,
    sessions: BTreeMap<u64, Session>,
}

#[derive(Debug)]
struct Session {
    reader: SnapshotReader,
    /// Where the last piece began, and the piece: an answer that was lost is given again.
    offset: u64,
    piece: Bytes,
    used: Instant,
}

impl Pulls {
    pub fn answer(&mut self, body: Bytes, view: impl FnOnce() -> View) -> Result<PullAnswerForm, RpcError> {
        let PullForm { session, offset } = decode("pull", body)?;
        self.sessions.retain(|_, s| s.used.elapsed() < IDLE);
        let session = if session == 0 {
            if self.sessions.len() >= SESSIONS {
                return Err(RpcError::Refused("too many pulls at once; try again".into()));
            }
            self.last_session += 1;
            let reader = SnapshotReader::new(view().state);
            let new = Session { reader, offset: 0, piece: Bytes::new(), used: Instant::now() };
            self.sessions.insert(self.last_session, new);
            self.last_session
        } else {
            session
        };
        let open = self.sessions.get_mut(&session);
        let open = open.ok_or_else(|| RpcError::Refused("the pull is over; begin again".into()))?;
        open.used = Instant::now();
        if offset == open.offset + open.piece.len() as u64 {
            let mut piece = BytesMut::new();
            while piece.len() < PIECE {
                let chunk = open.reader.next_chunk();
                if chunk.is_empty() {
                    break;
                }
                piece.extend_from_slice(&chunk);
            }
            (open.offset, open.piece) = (offset, piece.freeze());
        } else if offset != open.offset {
            return Err(RpcError::Refused("the pull skipped a piece; begin again".into()));
        }
        let bytes = open.piece.clone();
        if bytes.is_empty() {
            self.sessions.remove(&session);
        }
        Ok(PullAnswerForm { session, bytes })
    }
}

/// Gets a peer's applied state, whole and checked.
pub(crate) async fn pull(caller: &Caller, peer: &Member) -> Result<State, String> {
    let deadline = caller.timing.append();
    let mut request = PullForm { session: 0, offset: 0 };
    let mut all = Vec::new();
    loop {
        let answer = caller.call(peer, 0, RpcKind::Pull, request.encode_to_vec(), deadline).await;
        let answer = answer.map_err(|e| e.to_string())?;
        let answer: PullAnswerForm = decode("pull answer", answer).map_err(|e| e.to_string())?;
        if answer.bytes.is_empty() {
            break;
        }
        all.extend_from_slice(&answer.bytes);
        request = PullForm { session: answer.session, offset: all.len() as u64 };
    }
    let state = crate::snapshot::read(Cursor::new(all)).await.map_err(|e| e.to_string())?;
    if state.cluster_id != caller.cluster_id {
        return Err(format!("it belongs to cluster {}", state.cluster_id));
    }
    Ok(state)
}
