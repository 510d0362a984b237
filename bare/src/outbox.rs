//! The sending half of a connection. Sending never waits: what the socket does not take at once is kept and
//! follows in order. Whoever sends more than the other side reads is cut off.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::net::tcp::OwnedWriteHalf;

/// Bytes that may wait for a slow reader.
const WAITING_BYTES_MAX: usize = 64 << 20;

struct Inner {
    waiting: BytesMut,
    flushing: bool,
    broken: bool,
}

/// Cheap to clone; all clones send on one connection.
#[derive(Clone)]
pub struct Outbox {
    socket: Arc<OwnedWriteHalf>,
    inner: Arc<Mutex<Inner>>,
}

impl Outbox {
    pub fn new(socket: OwnedWriteHalf) -> Outbox {
        let inner = Inner { waiting: BytesMut::new(), flushing: false, broken: false };
        Outbox { socket: Arc::new(socket), inner: Arc::new(Mutex::new(inner)) }
    }

    /// Sends whole frames.
    pub fn send(&self, mut frames: BytesMut) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if inner.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        while !inner.flushing && frames.has_remaining() {
            match self.socket.try_write(&frames) {
                Ok(written) => frames.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    inner.broken = true;
                    return Err(error);
                }
            }
        }
        if frames.has_remaining() {
            inner.waiting.unsplit(frames);
            if inner.waiting.len() > WAITING_BYTES_MAX {
                inner.broken = true;
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if !inner.flushing {
                inner.flushing = true;
                tokio::spawn(self.clone().flush());
            }
        }
        Ok(())
    }

    /// Waits until little is kept: for whoever sends much.
    pub async fn drained(&self) -> io::Result<()> {
        loop {
            {
                let inner = self.inner.lock();
                if inner.broken {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                if inner.waiting.len() < 1 << 20 {
                    return Ok(());
                }
            }
            self.socket.writable().await?;
            tokio::task::yield_now().await;
        }
    }

    async fn flush(self) {
        loop {
            let writable = self.socket.writable().await;
            let mut inner = self.inner.lock();
            if writable.is_err() {
                inner.broken = true;
            }
            if inner.broken {
                inner.flushing = false;
                return;
            }
            match self.socket.try_write(&inner.waiting) {
                Ok(written) => inner.waiting.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => inner.broken = true,
            }
            if inner.waiting.is_empty() {
                inner.flushing = false;
                return;
            }
        }
    }
}
