//! After a restore or a recovery: where do the guests run?
//!
//! What such a cluster remembers is old. A VM that it holds for one node's may have moved, or have been started
//! since. So no node is told of any VM (`World::is_confirmed`) before its guest is found: then the VM is
//! placed where it runs, and goes on. What no node has is off, and stays off until a person starts it: a host
//! that this cluster has never heard of may run it.
//!
//! Never happens here: a VM that is started, ended or deleted because of what a backup says.

use std::collections::BTreeSet;

use super::cluster::{name, put_cluster, raise, the_cluster};
use super::draft::Draft;
use super::guard;
use crate::Uid;
use crate::change::{Changes, Collection, Object};
use crate::cluster::Restored;
use crate::context::Context;
use crate::name::Name;
use crate::node::{Node, NodeRole};
use crate::rejection::Rejection;
use crate::task::TaskState;
use crate::vm::{Observed, ObservedPhase, Placement, Power, Vm};
use crate::volume::{Volume, VolumePhase};
use crate::world::World;

/// VMs that one decision confirms: an entry of the log has room for so many.
const STEP: usize = 200;
const NOT_FOUND: &str =
    "its guest is on none of the cluster's nodes: start it, when it is sure to run nowhere else";

/// A guest that a node has found on itself, with what is written in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedGuest {
    pub uid: Uid,
    pub epoch: u64,
    pub boot_generation: u64,
    pub spec_generation: u64,
}

/// The quorum was lost for ever, and one survivor's data are the cluster now. `members` take part in Raft.
pub(super) fn begin_recovery(
    world: &World,
    recoveries: u64,
    members: &BTreeSet<u64>,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let summary = format!("recover from the loss of the quorum (recovery {recoveries})");
    let mut draft = Draft::new(world, summary, context);
    let mut cluster = the_cluster(&mut draft);
    if cluster.status.recoveries >= recoveries {
        return Ok(draft.finish());
    }
    cluster.status.recoveries = recoveries;
    cluster.status.incarnation += 1;
    cluster.status.awaited = world.nodes.keys().cloned().collect();
    put_cluster(&mut draft, cluster);
    for old in world.nodes.values() {
        let mut node = Node::clone(old);
        // Their copies of the state are of another past; their numbers are never used again.
        if node.spec.role == NodeRole::Coordinator && !members.contains(&node.status.member_id) {
            node.spec.role = NodeRole::Hypervisor;
            node.spec.standby = false;
            node.status.member_id = 0;
        }
        // Whom it has heard since, nobody here knows.
        guard::forget(&mut node);
        if node != **old {
            node.meta.updated = draft.context.now;
            draft.put(Object::Node(node));
        }
    }
    let running: Vec<Name> = world.running_tasks().map(|task| task.meta.name.clone()).collect();
    for task in running {
        draft.end_task(&task, TaskState::Failed, "the cluster was recovered meanwhile; look, and ask again");
    }
    Ok(draft.finish())
}

/// A backup begins to be restored. `nodes` are those that it knows. Asked again for the same backup, it goes on.
pub(super) fn begin_restore(
    world: &World,
    backup: &str,
    cluster_id: &str,
    revision: u64,
    nodes: &BTreeSet<Name>,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let refuse = |rule, detail: String| {
        Rejection::precondition(rule, "cluster", detail)
            .help("a backup is restored into a cluster that was just founded: pvc-bootstrap init")
    };
    let mut draft = Draft::new(world, format!("restore a backup of cluster {cluster_id}"), context);
    let mut cluster = the_cluster(&mut draft);
    match &cluster.status.restored {
        Some(restored) if restored.backup == backup => return Ok(draft.finish()),
        Some(restored) => {
            let of = format!("revision {} of cluster {}", restored.revision, restored.cluster_id);
            return Err(refuse("restored-once", format!("it was restored already, from {of}")));
        }
        None => {}
    }
    if !world.vms.is_empty() || !world.volumes.is_empty() {
        let (vms, volumes) = (world.vms.len(), world.volumes.len());
        return Err(refuse("cluster-must-be-empty", format!("it has {vms} VMs and {volumes} volumes")));
    }
    cluster.status.incarnation += 1;
    cluster.status.awaited = nodes.iter().chain(world.nodes.keys()).cloned().collect();
    cluster.status.restored = Some(Restored {
        backup: backup.to_owned(),
        cluster_id: cluster_id.to_owned(),
        revision,
        complete: false,
    });
    put_cluster(&mut draft, cluster);
    Ok(draft.finish())
}

