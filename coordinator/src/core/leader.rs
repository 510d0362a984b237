//! Who leads, by name: the store knows members by number, people know nodes.

use pvc_model::{Name, World};
use raft_store::{MemberId, Store};

/// The node that this coordinator takes for the leader now.
pub fn leader_name(store: &Store, world: &World) -> Option<Name> {
    let leader = store.status().borrow().leader.as_ref()?.id;
    member_name(world, leader)
}

/// The node with this member id. 0 is nobody's.
pub fn member_name(world: &World, id: MemberId) -> Option<Name> {
    let node = world.nodes.values().find(|node| id != 0 && node.status.member_id == id)?;
    Some(node.meta.name.clone())
}
