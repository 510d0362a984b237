//! Why a VM can't go somewhere, in words for people.

use std::fmt;

use crate::fence::FencePhase;
use crate::name::Name;
use crate::rejection::{Rejection, RejectionKind};
use crate::vm::Vm;

/// Nodes that a refusal names one by one; with more of them it counts.
const NAMED_MAX: usize = 8;

/// Why a VM can't run on one node; in a sentence without a full stop, beginning with a verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    Unknown,
    NotInLimit,
    Unreachable,
    NotSchedulable,
    Maintenance,
    /// Its host is being shut down, or was.
    ShutDown,
    /// It is fenced, or back from a fence and not ready yet.
    Fence(FencePhase),
    /// It is one of those that the plan empties.
    Leaving,
    Problem(String),
    Memory {
        free_mib: u64,
        needed_mib: u64,
    },
    Vcpus {
        placed: u32,
        most: u32,
    },
    /// The rule wants it where this VM is.
    Together {
        rule: Name,
        vm: Name,
    },
    /// The rule wants it where this VM is not.
    Apart {
        rule: Name,
        vm: Name,
    },
    /// The rule names other nodes.
    NotOfRule {
        rule: Name,
    },
    ExcludedByRule {
        rule: Name,
    },
}

impl Obstacle {
    /// The same of one node and of many, without what differs from node to node.
    fn in_short(&self) -> [&'static str; 2] {
        match self {
            Obstacle::Unknown => ["does not exist", "do not exist"],
            Obstacle::NotInLimit => ["is not in the VM's node limit", "are not in the VM's node limit"],
            Obstacle::Unreachable => ["is not reachable", "are not reachable"],
            Obstacle::NotSchedulable => {
                ["takes no new VMs (not schedulable)", "take no new VMs (not schedulable)"]
            }
            Obstacle::Maintenance => ["is in maintenance", "are in maintenance"],
            Obstacle::ShutDown => ["is shut down", "are shut down"],
            Obstacle::Fence(FencePhase::Returned) => ["is back from a fence", "are back from a fence"],
            Obstacle::Fence(_) => ["is fenced", "are fenced"],
            Obstacle::Leaving => ["is to be emptied", "are to be emptied"],
            Obstacle::Problem(_) => ["can't run VMs", "can't run VMs"],
            Obstacle::Memory { .. } => ["has too little memory free", "have too little memory free"],
            Obstacle::Vcpus { .. } => ["has too many vCPUs placed", "have too many vCPUs placed"],
            Obstacle::Together { .. } => {
                ["lacks a VM that it belongs together with", "lack a VM that it belongs together with"]
            }
            Obstacle::Apart { .. } => {
                ["has a VM that it is to be apart from", "have a VM that it is to be apart from"]
            }
            Obstacle::NotOfRule { .. } | Obstacle::ExcludedByRule { .. } => {
                ["is not for it by an affinity rule", "are not for it by an affinity rule"]
            }
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Unknown => f.write_str("does not exist"),
            Obstacle::NotInLimit => f.write_str("is not in the VM's node limit"),
            Obstacle::Unreachable => f.write_str("is not reachable"),
            Obstacle::NotSchedulable => f.write_str("takes no new VMs (not schedulable)"),
            Obstacle::Maintenance => f.write_str("is in maintenance"),
            Obstacle::ShutDown => f.write_str("is shut down"),
            Obstacle::Fence(FencePhase::Fencing) => f.write_str("is being fenced"),
            Obstacle::Fence(FencePhase::Fenced) => f.write_str("is fenced"),
            Obstacle::Fence(FencePhase::Returned) => {
                f.write_str("is back from a fence and not ready yet (pvc node ready)")
            }
            Obstacle::Leaving => f.write_str("is to be emptied"),
            Obstacle::Problem(problem) => write!(f, "can't run VMs: {problem}"),
            Obstacle::Memory { free_mib, needed_mib } => {
                write!(f, "has {free_mib} MiB free, the VM needs {needed_mib} MiB")
            }
            Obstacle::Vcpus { placed, most } => write!(f, "has {placed} of at most {most} vCPUs placed"),
            Obstacle::Together { rule, vm } => {
                write!(f, "lacks vm/{vm}, with which affinity/{rule} keeps it together")
            }
            Obstacle::Apart { rule, vm } => {
                write!(f, "has vm/{vm}, from which affinity/{rule} keeps it apart")
            }
            Obstacle::NotOfRule { rule } => write!(f, "is not one of the nodes of affinity/{rule}"),
            Obstacle::ExcludedByRule { rule } => write!(f, "is excluded by affinity/{rule}"),
        }
    }
}

/// No node takes a VM: each node with its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoPlace {
    pub reasons: Vec<(Name, Obstacle)>,
}

impl NoPlace {
    pub fn rejection(&self, vm: &Vm) -> Rejection {
        let rule = "a-node-takes-vm";
        let rejection = if self.reasons.is_empty() {
            Rejection::precondition(rule, vm.subject(), self.to_string())
        } else {
            Rejection::new(RejectionKind::Exhausted, rule, vm.subject(), self.to_string())
        };
        rejection.help("see `pvc node list`")
    }
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reasons.is_empty() {
            return f.write_str("there is no other node");
        }
        f.write_str("no node takes it: ")?;
        if self.reasons.len() <= NAMED_MAX {
            let each: Vec<_> = self.reasons.iter().map(|(node, why)| format!("{node} {why}")).collect();
            return f.write_str(&each.join("; "));
        }
        // Many nodes share few reasons: each is told with its number, in the order of the first.
        let mut counts: Vec<([&'static str; 2], usize)> = Vec::new();
        for (_, why) in &self.reasons {
            match counts.iter_mut().find(|(what, _)| *what == why.in_short()) {
                Some((_, count)) => *count += 1,
                None => counts.push((why.in_short(), 1)),
            }
        }
        let tell = |([one, many], count): &([&str; 2], usize)| match count {
            1 => format!("1 node {one}"),
            _ => format!("{count} nodes {many}"),
        };
        let each: Vec<_> = counts.iter().map(tell).collect();
        f.write_str(&each.join("; "))
    }
}
