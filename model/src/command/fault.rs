//! Raising, clearing and acknowledging faults.

use super::draft::Draft;
use crate::change::{Changes, Collection, Object};
use crate::context::Context;
use crate::fault::Fault;
use crate::name::Name;
use crate::rejection::Rejection;
use crate::world::World;

pub(super) fn raise(
    world: &World,
    name: &Name,
    subject: &str,
    message: &str,
    help: &str,
    context: &mut Context,
) -> Changes {
    let mut draft = Draft::new(world, format!("raise fault/{name}"), context);
    let now = draft.context.now;
    let fault = match world.faults.get(name) {
        // Said already: a fault that lasts costs no log entries.
        Some(old) if old.message == message && old.subject == subject && old.help == help => {
            return draft.finish();
        }
        Some(old) => Fault {
            subject: subject.to_string(),
            message: message.to_string(),
            help: help.to_string(),
            last: now,
            ..Fault::clone(old)
        },
        None => Fault {
            meta: draft.new_meta(name.clone()),
            subject: subject.to_string(),
            message: message.to_string(),
            help: help.to_string(),
            first: now,
            last: now,
            acknowledged_by: None,
        },
    };
    draft.put(Object::Fault(fault));
    draft.finish()
}

pub(super) fn clear(world: &World, name: &Name) -> Changes {
    let mut changes = Changes::new(format!("clear fault/{name}"));
    if world.faults.contains_key(name) {
        changes.delete(crate::ObjectKey { collection: Collection::Faults, name: name.clone() });
    }
    changes
}

pub(super) fn ack(world: &World, name: &Name, context: &mut Context) -> Result<Changes, Rejection> {
    let old = world.faults.get(name).ok_or_else(|| Rejection::not_found(format!("fault/{name}")))?;
    let mut draft = Draft::new(world, format!("acknowledge fault/{name}"), context);
    if old.acknowledged_by.is_none() {
        let mut fault = Fault::clone(old);
        fault.acknowledged_by = Some(draft.context.actor.clone());
        fault.meta.updated = draft.context.now;
        draft.put(Object::Fault(fault));
    }
    Ok(draft.finish_replying(Collection::Faults, name))
}
