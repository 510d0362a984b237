//! Where a VM may go: one set of rules for placement, moves and recovery, which can always say why.

use crate::name::Name;
use crate::node::Node;
use crate::rejection::{Rejection, RejectionKind};
use crate::vm::{Power, Vm, VmSpec};
use crate::world::World;

/// Memory that a host keeps for itself, MiB.
pub const HOST_RESERVE_MIB: u64 = 512;
/// vCPUs placed on a host, per logical CPU, at most.
pub const VCPUS_PER_CPU_MAX: u32 = 16;

/// What VMs take of a node: those placed there that run or may run, and those that migrate hither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub vms: u32,
    pub vcpus: u32,
    pub memory_mib: u64,
}

/// `except` is not counted: the VM that is being placed.
pub fn usage(world: &World, node: &Name, except: Option<&Vm>) -> Usage {
    let mut usage = Usage::default();
    for vm in world.vms.values() {
        if except.is_some_and(|e| e.meta.uid == vm.meta.uid) {
            continue;
        }
        let here = vm.placed_on(node) && (vm.desired == Power::On || !vm.is_proven_off());
        let coming = vm.migration.as_ref().is_some_and(|m| m.to == *node);
        if here || coming {
            usage.vms += 1;
            usage.vcpus += vm.spec.vcpus;
            usage.memory_mib += vm.spec.memory_mib;
        }
    }
    usage
}

/// Why `vm` can't run on `node`; in a sentence without a full stop, beginning with a verb.
pub fn obstacle(world: &World, vm: &Vm, node: &Node) -> Option<String> {
    if !vm.spec.node_limit.is_empty() && !vm.spec.node_limit.contains(&node.meta.name) {
        return Some("is not in the VM's node limit".to_string());
    }
    if !node.is_reachable() {
        return Some("is not reachable".to_string());
    }
    if !node.spec.schedulable {
        return Some("takes no new VMs (not schedulable)".to_string());
    }
    if !node.status.facts.problem.is_empty() {
        return Some(format!("can't run VMs: {}", node.status.facts.problem));
    }
    let usage = usage(world, &node.meta.name, Some(vm));
    let limit = usable_mib(node);
    if usage.memory_mib + vm.spec.memory_mib > limit {
        let free = limit.saturating_sub(usage.memory_mib);
        return Some(format!("has {free} MiB free, the VM needs {} MiB", vm.spec.memory_mib));
    }
    let vcpus_max = node.status.facts.cpus.saturating_mul(VCPUS_PER_CPU_MAX);
    if usage.vcpus + vm.spec.vcpus > vcpus_max {
        return Some(format!("has {} of at most {vcpus_max} vCPUs placed", usage.vcpus));
    }
    None
}

/// Memory that VMs may take of a node, MiB.
pub fn usable_mib(node: &Node) -> u64 {
    node.status.facts.memory_mib.saturating_sub(HOST_RESERVE_MIB)
}

/// Refuses a spec that no enrolled node could ever hold, even empty.
pub fn check_fits_some_node(world: &World, subject: &str, spec: &VmSpec) -> Result<(), Rejection> {
    let known = || world.nodes.values().filter(|n| n.status.facts.memory_mib > 0);
    let allowed = known().filter(|n| spec.node_limit.is_empty() || spec.node_limit.contains(&n.meta.name));
    let Some(largest) = allowed.max_by_key(|n| usable_mib(n)) else {
        return Ok(());
    };
    let usable = usable_mib(largest);
    if spec.memory_mib > usable {
        let detail = format!(
            "it wants {} MiB; the largest node that it may run on, {}, has {usable} MiB for VMs",
            spec.memory_mib, largest.meta.name
        );
        return Err(Rejection::new(RejectionKind::Exhausted, "fits-a-node", subject, detail)
            .help("give it less memory, or see `pvc node list`"));
    }
    let cpus = known().map(|n| n.status.facts.cpus).max().unwrap_or(0);
    let vcpus_max = cpus.saturating_mul(VCPUS_PER_CPU_MAX);
    if spec.vcpus > vcpus_max {
        let detail = format!("it wants {} vCPUs; the largest node takes at most {vcpus_max}", spec.vcpus);
        return Err(Rejection::new(RejectionKind::Exhausted, "fits-a-node", subject, detail)
            .help("give it fewer vCPUs, or see `pvc node list`"));
    }
    Ok(())
}

/// Refuses a node that the VM can't go to, naming why.
pub fn check_target(world: &World, vm: &Vm, node: &Name) -> Result<(), Rejection> {
    let target = world.node(node)?;
    match obstacle(world, vm, target) {
        None => Ok(()),
        Some(why) => {
            Err(Rejection::precondition("target-takes-vm", vm.subject(), format!("node {node} {why}"))
                .help("choose another node, or none: see `pvc node list`"))
        }
    }
}

/// The best node for `vm`: its home where that takes it, else the one with the most memory left,
/// then the fewest VMs, then by name. `except`: a node that is not wanted.
pub fn place(world: &World, vm: &Vm, except: Option<&Name>) -> Result<Name, Rejection> {
    let mut best: Option<(u64, u32, &Name)> = None;
    let mut why = Vec::new();
    for (name, node) in &world.nodes {
        if Some(name) == except {
            continue;
        }
        if let Some(obstacle) = obstacle(world, vm, node) {
            why.push(format!("{name} {obstacle}"));
            continue;
        }
        if vm.spec.home.as_ref() == Some(name) {
            return Ok(name.clone());
        }
        let usage = usage(world, name, Some(vm));
        let left = usable_mib(node).saturating_sub(usage.memory_mib);
        if best.is_none_or(|(most, fewest, _)| {
            (left, std::cmp::Reverse(usage.vms)) > (most, std::cmp::Reverse(fewest))
        }) {
            best = Some((left, usage.vms, name));
        }
    }
    match best {
        Some((_, _, name)) => Ok(name.clone()),
        None if why.is_empty() => {
            Err(Rejection::precondition("a-node-takes-vm", vm.subject(), "there is no other node")
                .help("see `pvc node list`"))
        }
        None => Err(Rejection::new(
            RejectionKind::Exhausted,
            "a-node-takes-vm",
            vm.subject(),
            format!("no node takes it: {}", why.join("; ")),
        )
        .help("see `pvc node list`")),
    }
}

#[cfg(test)]
mod tests;
