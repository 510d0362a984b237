//! What happened to a VM.

use super::{Said, because, said};
use crate::vm::{ObservedPhase, Placement, Power, Vm};
use crate::world::World;

pub(super) fn events(world: &World, old: Option<&Vm>, new: &Vm) -> Vec<Said> {
    let Some(old) = old else {
        let mut events = vec![said("settings", "created")];
        events.extend(placement(world, None, new));
        return events;
    };
    let mut events = Vec::new();
    if old.meta.name != new.meta.name {
        events.push(said("settings", format!("renamed from {}", old.meta.name)));
    }
    if old.spec_generation != new.spec_generation {
        events.push(said("settings", "its settings were changed"));
    }
    if new.deleting && !old.deleting {
        events.push(said("settings", "it is being removed"));
    }
    events.extend(power(old, new));
    events.extend(migration(old, new));
    events.extend(placement(world, Some(old), new));
    if let (None, Some(waits)) = (&old.waits, &new.waits) {
        events.push(said("placement", format!("no node takes it{}", because(&waits.reason))));
    }
    events.extend(state(old, new));
    events
}

fn power(old: &Vm, new: &Vm) -> Option<Said> {
    if old.desired != new.desired {
        let text = match new.desired {
            Power::On => "it is to run",
            Power::Off => "it is to be off",
            Power::Disabled => "it is to be off, on purpose",
        };
        return Some(said("power", text));
    }
    let stays =
        old.placement.as_ref().map(|place| &place.node) == new.placement.as_ref().map(|place| &place.node);
    let again = new.boot_generation > old.boot_generation && new.desired == Power::On && stays;
    again.then(|| said("power", "it is to start anew"))
}

/// A migration has moved it: `to` of the old one is its place now.
fn arrived<'a>(old: &'a Vm, new: &'a Vm) -> Option<&'a Placement> {
    let migration = old.migration.as_ref().filter(|_| new.migration.is_none())?;
    new.placement.as_ref().filter(|place| place.node == migration.to && !old.placed_on(&place.node))
}

fn migration(old: &Vm, new: &Vm) -> Option<Said> {
    match (&old.migration, &new.migration) {
        (None, Some(to)) => {
            Some(said("placement", format!("its live migration from {} to {} began", to.from, to.to)))
        }
        (Some(was), None) if arrived(old, new).is_some() => {
            Some(said("placement", format!("it migrated live from {} to {}", was.from, was.to)))
        }
        (Some(was), None) => {
            let text = format!("its live migration from {} to {} did not come about", was.from, was.to);
            Some(said("placement", text))
        }
        (Some(was), Some(is)) if is.cancel && !was.cancel => {
            Some(said("placement", format!("its live migration to {} is to be broken off", is.to)))
        }
        (Some(_), Some(_)) | (None, None) => None,
    }
}

fn placement(world: &World, old: Option<&Vm>, new: &Vm) -> Option<Said> {
    let place = new.placement.as_ref()?;
    let from = old.and_then(|old| old.placement.as_ref()).map(|place| &place.node);
    if from == Some(&place.node) || old.is_some_and(|old| arrived(old, new).is_some()) {
        return None;
    }
    let text = match from {
        None => format!("it is placed on {}", place.node),
        Some(from) => {
            let fenced = world.nodes.get(from).is_some_and(|node| node.is_fenced());
            let why = if fenced { ", which was fenced" } else { "" };
            format!("it is placed on {}, after {from}{why}", place.node)
        }
    };
    Some(said("placement", text))
}

fn state(old: &Vm, new: &Vm) -> Option<Said> {
    let now = new.current_observation()?;
    let before = old.current_observation();
    if before.is_some_and(|before| before.phase == now.phase && before.restarts == now.restarts) {
        return None;
    }
    let (node, why) = (&now.node, because(&now.reason));
    let text = match now.phase {
        // It came running.
        ObservedPhase::Running if before.is_none() && arrived(old, new).is_some() => return None,
        ObservedPhase::Running => format!("it runs on {node}"),
        ObservedPhase::Stopped => format!("it is off on {node}{why}"),
        ObservedPhase::Backoff => {
            format!("it ended by itself on {node}, and is started again after a pause{why}")
        }
        ObservedPhase::Failed => format!("it was given up on {node}{why}"),
        ObservedPhase::Pending if !now.reason.is_empty() => format!("it waits on {node}{why}"),
        ObservedPhase::Pending | ObservedPhase::Starting | ObservedPhase::ShuttingDown => return None,
    };
    Some(said("state", text))
}
