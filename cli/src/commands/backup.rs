//! `pvc cluster backup` and `restore`: a file is believed only when all of it was read again and its
//! checksums fit.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvc_client::Client;
use pvc_proto::v1::{BackupClusterRequest, RestoreClusterRequest, RestoreClusterResponse};
use raft_store::Backup;
use serde::Serialize;
use tonic::{Code, Request};

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::page::Page;
use crate::show::words::duration;

/// Bytes in one call.
const PIECE_BYTES: usize = 1 << 20;
/// The last call checks and restores everything.
const RESTORE_LIMIT: Duration = Duration::from_secs(600);
/// An upload that broke off is gone on with for so long: an election, and some.
const PATIENCE: Duration = Duration::from_secs(60);
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What a backup is of.
#[derive(Debug, Serialize)]
struct Shown {
    file: String,
    bytes: u64,
    /// BLAKE3 of the whole file.
    checksum: String,
    cluster_id: String,
    revision: u64,
    /// Objects, by collection.
    objects: BTreeMap<String, u64>,
}

impl Shown {
    fn page(&self, colour: bool) -> String {
        let objects: Vec<String> =
            self.objects.iter().map(|(what, count)| format!("{count} {what}")).collect();
        Page::new(colour)
            .row("File", &self.file)
            .row("Bytes", self.bytes.to_string())
            .row("Checksum", &self.checksum)
            .row("Cluster", &self.cluster_id)
            .row("Revision", self.revision.to_string())
            .row("Holds", objects.join(", "))
            .row("Checked", "all of it is there")
            .finish()
    }
}

/// Writes a backup of the cluster to a file, whole or not at all, or to stdout.
pub async fn write(cx: &mut Context<'_>, path: &Path) -> Result<(), Failure> {
    let session = cx.session()?;
    let pieces = session.cluster().backup_cluster(BackupClusterRequest {}).await?.into_inner();
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        collect(pieces, &mut bytes).await?;
        let shown = check("-", &bytes[..], bytes.len() as u64, blake3_of(&bytes[..])?).await?;
        cx.io.out.write_all(&bytes)?;
        cx.io.out.flush()?;
        cx.io.note(format!(
            "revision {} of cluster {}, {} bytes, checked",
            shown.revision, shown.cluster_id, shown.bytes
        ));
        return Ok(());
    }
    let temporary = beside(path);
    let written = write_file(pieces, &temporary, path).await;
    if written.is_err() {
        // What is half there is of no use to anybody.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    show(cx, read(path).await?)
}

async fn write_file(
    pieces: tonic::Streaming<pvc_proto::v1::BackupPiece>,
    temporary: &Path,
    path: &Path,
) -> Result<(), Failure> {
    let io = |error: std::io::Error| Failure::new(Exit::Other, path.display().to_string(), error.to_string());
    let mut options = std::fs::OpenOptions::new();
    // It holds the hashes of tokens.
    std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create(true).truncate(true), 0o600);
    let mut file = options.open(temporary).map_err(io)?;
    collect(pieces, &mut file).await?;
    file.sync_all().map_err(io)?;
    drop(file);
    // Read again from the disk: only what is there counts.
    read(temporary).await?;
    std::fs::rename(temporary, path).map_err(io)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

async fn collect(
    mut pieces: tonic::Streaming<pvc_proto::v1::BackupPiece>,
    to: &mut impl std::io::Write,
) -> Result<(), Failure> {
    while let Some(piece) = pieces.message().await? {
        to.write_all(&piece.data)?;
    }
    Ok(())
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Checks a file, without any cluster.
pub async fn verify(cx: &mut Context<'_>, path: &Path) -> Result<(), Failure> {
    let shown = read(path).await?;
    show(cx, shown)
}

fn show(cx: &mut Context<'_>, shown: Shown) -> Result<(), Failure> {
    let file = shown.file.clone();
    cx.reply(&shown, |colour| shown.page(colour), || vec![file])
}

async fn read(path: &Path) -> Result<Shown, Failure> {
    let file = path.display().to_string();
    let io = |error: std::io::Error| Failure::usage(&file, error.to_string());
    let open = || File::open(path).map_err(io);
    let bytes = open()?.metadata().map_err(io)?.len();
    let checksum = blake3_of(BufReader::new(open()?)).map_err(io)?;
    check(&file, tokio::fs::File::from_std(open()?), bytes, checksum).await
}

fn blake3_of(mut reader: impl std::io::Read) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut reader, &mut hasher)?;
    Ok(hasher.finalize().to_hex().to_string())
}

