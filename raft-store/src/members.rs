//! Changing who takes part, one change at a time: add a learner, promote it to a voter, remove a member,
//! hand leadership over. Ids are for life, and a change that would cost the quorum is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::errors::{ClientWriteError, RaftError};
use openraft::rt::WatchReceiver;
use openraft::{ChangeMembers, Precondition, ServerState};
use tokio::time::Instant;

use crate::form::decode;
use crate::member::{Member, MemberId, MemberNode};
use crate::raft::{Membership, TypeConfig};
use crate::rpc::{HelloForm, RpcKind, TransportError};
use crate::status::instant;
use crate::store::Store;

/// A learner may be promoted when it is this many entries behind, or fewer.
const CLOSE_ENOUGH: u64 = 100;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    #[error("this member does not lead")]
    NotLeader { leader: Option<Member> },
    #[error("another change of members is under way; try again when it is done")]
    Busy,
    #[error("the number {id} is or was a member's; numbers are never used twice: take a new one")]
    KnownId { id: MemberId },
    #[error("there is no member {id}")]
    NoSuchMember { id: MemberId },
    #[error("member {id} votes already")]
    AlreadyVoter { id: MemberId },
    #[error("member {id} does not vote; promote it first")]
    NotVoter { id: MemberId },
    #[error("member {member} cannot be reached: {reason}")]
    Unreachable { member: Member, reason: String },
    #[error(
        "member {member} has taken part in a cluster before: empty its data directory and give it a new number"
    )]
    NotPristine { member: Member },
    #[error(
        "member {member} has lost its data, and a member without its data must not vote: remove it from the \
         cluster, and join it anew"
    )]
    LostData { member: Member },
    #[error("member {id} is {behind} entries behind; wait until it has caught up")]
    Lagging { id: MemberId, behind: u64 },
    #[error("member {id} is the last voter")]
    LastVoter { id: MemberId },
    #[error(
        "without member {id} only {alive} of {voters} voters would be alive, fewer than a quorum: \
         bring another one back first"
    )]
    WouldLoseQuorum { id: MemberId, alive: usize, voters: usize },
    #[error("the outcome is unknown: {0}; look at the members before trying again")]
    Unknown(String),
    #[error("the store has stopped")]
    Stopped,
}

type Metrics = openraft::RaftMetrics<TypeConfig>;

impl Store {
    /// Adds a member that receives everything and does not vote yet. It must run, with an empty data
    /// directory and a number that was never used, and be reachable at its address.
    pub async fn add_learner(&self, member: Member) -> Result<(), MembersError> {
        let _one = self.inner.members.try_lock().map_err(|_| MembersError::Busy)?;
        let metrics = self.leading()?;
        let id = member.id;
        let known = metrics.membership_config.membership().get_node(&id).is_some();
        if id == 0 || known || self.view().is_known_member(id) {
            return Err(MembersError::KnownId { id });
        }
        let hello = self.hello(&member).await?;
        if !hello.pristine || hello.incarnation == 0 {
            return Err(MembersError::NotPristine { member });
        }
        let node = MemberNode { address: member.address, incarnation: hello.incarnation };
        self.change(&metrics, ChangeMembers::AddNodes(BTreeMap::from([(id, node)])), true).await
    }

    /// Makes a learner that has caught up a voter. Waits a while for it to catch up.
    pub async fn promote(&self, id: MemberId) -> Result<(), MembersError> {
        let _one = self.inner.members.try_lock().map_err(|_| MembersError::Busy)?;
        let metrics = self.leading()?;
        let membership = metrics.membership_config.membership();
        if membership.get_node(&id).is_none() {
            return Err(MembersError::NoSuchMember { id });
        }
        if membership.voter_ids().any(|voter| voter == id) {
            return Err(MembersError::AlreadyVoter { id });
        }
        self.caught_up(id, Duration::from_secs(10)).await?;
        let metrics = self.leading()?;
        self.change(&metrics, ChangeMembers::AddVoterIds(BTreeSet::from([id])), true).await
    }

    /// Removes a voter or a learner, dead or alive. Refused when the voters that would be left and are
    /// alive are fewer than a quorum of them. A leader that removes itself hands over first.
    pub async fn remove(&self, id: MemberId) -> Result<(), MembersError> {
        self.take_vote(id, false).await
    }

