//! Must rules that can't all be kept: found when a rule or a VM is changed, and told with both named.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::name::Name;
use crate::rule::{Rule, RuleKind};
use crate::vm::Vm;
use crate::world::World;

/// What narrows the nodes of a VM: its words, and the nodes that it leaves.
type Narrowing = (String, BTreeSet<Name>);

/// Why the must rules and node limits of the world can't all be kept; None: they can, as far as it is
/// theirs alone (whether there is room is not asked).
pub fn contradiction(world: &World) -> Option<String> {
    let must: Vec<&Rule> = world.rules.values().map(AsRef::as_ref).filter(|rule| rule.is_must()).collect();
    if must.is_empty() {
        return None;
    }
    let members: Vec<Vec<&Vm>> = must.iter().map(|rule| members(world, rule)).collect();
    let bonds = Bonds::of(&must, &members);
    for (rule, vms) in must.iter().zip(&members).filter(|(rule, _)| rule.spec.kind == RuleKind::Apart) {
        if let Some(found) = apart_and_bound(rule, vms, &bonds) {
            return Some(found);
        }
    }
    let mut narrow: BTreeMap<&Name, Vec<Narrowing>> = BTreeMap::new();
    let all: BTreeSet<Name> = world.nodes.keys().cloned().collect();
    for (rule, vms) in must.iter().zip(&members).filter(|(rule, _)| rule.spec.is_about_nodes()) {
        let left: BTreeSet<Name> = all.iter().filter(|node| rule.spec.admits(node)).cloned().collect();
        for vm in vms {
            narrow.entry(&vm.meta.name).or_default().push((rule.to_string(), left.clone()));
        }
    }
    // Node limits matter for those alone that a rule is about.
    let ruled: BTreeSet<&Name> = members.iter().flatten().map(|vm| &vm.meta.name).collect();
    for vm in ruled.iter().filter_map(|name| world.vms.get(*name)) {
        if !vm.spec.node_limit.is_empty() {
            let limit: Vec<_> = vm.spec.node_limit.iter().map(Name::as_str).collect();
            let words = format!("the node limit of vm/{} ({})", vm.meta.name, limit.join(", "));
            narrow.entry(&vm.meta.name).or_default().push((words, vm.spec.node_limit.clone()));
        }
    }
    let mut single: BTreeMap<&Name, (Name, String)> = BTreeMap::new();
    for (vm, own) in &narrow {
        // With it count those that are kept together with it.
        let mut narrowings = own.clone();
        for (mate, by) in bonds.component(vm) {
            let of_mate = narrow.get(mate).into_iter().flatten();
            narrowings.extend(of_mate.map(|(words, left)| (format!("{words} with {by}"), left.clone())));
        }
        if let Some(found) = no_node_left(vm, &narrowings) {
            return Some(found);
        }
        let left = narrowings.iter().fold(all.clone(), |left, (_, more)| &left & more);
        if let (1, Some(node), Some((words, _))) = (left.len(), left.first(), narrowings.first()) {
            single.insert(vm, (node.clone(), words.clone()));
        }
    }
    for (rule, vms) in must.iter().zip(&members).filter(|(rule, _)| rule.spec.kind == RuleKind::Apart) {
        let mut taken: BTreeMap<&Name, (&Name, &str)> = BTreeMap::new();
        for vm in vms {
            let Some((node, words)) = single.get(&vm.meta.name) else { continue };
            if let Some((other, _)) = taken.insert(node, (&vm.meta.name, words)) {
                let vm = &vm.meta.name;
                return Some(format!(
                    "{rule} parts vm/{other} and vm/{vm}, and {words} leaves both {node} only"
                ));
            }
        }
    }
    None
}

fn members<'w>(world: &'w World, rule: &Rule) -> Vec<&'w Vm> {
    if rule.spec.tag.is_none() {
        return rule.spec.vms.iter().filter_map(|vm| world.vms.get(vm)).map(AsRef::as_ref).collect();
    }
    world.vms.values().map(AsRef::as_ref).filter(|vm| rule.spec.applies_to(vm)).collect()
}

/// Which VMs must rules keep together, and by which of them.
struct Bonds<'w> {
    mates: BTreeMap<&'w Name, Vec<(&'w Name, String)>>,
}

impl<'w> Bonds<'w> {
    fn of(must: &[&Rule], members: &[Vec<&'w Vm>]) -> Self {
        let mut mates: BTreeMap<&Name, Vec<(&Name, String)>> = BTreeMap::new();
        for (rule, vms) in must.iter().zip(members).filter(|(rule, _)| rule.spec.kind == RuleKind::Together) {
            // A chain binds as well as all pairs do, and is shorter.
            for pair in vms.windows(2) {
                let (a, b) = (&pair[0].meta.name, &pair[1].meta.name);
                mates.entry(a).or_default().push((b, rule.to_string()));
                mates.entry(b).or_default().push((a, rule.to_string()));
            }
        }
        Bonds { mates }
    }

    /// All that are kept together with a VM, each with the rules on the way to it.
    fn component(&self, vm: &Name) -> Vec<(&'w Name, String)> {
        let mut found: BTreeMap<&Name, Vec<String>> = BTreeMap::new();
        let mut waiting = VecDeque::new();
        let Some((start, _)) = self.mates.get_key_value(vm) else { return Vec::new() };
        found.insert(start, Vec::new());
        waiting.push_back(*start);
        while let Some(at) = waiting.pop_front() {
            for (mate, rule) in self.mates.get(at).into_iter().flatten() {
                if !found.contains_key(*mate) {
                    let mut way = found[at].clone();
                    if !way.contains(rule) {
                        way.push(rule.clone());
                    }
                    found.insert(*mate, way);
                    waiting.push_back(*mate);
                }
            }
        }
        let others = found.into_iter().filter(|(mate, _)| **mate != *vm);
        others.map(|(mate, way)| (mate, way.join(" and "))).collect()
    }
}

fn apart_and_bound(rule: &Rule, vms: &[&Vm], bonds: &Bonds<'_>) -> Option<String> {
    let parted: BTreeSet<&Name> = vms.iter().map(|vm| &vm.meta.name).collect();
    parted.iter().find_map(|vm| {
        let (mate, by) = bonds.component(vm).into_iter().find(|(mate, _)| parted.contains(mate))?;
        Some(format!("{rule} and {by} contradict each other about vm/{vm} and vm/{mate}"))
    })
}

/// The two that leave no node, where there are two; else all of them.
fn no_node_left(vm: &Name, narrowings: &[Narrowing]) -> Option<String> {
    if let Some((words, _)) = narrowings.iter().find(|(_, left)| left.is_empty()) {
        return Some(format!("{words} leaves vm/{vm} no node"));
    }
    for (index, (words, left)) in narrowings.iter().enumerate() {
        for (other, more) in &narrowings[index + 1..] {
            if left.is_disjoint(more) {
                return Some(format!("{words} and {other} leave vm/{vm} no node"));
            }
        }
    }
    let (first, rest) = narrowings.split_first()?;
    let left = rest.iter().fold(first.1.clone(), |left, (_, more)| &left & more);
    left.is_empty().then(|| {
        let words: Vec<_> = narrowings.iter().map(|(words, _)| words.as_str()).collect();
        format!("{} leave vm/{vm} no node", words.join(" and "))
    })
}
