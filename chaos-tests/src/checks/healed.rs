//! Whether a cluster without trouble is as people want it; if not, what is missing.

use pvc_model::node::Reachability;
use pvc_model::phase::{VmPhase, vm_phase};
use pvc_model::primary::PrimaryPhase;
use pvc_model::vm::Power;
use pvc_model::volume::VolumePhase;
use pvc_model::{Vm, World};

use crate::checks::roles::address;
use crate::cluster::Cluster;

/// Everything that is not as it should be; empty: all is well.
pub fn ailments(cluster: &Cluster) -> Vec<String> {
    let mut ailments = Vec::new();
    let Some((at, leader)) = cluster.leader() else {
        return vec!["nobody leads".to_owned()];
    };
    let world = leader.world();
    for place in cluster.voters() {
        match cluster.core(place) {
            None => ailments.push(format!("the coordinator at {place} does not run")),
            Some((_, core)) if core.world().revision != world.revision => {
                ailments.push(format!("{place} is behind {at}, which leads"));
            }
            Some((_, core)) if core.leader() != Some(at.node()) => {
                ailments.push(format!("{place} takes {:?} for the leader, which is {at}", core.leader()));
            }
            Some(_) => {}
        }
    }
    for place in cluster.places() {
        let lease = cluster.setting.leases.lock().get(&place).cloned();
        if !lease.is_some_and(|lease| lease.is_valid()) {
            ailments.push(format!("{place} has no lease"));
        }
    }
    of_primary(cluster, &world, &mut ailments);
    of_world(&world, &mut ailments);
    of_guests(cluster, &world, &mut ailments);
    of_pool(cluster, &world, &mut ailments);
    ailments
}

/// The primary has the address, and nobody else.
fn of_primary(cluster: &Cluster, world: &World, ailments: &mut Vec<String>) {
    let holders = cluster.setting.segment.holders(address());
    let role = world.primary();
    let well = role.is_some_and(|role| role.phase == PrimaryPhase::Holding && holders == [role.node.clone()]);
    if !well {
        ailments.push(format!("the floating address is on {holders:?}, the primary is {role:?}"));
    }
}

fn of_world(world: &World, ailments: &mut Vec<String>) {
    for (name, node) in &world.nodes {
        if node.status.reachability != Reachability::Reachable || !node.status.facts.problem.is_empty() {
            let (reachability, problem) = (node.status.reachability, &node.status.facts.problem);
            ailments.push(format!("node {name} is {reachability:?} {problem}"));
        }
    }
    let fenced = world.nodes.values().filter_map(|n| Some((&n.meta.name, n.status.fence.as_ref()?)));
    ailments.extend(fenced.map(|(name, fence)| format!("node {name} is {:?}", fence.phase)));
    // That a database was rebuilt is to be known until the daemon is started again; that there is no room for a node's
    // death is no illness of the cluster.
    let known = |name: &str| name.starts_with("store-rebuilt.") || name == "capacity-short";
    let faults = world.faults.values().filter(|fault| !known(fault.meta.name.as_str()));
    ailments.extend(faults.map(|fault| format!("fault {}: {}", fault.meta.name, fault.message)));
    for task in world.running_tasks().filter(|task| !waits_in_vain(world, task)) {
        let (name, kind) = (&task.meta.name, task.kind.as_str());
        ailments.push(format!("task {name} ({kind} of {}) still runs: {}", task.subject, task.message));
    }
    for (name, volume) in &world.volumes {
        if volume.has_work() {
            ailments.push(format!("volume {name} still has work: {:?}", volume.status));
        }
    }
}

/// A volume could not be made: its VM can't be started, and says so. That is for people to mend.
fn lacks_a_volume(world: &World, vm: &Vm) -> bool {
    let failed = |name| world.volumes.get(name).is_none_or(|v| v.status.phase == VolumePhase::Failed);
    vm.spec.disks.iter().any(|disk| failed(&disk.volume))
}

fn waits_in_vain(world: &World, task: &pvc_model::Task) -> bool {
    world.vm_by_uid(task.subject.uid()).is_some_and(|vm| lacks_a_volume(world, vm))
}

fn of_guests(cluster: &Cluster, world: &World, ailments: &mut Vec<String>) {
    let guests = &cluster.setting.guests;
    for vm in world.vms.values() {
        let (phase, reason) = vm_phase(world, vm);
        let hosts = guests.writers(vm.uid());
        let placed = vm.placement.as_ref().map(|placement| &placement.node);
        let well = match vm.desired {
            Power::On if lacks_a_volume(world, vm) => hosts.is_empty() || hosts.iter().eq(placed),
            Power::On => phase == VmPhase::Running && hosts.iter().eq(placed),
            Power::Off | Power::Disabled => phase == VmPhase::Stopped && hosts.is_empty(),
        };
        if !well {
            let name = &vm.meta.name;
            ailments.push(format!("vm {name} is {phase:?} ({reason}) on {hosts:?}: {vm:?}"));
        }
    }
    for place in cluster.places() {
        for guest in guests.guests_on(&place.node()) {
            if world.vm_by_uid(guest.uid).is_none() {
                ailments.push(format!("guest {} on {place} is nobody's", guest.uid));
            } else if guest.incoming {
                ailments.push(format!("guest {} is half-received on {place}", guest.uid));
            }
        }
    }
}

fn of_pool(cluster: &Cluster, world: &World, ailments: &mut Vec<String>) {
    let stored = cluster.setting.pool.volumes();
    for uid in &stored {
        if !world.volumes.values().any(|volume| volume.meta.uid == *uid) {
            ailments.push(format!("the pool still keeps volume {uid}, which is nobody's"));
        }
    }
    for (name, volume) in &world.volumes {
        if volume.status.phase == VolumePhase::Ready && !stored.contains(&volume.meta.uid) {
            ailments.push(format!("volume {name} is ready and not in the pool"));
        }
    }
}
