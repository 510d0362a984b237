//! Raft's way over the simulated network, for one process of a coordinator.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use raft_store::{Member, MemberId, RpcError, RpcKind, Transport, TransportError};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::sync::CancellationToken;

use crate::net::{CallError, Endpoint, Net, Place, Reached};

/// Where each member is. Members are never moved.
#[derive(Clone, Default)]
pub struct Directory(Arc<RwLock<BTreeMap<MemberId, Place>>>);

impl Directory {
    pub fn enter(&self, member: MemberId, place: Place) {
        self.0.write().insert(member, place);
    }

    pub fn members(&self) -> Vec<Member> {
        self.0.read().iter().map(|(id, place)| Member::new(*id, crate::daemon::address(*place))).collect()
    }

    pub fn place(&self, member: MemberId) -> Option<Place> {
        self.0.read().get(&member).copied()
    }
}

pub struct Wire<E = Endpoint> {
    pub net: Net<E>,
    pub directory: Directory,
    pub me: MemberId,
    pub here: Place,
    /// The process whose wire this is has ended: it says nothing more.
    pub gone: CancellationToken,
}

impl<E> Wire<E> {
    fn place_of(&self, target: &Member) -> Result<Place, TransportError> {
        if self.gone.is_cancelled() {
            return Err(TransportError::Unreachable("this process has ended".to_owned()));
        }
        let known = self.directory.place(target.id);
        known.ok_or_else(|| TransportError::Unreachable(format!("nobody knows member {}", target.id)))
    }
}

fn answer(answer: Result<Result<Bytes, RpcError>, CallError>) -> Result<Bytes, TransportError> {
    match answer {
        Ok(answer) => answer.map_err(|error| TransportError::Remote(error.to_string())),
        Err(CallError::Silent) => Err(TransportError::Timeout),
        Err(CallError::Refused) => Err(TransportError::Refused),
        Err(error @ CallError::Reset) => Err(TransportError::Unreachable(error.to_string())),
    }
}

#[async_trait]
impl<E: Reached> Transport for Wire<E> {
    async fn call(
        &self,
        target: &Member,
        kind: RpcKind,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, TransportError> {
        let to = self.place_of(target)?;
        let from = self.me;
        let call = self.net.call(self.here, to, deadline, move |there| async move {
            there.store().handle(from, kind, payload).await
        });
        answer(call.await)
    }

    async fn send_snapshot(
        &self,
        target: &Member,
        header: Bytes,
        mut reader: Pin<Box<dyn AsyncRead + Send>>,
        deadline: Duration,
    ) -> Result<Bytes, TransportError> {
        let to = self.place_of(target)?;
        let from = self.me;
        let mut all = Vec::new();
        let read = reader.read_to_end(&mut all).await;
        read.map_err(|error| TransportError::Unreachable(error.to_string()))?;
        self.net.trace.say(format!("{} sends a snapshot to {to}", self.here));
        let call = self.net.call(self.here, to, deadline, move |there| async move {
            there.store().handle_snapshot(from, header, Box::pin(Cursor::new(all))).await
        });
        answer(call.await)
    }
}
