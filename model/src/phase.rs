//! What people see of a VM: one phase and one reason, derived from what is stored.

use crate::node::Reachability;
use crate::plan;
use crate::vm::{ObservedPhase, Power, Vm};
use crate::world::World;

/// The phase that lists show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VmPhase {
    Stopped,
    Pending,
    Starting,
    Running,
    ShuttingDown,
    Migrating,
    Backoff,
    Failed,
    /// Its node is silent, or it is still looked for after a restore: nothing is known.
    Unknown,
    Deleting,
}

/// Phase and reason of `vm` in `world`.
pub fn vm_phase(world: &World, vm: &Vm) -> (VmPhase, String) {
    if !world.is_confirmed(vm) {
        return (VmPhase::Unknown, "it is being looked for on all nodes".to_string());
    }
    if let Some(waits) = &vm.waits {
        return (VmPhase::Pending, waits.reason.clone());
    }
    if let Some(placement) = &vm.placement {
        let node = world.nodes.get(&placement.node);
        let silent = node.is_none_or(|n| n.status.reachability == Reachability::Unreachable);
        let may_run = vm.should_run() || !vm.is_proven_off();
        if silent && may_run {
            return (VmPhase::Unknown, format!("node {} is unreachable", placement.node));
        }
    }
    if vm.deleting {
        return (VmPhase::Deleting, String::new());
    }
    if let Some(migration) = &vm.migration {
        return (VmPhase::Migrating, format!("from {} to {}", migration.from, migration.to));
    }
    let Some(observed) = vm.current_observation() else {
        return match vm.desired {
            Power::On => (VmPhase::Pending, "waits for its node".to_string()),
            // Placed anew while off: nobody has reported yet, and nobody runs it.
            Power::Off | Power::Disabled => (VmPhase::Stopped, String::new()),
        };
    };
    let reason = observed.reason.clone();
    let asked_to_run = vm.should_run();
    match observed.phase {
        ObservedPhase::Stopped if asked_to_run => (VmPhase::Pending, reason),
        ObservedPhase::Stopped if plan::is_released(vm) => {
            (VmPhase::Stopped, format!("until node {} takes VMs again", observed.node))
        }
        ObservedPhase::Stopped => (VmPhase::Stopped, reason),
        ObservedPhase::Pending => (VmPhase::Pending, reason),
        ObservedPhase::Starting => (VmPhase::Starting, reason),
        ObservedPhase::Running if !asked_to_run => (VmPhase::ShuttingDown, reason),
        ObservedPhase::Running => (VmPhase::Running, reason),
        ObservedPhase::ShuttingDown => (VmPhase::ShuttingDown, reason),
        ObservedPhase::Backoff => (VmPhase::Backoff, reason),
        ObservedPhase::Failed if asked_to_run && observed.boot_generation >= vm.boot_generation => {
            (VmPhase::Failed, reason)
        }
        ObservedPhase::Failed if asked_to_run => (VmPhase::Pending, reason),
        ObservedPhase::Failed => (VmPhase::Stopped, reason),
    }
}
