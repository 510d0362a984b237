//! Planner tests as text: a cluster, what is asked, what is planned.
//!
//! ```text
//! hv1 8G: a=2G b=2G!900 | hv2 8G down: (c=1G)
//! ```
//! A node with the memory that VMs may take of it, and what is wrong with it (`down`, `closed`, `maintenance`); then its
//! VMs, those in parentheses off. Behind a VM's memory: `!900` its priority, `~` not recovered, `x8` its
//! vCPUs, `@hv1,hv2` its node limit, `^hv2` its home.
//!
//! Rules follow after semicolons: `; apart a b`, `; together? a b` (`?`: should), `; on a b: hv1 hv2`,
//! `; not-on a: hv1`.

use super::{HOST_RESERVE_MIB, Plan};
use crate::change::Object;
use crate::fence::{Fence, FencePhase, OnReturn};
use crate::guard::Isolation;
use crate::leaving::OnShutdown;
use crate::name::{Name, Uid};
use crate::node::{Node, NodeFacts, NodeRole, NodeSpec, NodeStatus, Reachability};
use crate::rule::{Rule, RuleKind, RuleSpec, Strength};
use crate::testing::name;
use crate::time::Timestamp;
use crate::vm::{Observed, ObservedPhase, Placement, Power, Vm, VmSpec};
use crate::world::World;
use crate::{Meta, vm};

/// Plans and compares: "a->hv2 b->hv3; c waits".
#[track_caller]
pub fn check_plan(cluster: &str, ask: &str, expected: &str) {
    let world = world(cluster);
    let plan = plan(&world, ask);
    assert_eq!(shown(&plan), expected, "{cluster}\n{ask}\n{plan:?}");
}

pub fn plan(world: &World, ask: &str) -> Plan {
    let (verb, nodes) = ask.split_once(' ').unwrap_or((ask, ""));
    let nodes: Vec<Name> = nodes.split_whitespace().map(name).collect();
    match verb {
        "recover" => recover_from(world, &nodes),
        "drain" => {
            let drain = super::drain(world, &nodes[0]);
            Plan { moves: drain.moves, waiting: drain.stuck }
        }
        "balance" => {
            let steps = super::balance(world, &Default::default());
            Plan { moves: steps.into_iter().map(|step| (step.vm, step.to)).collect(), waiting: Vec::new() }
        }
        _ => panic!("{ask}: what is to be planned?"),
    }
}

/// What becomes of the VMs that are to run on the nodes `dead`, which are fenced.
pub fn recover_from(world: &World, dead: &[Name]) -> Plan {
    let mut world = world.clone();
    for name in dead {
        let mut node = Node::clone(&world.nodes[name]);
        node.status.fence = Some(Fence {
            epoch: 1,
            phase: FencePhase::Fenced,
            since: Timestamp(2_000),
            reason: String::new(),
            by_person: false,
            proof: None,
        });
        world.put(Object::Node(node));
    }
    let lost = world.vms.values().map(AsRef::as_ref);
    let lost = lost.filter(|vm: &&Vm| {
        let there = vm.placement.as_ref().is_some_and(|placement| dead.contains(&placement.node));
        there && vm.desired == Power::On && !vm.deleting
    });
    super::recover(&world, lost)
}

pub fn shown(plan: &Plan) -> String {
    let moves: Vec<_> = plan.moves.iter().map(|(vm, node)| format!("{vm}->{node}")).collect();
    let waiting: Vec<_> = plan.waiting.iter().map(|(vm, _)| vm.to_string()).collect();
    match (moves.is_empty(), waiting.is_empty()) {
        (true, true) => "nothing".to_string(),
        (false, true) => moves.join(" "),
        (true, false) => format!("{} waits", waiting.join(" ")),
        (false, false) => format!("{}; {} waits", moves.join(" "), waiting.join(" ")),
    }
}

pub fn world(cluster: &str) -> World {
    let mut world = World::default();
    let mut vms = 0;
    let mut parts = cluster.split(';');
    for part in parts.next().unwrap_or_default().split('|') {
        let (head, tail) = part.split_once(':').unwrap_or_else(|| panic!("{part:?}: where is the colon?"));
        let mut words = head.split_whitespace();
        let node_name = name(words.next().expect("a node's name"));
        let memory = size(words.next().expect("a node's memory"));
        world.put(Object::Node(node(&node_name, memory, &words.collect::<Vec<_>>())));
        for text in tail.split_whitespace() {
            vms += 1;
            world.put(Object::Vm(guest(text, &node_name, vms)));
        }
    }
    for (number, text) in parts.enumerate() {
        world.put(Object::Rule(rule(text, number)));
    }
    world
}

