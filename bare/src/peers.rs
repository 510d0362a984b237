//! Members' way to each other: one connection to each peer for calls, made when it is needed and made anew
//! when it breaks, and one of its own for each snapshot. Addresses are `HOST:PORT`.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use raft_store::{Member, MemberId, RpcKind, Transport, TransportError};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::frame::{self, Reader, kind};
use crate::outbox::Outbox;

const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
/// Bytes of a snapshot in one frame.
const PIECE_BYTES: usize = 256 << 10;

/// The number of a peer's call on the wire.
pub(crate) fn number_of(of: RpcKind) -> u8 {
    let place = RpcKind::ALL.iter().position(|kind| *kind == of).unwrap_or(0);
    kind::PEER + place as u8
}

pub(crate) fn kind_of(number: u8) -> Option<RpcKind> {
    RpcKind::ALL.get(usize::from(number.checked_sub(kind::PEER)?)).copied()
}

type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Result<Bytes, TransportError>>>>>>;

struct Link {
    outbox: Outbox,
    /// None: the connection is over.
    waiting: Waiting,
}

impl Link {
    async fn connect(address: &str) -> io::Result<Link> {
        let stream = connect(address).await?;
        let (read, write) = stream.into_split();
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let (mut reader, theirs) = (Reader::new(read), waiting.clone());
        tokio::spawn(async move {
            while let Ok(Some(frame)) = reader.next().await {
                let caller = theirs.lock().as_mut().and_then(|calls| calls.remove(&frame.call));
                let Some(caller) = caller else { continue };
                let _ = caller.send(match frame.kind {
                    kind::FAILED => {
                        Err(TransportError::Remote(String::from_utf8_lossy(&frame.body).into_owned()))
                    }
                    _ => Ok(frame.body),
                });
            }
            // Whoever waits learns that nothing comes any more.
            theirs.lock().take();
        });
        Ok(Link { outbox: Outbox::new(write), waiting })
    }

    fn is_over(&self) -> bool {
        self.waiting.lock().is_none()
    }
}

pub(crate) async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT_PATIENCE, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn unreachable(error: &io::Error) -> TransportError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => TransportError::Refused,
        _ => TransportError::Unreachable(error.to_string()),
    }
}

/// A peer's connection, made by one caller while the others wait.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Link>>>>;

/// Carries one member's calls.
pub struct Peers {
    me: MemberId,
    links: Mutex<HashMap<String, Slot>>,
    calls: AtomicU64,
}

impl Peers {
    pub fn new(me: MemberId) -> Arc<Peers> {
        Arc::new(Peers { me, links: Mutex::default(), calls: AtomicU64::new(1) })
    }

    async fn link(&self, address: &str) -> io::Result<Arc<Link>> {
        let slot = self.links.lock().entry(address.to_owned()).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some(link) = slot.as_ref().filter(|link| !link.is_over()) {
            return Ok(link.clone());
        }
        let link = Arc::new(Link::connect(address).await?);
        *slot = Some(link.clone());
        Ok(link)
    }
}

/// Takes a call off the list when its caller gives it up.
struct Forget<'a>(&'a Waiting, u64);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(calls) = self.0.lock().as_mut() {
            calls.remove(&self.1);
        }
    }
}

#[async_trait]
impl Transport for Peers {
    async fn call(
        &self,
        target: &Member,
        kind: RpcKind,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, TransportError> {
        let asked = async {
            let link = self.link(&target.address).await.map_err(|error| unreachable(&error))?;
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            let (answer, receiver) = oneshot::channel();
            match link.waiting.lock().as_mut() {
                Some(calls) => calls.insert(call, answer),
                None => return Err(TransportError::Unreachable("the connection is over".into())),
            };
            let _forget = Forget(&link.waiting, call);
            let mut bytes = BytesMut::with_capacity(payload.len() + 32);
            frame::put(&mut bytes, call, number_of(kind), |b| {
                b.put_u64_le(self.me);
                b.put_slice(&payload);
            });
            link.outbox.send(bytes).map_err(|error| unreachable(&error))?;
            receiver.await.unwrap_or_else(|_| Err(TransportError::Unreachable("the connection broke".into())))
        };
        tokio::time::timeout(deadline, asked).await.unwrap_or(Err(TransportError::Timeout))
    }

    async fn send_snapshot(
        &self,
        target: &Member,
        header: Bytes,
        mut reader: Pin<Box<dyn AsyncRead + Send>>,
        deadline: Duration,
    ) -> Result<Bytes, TransportError> {
        let sent = async {
            let stream = connect(&target.address).await?;
            let (read, write) = stream.into_split();
            let outbox = Outbox::new(write);
            let mut bytes = BytesMut::new();
            frame::put(&mut bytes, 0, kind::SNAPSHOT, |b| {
                b.put_u64_le(self.me);
                b.put_slice(&header);
            });
            outbox.send(bytes)?;
            loop {
                let mut piece = BytesMut::with_capacity(PIECE_BYTES);
                while piece.len() < PIECE_BYTES && reader.read_buf(&mut piece).await? > 0 {}
                let end = piece.is_empty();
                let mut bytes = BytesMut::with_capacity(piece.len() + 16);
                frame::put(&mut bytes, 0, kind::PIECE, |b| b.put_slice(&piece));
                outbox.send(bytes)?;
                outbox.drained().await?;
                if end {
                    break;
                }
            }
            Reader::new(read).next().await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        };
        let sent: Result<io::Result<frame::Frame>, _> = tokio::time::timeout(deadline, sent).await;
        match sent {
            Err(_) => Err(TransportError::Timeout),
            Ok(Err(error)) => Err(unreachable(&error)),
            Ok(Ok(frame)) if frame.kind == kind::FAILED => {
                Err(TransportError::Remote(String::from_utf8_lossy(&frame.body).into_owned()))
            }
            Ok(Ok(frame)) => Ok(frame.body),
        }
    }
}

/// Takes the caller's number off a peer's call.
pub(crate) fn caller_of(body: &mut Bytes) -> io::Result<MemberId> {
    body.try_get_u64_le().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a call without its caller"))
}
