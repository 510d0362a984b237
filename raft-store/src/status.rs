//! What can be told about a member from outside, and the task that keeps it current: role, leadership,
//! progress, alarms. It follows openraft's metrics and is never asked by anything that must be safe.

use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::rt::WatchReceiver;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::engine::FsyncFigures;
use crate::member::{Member, MemberId};
use crate::raft::{LogId, TypeConfig};
use crate::store::Inner;
use crate::transaction::Revision;
use crate::watch::WatchEnd;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Receives entries and does not vote.
    Learner,
    #[default]
    Follower,
    Candidate,
    Leader,
    /// The store has stopped; see the alarms.
    Stopped,
}

/// This member leads, and has applied the entry with which its term began: what it shows is current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    pub term: u64,
}

/// One member as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    pub member: Member,
    pub voter: bool,
    /// On the leader: the last entry known to be durable there.
    pub matched: Option<u64>,
    /// On the leader: how long ago the last answered heartbeat was sent, as of this status.
    pub silent_for: Option<Duration>,
}

/// Something that a person should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// The state database was set aside and rebuilt, for this reason.
    StateRebuilt { reason: String },
    /// The disk refused a write; this member has stopped taking part. Restart it when there is space.
    DiskFailed { reason: String },
    /// Raft has stopped for another reason; restart the process.
    Stopped { reason: String },
}

impl std::fmt::Display for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Alarm::StateRebuilt { reason } => write!(f, "the state database was rebuilt: {reason}"),
            Alarm::DiskFailed { reason } => write!(f, "the disk failed: {reason}"),
            Alarm::Stopped { reason } => write!(f, "the store has stopped: {reason}"),
        }
    }
}

/// A leader's log is kept for a member that does not answer: openraft purges nothing that it is streaming
/// to a peer. It ends when the member is back or is removed, or when another member leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHeld {
    pub member: Member,
    /// Entries in the log now.
    pub entries: u64,
}

/// What the store takes of its disk, and what is left there. All zero where it lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    pub log_bytes: u64,
    pub state_bytes: u64,
    /// Size of the file system.
    pub disk_bytes: u64,
    pub free_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    pub id: MemberId,
    pub role: Role,
    pub term: u64,
    pub leader: Option<Member>,
    pub applied: Revision,
    /// Known committed here.
    pub committed: Revision,
    pub last_log: Revision,
    /// The last durable checkpoint.
    pub snapshot: Option<Revision>,
    pub purged: Option<Revision>,
    pub members: Vec<MemberStatus>,
    /// A change of members is under way.
    pub joint: bool,
    pub alarms: Vec<Alarm>,
    /// Not an alarm by itself: a disk has room for much log. Worth a word when it lasts.
    pub log_held: Option<LogHeld>,
    pub fsync: FsyncFigures,
}

impl Status {
    /// What subscribers are woken for: not for every heartbeat.
    fn without_figures(&self) -> Status {
        let mut rest = self.clone();
        rest.fsync = FsyncFigures::default();
        for member in &mut rest.members {
            member.silent_for = None;
        }
        rest
    }

    /// The store will not come back by itself: the process should exit and be started again.
    pub fn is_fatal(&self) -> bool {
        self.alarms.iter().any(|alarm| matches!(alarm, Alarm::DiskFailed { .. } | Alarm::Stopped { .. }))
    }
}

type Metrics = openraft::RaftMetrics<TypeConfig>;

fn index(id: &Option<LogId>) -> Option<u64> {
    id.as_ref().map(LogId::index)
}

fn status_of(metrics: &Metrics, inner: &Inner) -> Status {
    let membership = metrics.membership_config.membership();
    let voters: std::collections::BTreeSet<_> = membership.voter_ids().collect();
    let now = Instant::now();
    let member = |(id, node): (&MemberId, &crate::member::MemberNode)| MemberStatus {
        member: node.member(*id),
        voter: voters.contains(id),
        matched: metrics.replication.as_ref().and_then(|r| r.get(id)).and_then(index),
        silent_for: metrics
            .heartbeat
            .as_ref()
            .and_then(|h| h.get(id).copied().flatten())
            .map(|sent| now.saturating_duration_since(instant(sent))),
    };
    let fatal = metrics.running_state.as_ref().err();
    let mut alarms = inner.alarms.lock().clone();
    if let Some(reason) = inner.figures.failure() {
        alarms.push(Alarm::DiskFailed { reason });
    } else if let (Some(fatal), false) = (fatal, inner.is_closing()) {
        alarms.push(Alarm::Stopped { reason: fatal.to_string() });
    }
    let members: Vec<MemberStatus> = membership.nodes().map(member).collect();
    let last_log = metrics.last_log_index.unwrap_or(0);
    let entries = last_log - index(&metrics.purged).unwrap_or(0).min(last_log);
    let checkpoint = &inner.options.checkpoint;
    let mut log_held = None;
    if entries > checkpoint.entries.saturating_mul(4).saturating_add(checkpoint.keep)
        && let Some(slowest) = members
            .iter()
            .filter(|m| m.matched.is_some() && m.silent_for.is_none_or(|d| d > Duration::from_secs(10)))
            .min_by_key(|m| m.matched)
    {
        log_held = Some(LogHeld { member: slowest.member.clone(), entries });
    }
    let role = match metrics.state {
        _ if fatal.is_some() => Role::Stopped,
        ServerState::Learner => Role::Learner,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Leader => Role::Leader,
        ServerState::Shutdown => Role::Stopped,
    };
    let leader = metrics.current_leader.filter(|_| role != Role::Stopped);
    Status {
        id: metrics.id,
        role,
        term: metrics.current_term,
        leader: leader.and_then(|id| membership.get_node(&id).map(|node| node.member(id))),
        applied: index(&metrics.last_applied).unwrap_or(0),
        committed: index(&metrics.local_committed).unwrap_or(0),
        last_log,
        snapshot: index(&metrics.snapshot),
        purged: index(&metrics.purged),
        members,
        joint: membership.get_joint_config().len() > 1,
        alarms,
        log_held,
        fsync: inner.figures.read(),
    }
}

