//! What a node says of its guard: that it is armed, so that the leader may rely on it, and that it is to be relied upon no
//! more, before it is disarmed.
//!
//! Never happens here: a word of before that arrives late and is believed. Each word names how many there were before it; a
//! node that has taken its word back, or has begun anew, is not heard on the old one any more.

use super::draft::Draft;
use super::report::refuse_stale;
use crate::change::{Changes, Collection, Object};
use crate::context::Context;
use crate::guard::{Guard, Isolation};
use crate::name::Name;
use crate::node::Node;
use crate::rejection::Rejection;
use crate::world::World;

/// A node's own word. `after`: the number of the words before it.
pub(super) fn reported(
    world: &World,
    name: &Name,
    session: u64,
    after: u64,
    guard: Option<&Guard>,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let node = world.node(name)?;
    let refuse = |rule, detail: &str| Err(Rejection::precondition(rule, format!("node/{name}"), detail));
    refuse_stale(node, session)?;
    if session > node.status.session {
        return refuse("session-begun", "a new session begins with the node's facts");
    }
    if after != node.status.guard_words {
        return refuse("guard-word-newest", "a newer word about its guard is known");
    }
    if let Some(guard) = guard {
        if node.spec.isolation != Isolation::Stop {
            return refuse("isolation-stop", "its guests are to run on when it is cut off");
        }
        if guard.strike_after > Guard::STRIKE_AFTER_MAX {
            return refuse("guard-in-time", "its guard strikes too late to be waited for");
        }
    }
    // A word that changes nothing is counted too, if it takes back one that may still be on its way.
    let mut draft = Draft::new(world, "", context);
    if guard.is_none() || node.status.guard.as_ref() != guard {
        let mut node = Node::clone(node);
        node.status.guard = guard.cloned();
        node.status.guard_words += 1;
        node.meta.updated = draft.context.now;
        draft.put(Object::Node(node));
    }
    Ok(draft.finish_replying(Collection::Nodes, name))
}

/// Whatever guard was known is relied upon no more, and what was said of it and is still on its way is not believed.
pub(super) fn forget(node: &mut Node) {
    if node.status.guard.take().is_some() {
        node.status.guard_words += 1;
    }
}
