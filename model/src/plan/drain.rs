//! Emptying nodes and filling them again: who goes where, told before anything moves.

use std::collections::BTreeSet;

use super::recover::{Plan, UNFOUND, seat_all};
use super::{NoPlace, Table};
use crate::leaving::OnShutdown;
use crate::name::Name;
use crate::node::Node;
use crate::vm::{Power, Vm};
use crate::world::World;

/// What it takes to empty a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// VMs that run here, and the nodes that they go to, in order.
    pub moves: Vec<(Name, Name)>,
    /// VMs that run here and fit nowhere else, with the reason.
    pub stuck: Vec<(Name, String)>,
    /// VMs that are off, with the nodes where they are kept meanwhile. Those that may be nowhere else stay:
    /// there is nothing of them on the host.
    pub off: Vec<(Name, Name)>,
}

/// Plans to empty `node`, beside the nodes that are in maintenance or whose hosts are shut down: their VMs need places
/// too.
pub fn drain(world: &World, node: &Name) -> Drain {
    let mut leaving: BTreeSet<Name> = BTreeSet::from([node.clone()]);
    let moves =
        |node: &Node| node.status.leaving.as_ref().is_some_and(|leaving| leaving.policy == OnShutdown::Move);
    let emptied = world.nodes.iter().filter(|(_, node)| node.spec.maintenance || moves(node));
    leaving.extend(emptied.map(|(name, _)| name.clone()));
    let mut table = Table::without(world, &leaving);
    let mut plan = Plan::default();
    let to_leave = |vm: &Vm| vm.runs_on().is_some_and(|at| leaving.contains(at)) && !is_released(vm);
    let (moving, staying): (Vec<&Vm>, Vec<&Vm>) = world
        .vms
        .values()
        .map(AsRef::as_ref)
        .filter(|vm| to_leave(vm))
        .partition(|vm| vm.migration.is_none());
    // Who is on its way already is counted where it goes.
    for vm in staying {
        if let Some(migration) = &vm.migration {
            table.send(vm, &migration.to);
        }
    }
    // After a restore a guest may be anywhere: nothing is done with it before it is found.
    let (moving, unfound): (Vec<&Vm>, Vec<&Vm>) = moving.into_iter().partition(|vm| world.is_confirmed(vm));
    let unknown = |vm: &&Vm| (vm.meta.name.clone(), UNFOUND.to_string());
    plan.waiting.extend(unfound.iter().map(unknown));
    seat_all(&mut table, moving, &mut plan);
    let here = |vm: &Name| world.vms.get(vm).is_some_and(|vm| vm.placed_on(node));
    plan.moves.retain(|(vm, _)| here(vm));
    plan.waiting.retain(|(vm, _)| here(vm));
    Drain { moves: plan.moves, stuck: plan.waiting, off: off(world, node, &table) }
}

fn off(world: &World, node: &Name, table: &Table<'_>) -> Vec<(Name, Name)> {
    let off = world.vms_placed_on(node).filter(|vm| vm.desired != Power::On && vm.is_proven_off());
    let free = off.filter(|vm| vm.task.is_none() && !vm.deleting && world.is_confirmed(vm));
    free.filter_map(|vm| Some((vm.meta.name.clone(), table.choose(vm, None).ok()?))).collect()
}

/// Shut down because it fits nowhere else; it is started here again when the node is ready.
pub fn is_released(vm: &Vm) -> bool {
    // One that lost its node to a fence is `recovery`'s.
    vm.release && vm.task.is_none() && vm.migration.is_none() && vm.waits.is_none()
}

/// VMs whose home is `node` and which are away, with why they can't return now; in their order.
pub fn returning(world: &World, node: &Name) -> Vec<(Name, Option<String>)> {
    let mut table = Table::of(world);
    let away = world.vms.values().filter(|vm| vm.migrated_from.as_ref() == Some(node) && !vm.placed_on(node));
    let mut away: Vec<&Vm> =
        away.map(AsRef::as_ref).filter(|vm| !vm.deleting && world.is_confirmed(vm)).collect();
    away.sort_by_cached_key(|vm| super::recover::order(vm));
    let mut returning = Vec::new();
    for vm in away {
        let obstacle = table.obstacle(vm, node);
        if obstacle.is_none() {
            table.send(vm, node);
        }
        let why = obstacle.map(|why| NoPlace { reasons: vec![(node.clone(), why)] });
        returning.push((vm.meta.name.clone(), why.map(|why| why.to_string())));
    }
    returning
}
