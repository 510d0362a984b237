//! The affinity rules as the table needs them: which are about a VM, and where their VMs are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Obstacle;
use crate::name::Name;
use crate::rule::{Rule, RuleKind};
use crate::vm::Vm;
use crate::world::World;

/// One rule, and the VMs among each other: who of them is in which room.
#[derive(Clone)]
struct Bound<'w> {
    rule: &'w Rule,
    at: BTreeMap<usize, BTreeSet<Name>>,
}

#[derive(Clone)]
pub(super) struct Rules<'w> {
    bound: Vec<Bound<'w>>,
    by_vm: HashMap<&'w Name, Vec<usize>>,
    by_tag: HashMap<&'w Name, Vec<usize>>,
}

impl<'w> Rules<'w> {
    pub fn of(world: &'w World) -> Self {
        let mut rules = Rules { bound: Vec::new(), by_vm: HashMap::new(), by_tag: HashMap::new() };
        for (index, rule) in world.rules.values().enumerate() {
            for vm in &rule.spec.vms {
                rules.by_vm.entry(vm).or_default().push(index);
            }
            if let Some(tag) = &rule.spec.tag {
                rules.by_tag.entry(tag).or_default().push(index);
            }
            rules.bound.push(Bound { rule, at: BTreeMap::new() });
        }
        rules
    }

    /// The rules about a VM.
    pub fn about(&self, vm: &Vm) -> BTreeSet<usize> {
        if self.bound.is_empty() {
            return BTreeSet::new();
        }
        let named = self.by_vm.get(&vm.meta.name).into_iter().flatten();
        let tagged = vm.spec.tags.iter().filter_map(|tag| self.by_tag.get(tag)).flatten();
        named.chain(tagged).copied().collect()
    }

    pub fn seat(&mut self, vm: &Vm, room: usize) {
        for index in self.about(vm) {
            let bound = &mut self.bound[index];
            if !bound.rule.spec.is_about_nodes() {
                bound.at.entry(room).or_default().insert(vm.meta.name.clone());
            }
        }
    }

    pub fn unseat(&mut self, vm: &Vm, room: usize) {
        for index in self.about(vm) {
            let at = &mut self.bound[index].at;
            if let Some(there) = at.get_mut(&room) {
                there.remove(&vm.meta.name);
                if there.is_empty() {
                    at.remove(&room);
                }
            }
        }
    }

    /// The first must rule of `about` that `vm` would break in this room.
    pub fn obstacle(
        &self,
        about: &BTreeSet<usize>,
        vm: &Vm,
        room: (usize, &Name),
        left: impl Fn(usize) -> bool,
    ) -> Option<Obstacle> {
        let mut must = about.iter().filter(|index| self.bound[**index].rule.is_must());
        must.find_map(|index| self.breaks(*index, vm, room, &left))
    }

    /// How many must and how many should rules of `about` `vm` breaks, or would, in this room.
    pub fn broken(
        &self,
        about: &BTreeSet<usize>,
        vm: &Vm,
        room: (usize, &Name),
        left: impl Fn(usize) -> bool,
    ) -> (usize, usize) {
        let broken = about.iter().filter(|index| self.breaks(**index, vm, room, &left).is_some());
        let (must, should): (Vec<&usize>, Vec<&usize>) =
            broken.partition(|index| self.bound[**index].rule.is_must());
        (must.len(), should.len())
    }

    /// `left`: rooms that are being emptied. Who is there is to leave it too, and binds nobody to it.
    fn breaks(
        &self,
        index: usize,
        vm: &Vm,
        (room, node): (usize, &Name),
        left: &impl Fn(usize) -> bool,
    ) -> Option<Obstacle> {
        let Bound { rule, at } = &self.bound[index];
        let name = || rule.meta.name.clone();
        let other = |there: &BTreeSet<Name>| there.iter().find(|other| **other != vm.meta.name).cloned();
        match rule.spec.kind {
            RuleKind::OnNodes | RuleKind::NotOnNodes if rule.spec.admits(node) => None,
            RuleKind::OnNodes => Some(Obstacle::NotOfRule { rule: name() }),
            RuleKind::NotOnNodes => Some(Obstacle::ExcludedByRule { rule: name() }),
            RuleKind::Apart => {
                let beside = at.get(&room).and_then(other)?;
                Some(Obstacle::Apart { rule: name(), vm: beside })
            }
            RuleKind::Together => {
                let mut elsewhere = None;
                for (seat, there) in at.iter().filter(|(seat, _)| !left(**seat)) {
                    match other(there) {
                        Some(_) if *seat == room => return None,
                        Some(found) => elsewhere = elsewhere.or(Some(found)),
                        None => {}
                    }
                }
                elsewhere.map(|vm| Obstacle::Together { rule: name(), vm })
            }
        }
    }

    /// The must rules that keep VMs together, of those about a VM.
    pub fn bonds(&self, vm: &Vm) -> impl Iterator<Item = usize> + use<'_, 'w> {
        let about = self.about(vm);
        about.into_iter().filter(|index| {
            let rule = self.bound[*index].rule;
            rule.is_must() && rule.spec.kind == RuleKind::Together
        })
    }
}
