//! The snapshot format, which is the backup format too: magic, version, head, records in order of their
//! keys with a CRC32C each, and a trailer with their count and the BLAKE3 of everything before it.
//! It is written from an unchanging state while `apply` goes on, and believed only once its trailer fits.

use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::form::{FormError, Record, RecordForm, StateHeadForm, decode};
use crate::key::Key;
use crate::state::{STATE_VERSION, State, object_form, request_form};

const MAGIC: &[u8; 8] = b"PVCSNAP\0";
/// In place of a record's length: the trailer follows.
const END: u32 = u32::MAX;
/// No record comes near this; a longer one is damage.
const LONGEST_RECORD: usize = 4 << 20;
const CHUNK: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("not a snapshot: it does not start with the magic bytes")]
    Magic,
    #[error(
        "the snapshot has format version {version}; this program reads up to {STATE_VERSION}: upgrade it"
    )]
    Version { version: u32 },
    #[error("the snapshot is damaged at byte {offset}: {detail}")]
    Damaged { offset: u64, detail: &'static str },
    #[error("the snapshot ends early, at byte {offset}")]
    Truncated { offset: u64 },
    #[error(transparent)]
    Form(#[from] FormError),
    #[error("the snapshot cannot be read: {0}")]
    Io(std::io::Error),
    #[error("the snapshot belongs to cluster {found}, not to {expected}")]
    ForeignCluster { expected: String, found: String },
}

#[derive(Debug)]
enum Next {
    Head,
    Objects(Option<Key>),
    Requests(Option<Arc<str>>),
    Trailer,
    Done,
}

/// A state as a stream of bytes, encoded as it is read.
#[derive(Debug)]
pub(crate) struct SnapshotReader {
    state: Arc<State>,
    next: Next,
    count: u64,
    hash: blake3::Hasher,
    chunk: Bytes,
}

impl SnapshotReader {
    pub fn new(state: Arc<State>) -> SnapshotReader {
        SnapshotReader { state, next: Next::Head, count: 0, hash: blake3::Hasher::new(), chunk: Bytes::new() }
    }

    /// The next chunk, of about 64 KiB; empty at the end.
    pub fn next_chunk(&mut self) -> Bytes {
        let mut out = BytesMut::with_capacity(CHUNK + 4096);
        while out.len() < CHUNK {
            self.next = match std::mem::replace(&mut self.next, Next::Done) {
                Next::Head => {
                    out.put_slice(MAGIC);
                    out.put_u32_le(STATE_VERSION);
                    frame(&mut out, &self.state.head().encode_to_vec());
                    Next::Objects(None)
                }
                Next::Objects(after) => self.objects(&mut out, after),
                Next::Requests(after) => self.requests(&mut out, after),
                Next::Trailer => {
                    out.put_u32_le(END);
                    out.put_u64_le(self.count);
                    self.hash.update(&out);
                    out.put_slice(self.hash.finalize().as_bytes());
                    return out.freeze();
                }
                Next::Done => break,
            };
        }
        self.hash.update(&out);
        out.freeze()
    }

    fn objects(&mut self, out: &mut BytesMut, after: Option<Key>) -> Next {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (key, entry) in self.state.entries.range::<_, Key>((start, Bound::Unbounded)) {
            let record = RecordForm { record: Some(Record::Object(object_form(key, entry))) };
            frame(out, &record.encode_to_vec());
            self.count += 1;
            if out.len() >= CHUNK {
                return Next::Objects(Some(key.clone()));
            }
        }
        Next::Requests(None)
    }

    fn requests(&mut self, out: &mut BytesMut, after: Option<Arc<str>>) -> Next {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (id, recorded) in self.state.requests.range::<_, Arc<str>>((start, Bound::Unbounded)) {
            let record = RecordForm { record: Some(Record::Request(request_form(id, recorded))) };
            frame(out, &record.encode_to_vec());
            self.count += 1;
            if out.len() >= CHUNK {
                return Next::Requests(Some(id.clone()));
            }
        }
        Next::Trailer
    }
}

fn frame(out: &mut BytesMut, payload: &[u8]) {
    out.put_u32_le(u32::try_from(payload.len()).expect("a record is far below 4 GiB"));
    out.put_u32_le(crc32c::crc32c(payload));
    out.put_slice(payload);
}

impl AsyncRead for SnapshotReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.chunk.is_empty() {
            self.chunk = self.next_chunk();
        }
        let n = self.chunk.len().min(buf.remaining());
        buf.put_slice(&self.chunk[..n]);
        self.chunk.advance(n);
        Poll::Ready(Ok(()))
    }
}

