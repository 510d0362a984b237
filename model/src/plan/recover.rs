//! What becomes of the VMs of dead nodes: one plan for all of them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Table;
use crate::name::Name;
use crate::vm::Vm;
use crate::world::World;

/// Who goes where, and who waits and why. The same world gives the same plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// VM and node; in the order in which they were given their places.
    pub moves: Vec<(Name, Name)>,
    /// VM and reason, in the same order.
    pub waiting: Vec<(Name, String)>,
}

/// Places VMs that have lost their node: by priority, of equal priority the larger first, then by name. Those that
/// nobody is to recover wait for a person.
pub fn recover<'w>(world: &'w World, lost: impl Iterator<Item = &'w Vm>) -> Plan {
    let mut table = Table::of(world);
    let mut plan = Plan::default();
    let (held, lost): (Vec<&Vm>, Vec<&Vm>) = lost.partition(|vm| held_back(world, vm).is_some());
    seat_all(&mut table, lost, &mut plan);
    for vm in held {
        plan.waiting.extend(held_back(world, vm).map(|reason| (vm.meta.name.clone(), reason)));
    }
    plan
}

/// Gives VMs that must leave where they are their places, by their order.
pub(super) fn seat_all(table: &mut Table<'_>, mut vms: Vec<&Vm>, plan: &mut Plan) {
    vms.sort_by_cached_key(|vm| order(vm));
    for bundle in bundles(table, &vms) {
        // Those that must be together go together where there is room for all of them; else who comes
        // first gets a place, and the others find theirs only where it is.
        if bundle.len() > 1
            && let Ok(node) = table.choose_for(&bundle, None)
        {
            for vm in bundle {
                table.send(vm, &node);
                plan.moves.push((vm.meta.name.clone(), node.clone()));
            }
            continue;
        }
        for vm in bundle {
            match table.choose(vm, None) {
                Ok(node) => {
                    table.send(vm, &node);
                    plan.moves.push((vm.meta.name.clone(), node));
                }
                Err(none) => plan.waiting.push((vm.meta.name.clone(), none.to_string())),
            }
        }
    }
}

/// Who comes first.
pub(super) fn order(vm: &Vm) -> (Reverse<u32>, Reverse<u64>, Name) {
    (Reverse(vm.spec.priority), Reverse(vm.spec.memory_mib), vm.meta.name.clone())
}

/// VMs that must be together, each bundle in the place of the first of it.
fn bundles<'v>(table: &Table<'_>, vms: &[&'v Vm]) -> Vec<Vec<&'v Vm>> {
    let mut bundles: Vec<Vec<&Vm>> = Vec::new();
    // Rule → the bundle that it ties; bundles that turn out to be one are joined into the first.
    let mut tied: BTreeMap<usize, usize> = BTreeMap::new();
    for vm in vms {
        let bonds = table.bonds(vm);
        let mut mine: Vec<usize> = bonds.iter().filter_map(|rule| tied.get(rule).copied()).collect();
        mine.sort_unstable();
        mine.dedup();
        let home = mine.first().copied().unwrap_or_else(|| {
            bundles.push(Vec::new());
            bundles.len() - 1
        });
        bundles[home].push(vm);
        for other in mine.into_iter().skip(1) {
            let moved = std::mem::take(&mut bundles[other]);
            bundles[home].extend(moved);
            tied.values_mut().filter(|bundle| **bundle == other).for_each(|bundle| *bundle = home);
        }
        tied.extend(bonds.into_iter().map(|rule| (rule, home)));
    }
    bundles.retain(|bundle| !bundle.is_empty());
    bundles
}

/// Why a VM waits whose guest is still looked for.
pub(super) const UNFOUND: &str = "it is not known yet where its guest is";

/// Why a VM is not placed anew although it is to run.
fn held_back(world: &World, vm: &Vm) -> Option<String> {
    if !world.is_confirmed(vm) {
        return Some(UNFOUND.to_string());
    }
    let name = &vm.meta.name;
    let by_hand = format!("it is not recovered by itself; `pvc vm start {name}` starts it elsewhere");
    (!vm.spec.recover).then_some(by_hand)
}
