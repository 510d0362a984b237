//! A new life from one survivor, where the quorum is lost for ever: its log and state, as they are, become
//! the store of a cluster of another name, with this member alone. Members and data of the old name are
//! refused by every check of the name that there is.
//!
//! ```text
//! DIR            as it was                       ─▶ the recovered store
//! DIR.recovered  the recovered store, in the making ─▶ gone
//! DIR.before-ID                                  ─▶ as it was, for whoever wants to look
//! ```
//! A crash at any point leaves what can be recovered again: DIR is moved away only when what takes its place
//! is whole and durable.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backup::IDENTITY_VERSION;
use crate::disk;
use crate::form::{BatchForm, IdentityForm, LogEntryForm, LogHeadForm, Payload, decode};
use crate::member::{Member, MemberNode};
use crate::open::{Engine, OpenError, Options};
use crate::raft::{LogId, Membership, StoredMembership, Vote};
use crate::state::State;
use crate::store::Store;
use crate::transaction::Revision;
use crate::view::View;

/// What a survivor has.
#[derive(Debug, Clone)]
pub struct Survivor {
    /// The last entry of its log: what others have acknowledged after it is lost.
    pub revision: Revision,
    /// What of it was known here to be committed. Of what lies behind it, some may never have been acknowledged.
    pub committed: Revision,
    /// When the last write that it has was proposed, by that leader's wall clock. None: its log does not tell.
    pub last_write_ms: Option<u64>,
    /// The other members, as it knows them.
    pub others: Vec<Member>,
    /// Everything, the whole log applied.
    pub view: View,
}

/// Which store is recovered, and as what.
#[derive(Debug, Clone)]
pub struct Recovery {
    pub dir: PathBuf,
    pub me: Member,
    pub old_cluster_id: String,
    pub new_cluster_id: String,
}

impl Recovery {
    fn made(&self) -> PathBuf {
        beside(&self.dir, "recovered")
    }

    /// Where the old store is kept.
    pub fn kept(&self) -> PathBuf {
        beside(&self.dir, &format!("before-{}", self.new_cluster_id))
    }
}

fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError + '_ {
    |source| OpenError::Io { path: path.to_owned(), source }
}

impl Store {
    /// Looks at a survivor's store. Its daemon must not run. None: it is recovered already.
    pub async fn survivor(recovery: &Recovery) -> Result<Option<Survivor>, OpenError> {
        if is_recovered(recovery)? {
            return Ok(None);
        }
        // Cut off between the two renames: the old one stands aside, and is put back.
        if !recovery.dir.exists() && recovery.kept().exists() {
            rename(&recovery.kept(), &recovery.dir)?;
        }
        read(recovery).await.map(|(survivor, _)| Some(survivor))
    }

    /// Makes the survivor's store that of a new cluster with this member alone, and keeps the old one beside
    /// it. May be repeated after any interruption; done already, it does nothing.
    pub async fn recover(recovery: &Recovery) -> Result<(), OpenError> {
        if Store::survivor(recovery).await?.is_none() {
            return Ok(());
        }
        let (_, past) = read(recovery).await?;
        let (identity, head, state) = past.reborn(recovery)?;
        let made = recovery.made();
        if made.exists() {
            std::fs::remove_dir_all(&made).map_err(at(&made))?;
        }
        disk::seed(&made, identity, head, state).await?;
        disk::sync(&made).map_err(at(&made))?;
        rename(&recovery.dir, &recovery.kept())?;
        rename(&made, &recovery.dir)
    }
}

fn is_recovered(recovery: &Recovery) -> Result<bool, OpenError> {
    let identity = disk::identity(&recovery.dir)?;
    Ok(identity.is_some_and(|identity| identity.cluster_id == recovery.new_cluster_id))
}

fn rename(from: &Path, to: &Path) -> Result<(), OpenError> {
    std::fs::rename(from, to).map_err(at(from))?;
    to.parent().map_or(Ok(()), disk::sync_names).map_err(at(to))
}