/// The whole snapshot in memory; for tests and small states.
#[cfg(test)]
pub(crate) fn to_bytes(state: &State) -> Vec<u8> {
    let mut reader = SnapshotReader::new(Arc::new(state.clone()));
    let mut all = Vec::new();
    loop {
        let chunk = reader.next_chunk();
        if chunk.is_empty() {
            return all;
        }
        all.extend_from_slice(&chunk);
    }
}

struct Checked<R> {
    inner: R,
    hash: blake3::Hasher,
    offset: u64,
}

impl<R: AsyncRead + Unpin> Checked<R> {
    async fn take(&mut self, length: usize) -> Result<Vec<u8>, SnapshotError> {
        let bytes = self.take_unhashed(length).await?;
        self.hash.update(&bytes);
        Ok(bytes)
    }

    async fn take_unhashed(&mut self, length: usize) -> Result<Vec<u8>, SnapshotError> {
        let mut bytes = vec![0; length];
        self.inner.read_exact(&mut bytes).await.map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => SnapshotError::Truncated { offset: self.offset },
            _ => SnapshotError::Io(e),
        })?;
        self.offset += length as u64;
        Ok(bytes)
    }

    async fn u32(&mut self) -> Result<u32, SnapshotError> {
        Ok(self.take(4).await?.as_slice().get_u32_le())
    }

    /// The next record; `None` at the trailer.
    async fn frame(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let offset = self.offset;
        let length = self.u32().await?;
        if length == END {
            return Ok(None);
        }
        if length as usize > LONGEST_RECORD {
            return Err(SnapshotError::Damaged { offset, detail: "a record longer than any can be" });
        }
        let crc = self.u32().await?;
        let payload = self.take(length as usize).await?;
        if crc32c::crc32c(&payload) != crc {
            return Err(SnapshotError::Damaged { offset, detail: "a record's checksum does not fit" });
        }
        Ok(Some(payload.into()))
    }
}

/// Reads a whole snapshot and checks all of it.
pub(crate) async fn read(inner: impl AsyncRead + Unpin) -> Result<State, SnapshotError> {
    // The many small reads below must not each be a call into the source.
    let inner = tokio::io::BufReader::with_capacity(CHUNK, inner);
    let mut source = Checked { inner, hash: blake3::Hasher::new(), offset: 0 };
    if source.take(MAGIC.len()).await? != MAGIC {
        return Err(SnapshotError::Magic);
    }
    let version = source.u32().await?;
    if version == 0 || version > STATE_VERSION {
        return Err(SnapshotError::Version { version });
    }
    let head = source.frame().await?;
    let head = head.ok_or(SnapshotError::Damaged { offset: 12, detail: "it has no head" })?;
    let mut state = State::from_head(decode::<StateHeadForm>("snapshot head", head)?)?;
    let mut count = 0;
    while let Some(payload) = source.frame().await? {
        let form: RecordForm = decode("snapshot record", payload)?;
        state.insert(form.record.ok_or(FormError::Missing { form: "snapshot record", field: "record" })?)?;
        count += 1;
    }
    let offset = source.offset;
    if source.take(8).await?.as_slice().get_u64_le() != count {
        return Err(SnapshotError::Damaged { offset, detail: "the number of records does not fit" });
    }
    let expected = source.hash.finalize();
    if source.take_unhashed(blake3::OUT_LEN).await? != expected.as_bytes() {
        return Err(SnapshotError::Damaged { offset, detail: "the checksum over everything does not fit" });
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::{ObjectForm, RequestForm};

    fn sample(objects: usize) -> State {
        let mut state = State::new("cluster");
        for i in 0..objects {
            let key = Key::new("vm", &format!("n{i}")).unwrap();
            let (value, revision) = (vec![i as u8; 300].into(), i as u64 + 1);
            let form = ObjectForm { key: Some((&key).into()), value, create_revision: 1, revision };
            state.insert(Record::Object(form)).unwrap();
            let form = RequestForm { id: format!("r{i}"), revision, at_ms: 7, reply: "ok".into() };
            state.insert(Record::Request(form)).unwrap();
        }
        state
    }

    #[tokio::test]
    async fn what_is_written_is_read() {
        for objects in [0, 1, 1000] {
            let state = sample(objects);
            let back = read(SnapshotReader::new(Arc::new(state.clone()))).await.unwrap();
            assert_eq!(back.entries, state.entries);
            assert_eq!(back.requests, state.requests);
            assert_eq!(to_bytes(&back), to_bytes(&state));
        }
    }

    #[tokio::test]
    async fn every_damage_is_seen() {
        let good = to_bytes(&sample(3));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(read(&bad[..]).await.is_err(), "a flip at byte {at} went unseen");
            let cut = read(&good[..at]).await;
            assert!(matches!(cut, Err(SnapshotError::Truncated { .. })), "a cut at byte {at}: {cut:?}");
        }
    }
}
