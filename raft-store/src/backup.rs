//! Backups: the snapshot format written to anywhere, and read back into a new cluster. A restored cluster
//! has another id: clients and members of the old one never take it for theirs.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::form::{IdentityForm, LogHeadForm};
use crate::member::MemberNode;
use crate::open::{Engine, OpenError, Options};
use crate::raft::{Membership, StoredMembership, Vote};
use crate::snapshot::{SnapshotError, SnapshotReader};
use crate::state::State;
use crate::store::Store;
use crate::transaction::Revision;
use crate::view::View;

/// Version of the identity file.
pub(crate) const IDENTITY_VERSION: u32 = 1;

/// A backup that was read whole, and whose checksums fit.
#[derive(Debug, Clone)]
pub struct Backup {
    state: State,
}

impl Backup {
    /// Reads a backup to its end and checks all of it.
    pub async fn read<R: AsyncRead + Unpin>(reader: R) -> Result<Backup, SnapshotError> {
        Ok(Backup { state: crate::snapshot::read(reader).await? })
    }

    /// The cluster that it is of, as its store is named.
    pub fn cluster_id(&self) -> &str {
        &self.state.cluster_id
    }

    /// Everything up to here is in it.
    pub fn revision(&self) -> Revision {
        self.state.revision()
    }

    pub fn view(&self) -> View {
        View::new(Arc::new(self.state.clone()))
    }
}

impl View {
    /// Writes the view as a backup; returns its length in bytes.
    pub async fn export<W: AsyncWrite + Unpin>(&self, writer: &mut W) -> std::io::Result<u64> {
        let mut reader = SnapshotReader::new(self.state.clone());
        let length = tokio::io::copy(&mut reader, writer).await?;
        writer.flush().await?;
        Ok(length)
    }
}

impl Store {
    /// Writes what this member has applied as a backup; returns its revision and its length in bytes.
    pub async fn export<W: AsyncWrite + Unpin>(&self, writer: &mut W) -> std::io::Result<(Revision, u64)> {
        let view = self.view();
        Ok((view.revision, view.export(writer).await?))
    }

    /// Restores a backup into an empty place, as a new cluster with `options.me` as its only member.
    /// Afterwards `open` starts it; it is founded already. Revisions go on from the backup's. Recorded
    /// request ids are not kept: they were answered by another cluster.
    pub async fn import<R: AsyncRead + Unpin>(options: &Options, reader: R) -> Result<Revision, OpenError> {
        if options.me.id == 0 || options.cluster_id.is_empty() {
            return Err(OpenError::NoName);
        }
        let backup = crate::snapshot::read(reader).await?;
        if *backup.cluster_id == *options.cluster_id {
            let detail = "a backup is restored into a new cluster: take another cluster id";
            return Err(OpenError::Rebuild(detail.into()));
        }
        let applied =
            backup.applied.ok_or_else(|| OpenError::Rebuild("the backup is of an empty store".into()))?;
        let incarnation = match &options.engine {
            Engine::Memory(disk) => disk.incarnation(),
            Engine::Disk { .. } => rand::random::<u64>().max(1),
        };
        let me = options.me.id;
        let node = MemberNode { address: options.me.address.clone(), incarnation };
        let membership = Membership::new(
            vec![[me].into()],
            [(me, node)].into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        )
        .map_err(|error| OpenError::Raft(error.to_string()))?;
        let state = State {
            entries: backup.entries.clone(),
            known_members: [me].into_iter().collect(),
            applied: Some(applied),
            membership: Arc::new(StoredMembership::new(Some(applied), membership)),
            ..State::new(&options.cluster_id)
        };
        let vote = Vote::new(**applied.committed_leader_id(), me);
        let id = Some((&applied).into());
        let head = LogHeadForm { vote: Some((&vote).into()), purged: id, last: id, committed: id };
        let cluster_id = options.cluster_id.clone();
        let identity = IdentityForm { version: IDENTITY_VERSION, cluster_id, member: me, incarnation };
        match &options.engine {
            Engine::Memory(disk) if !disk.is_fresh() => return Err(OpenError::NotEmpty),
            Engine::Memory(disk) => disk.seed(identity, head, state),
            Engine::Disk { dir } => crate::disk::seed(dir, identity, head, state).await?,
        }
        Ok(applied.index())
    }
}
