//! Frames on a TCP connection: a length, the number of the call, a kind, and bytes. An answer carries its
//! call's number; answers come in any order.
//!
//! ```text
//! u32 length of what follows | u64 call | u8 kind | body        (little-endian)
//! ```

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Largest frame that is taken: a message to a peer and what is around it.
const FRAME_BYTES_MAX: usize = raft_store::MAX_CALL_BYTES + (64 << 10);
const HEAD_BYTES: usize = 9;

/// What a frame is. Calls of peers have the number of their `RpcKind` from `PEER` on.
pub mod kind {
    /// A client's call, and its answer.
    pub const TALK: u8 = 0;
    /// The call failed; the body says why.
    pub const FAILED: u8 = 1;
    /// A snapshot's header; the connection carries nothing but the snapshot's pieces afterwards.
    pub const SNAPSHOT: u8 = 2;
    /// A piece of a snapshot; an empty one is the end.
    pub const PIECE: u8 = 3;
    pub const PEER: u8 = 16;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub call: u64,
    pub kind: u8,
    pub body: Bytes,
}

/// Appends a frame whose body is written by `body`.
pub fn put(buffer: &mut BytesMut, call: u64, kind: u8, body: impl FnOnce(&mut BytesMut)) {
    let start = buffer.len();
    buffer.put_u32_le(0);
    buffer.put_u64_le(call);
    buffer.put_u8(kind);
    body(buffer);
    let length = u32::try_from(buffer.len() - start - 4).unwrap_or(u32::MAX);
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Takes a whole frame off the front, if one is there.
pub fn take(buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
    let Some(length) = buffer.first_chunk().map(|length| u32::from_le_bytes(*length) as usize) else {
        return Ok(None);
    };
    if !(HEAD_BYTES..=FRAME_BYTES_MAX).contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    if buffer.len() < 4 + length {
        buffer.reserve(4 + length - buffer.len());
        return Ok(None);
    }
    let mut frame = buffer.split_to(4 + length).freeze();
    frame.advance(4);
    let (call, kind) = (frame.get_u64_le(), frame.get_u8());
    Ok(Some(Frame { call, kind, body: frame }))
}

/// Reads frames; safe to cancel.
pub struct Reader<R> {
    from: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub fn new(from: R) -> Reader<R> {
        Reader { from, buffer: BytesMut::with_capacity(8 << 10) }
    }

    /// The next frame; none at the connection's end.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = take(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            if self.buffer.capacity() - self.buffer.len() < 1 << 10 {
                self.buffer.reserve(8 << 10);
            }
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_out_as_they_went_in() {
        let mut bytes = BytesMut::new();
        put(&mut bytes, 7, kind::TALK, |b| b.put_slice(b"hello"));
        put(&mut bytes, 8, kind::FAILED, |_| {});
        let cut = bytes.len() - 1;
        let mut short = bytes.clone();
        short.truncate(cut);
        let mut reader = Reader::new(&bytes[..]);
        let first = Frame { call: 7, kind: kind::TALK, body: "hello".into() };
        assert_eq!(reader.next().await.unwrap(), Some(first));
        let second = Frame { call: 8, kind: kind::FAILED, body: Bytes::new() };
        assert_eq!(reader.next().await.unwrap(), Some(second));
        assert_eq!(reader.next().await.unwrap(), None);
        let mut reader = Reader::new(&short[..]);
        assert!(reader.next().await.unwrap().is_some());
        assert_eq!(reader.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        assert!(Reader::new(&[0xff; 64][..]).next().await.is_err());
        assert!(Reader::new(&[0; 64][..]).next().await.is_err());
    }
}