pub(crate) fn instant(at: openraft::metrics::SerdeInstant<openraft::TokioInstant>) -> Instant {
    use openraft::Instant as _;
    let now = Instant::now();
    // openraft keeps its instant to itself; its age is all there is to be had.
    now.checked_sub(at.into_inner().elapsed()).unwrap_or(now)
}

fn leadership_of(metrics: &Metrics) -> Option<Leadership> {
    let leads = metrics.running_state.is_ok() && metrics.state == ServerState::Leader;
    let term = metrics.current_term;
    let applied = metrics.last_applied.as_ref().is_some_and(|id| **id.committed_leader_id() == term);
    (leads && applied).then_some(Leadership { term })
}

/// What changes with every entry is looked at this often, at the most.
const FIGURES_EVERY: Duration = Duration::from_millis(50);

/// Follows the metrics until the store stops: who leads at once, how far things are now and then.
pub(crate) async fn follow(inner: Arc<Inner>, mut closing: watch::Receiver<bool>) {
    let mut metrics = inner.raft.metrics();
    let mut server = inner.raft.server_metrics();
    loop {
        let now: Metrics = metrics.borrow_watched().clone();
        let status = status_of(&now, &inner);
        let fatal = now.running_state.is_err();
        let leadership = leadership_of(&now).filter(|_| !inner.is_closing());
        inner.leadership.send_if_modified(|old| std::mem::replace(old, leadership) != leadership);
        inner.status.send_if_modified(|old| {
            let changed = old.without_figures() != status.without_figures();
            *old = status;
            changed
        });
        if fatal {
            inner.shown.hub.close(WatchEnd::Stopped);
            return;
        }
        // A new leader waits for the first entry of its term to be applied, and others wait for that. And the
        // two kinds of metrics are not told at the same moment.
        let known = server.borrow_watched().state == now.state;
        let settled = known && (now.state != ServerState::Leader || leadership.is_some());
        let figures = async {
            if settled {
                tokio::time::sleep(FIGURES_EVERY).await;
            }
            metrics.changed().await
        };
        let ended = tokio::select! {
            changed = figures => changed.is_err(),
            changed = server.changed() => changed.is_err(),
            _ = closing.wait_for(|closing| *closing) => false,
        };
        // The last thing that Raft says is why it has ended: that must be told.
        if ended && metrics.borrow_watched().running_state.is_ok() {
            return;
        }
        if inner.is_closing() {
            // One last look, so that the status says that it is over.
            let _ = metrics.wait_until(|m| m.running_state.is_err()).await;
        }
    }
}

/// Ends the watches of a member that has lost its leader, and of a leader that has lost its quorum, and
/// lets the log be checkpointed when it has grown long in bytes.
pub(crate) async fn guard(inner: Arc<Inner>, mut closing: watch::Receiver<bool>) {
    let lost_after = inner.options.timing.contact_lost();
    let mut every = tokio::time::interval(inner.options.timing.election_min);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut checkpointed_bytes = 0;
    let mut checkpoint_seen = None;
    loop {
        tokio::select! {
            _ = every.tick() => {}
            _ = closing.wait_for(|closing| *closing) => return,
        }
        let (leads, snapshot) = {
            let status = inner.status.borrow();
            (status.role == Role::Leader, status.snapshot)
        };
        let in_contact = if leads {
            inner.quorum_acked_within(lost_after)
        } else {
            inner.heard_leader.lock().is_some_and(|heard| heard.elapsed() <= lost_after)
        };
        if in_contact {
            inner.shown.hub.reopen();
        } else {
            inner.shown.hub.close(WatchEnd::LostLeader);
        }
        if snapshot != checkpoint_seen {
            checkpoint_seen = snapshot;
            checkpointed_bytes = inner.figures.log_bytes();
        }
        if inner.figures.log_bytes() - checkpointed_bytes > inner.options.checkpoint.bytes {
            checkpointed_bytes = inner.figures.log_bytes();
            if inner.raft.trigger().snapshot().await.is_err() {
                return;
            }
        }
    }
}
