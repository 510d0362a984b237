//! What nodes report of themselves, their guests and their volumes.

use super::draft::Draft;
use super::{advance, guard, leave, migration, volume};
use crate::change::{Changes, Object};
use crate::context::Context;
use crate::feature::FIRST;
use crate::name::{Name, Uid};
use crate::node::{Node, NodeFacts};
use crate::rejection::Rejection;
use crate::vm::{Observed, Vm};
use crate::volume::VolumeStatus;
use crate::world::World;

#[derive(Clone, Debug, PartialEq)]
pub struct VmReport {
    pub uid: Uid,
    /// From the node where it is placed. `since` is ignored: the leader's clock says it.
    pub observed: Option<Observed>,
    /// From the two nodes of a migration.
    pub migration: Option<MigrationReport>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MigrationReport {
    pub task: Name,
    pub event: MigrationEvent,
    /// With `Ready`: where the target's hypervisor is reached.
    pub address: String,
    /// With `Failed`: why.
    pub error: String,
    /// With `Arrived`, from the source: what it cost, for people.
    pub cost: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationEvent {
    /// Target: ready to receive.
    Ready,
    /// Source: the hypervisor confirmed that the guest has moved. Target: the guest runs here.
    Arrived,
    /// Source: it failed, the guest runs on here. Target: can't receive.
    Failed,
    /// The guest is not here, and this side doesn't know what became of it.
    Absent,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VolumeReport {
    pub name: Name,
    pub uid: Uid,
    /// What the worker found or made; its `worker` and `task` are ignored.
    pub status: VolumeStatus,
    /// It is gone from the disk.
    pub deleted: bool,
}

/// A report of an earlier start of the node's daemon says nothing any more.
pub(super) fn refuse_stale(node: &Node, session: u64) -> Result<(), Rejection> {
    let known = node.status.session;
    if session >= known {
        return Ok(());
    }
    let detail = format!("session {session} is over, {known} has begun");
    Err(Rejection::precondition("stale-session", format!("node/{}", node.meta.name), detail))
}

pub(super) fn report(
    world: &World,
    node: &Name,
    session: u64,
    vms: &[VmReport],
    volumes: &[VolumeReport],
    facts: Option<&NodeFacts>,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let stored = world.node(node)?;
    let subject = format!("node/{node}");
    let known = stored.status.session;
    refuse_stale(stored, session)?;
    if session > known && facts.is_none() {
        let detail = "a new session begins with the node's facts";
        return Err(Rejection::precondition("session-begins-with-facts", subject, detail));
    }
    if let Some(facts) = facts
        && facts.level.max(FIRST) < world.level()
    {
        let detail = format!(
            "its pvcd ({}) can do feature level {}, and the cluster is at {}",
            facts.version,
            facts.level.max(FIRST),
            world.level()
        );
        return Err(Rejection::precondition("feature-level", subject, detail)
            .help("install the version that the other nodes run"));
    }
    // What nodes see is no deed of anybody's: it would crowd people's deeds out of the audit.
    let mut draft = Draft::new(world, "", context);
    if let Some(facts) = facts {
        let mut new = Node::clone(stored);
        if session > known {
            // Whatever it said of its guard, it said in another life: its host may have been off since.
            guard::forget(&mut new);
        }
        new.status.session = session;
        new.status.facts = facts.clone();
        if new != **stored {
            new.meta.updated = draft.context.now;
            draft.put(Object::Node(new));
        }
        leave::settle(&mut draft, node);
    }
    for report in volumes {
        volume::report(&mut draft, node, report);
    }
    for report in vms {
        // Of a VM that is still looked for, only the count of the guests says anything.
        let vm = draft.world.vm_by_uid(report.uid).filter(|vm| draft.world.is_confirmed(vm)).cloned();
        let Some(vm) = vm else { continue };
        if let Some(observed) = &report.observed {
            observe(&mut draft, &vm, node, observed);
        }
        if let Some(word) = &report.migration {
            let vm = draft.world.vm_by_uid(report.uid).cloned().unwrap_or(vm);
            migration::report(&mut draft, &vm, node, word);
        }
    }
    advance::all(&mut draft);
    Ok(draft.finish())
}

/// Takes what the placed node saw; what another node, or this one at an older placement, says is void.
fn observe(draft: &mut Draft<'_>, vm: &Vm, node: &Name, seen: &Observed) {
    let valid = vm.placement.as_ref().is_some_and(|p| p.node == *node && p.epoch == seen.epoch);
    if !valid || seen.node != *node || seen.seen_intent > vm.intent {
        return;
    }
    let mut observed = seen.clone();
    let old = vm.current_observation();
    observed.since = match old {
        Some(old) if old.phase == seen.phase => old.since,
        Some(_) | None => draft.context.now,
    };
    if old == Some(&observed) {
        return;
    }
    let mut vm = vm.clone();
    vm.observed = Some(observed);
    draft.put_vm(vm);
}
