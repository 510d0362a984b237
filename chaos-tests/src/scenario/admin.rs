//! What administrators ask for in a scenario, in the words of the command line.

use std::collections::BTreeSet;

use pvc_model::command::SpecPatch;
use pvc_model::fence::OnReturn;
use pvc_model::guard::Isolation;
use pvc_model::leaving::OnShutdown;
use pvc_model::rule::{RuleKind, RuleSpec, Strength};
use pvc_model::task::{Subject, Task, TaskKind};
use pvc_model::{Command, Name, World};

use super::hosts::name;
use super::parse::number;

/// Something to be asked for; who it concerns is looked up when it is.
#[derive(Clone, Debug)]
pub enum Wish {
    This(Box<Command>),
    /// The task that changes a VM, or a node, is to end.
    CancelTaskOf(Name),
    CancelBalancing,
    Priority(Name, u32),
}

impl Wish {
    pub fn parse(text: &str) -> Result<Wish, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let fence = |node, confirmed_off, force| {
            Ok::<_, String>(Command::FenceNode { name: name(node)?, confirmed_off, force })
        };
        let schedulable = |node, schedulable| {
            let schedulable = Some(schedulable);
            Ok::<_, String>(Command::UpdateNode {
                name: name(node)?,
                schedulable,
                on_return: None,
                isolation: None,
                on_shutdown: None,
                expected_revision: 0,
            })
        };
        let on_return = |node, how| {
            let on_return = Some(how);
            Ok::<_, String>(Command::UpdateNode {
                name: name(node)?,
                schedulable: None,
                on_return,
                isolation: None,
                on_shutdown: None,
                expected_revision: 0,
            })
        };
        let isolation = |node, how| {
            Ok::<_, String>(Command::UpdateNode {
                name: name(node)?,
                schedulable: None,
                on_return: None,
                isolation: Some(how),
                on_shutdown: None,
                expected_revision: 0,
            })
        };
        let on_shutdown = |node, policy| {
            Ok::<_, String>(Command::UpdateNode {
                name: name(node)?,
                schedulable: None,
                on_return: None,
                isolation: None,
                on_shutdown: Some(policy),
                expected_revision: 0,
            })
        };
        let command = match words.as_slice() {
            ["fence", node] => fence(node, false, false)?,
            ["fence", node, "--confirm-off"] => fence(node, true, false)?,
            ["fence", node, "--force"] => fence(node, false, true)?,
            ["ready", node] => Command::ReadyNode { node: name(node)?, no_return: true },
            ["ready", node, "--return"] => Command::ReadyNode { node: name(node)?, no_return: false },
            ["flush", node] => Command::FlushNode { node: name(node)?, stop_unmovable: false },
            ["flush", node, "--stop-unmovable"] => {
                Command::FlushNode { node: name(node)?, stop_unmovable: true }
            }
            ["balance"] => Command::BalanceCluster,
            ["affinity", rule, rest @ ..] => {
                Command::CreateRule { name: name(rule)?, spec: rule_spec(rest)? }
            }
            ["forget", "affinity", rule] => Command::DeleteRule { name: name(rule)?, expected_revision: 0 },
            ["hand", "over", "the", "primary"] => Command::HandOverPrimary { from: None, to: None },
            ["hand", "over", "the", "primary", "to", node] => {
                Command::HandOverPrimary { from: None, to: Some(name(node)?) }
            }
            ["unschedulable", node] => schedulable(node, false)?,
            ["schedulable", node] => schedulable(node, true)?,
            ["return", node, "by", "hand"] => on_return(node, OnReturn::Manual)?,
            ["return", node, "and", "its", "guests"] => on_return(node, OnReturn::Home)?,
            ["return", node, "by", "itself"] => on_return(node, OnReturn::Automatic)?,
            ["isolation", node, "stop"] => isolation(node, Isolation::Stop)?,
            ["isolation", node, "keep"] => isolation(node, Isolation::Keep)?,
            ["on", "shutdown", node, "moves"] => on_shutdown(node, OnShutdown::Move)?,
            ["on", "shutdown", node, "stops"] => on_shutdown(node, OnShutdown::Stop)?,
            ["on", "shutdown", node, "keeps"] => on_shutdown(node, OnShutdown::Keep)?,
            ["remove", node] => Command::DeleteNode { name: name(node)?, expected_revision: 0 },
            ["forget", "bmc", node] => Command::ClearNodeBmc { name: name(node)?, expected_revision: 0 },
            ["disarm", why @ ..] => Command::Disarm { reason: why.join(" ") },
            ["arm"] => Command::Arm,
            ["release-brake"] => Command::ReleaseBrake,
            ["start", vm] => Command::StartVm { name: name(vm)?, node: None },
            ["start", vm, "on", node] => Command::StartVm { name: name(vm)?, node: Some(name(node)?) },
            ["stop", vm] => Command::StopVm { name: name(vm)? },
            ["shutdown", vm] => Command::ShutdownVm { name: name(vm)?, grace_seconds: 5 },
            ["restart", vm] => Command::RestartVm { name: name(vm)?, grace_seconds: 5 },
            ["delete", vm] => {
                Command::DeleteVm { name: name(vm)?, delete_volumes: true, expected_revision: 0 }
            }
            ["migrate", vm] => Command::MigrateVm { name: name(vm)?, node: None, method: None },
            ["migrate", vm, "to", node] => {
                Command::MigrateVm { name: name(vm)?, node: Some(name(node)?), method: None }
            }
            ["unmigrate", vm] => Command::UnmigrateVm { name: name(vm)?, method: None },
            ["move", vm, "to", node] => Command::MoveVm { name: name(vm)?, node: name(node)?, method: None },
            ["cancel", "the", "balancing"] => return Ok(Wish::CancelBalancing),
            ["cancel", subject] => return Ok(Wish::CancelTaskOf(name(subject)?)),
            ["priority", vm, priority] => return Ok(Wish::Priority(name(vm)?, number(priority)?)),
            _ => return Err(format!("{text:?} is nothing that an administrator can ask for")),
        };
        Ok(Wish::This(Box::new(command)))
    }

    /// As it is asked for in this world; an error where it can't be.
    pub fn command(&self, world: &World) -> Result<Command, String> {
        match self {
            Wish::This(command) => Ok(Command::clone(command)),
            Wish::CancelTaskOf(vm) => {
                let of_node = |task: &&std::sync::Arc<Task>| matches!(&task.subject, Subject::Node { name, .. } if name == vm);
                let of_node = || world.running_tasks().find(of_node).map(|task| task.meta.name.clone());
                let task = world.vms.get(vm).and_then(|vm| vm.task.clone()).or_else(of_node);
                let name = task.ok_or_else(|| format!("no task changes {vm}"))?;
                Ok(Command::CancelTask { name })
            }
            Wish::CancelBalancing => {
                let task = world.running_tasks().find(|task| task.kind == TaskKind::ClusterBalance);
                let name = task.map(|task| task.meta.name.clone());
                Ok(Command::CancelTask { name: name.ok_or("nothing is balanced")? })
            }
            Wish::Priority(vm, priority) => {
                let known = world.vms.get(vm).ok_or_else(|| format!("there is no {vm}"))?;
                let mut spec = known.spec.clone();
                spec.priority = *priority;
                let patch = Box::new(SpecPatch { spec: Some(spec), ..SpecPatch::default() });
                Ok(Command::UpdateVm { name: vm.clone(), patch, expected_revision: known.meta.revision })
            }
        }
    }
}

/// "should apart a b", "together a b", "on hv1 hv2 of a b", "not on hv1 of a".
fn rule_spec(words: &[&str]) -> Result<RuleSpec, String> {
    let (strength, words) = match words {
        ["should", rest @ ..] => (Strength::Should, rest),
        rest => (Strength::Must, rest),
    };
    let (kind, words) = match words {
        ["together", rest @ ..] => (RuleKind::Together, rest),
        ["apart", rest @ ..] => (RuleKind::Apart, rest),
        ["on", rest @ ..] => (RuleKind::OnNodes, rest),
        ["not", "on", rest @ ..] => (RuleKind::NotOnNodes, rest),
        _ => return Err(format!("{words:?} is no rule: [should] together|apart|on N of|not on N of VMs")),
    };
    let names =
        |words: &[&str]| words.iter().map(|word| name(word)).collect::<Result<BTreeSet<Name>, String>>();
    let mut parts = words.split(|word| *word == "of");
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    let (nodes, vms) = match second {
        Some(vms) => (names(first)?, names(vms)?),
        None => (names(&[])?, names(first)?),
    };
    Ok(RuleSpec { kind, strength, vms, tag: None, nodes })
}
