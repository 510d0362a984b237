//! Who votes, and who of them leads: the store's members brought in line with what is asked. Each step looks
//! at what is there first, so that all of it may be asked again after any interruption.

use std::sync::Arc;
use std::time::Duration;

use pvc_model::node::NodeRole;
use pvc_model::{Command, Name, Node, Rejection};
use raft_store::{Member, MemberId, MemberStatus, MembersError, Role, Status as StoreStatus, Store};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::caller::Caller;
use super::shared::{Shared, refuse};
use crate::core::member_name;
use crate::status;

/// How long a new leader may take to show itself.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(5);
/// Who has answered nothing for longer is not handed over to.
const SILENT_MAX: Duration = Duration::from_secs(2);
const HEARD_AGAIN: Duration = Duration::from_millis(50);

/// Makes an enrolled coordinator a voter.
pub(super) async fn add(
    shared: &Shared,
    caller: &Caller,
    name: &Name,
    request_id: &str,
) -> Result<(), Status> {
    let world = leaders_world(shared)?;
    let node = world.node(name).map_err(refuse)?;
    if node.spec.role != NodeRole::Coordinator {
        // The decision says why not, and what to do.
        let command = Command::SetNodeRole { node: name.clone(), role: NodeRole::Coordinator };
        shared.core.check(&world, &command, "").map_err(refuse)?;
    }
    // First: a voter that is to stand by would lose its vote again.
    let command = Command::SetStandby { node: name.clone(), standby: false };
    shared.submit(caller, command, request_id).await?;
    let member = Member::new(node.status.member_id, node.status.address.clone());
    admit(shared.core.store(), member).await.map_err(|error| failed(shared, &error))
}

/// Adds a member unless it is there, and promotes it when it has caught up. One that is there and has lost
/// its data is refused.
pub(super) async fn admit(store: &Store, member: Member) -> Result<(), MembersError> {
    let id = member.id;
    let promoted = match store.promote(id).await {
        Err(MembersError::NoSuchMember { .. }) => {
            store.add_learner(member).await?;
            store.promote(id).await
        }
        promoted => promoted,
    };
    match promoted {
        Err(MembersError::AlreadyVoter { .. } | MembersError::Lagging { .. }) => {
            store.confirm(id).await?;
            promoted.or_else(|error| match error {
                MembersError::AlreadyVoter { .. } => Ok(()),
                error => Err(error),
            })
        }
        promoted => promoted,
    }
}

/// Adds a member that does not vote, unless it is there. One that is there and has lost its data is refused.
pub(super) async fn stand_by(store: &Store, member: Member) -> Result<(), MembersError> {
    match store.confirm(member.id).await {
        Err(MembersError::NoSuchMember { .. }) => store.add_learner(member).await,
        confirmed => confirmed,
    }
}

/// Takes a coordinator's vote and leaves it its copy of the state: it stands by.
pub(super) async fn demote(
    shared: &Shared,
    caller: &Caller,
    name: &Name,
    request_id: &str,
) -> Result<(), Status> {
    let world = leaders_world(shared)?;
    let id = world.node(name).map_err(refuse)?.status.member_id;
    let command = Command::SetStandby { node: name.clone(), standby: true };
    shared.core.check(&world, &command, &caller.identity).map_err(refuse)?;
    let store = shared.core.store();
    if id != 0 && id == store.options().me.id {
        hand_over(shared, None).await?;
        return Err(status::not_leader(shared.leader().as_ref()));
    }
    store.demote(id).await.map_err(|error| failed(shared, &error))?;
    shared.submit(caller, command, request_id).await.map(drop)
}

/// Takes a coordinator's vote, and with it its copy of the state. A leader hands over first, and leaves the
/// rest to its successor.
pub(super) async fn remove(
    shared: &Shared,
    caller: &Caller,
    name: &Name,
    request_id: &str,
) -> Result<(), Status> {
    let world = leaders_world(shared)?;
    let node = world.node(name).map_err(refuse)?;
    let command = Command::SetNodeRole { node: name.clone(), role: NodeRole::Hypervisor };
    shared.core.check(&world, &command, &caller.identity).map_err(refuse)?;
    let id = node.status.member_id;
    let store = shared.core.store();
    if id != 0 && id == store.options().me.id {
        hand_over(shared, None).await?;
        return Err(status::not_leader(shared.leader().as_ref()));
    }
    match store.remove(id).await {
        Ok(()) | Err(MembersError::NoSuchMember { .. }) => {}
        Err(error) => return Err(failed(shared, &error)),
    }
    // Only now: the door lets nobody speak of Raft who is no coordinator.
    shared.submit(caller, command, request_id).await.map(drop)
}

