//! What holds for every plan, whatever the cluster.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::fixture::{meta, node, placed, recover_from};
use super::{Gain, Table, balance, contradiction, drain};
use crate::change::Object;
use crate::name::Name;
use crate::rule::{Rule, RuleKind, RuleSpec, Strength};
use crate::testing::name;
use crate::vm::{ObservedPhase, Power, Vm, VmSpec};
use crate::world::World;

const NODES: usize = 5;
const VMS: usize = 30;

fn vm_name(index: usize) -> Name {
    name(&format!("vm{index:02}"))
}

fn node_name(index: usize) -> Name {
    name(&format!("hv{index}"))
}

prop_compose! {
    fn any_vm()(
        at in 0..NODES,
        on in prop::bool::weighted(0.85),
        vcpus in 1..24u32,
        memory_mib in 64..4096u64,
        priority in 0..4u32,
        recover in prop::bool::weighted(0.9),
        limit in prop::collection::btree_set(0..NODES, 0..3),
    ) -> (usize, bool, VmSpec) {
        let node_limit: BTreeSet<Name> = limit.into_iter().map(node_name).collect();
        (at, on, VmSpec { priority, recover, node_limit, ..VmSpec::new(vcpus, memory_mib) })
    }
}

const KINDS: [RuleKind; 4] = [RuleKind::Together, RuleKind::Apart, RuleKind::OnNodes, RuleKind::NotOnNodes];

prop_compose! {
    fn any_rule()(
        kind in prop::sample::select(&KINDS),
        must in any::<bool>(),
        vms in prop::collection::btree_set(0..VMS, 2..4),
        nodes in prop::collection::btree_set(0..NODES, 1..4),
    ) -> RuleSpec {
        let mut spec = RuleSpec {
            kind,
            strength: if must { Strength::Must } else { Strength::Should },
            vms: vms.into_iter().map(vm_name).collect(),
            tag: None,
            nodes: nodes.into_iter().map(node_name).collect(),
        };
        if !spec.is_about_nodes() {
            spec.nodes.clear();
        }
        spec
    }
}

prop_compose! {
    pub fn any_world()(
        nodes in prop::collection::vec((1024..10_000u64, prop::bool::weighted(0.9)), NODES),
        vms in prop::collection::vec(any_vm(), 0..VMS),
        rules in prop::collection::vec(any_rule(), 0..6),
    ) -> World {
        let mut world = World::default();
        for (index, (memory, open)) in nodes.iter().enumerate() {
            let words: &[&str] = if *open { &[] } else { &["closed"] };
            world.put(Object::Node(node(&node_name(index), *memory, words)));
        }
        for (index, (at, on, spec)) in vms.into_iter().enumerate() {
            let (power, phase) =
                if on { (Power::On, ObservedPhase::Running) } else { (Power::Off, ObservedPhase::Stopped) };
            world.put(Object::Vm(placed(&vm_name(index), index as u128, spec, &node_name(at), power, phase)));
        }
        for (index, spec) in rules.into_iter().enumerate() {
            let rule_name = name(&format!("r{index}"));
            world.put(Object::Rule(Rule { meta: meta(&rule_name, 1 << 90 | index as u128), spec }));
            // As the cluster would: it takes none that contradicts another.
            if contradiction(&world).is_some() {
                world.rules.remove(&rule_name);
            }
        }
        world
    }
}

/// The world after the moves, as if each were done.
pub fn after(world: &World, moves: &[(Name, Name)]) -> World {
    let mut world = world.clone();
    for (vm, to) in moves {
        let mut vm = Vm::clone(world.vm(vm).expect("it is in the world"));
        let placement = vm.placement.as_mut().expect("placed");
        placement.node = to.clone();
        let observed = vm.observed.as_mut().expect("observed");
        observed.node = to.clone();
        world.put(Object::Vm(vm));
    }
    world
}

/// What runs on each node, counted by hand and not by the table.
fn counted(world: &World) -> BTreeMap<Name, (u64, u32)> {
    let mut counts = BTreeMap::new();
    for vm in world.vms.values().filter(|vm| vm.desired == Power::On) {
        let count: &mut (u64, u32) = counts.entry(vm.placement.clone().expect("placed").node).or_default();
        count.0 += vm.spec.memory_mib;
        count.1 += vm.spec.vcpus;
    }
    counts
}

/// The must rule that a VM on this node breaks, judged by hand. `left`: nodes that bind nobody.
pub fn broken_must(world: &World, vm: &Vm, at: &Name, left: &[Name]) -> Option<Name> {
    let others = |rule: &Rule| {
        let others = world.vms.values().filter(|other| other.meta.uid != vm.meta.uid);
        let ruled = others.filter(|other| rule.spec.applies_to(other));
        ruled.filter_map(|other| other.runs_on().cloned()).collect::<Vec<Name>>()
    };
    let must = world.rules.values().filter(|rule| rule.is_must() && rule.spec.applies_to(vm));
    let broken = |rule: &&std::sync::Arc<Rule>| match rule.spec.kind {
        RuleKind::OnNodes => !rule.spec.nodes.contains(at),
        RuleKind::NotOnNodes => rule.spec.nodes.contains(at),
        RuleKind::Apart => others(rule).contains(at),
        RuleKind::Together => {
            let mut others = others(rule);
            others.retain(|node| !left.contains(node));
            !others.is_empty() && !others.contains(at)
        }
    };
    must.into_iter().find(broken).map(|rule| rule.meta.name.clone())
}