/// Whether such an object comes back with a backup. What is not of use in another cluster is left out: nodes must join, tokens
/// must not come alive again, tasks and faults are of a past that is over, and to which routers the networks are announced
/// is to be said anew.
pub fn comes_back(object: &Object) -> bool {
    matches!(
        object,
        Object::Vm(_) | Object::Volume(_) | Object::Rule(_) | Object::Network(_) | Object::Lease(_)
    )
}

/// Some of the backup's objects: those that [come back](comes_back).
pub(super) fn restore_objects(
    world: &World,
    backup: &str,
    objects: &[Object],
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let restoring = world.cluster.as_ref().and_then(|cluster| cluster.restoring());
    if restoring.is_none_or(|restored| restored.backup != backup) {
        let detail = "this backup is not being restored now";
        return Err(Rejection::precondition("restore-under-way", "cluster", detail));
    }
    let mut draft = Draft::new(world, "", context);
    for object in objects {
        match object {
            Object::Vm(vm) if !world.vms.contains_key(&vm.meta.name) => {
                let vm = Vm {
                    migration: None,
                    release: false,
                    task: None,
                    deleting: false,
                    delete_volumes: false,
                    confirmed: 0,
                    waits: None,
                    ..vm.clone()
                };
                draft.put(Object::Vm(vm));
            }
            Object::Volume(volume) if !world.volumes.contains_key(&volume.meta.name) => {
                draft.put(Object::Volume(at_rest(volume)));
            }
            Object::Rule(rule) if !world.rules.contains_key(&rule.meta.name) => {
                draft.put(Object::Rule(rule.clone()));
            }
            Object::Network(network) if !world.networks.contains_key(&network.meta.name) => {
                draft.put(Object::Network(network.clone()));
            }
            // Guests still have these addresses.
            Object::Lease(lease) if !world.leases.contains_key(&lease.meta.name) => {
                draft.put(Object::Lease(lease.clone()));
            }
            _ => {}
        }
    }
    Ok(draft.finish())
}

/// A volume without the work that was under way: nobody knows whether it was done.
fn at_rest(volume: &Volume) -> Volume {
    let mut volume = volume.clone();
    volume.status.worker = None;
    volume.status.task = None;
    match volume.status.phase {
        VolumePhase::Creating => {
            volume.status.phase = VolumePhase::Failed;
            volume.status.reason =
                "it was being made when the backup was taken: delete it, and make it again".into();
        }
        VolumePhase::Deleting => volume.status.phase = VolumePhase::Ready,
        VolumePhase::Ready | VolumePhase::Failed => {}
    }
    volume.spec.size_bytes = match volume.status.phase {
        VolumePhase::Ready => volume.status.size_bytes,
        _ => volume.spec.size_bytes,
    };
    volume.status.snapshots.retain(|snapshot| snapshot.ready);
    for snapshot in &mut volume.status.snapshots {
        snapshot.deleting = false;
    }
    volume
}

pub(super) fn end_restore(world: &World, backup: &str, context: &mut Context) -> Result<Changes, Rejection> {
    let mut draft = Draft::new(world, "", context);
    let mut cluster = the_cluster(&mut draft);
    match cluster.status.restored.as_mut().filter(|restored| restored.backup == backup) {
        Some(restored) => restored.complete = true,
        None => {
            let detail = "this backup is not being restored now";
            return Err(Rejection::precondition("restore-under-way", "cluster", detail));
        }
    }
    let (vms, volumes) = (world.vms.len(), world.volumes.len());
    draft.changes.summary = format!("restored {vms} VMs and {volumes} volumes from a backup");
    put_cluster(&mut draft, cluster);
    Ok(draft.finish())
}

