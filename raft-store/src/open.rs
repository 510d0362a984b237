//! Opening a store: options, the checks that keep data and cluster together, and what can be wrong.
//! Nothing votes and nothing is answered before all of them have passed.

use std::path::PathBuf;

use crate::form::IdentityForm;
use crate::limits::Limits;
use crate::member::{Member, MemberId};
use crate::memory::MemoryDisk;
use crate::pause::Pause;
use crate::snapshot::SnapshotError;
use crate::timing::{Timing, TimingError};

/// Where the bytes go.
#[derive(Debug, Clone)]
pub enum Engine {
    /// Files below this directory, which belongs to the store alone.
    Disk { dir: PathBuf },
    /// Memory that survives a simulated crash.
    Memory(MemoryDisk),
}

/// When the state is checkpointed and how much log is kept behind the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// After so many entries,
    pub entries: u64,
    /// or so many bytes of them.
    pub bytes: u64,
    /// Entries kept for members that lag, beyond which they get a snapshot.
    pub keep: u64,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Checkpoint { entries: 10_000, bytes: 32 << 20, keep: 2_000 }
    }
}

#[derive(Debug, Clone)]
pub struct Options {
    pub engine: Engine,
    pub me: Member,
    /// The cluster's name for life. Data of another cluster is refused.
    pub cluster_id: String,
    pub timing: Timing,
    pub limits: Limits,
    pub checkpoint: Checkpoint,
    /// Seeds the election timeouts; `None` draws a seed.
    pub seed: Option<u64>,
    /// Members to ask for the state when this one's state database is lost and its log does not reach
    /// back far enough. The members known from the log are asked too.
    pub peers: Vec<Member>,
    /// Lets a simulation stop the member and resume it.
    pub pause: Option<Pause>,
}

impl Options {
    pub fn new(engine: Engine, me: Member, cluster_id: impl Into<String>) -> Options {
        Options {
            engine,
            me,
            cluster_id: cluster_id.into(),
            timing: Timing::default(),
            limits: Limits::default(),
            checkpoint: Checkpoint::default(),
            seed: None,
            peers: Vec::new(),
            pause: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("timing: {0}")]
    Timing(#[from] TimingError),
    #[error("a member's number must not be 0 and a cluster id must not be empty")]
    NoName,
    #[error(
        "the data belongs to cluster {found}, not to {expected}: point this daemon at its own \
         directory, or remove the data if that cluster is gone for good"
    )]
    ForeignCluster { expected: String, found: String },
    #[error(
        "the data belongs to member {found}, not to member {expected}: point this daemon at its own directory"
    )]
    ForeignMember { expected: MemberId, found: MemberId },
    #[error("{path}: made by a newer version (format {version}); upgrade this program")]
    NewerFormat { path: PathBuf, version: u32 },
    #[error("{path}: the identity file is damaged ({detail}); restore it or re-join as a new member")]
    DamagedIdentity { path: PathBuf, detail: String },
    #[error(
        "{path}: the log of member {member} is gone, or its oldest part. A member without its log must not vote \
         again: remove member {member} from the cluster, empty the directory and join as a new member"
    )]
    LogMissing { path: PathBuf, member: MemberId },
    #[error(
        "{path}: the log is damaged ({detail}). A member that has forgotten what it acknowledged must not vote. \
         If the other members are well: remove member {member} from the cluster, empty the directory and join \
         as a new member. If there is no other: restore a backup"
    )]
    LogDamaged { path: PathBuf, member: MemberId, detail: String },
    #[error("{path}: already in use by another process")]
    InUse { path: PathBuf },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the state cannot be rebuilt: {0}")]
    Rebuild(String),
    #[error("the directory is not empty; a backup is restored into a new one")]
    NotEmpty,
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("raft does not start: {0}")]
    Raft(String),
}

/// Refuses data that is somebody else's.
pub(crate) fn check_identity(
    identity: &IdentityForm,
    cluster_id: &str,
    member: MemberId,
) -> Result<(), OpenError> {
    if identity.cluster_id != cluster_id {
        let found = identity.cluster_id.clone();
        return Err(OpenError::ForeignCluster { expected: cluster_id.to_owned(), found });
    }
    if identity.member != member {
        return Err(OpenError::ForeignMember { expected: member, found: identity.member });
    }
    Ok(())
}