/// No node that took something has more on it than it may have.
fn assert_fits(before: &World, moves: &[(Name, Name)]) -> Result<(), TestCaseError> {
    let after = after(before, moves);
    let counts = counted(&after);
    for (vm, to) in moves {
        let node = &after.nodes[to];
        let (memory, vcpus) = counts[to];
        prop_assert!(memory + 512 <= node.status.facts.memory_mib, "{vm} overfills {to}: {memory} MiB");
        prop_assert!(vcpus <= node.status.facts.cpus * 16, "{vm} overfills {to}: {vcpus} vCPUs");
        prop_assert!(node.spec.schedulable, "{vm} to {to}, which takes none");
        let limit = &after.vm(vm).expect("there").spec.node_limit;
        prop_assert!(limit.is_empty() || limit.contains(to), "{vm} to {to}, out of its limit");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_recovery_overfills_nothing_and_forgets_nobody(
        world in any_world(),
        dead in prop::collection::btree_set(0..NODES, 1..4),
    ) {
        let dead: Vec<Name> = dead.into_iter().map(node_name).collect();
        let plan = recover_from(&world, &dead);
        prop_assert_eq!(&plan, &recover_from(&world, &dead));
        assert_fits(&world, &plan.moves)?;

        let planned: BTreeSet<&Name> =
            plan.moves.iter().map(|(vm, _)| vm).chain(plan.waiting.iter().map(|(vm, _)| vm)).collect();
        prop_assert_eq!(planned.len(), plan.moves.len() + plan.waiting.len());
        let lost = world.vms.values().filter(|vm| vm.desired == Power::On);
        let lost: BTreeSet<&Name> = lost
            .filter(|vm| dead.iter().any(|node| vm.placed_on(node)))
            .map(|vm| &vm.meta.name)
            .collect();
        prop_assert_eq!(planned, lost);
        for (vm, to) in &plan.moves {
            prop_assert!(!dead.contains(to));
            let after = after(&world, &plan.moves);
            let broken = broken_must(&after, after.vm(vm).expect("there"), to, &dead);
            prop_assert_eq!(broken, None, "{} to {}", vm, to);
        }

        // What waits fits nowhere once the others have their places.
        let after = after(&world, &plan.moves);
        let counts = counted(&after);
        for (vm, reason) in &plan.waiting {
            let vm = after.vm(vm).expect("there");
            for (node_name, node) in after.nodes.iter().filter(|(name, _)| !dead.contains(name)) {
                let (memory, vcpus) = counts.get(node_name).copied().unwrap_or_default();
                let fits = memory + vm.spec.memory_mib + 512 <= node.status.facts.memory_mib
                    && vcpus + vm.spec.vcpus <= node.status.facts.cpus * 16
                    && (vm.spec.node_limit.is_empty() || vm.spec.node_limit.contains(node_name))
                    && broken_must(&after, vm, node_name, &dead).is_none();
                prop_assert!(
                    !(fits && node.spec.schedulable && vm.spec.recover),
                    "{} waits ({}) and fits on {}", vm.meta.name, reason, node_name
                );
            }
        }
    }

    #[test]
    fn the_table_counts_what_runs(world in any_world()) {
        let table = Table::of(&world);
        let counts = counted(&world);
        for node in world.nodes.keys() {
            let usage = table.usage(node);
            let by_hand = counts.get(node).copied().unwrap_or_default();
            prop_assert_eq!((usage.memory_mib, usage.vcpus), by_hand);
        }
    }

    /// After a plan is carried out, the next one is empty: nothing moves to and fro. And each step by itself
    /// fits and breaks no must rule that was kept.
    #[test]
    fn a_balance_comes_to_rest(world in any_world()) {
        let steps = balance(&world, &BTreeSet::new());
        let mut now = world.clone();
        for step in &steps {
            let vm = now.vm(&step.vm).expect("there").clone();
            prop_assert!(vm.placed_on(&step.from));
            let obstacle = Table::of(&now).obstacle(&vm, &step.to);
            prop_assert_eq!(obstacle, None, "{} to {}", &step.vm, &step.to);
            if let Gain::Load { from, to } = &step.gain {
                prop_assert!(to[1] < from[0] && from[1] <= from[0], "{:?}", step);
            }
            let moves = [(step.vm.clone(), step.to.clone())];
            assert_fits(&now, &moves)?;
            now = after(&now, &moves);
            let broken = broken_must(&now, now.vm(&step.vm).expect("there"), &step.to, &[]);
            prop_assert_eq!(broken, None, "{:?}", step);
        }
        let next = balance(&now, &BTreeSet::new());
        prop_assert!(next.is_empty(), "{:?} and then {:?}", steps, next);
    }

    #[test]
    fn a_drain_overfills_nothing_and_forgets_nobody(world in any_world(), at in 0..NODES) {
        let node = node_name(at);
        let plan = drain(&world, &node);
        assert_fits(&world, &plan.moves)?;
        let on = world.vms.values().filter(|vm| vm.desired == Power::On && vm.placed_on(&node));
        prop_assert_eq!(on.count(), plan.moves.len() + plan.stuck.len());
        let after = after(&world, &plan.moves);
        for (vm, to) in &plan.moves {
            let broken = broken_must(&after, after.vm(vm).expect("there"), to, std::slice::from_ref(&node));
            prop_assert_eq!(broken, None, "{} to {}", vm, to);
        }
    }
}