/// A node has counted its guests. Those of VMs that are looked for are found. It is asked again until all
/// of them are taken up.
pub(super) fn count_guests(
    world: &World,
    node: &Name,
    session: u64,
    incarnation: u64,
    guests: &[CountedGuest],
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let stored = world.node(node)?;
    if session != stored.status.session {
        let detail = format!("session {session} is over, {} has begun", stored.status.session);
        return Err(Rejection::precondition("stale-session", format!("node/{node}"), detail));
    }
    let mut draft = Draft::new(world, "", context);
    // An old count says nothing, and before the backup is here all guests are strangers.
    let restoring = world.cluster.as_ref().is_some_and(|cluster| cluster.restoring().is_some());
    if incarnation != world.incarnation() || !world.awaits(node) || restoring {
        return Ok(draft.finish());
    }
    let mut adopted = Vec::new();
    for guest in guests {
        let Some(vm) = draft.world.vm_by_uid(guest.uid).cloned() else { continue };
        if draft.world.is_confirmed(&vm) {
            found_twice(&mut draft, &vm, node);
            continue;
        }
        // A guest of a placement that was over before the backup was taken is nobody's truth.
        let outdated = |placed: &Placement| placed.node != *node && placed.epoch > guest.epoch;
        if vm.placement.as_ref().is_some_and(outdated) {
            continue;
        }
        if adopted.len() == STEP {
            draft.changes.summary = summary(node, &adopted);
            return Ok(draft.finish());
        }
        adopted.push(vm.meta.name.clone());
        let adopted = adopt(&vm, node, guest, incarnation);
        draft.put_vm(adopted);
    }
    draft.changes.summary = summary(node, &adopted);
    no_longer_awaited(&mut draft, node);
    Ok(draft.finish())
}

fn summary(node: &Name, adopted: &[Name]) -> String {
    match adopted {
        [] => format!("node/{node} has counted its guests"),
        [one] => format!("adopt vm/{one}, which runs on node/{node}"),
        many => format!("adopt {} VMs, which run on node/{node}", many.len()),
    }
}

/// The VM as its guest shows that it is: it runs there, and is to go on.
fn adopt(vm: &Vm, node: &Name, guest: &CountedGuest, incarnation: u64) -> Vm {
    let mut vm = vm.clone();
    let known = vm.placement.as_ref().map_or(0, |placement| placement.epoch);
    vm.placement = Some(Placement { node: node.clone(), epoch: known.max(guest.epoch) });
    vm.desired = Power::On;
    // Anything else would mean a restart.
    vm.boot_generation = guest.boot_generation;
    if guest.spec_generation > vm.spec_generation {
        // It was changed after what this cluster knows: the next start brings the spec that is known.
        vm.spec_generation = guest.spec_generation + 1;
    }
    vm.observed = None;
    vm.intent += 1;
    confirm(vm, incarnation)
}

fn confirm(vm: Vm, incarnation: u64) -> Vm {
    Vm {
        migration: None,
        release: false,
        task: None,
        deleting: false,
        delete_volumes: false,
        confirmed: incarnation,
        waits: None,
        ..vm
    }
}

/// Two guests of one VM: nobody may say here which one is to end.
fn found_twice(draft: &mut Draft<'_>, vm: &Vm, node: &Name) {
    let Some(placed) = vm.placement.as_ref().filter(|placed| placed.node != *node) else { return };
    let name = &vm.meta.name;
    let fault = fault_name("vm-found-twice", name);
    let message = format!("vm {name} was found running on node {} and on node {node}", placed.node);
    let help = format!("both may write to its disks: end one of them on its host, then pvc vm info {name}");
    raise(draft, &fault, &vm.subject(), message, help);
}