    /// Takes a voter's vote, dead or alive, and leaves it a copy of everything. Refused like a removal. A
    /// leader hands over first.
    pub async fn demote(&self, id: MemberId) -> Result<(), MembersError> {
        self.take_vote(id, true).await
    }

    async fn take_vote(&self, id: MemberId, stays: bool) -> Result<(), MembersError> {
        let _one = self.inner.members.try_lock().map_err(|_| MembersError::Busy)?;
        let metrics = self.leading()?;
        let membership = metrics.membership_config.membership();
        if membership.get_node(&id).is_none() {
            return Err(MembersError::NoSuchMember { id });
        }
        let change = if membership.voter_ids().any(|voter| voter == id) {
            self.check_quorum_without(id, membership, &metrics)?;
            ChangeMembers::RemoveVoters(BTreeSet::from([id]))
        } else if stays {
            return Ok(());
        } else {
            ChangeMembers::RemoveNodes(BTreeSet::from([id]))
        };
        self.change(&metrics, change, stays).await
    }

    /// Gives a voter's vote to a learner that has caught up, in one step: at no moment is there a voter
    /// more or less. The voter keeps its copy of the state. Refused when of those that vote now, or
    /// of those that would then, fewer than a quorum are alive.
    pub async fn replace(&self, voter: MemberId, learner: MemberId) -> Result<(), MembersError> {
        let _one = self.inner.members.try_lock().map_err(|_| MembersError::Busy)?;
        let metrics = self.leading()?;
        let membership = metrics.membership_config.membership();
        if membership.get_node(&learner).is_none() {
            return Err(MembersError::NoSuchMember { id: learner });
        }
        let mut voters: BTreeSet<MemberId> = membership.voter_ids().collect();
        if !voters.contains(&voter) {
            return Err(MembersError::NotVoter { id: voter });
        }
        if voters.contains(&learner) {
            return Err(MembersError::AlreadyVoter { id: learner });
        }
        // Both sets must agree, those that vote now and those that will: else the change would never end.
        self.check_alive(voter, &voters, &metrics)?;
        voters.remove(&voter);
        voters.insert(learner);
        self.check_alive(voter, &voters, &metrics)?;
        self.caught_up(learner, Duration::ZERO).await?;
        let metrics = self.leading()?;
        self.change(&metrics, ChangeMembers::ReplaceAllVoters(voters), true).await
    }

    /// Asks a voter to take over. Returns when it was asked; `leadership` and `status` show the rest.
    pub async fn transfer_leadership(&self, to: MemberId) -> Result<(), MembersError> {
        let metrics = self.leading()?;
        if to == metrics.id {
            return Ok(());
        }
        let membership = metrics.membership_config.membership();
        if membership.get_node(&to).is_none() {
            return Err(MembersError::NoSuchMember { id: to });
        }
        if !membership.voter_ids().any(|voter| voter == to) {
            return Err(MembersError::NotVoter { id: to });
        }
        self.inner.raft.trigger().transfer_leader(to).await.map_err(|_| MembersError::Stopped)
    }

    fn metrics(&self) -> Metrics {
        self.inner.raft.metrics().borrow_watched().clone()
    }

    /// The metrics, if this member leads.
    fn leading(&self) -> Result<Metrics, MembersError> {
        let metrics = self.metrics();
        if metrics.running_state.is_err() || self.inner.is_closing() {
            return Err(MembersError::Stopped);
        }
        if metrics.state == ServerState::Leader {
            return Ok(metrics);
        }
        let node = |id| metrics.membership_config.membership().get_node(&id).map(|n| n.member(id));
        Err(MembersError::NotLeader { leader: metrics.current_leader.and_then(node) })
    }

    /// Asks a member whether it still is the one that was added: one whose disk was wiped has another
    /// incarnation, and its peers refuse it.
    pub async fn confirm(&self, id: MemberId) -> Result<(), MembersError> {
        let metrics = self.leading()?;
        let node = metrics.membership_config.membership().get_node(&id).cloned();
        let node = node.ok_or(MembersError::NoSuchMember { id })?;
        let member = node.member(id);
        if id == metrics.id || self.hello(&member).await?.incarnation == node.incarnation {
            return Ok(());
        }
        Err(MembersError::LostData { member })
    }

