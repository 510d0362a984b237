//! Better places for what runs: rules that are broken first, then the load of the nodes' memory.
//!
//! A plan goes on until no single step is worth it, so the plan after it is empty: nothing moves to and fro.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Table;
use crate::name::Name;
use crate::task::TaskKind;
use crate::vm::Vm;
use crate::world::World;

/// How much fuller, in per mille of what VMs may take, a node must be than the other would be afterwards.
const BAND: u64 = 100;

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub vm: Name,
    pub from: Name,
    pub to: Name,
    pub gain: Gain,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gain {
    /// Rules that it keeps afterwards and breaks now.
    Rules { must: usize, should: usize },
    /// How full the two nodes are of VMs, in per mille of what VMs may take: now and afterwards.
    Load { from: [u64; 2], to: [u64; 2] },
}

impl std::fmt::Display for Gain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |per_mille: u64| format!("{}.{}", per_mille / 10, per_mille % 10);
        match self {
            Gain::Rules { must: 0, should } => write!(f, "keeps {should} should rules more"),
            Gain::Rules { must, .. } => write!(f, "keeps {must} must rules more"),
            Gain::Load { from: [a, b], to: [c, d] } => write!(
                f,
                "{} → {} % of memory where it is, {} → {} % where it goes",
                percent(*a),
                percent(*b),
                percent(*c),
                percent(*d)
            ),
        }
    }
}

/// The steps that are worth it, in the order in which each is allowed. `tired`: VMs that are left alone.
pub fn balance(world: &World, tired: &BTreeSet<Name>) -> Vec<Step> {
    let mut table = Table::of(world);
    // What is on its way is counted where it goes.
    for vm in world.vms.values() {
        if let Some(to) = goes_to(world, vm) {
            table.send(vm, to);
        }
    }
    let movable = world.vms.values().map(AsRef::as_ref).filter(|vm| may_move(world, vm));
    let movable: Vec<&Vm> = movable.filter(|vm| !tired.contains(&vm.meta.name)).collect();
    let mut at: BTreeMap<&Name, Name> = BTreeMap::new();
    for vm in &movable {
        if let Some(node) = vm.runs_on() {
            at.insert(&vm.meta.name, node.clone());
        }
    }
    let mut steps = Vec::new();
    while let Some(step) = fix(&table, &movable, &at).or_else(|| level(&table, &movable, &at)) {
        let Some(vm) = world.vms.get(&step.vm) else { break };
        table.send(vm, &step.to);
        if let Some(place) = at.get_mut(&step.vm) {
            *place = step.to.clone();
        }
        steps.push(step);
    }
    steps
}

/// Runs where it is heard of, and nobody does anything with it.
fn may_move(world: &World, vm: &Vm) -> bool {
    let heard = vm.runs_on().and_then(|node| world.nodes.get(node)).is_some_and(|node| node.is_reachable());
    let idle = vm.task.is_none() && vm.migration.is_none() && !vm.deleting && !vm.release;
    let runs = vm.current_observation().is_some_and(|o| o.phase == crate::vm::ObservedPhase::Running);
    idle && heard && runs && vm.should_run() && world.is_confirmed(vm)
}

/// Where a VM that is being moved will be.
fn goes_to<'w>(world: &'w World, vm: &'w Vm) -> Option<&'w Name> {
    let task = vm.task.as_ref().and_then(|task| world.tasks.get(task)).filter(|task| !task.is_over())?;
    match &task.kind {
        TaskKind::VmMigrate { to, .. }
        | TaskKind::VmUnmigrate { to, .. }
        | TaskKind::VmMove { to, .. }
        | TaskKind::VmRebalance { to, .. } => Some(to),
        _ => None,
    }
}

/// The first VM that breaks rules where it is, and a node where it breaks fewer.
fn fix(table: &Table<'_>, movable: &[&Vm], at: &BTreeMap<&Name, Name>) -> Option<Step> {
    let step = |vm: &&Vm| {
        let from = at.get(&vm.meta.name)?;
        let now = table.broken(vm, from);
        if now == (0, 0) {
            return None;
        }
        // A must rule that it breaks now may stay broken for a while, but none may come.
        let better = table.nodes().filter(|node| *node != from && table.obstacle(vm, node).is_none());
        let better = better.map(|node| (table.broken(vm, node), node)).filter(|(then, _)| *then < now);
        let (then, to) =
            better.min_by_key(|(then, node)| (*then, Reverse(table.free_mib(node)), (*node).clone()))?;
        let gain = Gain::Rules { must: now.0 - then.0, should: now.1.saturating_sub(then.1) };
        Some(Step { vm: vm.meta.name.clone(), from: from.clone(), to: to.clone(), gain })
    };
    movable.iter().find_map(step)
}

/// The step that levels the load of memory most, where it is worth it and breaks no rule more. VMs that are
/// at home or away for a while stay: they are where people want them.
fn level(table: &Table<'_>, movable: &[&Vm], at: &BTreeMap<&Name, Name>) -> Option<Step> {
    let mut best: Option<(u64, Step)> = None;
    for vm in movable {
        let Some(from) = at.get(&vm.meta.name) else { continue };
        if vm.spec.home.as_ref() == Some(from) || vm.migrated_from.is_some() || !table.is_open(from) {
            continue;
        }
        let now = table.broken(vm, from);
        for to in table.nodes().filter(|to| *to != from) {
            let Some((gain, from_load, to_load)) = worth(table, vm, from, to) else { continue };
            if best.as_ref().is_some_and(|(most, _)| gain <= *most)
                || table.obstacle(vm, to).is_some()
                || table.broken(vm, to) > now
            {
                continue;
            }
            let told = Gain::Load { from: from_load, to: to_load };
            let step = Step { vm: vm.meta.name.clone(), from: from.clone(), to: to.clone(), gain: told };
            best = Some((gain, step));
        }
    }
    best.map(|(_, step)| step)
}

/// How much lower the fuller of both nodes stands afterwards, with the loads before and after; None: the
/// step is not worth it. A step makes the fuller one less full and no other as full as it was, so steps end.
fn worth(table: &Table<'_>, vm: &Vm, from: &Name, to: &Name) -> Option<(u64, [u64; 2], [u64; 2])> {
    let (from_used, from_usable) = table.memory_of(from);
    let (to_used, to_usable) = table.memory_of(to);
    let load = |used: u64, usable: u64| used.saturating_mul(1000) / usable.max(1);
    let takes = vm.spec.memory_mib;
    let from_load = [load(from_used, from_usable), load(from_used.saturating_sub(takes), from_usable)];
    let to_load = [load(to_used, to_usable), load(to_used + takes, to_usable)];
    let gain = from_load[0].checked_sub(from_load[1].max(to_load[1]))?;
    (gain > 0 && to_load[1] + BAND <= from_load[0]).then_some((gain, from_load, to_load))
}
