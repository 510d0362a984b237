//! Where a VM may go: one set of rules for placement, moves and recovery, which can always say why.
//!
//! [`Table`] counts what is taken once and reserves what it has just placed, so a plan for many VMs costs
//! one pass over them. `recover` plans for all VMs of dead nodes.

mod balance;
mod contradiction;
mod drain;
mod reason;
mod recover;
mod rules;
mod spare;
mod table;

pub use balance::{Gain, Step, balance};
pub use contradiction::contradiction;
pub use drain::{Drain, drain, is_released, returning};
pub use reason::{NoPlace, Obstacle};
pub use recover::{Plan, recover};
pub use spare::{Shortage, shortage};
pub use table::{Table, Usage, usable_mib};

use crate::name::Name;
use crate::rejection::{Rejection, RejectionKind};
use crate::vm::{Vm, VmSpec};
use crate::world::World;

/// Memory that a host keeps for itself, MiB.
pub const HOST_RESERVE_MIB: u64 = 512;
/// vCPUs placed on a host, per logical CPU, at most.
pub const VCPUS_PER_CPU_MAX: u32 = 16;

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
    world.node(node)?;
    match Table::of(world).obstacle(vm, node) {
        None => Ok(()),
        Some(why) => {
            Err(Rejection::precondition("target-takes-vm", vm.subject(), format!("node {node} {why}"))
                .help("choose another node, or none: see `pvc node list`"))
        }
    }
}

/// The best node for `vm` ([`Table::choose`]), or the refusal that names every node and why.
pub fn place(world: &World, vm: &Vm, except: Option<&Name>) -> Result<Name, Rejection> {
    Table::of(world).choose(vm, except).map_err(|none| none.rejection(vm))
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
