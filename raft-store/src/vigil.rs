//! Noticing at once that the leader's process is dead, instead of waiting out an election timeout.
//!
//! Each follower keeps one call open at its leader. When it breaks, the follower knocks: if the leader's host
//! answers that nobody listens there, the process is gone. It then asks the other voters to knock too. Where a
//! quorum finds nobody, the one of them with the longest log stands for election, and the others let go of
//! their leader's lease.
//!
//! What may never happen here: an election because of silence. A host that does not answer may be slow, cut
//! off, or stopped; that is what election timeouts are for. And nothing rests on this being right: an election
//! that was not needed costs a moment, and Raft's own rules keep it safe.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::ServerState;
use openraft::metrics::RaftServerMetrics;
use openraft::raft::TransferLeaderRequest;
use openraft::rt::WatchReceiver;
use prost::Message;
use tokio::sync::watch;

use crate::form::{LogIdForm, decode};
use crate::member::{Member, MemberId};
use crate::raft::{LogId, TypeConfig, Vote};
use crate::rpc::{AttendForm, GoneAnswerForm, GoneForm, RpcKind, TransportError};
use crate::store::Inner;

/// How long one call at the leader is kept open before the next takes its place.
const ATTENDANCE: Duration = Duration::from_secs(60);

/// A leader to watch over.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Leader {
    member: Member,
    incarnation: u64,
    term: u64,
}

type Metrics = RaftServerMetrics<TypeConfig>;

/// The leader that this member follows as a voter.
fn followed(metrics: &Metrics) -> Option<Leader> {
    let id = metrics.current_leader.filter(|leader| *leader != metrics.id)?;
    let membership = metrics.membership_config.membership();
    let node = membership.get_node(&id).filter(|_| metrics.state == ServerState::Follower)?;
    let term = metrics.vote.leader_id().term;
    Some(Leader { member: node.member(id), incarnation: node.incarnation, term })
}

/// Watches over whoever leads, until the store stops.
pub(crate) async fn keep(inner: Arc<Inner>, mut closing: watch::Receiver<bool>) {
    let pause = inner.options.timing.heartbeat;
    // Not all of the metrics: those change with every entry.
    let mut metrics = inner.raft.server_metrics();
    loop {
        let leader = followed(&metrics.borrow_watched());
        let Some(leader) = leader else {
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { return },
                _ = closing.wait_for(|closing| *closing) => return,
            }
            continue;
        };
        tokio::select! {
            () = attend(&inner, &leader) => {}
            // Raft has stopped when there is nobody any more who could tell.
            changed = metrics.wait_until(|m| followed(m).as_ref() != Some(&leader)) => match changed {
                Ok(_) => continue,
                Err(_) => return,
            },
            _ = closing.wait_for(|closing| *closing) => return,
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = closing.wait_for(|closing| *closing) => return,
        }
    }
}

/// Stays with the leader; returns when there is nothing more to be learned there for the moment.
async fn attend(inner: &Inner, leader: &Leader) {
    let body = AttendForm { term: leader.term }.encode_to_vec();
    let call = inner.caller.call(&leader.member, leader.incarnation, RpcKind::Attend, body, ATTENDANCE);
    match call.await {
        Err(TransportError::Unreachable(_) | TransportError::Refused) => {}
        // It still is there: it leads no more, or does not know this call.
        _ => return,
    }
    if is_gone(inner, &leader.member).await {
        stand_or_yield(inner, leader).await;
    }
}

/// Whether the member's host says that nobody listens at its address.
async fn is_gone(inner: &Inner, member: &Member) -> bool {
    let deadline = inner.options.timing.election_min;
    let knock = inner.caller.call(member, 0, RpcKind::Hello, Vec::new(), deadline);
    matches!(knock.await, Err(TransportError::Refused))
}

/// The answer to a voter that found the leader gone: what this member finds.
pub(crate) async fn second_opinion(inner: &Inner, about: GoneForm) -> GoneAnswerForm {
    let leader = followed(&inner.raft.server_metrics().borrow_watched());
    let same = leader.filter(|leader| leader.term == about.term && leader.member.id == about.leader);
    let gone = match same {
        Some(leader) => is_gone(inner, &leader.member).await,
        None => false,
    };
    GoneAnswerForm { gone, last: inner.log.last().as_ref().map(LogIdForm::from) }
}

/// Asks the other voters; with a quorum that finds the leader gone, the first in line is elected.
async fn stand_or_yield(inner: &Inner, leader: &Leader) {
    let me = inner.options.me.id;
    let metrics = inner.raft.server_metrics().borrow_watched().clone();
    let membership = metrics.membership_config.membership();
    let about = GoneForm { term: leader.term, leader: leader.member.id }.encode_to_vec();
    let asked: FuturesUnordered<_> = membership
        .nodes()
        .filter(|(id, _)| ![me, leader.member.id].contains(id))
        .map(|(id, node)| {
            let (target, about) = (node.member(*id), about.clone());
            async move {
                let deadline = inner.options.timing.election_min;
                let call = inner.caller.call(&target, node.incarnation, RpcKind::Gone, about, deadline);
                let answer: GoneAnswerForm = decode("gone answer", call.await.ok()?).ok()?;
                answer.gone.then_some((target.id, answer.last))
            }
        })
        .collect();
    let found: Vec<(MemberId, Option<LogIdForm>)> = asked.filter_map(std::future::ready).collect().await;
    let agree: BTreeSet<MemberId> = found.iter().map(|(id, _)| *id).chain([me]).collect();
    let is_quorum = membership
        .get_joint_config()
        .iter()
        .all(|voters| voters.intersection(&agree).count() > voters.len() / 2);
    if !is_quorum {
        return;
    }
    let last = inner.log.last();
    // The longest log first, since only it wins; among equals the lowest number.
    let place = |id: MemberId, last: Option<LogId>| (last, std::cmp::Reverse(id));
    let mine = place(me, last);
    if found.into_iter().any(|(id, last)| place(id, last.map(LogId::from)) > mine) {
        return;
    }
    tracing::info!(leader = %leader.member, term = leader.term, "the leader's process is gone: standing for election");
    let vote = Vote::new_committed(leader.term, leader.member.id);
    // The form in which a leader hands over; this one can't any more. A quorum has seen so.
    let request = TransferLeaderRequest::new(vote, me, last);
    if let Err(fatal) = inner.raft.handle_transfer_leader(request).await {
        tracing::debug!(%fatal, "raft has stopped");
    }
}
