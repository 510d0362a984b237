//! Backups written and taken back. The bytes are `raft-store`'s snapshot format, with its checksums; which
//! objects come back, and how, is decided in `pvc_model::command` (`adopt`). Restoring goes in steps that may each be
//! repeated: a leader that is lost half-way is followed by one that goes on with the same file.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use pvc_model::cluster::Restored;
use pvc_model::command::comes_back;
use pvc_model::{Command, Name, Object, Rejection, RejectionKind};
use pvc_proto::convert::awaited_nodes;
use pvc_proto::v1;
use raft_store::Backup;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::PollSender;
use tonic::Status;

use super::answers::{Answers, answers};
use super::caller::Caller;
use super::shared::{Shared, refuse};
use crate::core::{decode, is_event};
use crate::status;

/// Bytes in one piece of a backup.
const PIECE_BYTES: usize = 256 << 10;
/// Bytes that one call may bring, and a whole file: it is held in memory until it is checked.
const CALL_BYTES_MAX: usize = 1 << 20;
const FILE_BYTES_MAX: usize = 1 << 30;
/// An upload that nobody went on with for so long may give way to another.
const IDLE: Duration = Duration::from_secs(30);
/// Objects that one command restores, and their bytes as they are stored.
const STEP_OBJECTS: usize = 200;
const STEP_BYTES: usize = 512 << 10;

/// Streams a backup of everything that was acknowledged before the call.
pub(super) async fn write(shared: &Shared) -> Result<Answers<v1::BackupPiece>, Status> {
    let view = shared.core.store().linearizable().await;
    let view =
        view.map_err(|error| status::read(&crate::core::ReadError::NotConfirmed(error.to_string())))?;
    Ok(answers(&shared.closing, move |sink| async move {
        let (sender, mut pieces) = mpsc::channel(4);
        let writing = tokio::spawn(async move {
            let mut writer = Pieces { sender: PollSender::new(sender), filling: BytesMut::new() };
            view.export(&mut writer).await
        });
        while let Some(data) = pieces.recv().await {
            sink.send(v1::BackupPiece { data }).await?;
        }
        match writing.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(status::internal(&format!("the backup could not be written: {error}"))),
            Err(_) => Err(status::internal("the backup could not be written")),
        }
    }))
}

/// Cuts what is written into pieces.
struct Pieces {
    sender: PollSender<Vec<u8>>,
    filling: BytesMut,
}