/// Hands leadership to a voter, or to whichever is furthest, and waits until it leads.
pub(super) async fn hand_over(shared: &Shared, to: Option<&Name>) -> Result<(), Status> {
    let world = leaders_world(shared)?;
    let to = to.map(|name| world.node(name).map_err(refuse)).transpose()?;
    let store = shared.core.store();
    let own = store.options().me.id;
    let target = successor(store, to).await?;
    if target == own {
        return Ok(());
    }
    store.transfer_leadership(target).await.map_err(|error| failed(shared, &error))?;
    let mut statuses = store.status();
    let over = statuses.wait_for(|now| {
        now.role != Role::Leader && now.leader.as_ref().is_some_and(|leader| leader.id != own)
    });
    match tokio::time::timeout(HAND_OVER_PATIENCE, over).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(status::stopping()),
        Err(_) => {
            let name =
                member_name(&world, target).map_or_else(|| target.to_string(), |name| name.to_string());
            let detail = format!("node {name} has not taken over within {HAND_OVER_PATIENCE:?}");
            let help = "see `pvc cluster status`, then try again";
            Err(status::of(Code::DeadlineExceeded, "leader-handed-over", "cluster", &detail, help, None))
        }
    }
}

/// Who is to take over. A new leader may not have heard everybody yet: it waits a moment for them.
async fn successor(store: &Store, to: Option<&Arc<Node>>) -> Result<MemberId, Status> {
    let until = Instant::now() + SILENT_MAX;
    loop {
        let status = store.status().borrow().clone();
        let chosen = match to {
            Some(node) => id_of(node, &status),
            None => furthest(&status),
        };
        let mut others = status.members.iter().filter(|m| m.voter && m.member.id != status.id);
        if chosen.is_ok() || Instant::now() >= until || others.all(|m| m.silent_for.is_some()) {
            return chosen;
        }
        tokio::time::sleep(HEARD_AGAIN).await;
    }
}

fn id_of(node: &Node, status: &StoreStatus) -> Result<MemberId, Status> {
    let id = node.status.member_id;
    let member = status.members.iter().find(|m| m.voter && m.member.id == id);
    let subject = format!("node/{}", node.meta.name);
    match member {
        None => {
            let help = "choose one of the voters: pvc cluster status";
            let rejection = Rejection::precondition("leader-votes", subject, "it does not vote");
            Err(refuse(rejection.help(help)))
        }
        Some(member) if id != status.id && !answers(member) => {
            let detail = "it does not answer the leader, so it can't take over";
            let help = format!("pvc node info {}", node.meta.name);
            Err(refuse(Rejection::precondition("leader-answers", subject, detail).help(help)))
        }
        Some(_) => Ok(id),
    }
}

fn furthest(status: &StoreStatus) -> Result<MemberId, Status> {
    let others = status.members.iter().filter(|m| m.voter && m.member.id != status.id && answers(m));
    others.max_by_key(|m| m.matched).map(|m| m.member.id).ok_or_else(|| {
        let detail = "no other voter answers, so nobody can take over";
        refuse(Rejection::precondition("leader-answers", "cluster", detail).help("see `pvc cluster status`"))
    })
}

fn answers(member: &MemberStatus) -> bool {
    member.silent_for.is_some_and(|silent| silent < SILENT_MAX)
}

/// The world, on the leader: only there is it known who votes.
fn leaders_world(shared: &Shared) -> Result<pvc_model::World, Status> {
    match shared.core.leading() {
        Some(_) => Ok(shared.core.world()),
        None => Err(status::not_leader(shared.leader().as_ref())),
    }
}

fn failed(shared: &Shared, error: &MembersError) -> Status {
    status::members(error, shared.leader().as_ref())
}