/// A survivor's store, read.
struct Past {
    state: State,
    last: LogId,
    vote_term: u64,
}

async fn read(recovery: &Recovery) -> Result<(Survivor, Past), OpenError> {
    let Recovery { dir, me, old_cluster_id, .. } = recovery;
    if disk::identity(dir)?.is_none() {
        let source = io::Error::new(io::ErrorKind::NotFound, "there is no store");
        return Err(OpenError::Io { path: dir.clone(), source });
    }
    let options = Options::new(Engine::Disk { dir: dir.clone() }, me.clone(), old_cluster_id);
    let opened = disk::open(dir, &options).await?;
    let (head, entries) = (opened.head, opened.entries);
    // An engine whose thread has died has nothing left to close.
    let _ = opened.state.close().await;
    let _ = opened.log.close().await;
    let damaged = |detail: String| OpenError::LogDamaged { path: dir.clone(), member: me.id, detail };
    let mut state = opened.checkpoint.unwrap_or_else(|| State::new(old_cluster_id));
    if state.applied < head.purged.map(LogId::from) {
        let detail =
            "its state database is lost, and its log does not reach back far enough: restore a backup";
        return Err(OpenError::Rebuild(detail.into()));
    }
    let mut last_write_ms = None;
    for (index, encoded) in entries {
        let form: LogEntryForm = decode("log entry", encoded).map_err(|e| damaged(e.to_string()))?;
        if let Some(Payload::Batch(batch)) = &form.payload {
            let batch: BatchForm = decode("batch", batch.clone()).map_err(|e| damaged(e.to_string()))?;
            last_write_ms = Some(batch.now_ms).filter(|ms| *ms > 0).or(last_write_ms);
        }
        if index > state.revision() || state.applied.is_none() {
            let entry = form.entry().map_err(|e| damaged(e.to_string()))?;
            state.apply(&entry).map_err(|e| damaged(e.to_string()))?;
        }
    }
    let last = state.applied.ok_or_else(|| OpenError::Rebuild("the store is empty".into()))?;
    let nodes = state.membership.membership().nodes();
    let others = nodes.filter(|(id, _)| **id != me.id).map(|(id, node)| node.member(*id)).collect();
    let survivor = Survivor {
        revision: last.index(),
        committed: head.committed.map_or(0, |committed| committed.index).min(last.index()),
        last_write_ms,
        others,
        view: View::new(Arc::new(state.clone())),
    };
    let vote_term = head.vote.map_or(0, |vote| vote.term).max(**last.committed_leader_id());
    Ok((survivor, Past { state, last, vote_term }))
}

impl Past {
    /// The same state, of another cluster with this member alone. What was answered to request ids is kept:
    /// clients repeat what they have asked.
    fn reborn(self, recovery: &Recovery) -> Result<(IdentityForm, LogHeadForm, State), OpenError> {
        let (me, last) = (&recovery.me, self.last);
        // A new one: a call to the old member finds nobody.
        let incarnation = rand::random::<u64>().max(1);
        let node = MemberNode { address: me.address.clone(), incarnation };
        let alone = std::collections::BTreeMap::from([(me.id, node)]);
        let membership = Membership::new(vec![[me.id].into()], alone);
        let membership = membership.map_err(|error| OpenError::Raft(error.to_string()))?;
        let state = State {
            cluster_id: recovery.new_cluster_id.as_str().into(),
            membership: Arc::new(StoredMembership::new(Some(last), membership)),
            ..self.state
        };
        let vote = Vote::new(self.vote_term, me.id);
        let id = Some((&last).into());
        let head = LogHeadForm { vote: Some((&vote).into()), purged: id, last: id, committed: id };
        let cluster_id = recovery.new_cluster_id.clone();
        let identity = IdentityForm { version: IDENTITY_VERSION, cluster_id, member: me.id, incarnation };
        Ok((identity, head, state))
    }
}
