//! What becomes of the VMs of dead nodes: one plan for all of them.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::Table;
use crate::name::Name;
use crate::vm::{Power, Vm};
use crate::world::World;

/// Who goes where, and who waits and why. The same world gives the same plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// VM and node; in the order in which they were given their places.
    pub moves: Vec<(Name, Name)>,
    /// VM and reason, in the same order.
    pub waiting: Vec<(Name, String)>,
}

/// Places the VMs that are to run and are placed on the nodes `dead`: by priority, of equal priority
/// the larger first, then by name. Those that nobody is to recover wait for a person.
pub fn recover(world: &World, dead: &[Name]) -> Plan {
    let dead: BTreeSet<Name> = dead.iter().cloned().collect();
    let on_dead = |vm: &Vm| vm.placement.as_ref().is_some_and(|p| dead.contains(&p.node));
    let lost = world
        .vms
        .values()
        .map(AsRef::as_ref)
        .filter(|vm| on_dead(vm) && vm.desired == Power::On && !vm.deleting)
        .collect();
    place_all(world, lost, Table::without(world, &dead))
}

/// Places VMs that have lost their node, in the same order and by the same rules.
pub fn settle(world: &World, lost: Vec<&Vm>) -> Plan {
    place_all(world, lost, Table::of(world))
}

fn place_all(world: &World, mut lost: Vec<&Vm>, mut table: Table<'_>) -> Plan {
    lost.sort_by_cached_key(|vm| order(vm));
    let mut plan = Plan::default();
    for vm in lost {
        let name = &vm.meta.name;
        let place = match held_back(world, vm) {
            Some(reason) => Err(reason),
            None => table.choose(vm, None).map_err(|none| none.to_string()),
        };
        match place {
            Ok(node) => {
                table.send(vm, &node);
                plan.moves.push((name.clone(), node));
            }
            Err(reason) => plan.waiting.push((name.clone(), reason)),
        }
    }
    plan
}

/// Who comes first.
pub(super) fn order(vm: &Vm) -> (Reverse<u32>, Reverse<u64>, Name) {
    (Reverse(vm.spec.priority), Reverse(vm.spec.memory_mib), vm.meta.name.clone())
}

/// Why a VM is not placed anew although it is to run.
fn held_back(world: &World, vm: &Vm) -> Option<String> {
    if !world.is_confirmed(vm) {
        return Some("it is not known yet where its guest is".to_string());
    }
    let name = &vm.meta.name;
    let by_hand = format!("it is not recovered by itself; `pvc vm start {name}` starts it elsewhere");
    (!vm.spec.recover).then_some(by_hand)
}
