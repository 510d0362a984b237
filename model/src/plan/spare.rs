//! Whether the cluster could bear the death of any one node.

use super::recover::{Plan, seat_all};
use super::{Obstacle, Table};
use crate::name::Name;
use crate::vm::{Power, Vm};
use crate::world::World;

/// VMs that a sentence names one by one.
const NAMED_MAX: usize = 3;

/// A node whose VMs would not all find room on the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    pub node: Name,
    /// Who would wait, in order of their names.
    pub vms: Vec<Name>,
    /// What they take, MiB.
    pub memory_mib: u64,
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named: Vec<_> = self.vms.iter().take(NAMED_MAX).map(|vm| format!("vm/{vm}")).collect();
        let more = match self.vms.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = named.join(", ");
        write!(
            f,
            "if node {} died, {named}{more} would find no room on the others: {} MiB are short",
            self.node, self.memory_mib
        )
    }
}

/// The node whose death would be the hardest to bear; None: there is room for the VMs of any one node.
/// A VM that may run nowhere else, by its node limit or a rule, is no matter of room and is not counted.
pub fn shortage(world: &World) -> Option<Shortage> {
    let mut worst: Option<Shortage> = None;
    let whole = Table::of(world);
    for (name, _) in world.nodes.iter().filter(|(_, node)| node.is_reachable()) {
        let on = |vm: &Vm| vm.placed_on(name) && vm.desired == Power::On && vm.spec.recover && !vm.deleting;
        let lost: Vec<&Vm> = world.vms.values().map(AsRef::as_ref).filter(|vm| on(vm)).collect();
        if lost.is_empty() {
            continue;
        }
        let mut table = whole.without_more(name);
        let mut plan = Plan::default();
        seat_all(&mut table, lost, &mut plan);
        let short = |vm: &Vm| {
            let reasons = table.choose(vm, None).err().map(|none| none.reasons).unwrap_or_default();
            let of_room = |why: &Obstacle| matches!(why, Obstacle::Memory { .. } | Obstacle::Vcpus { .. });
            reasons.iter().any(|(_, why)| of_room(why))
        };
        let waiting = plan.waiting.iter().filter_map(|(vm, _)| world.vms.get(vm)).filter(|vm| short(vm));
        let mut vms: Vec<Name> = Vec::new();
        let mut memory_mib = 0;
        for vm in waiting {
            vms.push(vm.meta.name.clone());
            memory_mib += vm.spec.memory_mib;
        }
        vms.sort();
        if !vms.is_empty() && worst.as_ref().is_none_or(|worst| memory_mib > worst.memory_mib) {
            worst = Some(Shortage { node: name.clone(), vms, memory_mib });
        }
    }
    worst
}