async fn check(
    file: &str,
    reader: impl tokio::io::AsyncRead + Unpin,
    bytes: u64,
    checksum: String,
) -> Result<Shown, Failure> {
    let backup = Backup::read(reader).await.map_err(|error| {
        let help = "take another backup: pvc cluster backup FILE";
        Failure::new(Exit::Refused, file, error.to_string()).rule("backup-whole").help(help)
    })?;
    let mut objects = BTreeMap::new();
    for (key, _) in backup.view().iter() {
        *objects.entry(key.collection.to_string()).or_insert(0) += 1;
    }
    Ok(Shown {
        file: file.to_owned(),
        bytes,
        checksum,
        cluster_id: backup.cluster_id().to_owned(),
        revision: backup.revision(),
        objects,
    })
}

/// Restores a file into the cluster, which must be new and empty.
pub async fn restore(cx: &mut Context<'_>, path: &Path) -> Result<(), Failure> {
    let shown = read(path).await?;
    let what = format!(
        "revision {} of cluster {} ({} VMs) is restored into this cluster",
        shown.revision,
        shown.cluster_id,
        shown.objects.get("vms").unwrap_or(&0)
    );
    cx.confirm("cluster", &what)?;
    let session = cx.session()?;
    let answer = upload(session.client(), path, &shown).await?;
    let said = sentence(&answer);
    cx.done(&answer, "cluster", said)
}

/// Sends the file piece by piece; a new leader says where to begin anew.
async fn upload(client: &Client, path: &Path, shown: &Shown) -> Result<RestoreClusterResponse, Failure> {
    let io = |error: std::io::Error| Failure::new(Exit::Other, path.display().to_string(), error.to_string());
    let mut offset = 0;
    let mut broken = None;
    loop {
        let mut file = File::open(path).map_err(io)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(offset)).map_err(io)?;
        let mut data = Vec::with_capacity(PIECE_BYTES);
        file.take(PIECE_BYTES as u64).read_to_end(&mut data).map_err(io)?;
        let last = offset + data.len() as u64 == shown.bytes;
        let mut request =
            Request::new(RestoreClusterRequest { backup: shown.checksum.clone(), offset, data, last });
        request.set_timeout(RESTORE_LIMIT);
        match client.cluster().restore_cluster(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                if answer.done {
                    return Ok(answer);
                }
                offset = answer.next_offset;
                broken = None;
            }
            Err(status) if status.code() == Code::Unavailable => {
                let since = broken.get_or_insert_with(tokio::time::Instant::now);
                if since.elapsed() > PATIENCE {
                    let waited = duration(since.elapsed());
                    let failure = Failure::from(status);
                    return Err(failure
                        .help(format!("no answer for {waited}: run it again, it goes on where it was")));
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            Err(status) => return Err(status.into()),
        }
    }
}

fn sentence(answer: &RestoreClusterResponse) -> String {
    let mut said = format!(
        "restored {} VMs and {} volumes of revision {} of cluster {}",
        answer.vms, answer.volumes, answer.revision, answer.cluster_id
    );
    if !answer.awaited_nodes.is_empty() {
        said.push_str(&format!(
            "\nTheir guests are looked for on all nodes, and none is started before these have said what runs on them: {}.\n\
             Join those that have not joined; for one on which certainly nothing runs: pvc node confirm-off NODE",
            answer.awaited_nodes.join(", ")
        ));
    }
    said
}
