//! Affinity rules: which VMs belong together or apart, and on which nodes. The planner keeps them
//! (`plan`); whether two of them contradict each other is `plan::contradiction`'s to say.

use std::collections::BTreeSet;
use std::fmt;

use crate::Meta;
use crate::name::Name;
use crate::vm::Vm;
use crate::world::World;

/// VMs and nodes that a rule names, at most.
pub const MEMBERS_MAX: usize = 1000;
/// Rules of a cluster, at most.
pub const RULES_MAX: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleKind {
    /// Its VMs run on one node.
    Together,
    /// No two of its VMs run on one node.
    Apart,
    /// Its VMs run on its nodes.
    OnNodes,
    /// Its VMs do not run on its nodes.
    NotOnNodes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// A VM rather waits than breaks it.
    Must,
    /// Kept where that costs no VM its place.
    Should,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    pub kind: RuleKind,
    pub strength: Strength,
    /// VMs by name; empty where `tag` is set.
    pub vms: BTreeSet<Name>,
    /// All VMs with this tag.
    pub tag: Option<Name>,
    /// Of `OnNodes` and `NotOnNodes`; empty else.
    pub nodes: BTreeSet<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub meta: Meta,
    pub spec: RuleSpec,
}

impl RuleSpec {
    pub fn applies_to(&self, vm: &Vm) -> bool {
        self.vms.contains(&vm.meta.name) || self.tag.as_ref().is_some_and(|tag| vm.spec.tags.contains(tag))
    }

    /// Whether it is about nodes rather than about VMs among each other.
    pub fn is_about_nodes(&self) -> bool {
        matches!(self.kind, RuleKind::OnNodes | RuleKind::NotOnNodes)
    }

    /// Whether it lets a VM of its run on this node; always true of a rule among VMs.
    pub fn admits(&self, node: &Name) -> bool {
        match self.kind {
            RuleKind::OnNodes => self.nodes.contains(node),
            RuleKind::NotOnNodes => !self.nodes.contains(node),
            RuleKind::Together | RuleKind::Apart => true,
        }
    }
}

impl Rule {
    pub fn is_must(&self) -> bool {
        self.spec.strength == Strength::Must
    }
}

/// "affinity/web (apart)", as it is named in refusals.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<_> = self.spec.nodes.iter().map(Name::as_str).collect();
        let nodes = nodes.join(", ");
        let name = &self.meta.name;
        match self.spec.kind {
            RuleKind::Together => write!(f, "affinity/{name} (together)"),
            RuleKind::Apart => write!(f, "affinity/{name} (apart)"),
            RuleKind::OnNodes => write!(f, "affinity/{name} (on {nodes})"),
            RuleKind::NotOnNodes => write!(f, "affinity/{name} (not on {nodes})"),
        }
    }
}

/// How present placements break the rule, in words: "vm/a is on hv1". Empty: they keep it.
pub fn broken_by(world: &World, rule: &Rule) -> Vec<String> {
    let placed = world.vms.values().filter(|vm| rule.spec.applies_to(vm));
    let runs = placed.filter_map(|vm| vm.runs_on().map(|node| (node.clone(), vm.meta.name.clone())));
    let mut seats: Vec<(Name, Name)> = runs.collect();
    seats.sort();
    let breaks: Vec<&(Name, Name)> = match rule.spec.kind {
        RuleKind::OnNodes | RuleKind::NotOnNodes => {
            seats.iter().filter(|(node, _)| !rule.spec.admits(node)).collect()
        }
        RuleKind::Together => {
            let parted = seats.first().is_some_and(|(first, _)| seats.iter().any(|(node, _)| node != first));
            if parted { seats.iter().collect() } else { Vec::new() }
        }
        RuleKind::Apart => seats
            .iter()
            .enumerate()
            .filter(|(i, (node, _))| {
                let beside = |j: usize| seats.get(j).is_some_and(|(other, _)| other == node);
                beside(i + 1) || i.checked_sub(1).is_some_and(beside)
            })
            .map(|(_, seat)| seat)
            .collect(),
    };
    breaks.into_iter().map(|(node, vm)| format!("vm/{vm} on {node}")).collect()
}