/// A name that is long keeps its beginning: a fault of it is still found by its subject.
fn fault_name(kind: &str, subject: &Name) -> Name {
    let whole = format!("{kind}.{subject}");
    let cut = whole[..whole.len().min(63)].trim_end_matches(['-', '.']);
    cut.parse().expect("a label, a dot and the beginning of a name are a name")
}

/// A person says that nothing runs on a node: it is not waited for any more.
pub(super) fn confirm_off(world: &World, node: &Name, context: &mut Context) -> Result<Changes, Rejection> {
    let subject = format!("node/{node}");
    if !world.awaits(node) {
        let detail = "its guests are not waited for";
        return Err(Rejection::precondition("node-awaited", subject, detail).help("see `pvc cluster status`"));
    }
    if world.nodes.get(node).is_some_and(|node| node.is_reachable()) {
        let detail = "it is reachable, and will say itself what runs on it";
        return Err(Rejection::precondition("node-silent", subject, detail));
    }
    let mut draft = Draft::new(world, format!("confirm that nothing runs on {subject}"), context);
    no_longer_awaited(&mut draft, node);
    Ok(draft.finish_replying(Collection::Cluster, &name()))
}

fn no_longer_awaited(draft: &mut Draft<'_>, node: &Name) {
    let mut cluster = the_cluster(draft);
    cluster.status.awaited.remove(node);
    put_cluster(draft, cluster);
}

/// All nodes have counted: what was not found is off. Some VMs at a time.
pub(super) fn settle(world: &World, context: &mut Context) -> Changes {
    let mut draft = Draft::new(world, "", context);
    let waits =
        |cluster: &crate::Cluster| !cluster.status.awaited.is_empty() || cluster.restoring().is_some();
    if world.cluster.as_ref().is_none_or(|cluster| waits(cluster)) {
        return draft.finish();
    }
    let now = draft.context.now;
    let lost: Vec<Vm> =
        world.vms.values().filter(|vm| !world.is_confirmed(vm)).take(STEP).map(|vm| Vm::clone(vm)).collect();
    for vm in lost {
        let mut vm = confirm(vm, world.incarnation());
        vm.intent += 1;
        let on = vm.desired == Power::On;
        vm.observed = vm.placement.as_ref().map(|placement| Observed {
            node: placement.node.clone(),
            epoch: placement.epoch,
            // Given up at this boot: no daemon starts it again by itself.
            phase: if on { ObservedPhase::Failed } else { ObservedPhase::Stopped },
            reason: if on { NOT_FOUND.to_owned() } else { String::new() },
            seen_intent: vm.intent,
            boot_generation: vm.boot_generation,
            spec_generation: 0,
            restarts: 0,
            since: now,
        });
        draft.put_vm(vm);
    }
    draft.finish()
}

/// Refuses what people ask of a VM while nobody knows where its guest is.
pub(super) fn refuse_unconfirmed(world: &World, vm: &Name) -> Result<(), Rejection> {
    let Some(vm) = world.vms.get(vm).filter(|vm| !world.is_confirmed(vm)) else { return Ok(()) };
    let awaited = world.cluster.iter().flat_map(|cluster| &cluster.status.awaited);
    let awaited: Vec<&str> = awaited.take(5).map(Name::as_str).collect();
    let detail = format!(
        "after the restore or recovery it is not known yet where it runs; these nodes are still to say: {}",
        if awaited.is_empty() { "none, in a moment it is known".to_owned() } else { awaited.join(", ") }
    );
    Err(Rejection::precondition("vm-confirmed", vm.subject(), detail)
        .help("bring them back; for one on which certainly nothing runs: pvc node confirm-off NODE"))
}

/// Nothing is made while a backup comes in: it might have the same name.
pub(super) fn refuse_while_restoring(world: &World, subject: &str) -> Result<(), Rejection> {
    match world.cluster.as_ref().and_then(|cluster| cluster.restoring()) {
        None => Ok(()),
        Some(_) => Err(Rejection::precondition("restore-under-way", subject, "a backup is being restored")
            .help("run `pvc cluster restore` with the same file again: it goes on where it was")),
    }
}