impl Pieces {
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone");
        std::task::ready!(self.sender.poll_reserve(cx)).map_err(gone)?;
        let piece = self.filling.split().to_vec();
        Poll::Ready(self.sender.send_item(piece).map_err(gone))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.filling.len() >= PIECE_BYTES {
            std::task::ready!(self.send(cx))?;
        }
        self.filling.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.filling.is_empty() { Poll::Ready(Ok(())) } else { self.send(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// The upload that is under way; one at a time.
#[derive(Default)]
pub(super) struct Uploads(Mutex<Option<Upload>>);

struct Upload {
    backup: String,
    bytes: Vec<u8>,
    touched: Instant,
}

impl Uploads {
    /// Takes one piece; with the last one the backup is checked and restored.
    pub async fn take(
        &self,
        shared: &Shared,
        caller: &Caller,
        request: v1::RestoreClusterRequest,
    ) -> Result<v1::RestoreClusterResponse, Status> {
        if let Some(restored) = restored(shared).filter(|r| r.complete && r.backup == request.backup) {
            return Ok(done(shared, &restored));
        }
        let Some(bytes) = self.collect(&request)? else {
            let next_offset = self.0.lock().as_ref().map_or(0, |upload| upload.bytes.len() as u64);
            return Ok(v1::RestoreClusterResponse { next_offset, ..Default::default() });
        };
        let hash = blake3::hash(&bytes).to_hex();
        if hash.as_str() != request.backup {
            let detail = format!("its checksum is {hash}, not {}: it was changed on its way", request.backup);
            return Err(refuse(Rejection::invalid("backup-whole", "backup", detail)));
        }
        let backup = Backup::read(&bytes[..]).await;
        let backup = backup
            .map_err(|error| refuse(Rejection::invalid("backup-whole", "backup", error.to_string())))?;
        drop(bytes);
        restore(shared, caller, &request.backup, &backup).await?;
        restored(shared)
            .map(|restored| done(shared, &restored))
            .ok_or_else(|| status::internal("a restore that left no trace"))
    }

    /// The whole file, once its last piece is there.
    fn collect(&self, request: &v1::RestoreClusterRequest) -> Result<Option<Vec<u8>>, Status> {
        let invalid = |detail: String| refuse(Rejection::invalid("upload", "backup", detail));
        if request.data.len() > CALL_BYTES_MAX {
            return Err(invalid(format!("data: at most {CALL_BYTES_MAX} bytes, not {}", request.data.len())));
        }
        if request.backup.len() != 64 || !request.backup.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid("backup: must be a BLAKE3 checksum, 64 hexadecimal digits".to_owned()));
        }
        let mut slot = self.0.lock();
        let other = slot.as_ref().filter(|upload| upload.backup != request.backup);
        if other.is_some_and(|upload| upload.touched.elapsed() < IDLE) {
            let rejection = Rejection::new(
                RejectionKind::Exhausted,
                "one-upload-at-a-time",
                "backup",
                "another backup is on its way hither",
            );
            return Err(refuse(rejection.help("try again in a minute")));
        }
        if other.is_some() {
            *slot = None;
        }
        let upload = slot.get_or_insert_with(|| Upload {
            backup: request.backup.clone(),
            bytes: Vec::new(),
            touched: Instant::now(),
        });
        upload.touched = Instant::now();
        // Another leader's pieces are not here, and a piece that came twice is here already.
        if request.offset != upload.bytes.len() as u64 {
            return Ok(None);
        }
        if upload.bytes.len() + request.data.len() > FILE_BYTES_MAX {
            *slot = None;
            return Err(invalid(format!("a backup has at most {FILE_BYTES_MAX} bytes")));
        }
        upload.bytes.extend_from_slice(&request.data);
        Ok(if request.last { slot.take().map(|upload| upload.bytes) } else { None })
    }
}

fn restored(shared: &Shared) -> Option<Restored> {
    shared.core.world().cluster.as_ref()?.status.restored.clone()
}

fn done(shared: &Shared, restored: &Restored) -> v1::RestoreClusterResponse {
    let world = shared.core.world();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    v1::RestoreClusterResponse {
        next_offset: 0,
        done: true,
        cluster_id: restored.cluster_id.clone(),
        revision: restored.revision,
        vms: count(world.vms.len()),
        volumes: count(world.volumes.len()),
        awaited_nodes: awaited_nodes(&world),
    }
}

/// The objects in steps, between the two that begin and end it.
async fn restore(shared: &Shared, caller: &Caller, name: &str, backup: &Backup) -> Result<(), Status> {
    let view = backup.view();
    let mut nodes = std::collections::BTreeSet::<Name>::new();
    let mut steps = vec![(Vec::new(), 0)];
    // What had happened there is that cluster's.
    for (key, entry) in view.iter().filter(|(key, _)| !is_event(key)) {
        let object = decode(key, entry).map_err(|error| {
            let help = "restore it with the version that wrote it, or a newer one";
            refuse(Rejection::invalid("backup-readable", key.to_string(), error.to_string()).help(help))
        })?;
        if let Object::Node(node) = &object {
            nodes.insert(node.meta.name.clone());
        }
        if !comes_back(&object) {
            continue;
        }
        let full = steps.last().is_none_or(|(objects, bytes): &(Vec<Object>, usize)| {
            objects.len() >= STEP_OBJECTS || bytes + entry.value.len() > STEP_BYTES
        });
        if full {
            steps.push((Vec::new(), 0));
        }
        if let Some((objects, bytes)) = steps.last_mut() {
            *bytes += entry.value.len();
            objects.push(object);
        }
    }
    let begin = Command::BeginRestore {
        backup: name.to_owned(),
        cluster_id: backup.cluster_id().to_owned(),
        revision: backup.revision(),
        nodes,
    };
    shared.submit(caller, begin, "").await?;
    for (objects, _) in steps {
        shared.submit(caller, Command::RestoreObjects { backup: name.to_owned(), objects }, "").await?;
    }
    shared.submit(caller, Command::EndRestore { backup: name.to_owned() }, "").await?;
    tracing::info!(who = %caller.identity, of = backup.cluster_id(), revision = backup.revision(), "restored");
    Ok(())
}
