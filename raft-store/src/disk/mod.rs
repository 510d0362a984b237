//! The engine on a disk: who owns the directory, its log and its state database.
//! A directory without its log never votes again, whatever else is left in it.
//!
//! ```text
//! DIR/IDENTITY     whose data this is
//! DIR/SEAL         how much of the log was durable, to know it again
//! DIR/log/         the log and the vote (raft-engine)
//! DIR/state-N/     the checkpoint (sled); the highest N counts
//! ```

mod durable;
mod footprint;
mod log;
mod scan;
mod seal;
mod state;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;

use crate::backup::IDENTITY_VERSION;
use crate::engine::{IoFigures, Opened};
use crate::form::{IdentityForm, LogHeadForm, decode};
use crate::member::MemberId;
use crate::open::{Checkpoint, OpenError, Options, check_identity};
use crate::state::State;
use crate::status::Footprint;

const IDENTITY: &str = "IDENTITY";
const IDENTITY_MAGIC: &[u8; 8] = b"PVCMEMB\0";
const LOG: &str = "log";

/// Opens what is there, or makes it.
pub(crate) async fn open(dir: &Path, options: &Options) -> Result<Opened, OpenError> {
    let (dir, cluster_id) = (dir.to_owned(), options.cluster_id.clone());
    let (member, checkpoint) = (options.me.id, options.checkpoint.clone());
    let opening = tokio::task::spawn_blocking(move || open_blocking(&dir, &cluster_id, member, &checkpoint));
    opening.await.unwrap_or_else(|panic| Err(OpenError::Raft(panic.to_string())))
}

/// Makes a new directory that holds a restored state.
pub(crate) async fn seed(
    dir: &Path,
    identity: IdentityForm,
    head: LogHeadForm,
    state: State,
) -> Result<(), OpenError> {
    let dir = dir.to_owned();
    let seeding = tokio::task::spawn_blocking(move || seed_blocking(&dir, &identity, &head, &state));
    seeding.await.unwrap_or_else(|panic| Err(OpenError::Raft(panic.to_string())))
}

/// What it takes of its disk.
pub(crate) async fn footprint(dir: &Path) -> io::Result<Footprint> {
    let dir = dir.to_owned();
    let measuring = tokio::task::spawn_blocking(move || footprint::measure(&dir));
    measuring.await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

/// Whose data lie in a directory, if anybody's.
pub(crate) fn identity(dir: &Path) -> Result<Option<IdentityForm>, OpenError> {
    read_identity(dir)
}

/// Makes a directory durable with all that is in it.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    durable::sync_tree(dir)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_names(dir: &Path) -> io::Result<()> {
    durable::sync_dir(dir)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError + '_ {
    |source| OpenError::Io { path: path.to_owned(), source }
}

fn open_blocking(
    dir: &Path,
    cluster_id: &str,
    member: MemberId,
    checkpoint: &Checkpoint,
) -> Result<Opened, OpenError> {
    durable::create_dir(dir).map_err(at(dir))?;
    let log_dir = dir.join(LOG);
    let known = read_identity(dir)?;
    if let Some(identity) = &known {
        check_identity(identity, cluster_id, member)?;
    }
    let has_log = log::exists(&log_dir).map_err(at(&log_dir))?;
    let has_state = state::exists(dir).map_err(at(dir))?;
    let has_seal = seal::read(dir).map_err(at(dir))?.is_some();
    if !has_log && (known.is_some() || has_state || has_seal) {
        return Err(OpenError::LogMissing { path: log_dir, member });
    }
    let mut log = log::open(&log_dir, member, checkpoint)?;
    let identity = match (log.identity()?, known) {
        (Some(witness), Some(identity)) if witness != identity => {
            check_identity(&witness, cluster_id, member)?;
            let detail = "the log in it is another one's: it was replaced".to_owned();
            return Err(OpenError::LogDamaged { path: log_dir, member, detail });
        }
        (Some(witness), known) => {
            check_identity(&witness, cluster_id, member)?;
            if known.is_none() {
                write_identity(dir, &witness)?;
            }
            witness
        }
        // The identity is written after the log has its witness: with an identity the log was emptied.
        (None, Some(_)) => return Err(OpenError::LogMissing { path: log_dir, member }),
        (None, None) if !log.is_new() => {
            let detail = "it does not say whose it is".to_owned();
            return Err(OpenError::LogDamaged { path: log_dir, member, detail });
        }
        (None, None) => {
            let incarnation = rand::random::<u64>().max(1);
            let cluster_id = cluster_id.to_owned();
            let identity = IdentityForm { version: IDENTITY_VERSION, cluster_id, member, incarnation };
            log.witness(&identity, &LogHeadForm::default()).map_err(at(&log_dir))?;
            durable::sync_dir(dir).map_err(at(dir))?;
            write_identity(dir, &identity)?;
            identity
        }
    };
    let (head, entries) = log.load()?;
    let seal = log.unseal(dir, identity.incarnation)?;
    let figures = Arc::new(IoFigures::default());
    let (database, checkpoint, set_aside) = state::open(dir, &identity.cluster_id).map_err(at(dir))?;
    Ok(Opened {
        identity,
        head,
        entries,
        checkpoint: checkpoint.clone(),
        set_aside,
        log: writer::Writer::start(log, seal, figures.clone()).map_err(at(&log_dir))?,
        state: state::Writer::start(dir, database, checkpoint, figures.clone()).map_err(at(dir))?,
        figures,
    })
}

fn seed_blocking(
    dir: &Path,
    identity: &IdentityForm,
    head: &LogHeadForm,
    state: &State,
) -> Result<(), OpenError> {
    durable::create_dir(dir).map_err(at(dir))?;
    if std::fs::read_dir(dir).map_err(at(dir))?.next().is_some() {
        return Err(OpenError::NotEmpty);
    }
    // The state first: a directory that has a state and no log does not start.
    drop(state::replace(dir, None, state).map_err(at(dir))?);
    let log_dir = dir.join(LOG);
    let mut log = log::open(&log_dir, identity.member, &Checkpoint::default())?;
    log.witness(identity, head).map_err(at(&log_dir))?;
    durable::sync_dir(dir).map_err(at(dir))?;
    write_identity(dir, identity)
}

fn identity_path(dir: &Path) -> PathBuf {
    dir.join(IDENTITY)
}

fn read_identity(dir: &Path) -> Result<Option<IdentityForm>, OpenError> {
    let path = identity_path(dir);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(at(&path)(e)),
    };
    let damaged = |detail: &str| OpenError::DamagedIdentity { path: path.clone(), detail: detail.to_owned() };
    let rest = bytes.strip_prefix(IDENTITY_MAGIC).ok_or_else(|| damaged("it is not an identity"))?;
    let (crc, payload) = rest.split_first_chunk().ok_or_else(|| damaged("it is cut off"))?;
    if u32::from_le_bytes(*crc) != crc32c::crc32c(payload) {
        return Err(damaged("its checksum does not fit"));
    }
    let identity: IdentityForm = decode("identity", payload).map_err(|e| damaged(&e.to_string()))?;
    if identity.version > IDENTITY_VERSION {
        return Err(OpenError::NewerFormat { path, version: identity.version });
    }
    Ok(Some(identity))
}

fn write_identity(dir: &Path, identity: &IdentityForm) -> Result<(), OpenError> {
    let path = identity_path(dir);
    let payload = identity.encode_to_vec();
    let mut bytes = IDENTITY_MAGIC.to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
    bytes.extend_from_slice(&payload);
    durable::write_file(&path, &bytes).map_err(at(&path))
}