    /// Asks a member who it is.
    async fn hello(&self, member: &Member) -> Result<HelloForm, MembersError> {
        let caller = &self.inner.caller;
        let deadline = self.inner.options.timing.append();
        let answer = caller.call(member, 0, RpcKind::Hello, Vec::new(), deadline).await;
        let answer = answer.map_err(|error| MembersError::Unreachable {
            member: member.clone(),
            reason: match error {
                TransportError::Remote(reason) => reason,
                other => other.to_string(),
            },
        })?;
        decode("hello", answer)
            .map_err(|error| MembersError::Unreachable { member: member.clone(), reason: error.to_string() })
    }

    async fn caught_up(&self, id: MemberId, most: Duration) -> Result<(), MembersError> {
        let until = Instant::now() + most;
        loop {
            let metrics = self.leading()?;
            let matched = metrics.replication.as_ref().and_then(|r| r.get(&id)).cloned().flatten();
            let last = metrics.last_log_index.unwrap_or(0);
            let behind = last.saturating_sub(matched.map_or(0, |id| id.index()));
            // The entry that added it must be there: it carries the incarnation by which it may vote.
            let added = metrics.membership_config.log_id().as_ref();
            if matched.as_ref() >= added && behind <= CLOSE_ENOUGH {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(MembersError::Lagging { id, behind });
            }
            tokio::time::sleep(self.inner.options.timing.heartbeat / 3).await;
        }
    }

    fn check_quorum_without(
        &self,
        id: MemberId,
        membership: &Membership,
        metrics: &Metrics,
    ) -> Result<(), MembersError> {
        let left: BTreeSet<MemberId> = membership.voter_ids().filter(|voter| *voter != id).collect();
        if left.is_empty() {
            return Err(MembersError::LastVoter { id });
        }
        self.check_alive(id, &left, metrics)
    }

    /// Refuses what is asked about `id` where fewer than a quorum of `voters` are alive.
    fn check_alive(
        &self,
        id: MemberId,
        voters: &BTreeSet<MemberId>,
        metrics: &Metrics,
    ) -> Result<(), MembersError> {
        let recent = self.inner.options.timing.contact_lost();
        let answers = |voter: &MemberId| {
            let sent = metrics.heartbeat.as_ref().and_then(|h| h.get(voter)).copied().flatten();
            *voter == metrics.id || sent.is_some_and(|sent| instant(sent).elapsed() < recent)
        };
        let alive = voters.iter().filter(|voter| answers(voter)).count();
        if alive > voters.len() / 2 {
            return Ok(());
        }
        Err(MembersError::WouldLoseQuorum { id, alive, voters: voters.len() })
    }

    async fn change(
        &self,
        seen: &Metrics,
        change: ChangeMembers<MemberId, MemberNode>,
        retain: bool,
    ) -> Result<(), MembersError> {
        if seen.membership_config != seen.committed_membership_config {
            return Err(MembersError::Busy);
        }
        // What was checked above must be what is changed.
        let unchanged =
            Precondition::LastMembershipLogId { last_membership_log_id: *seen.membership_config.log_id() };
        match self.inner.raft.change_membership_if(change, retain, [unchanged]).await {
            Ok(written) => {
                // The metrics follow by a moment, and the next change looks at them.
                let mut metrics = self.inner.raft.metrics();
                let shown =
                    metrics.wait_until(|m| m.membership_config.log_id().as_ref() >= Some(&written.log_id));
                let _ = tokio::time::timeout(self.inner.options.timing.append(), shown).await;
                Ok(())
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                let leader = forward.leader_id.zip(forward.leader_node).map(|(id, node)| node.member(id));
                Err(MembersError::NotLeader { leader })
            }
            Err(RaftError::APIError(ClientWriteError::PreconditionFailed(_))) => Err(MembersError::Busy),
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                use openraft::errors::ChangeMembershipError as E;
                match error {
                    E::InProgress(_) | E::UncommittedLeaderLog(_) => Err(MembersError::Busy),
                    other => Err(MembersError::Unknown(other.to_string())),
                }
            }
            Err(RaftError::APIError(other)) => Err(MembersError::Unknown(other.to_string())),
            Err(RaftError::Fatal(fatal)) => Err(MembersError::Unknown(fatal.to_string())),
        }
    }
}