/// Rules are named r0, r1, … in their order.
pub fn rule(text: &str, number: usize) -> Rule {
    let (head, nodes) = text.split_once(':').unwrap_or((text, ""));
    let mut words = head.split_whitespace();
    let verb = words.next().expect("what the rule says");
    let kind = match verb.trim_end_matches('?') {
        "together" => RuleKind::Together,
        "apart" => RuleKind::Apart,
        "on" => RuleKind::OnNodes,
        "not-on" => RuleKind::NotOnNodes,
        _ => panic!("{text:?}: what rule is that?"),
    };
    let strength = if verb.ends_with('?') { Strength::Should } else { Strength::Must };
    let spec = RuleSpec {
        kind,
        strength,
        vms: words.map(name).collect(),
        tag: None,
        nodes: nodes.split_whitespace().map(name).collect(),
    };
    Rule { meta: meta(&name(&format!("r{number}")), 1 << 100 | number as u128), spec }
}

pub fn meta(text: &Name, number: u128) -> Meta {
    let at = Timestamp(1_000);
    Meta { name: text.clone(), uid: Uid::from_random(number), revision: 1, created: at, updated: at }
}

pub fn node(node_name: &Name, usable_mib: u64, words: &[&str]) -> Node {
    let facts = NodeFacts { cpus: 4, memory_mib: usable_mib + HOST_RESERVE_MIB, ..NodeFacts::default() };
    let down = words.contains(&"down");
    Node {
        meta: meta(node_name, u128::from(u64::MAX)),
        spec: NodeSpec {
            role: NodeRole::Hypervisor,
            schedulable: !words.contains(&"closed"),
            standby: false,
            maintenance: words.contains(&"maintenance"),
            on_return: OnReturn::Automatic,
            isolation: Isolation::Keep,
            on_shutdown: OnShutdown::Move,
            bmc: None,
        },
        status: NodeStatus {
            reachability: if down { Reachability::Unreachable } else { Reachability::Reachable },
            since: Timestamp(1_000),
            member_id: 0,
            session: 1,
            address: String::new(),
            facts,
            fence: None,
            fences: 0,
            guard: None,
            guard_words: 0,
            leaving: None,
        },
    }
}

/// A VM that is placed, and runs there unless it stands in parentheses.
fn guest(text: &str, node: &Name, number: u128) -> Vm {
    let inner = text.trim_start_matches('(').trim_end_matches(')');
    let off = inner != text;
    let (vm_name, rest) = inner.split_once('=').unwrap_or_else(|| panic!("{text:?}: NAME=SIZE"));
    let end = rest.find(|c: char| "!~x@^".contains(c)).unwrap_or(rest.len());
    let (memory, mut marks) = rest.split_at(end);
    let mut spec = VmSpec::new(1, size(memory));
    while !marks.is_empty() {
        let end = marks[1..].find(|c: char| "!~x@^".contains(c)).map_or(marks.len(), |at| at + 1);
        let (mark, left) = marks.split_at(end);
        let value = &mark[1..];
        match &mark[..1] {
            "!" => spec.priority = value.parse().expect("a priority"),
            "x" => spec.vcpus = value.parse().expect("a number of vCPUs"),
            "@" => spec.node_limit = value.split(',').map(name).collect(),
            "^" => spec.home = Some(name(value)),
            _ => spec.recover = false,
        }
        marks = left;
    }
    let vm_name = name(vm_name);
    let power = if off { Power::Off } else { Power::On };
    let phase = if off { ObservedPhase::Stopped } else { ObservedPhase::Running };
    placed(&vm_name, number, spec, node, power, phase)
}

pub fn placed(
    vm_name: &Name,
    number: u128,
    spec: VmSpec,
    node: &Name,
    desired: Power,
    phase: ObservedPhase,
) -> Vm {
    let observed = Observed {
        node: node.clone(),
        epoch: 1,
        phase,
        reason: String::new(),
        seen_intent: 1,
        boot_generation: 1,
        spec_generation: 1,
        restarts: 0,
        since: Timestamp(1_000),
    };
    vm::Vm {
        desired,
        placement: Some(Placement { node: node.clone(), epoch: 1 }),
        observed: Some(observed),
        boot_generation: 1,
        ..Vm::new(meta(vm_name, number), spec, 0)
    }
}

/// "2G" or "512M", in MiB.
fn size(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number.parse().unwrap_or_else(|_| panic!("{text:?}: a size"));
    match unit {
        "G" => number * 1024,
        "M" => number,
        _ => panic!("{text:?}: a size in G or M"),
    }
}
