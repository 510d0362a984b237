//! Why things are as they are: what is known of a VM or a node, as sentences with times. Pure: it reads the
//! world and decides nothing. What it says of placements is the planner's own judgement.

use crate::fence::{Fence, FencePhase};
use crate::guard::Isolation;
use crate::leaving::{Leaving, OnShutdown};
use crate::name::Name;
use crate::node::{Node, Reachability};
use crate::phase::{VmPhase, vm_phase};
use crate::plan::{self, Table};
use crate::rule::{Strength, broken_by};
use crate::task::{Task, TaskState};
use crate::time::Timestamp;
use crate::vm::{Power, Vm};
use crate::world::World;

/// VMs that a sentence names one by one.
const NAMED_MAX: usize = 10;

/// One thing that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: "state", "placement", "node hv2", "rule", "task", "fault".
    pub topic: String,
    /// A sentence without a full stop.
    pub text: String,
    /// When it came to be, where that is known.
    pub at: Option<Timestamp>,
}

fn finding(topic: impl Into<String>, text: impl Into<String>, at: Option<Timestamp>) -> Finding {
    Finding { topic: topic.into(), text: text.into(), at }
}

/// Why a VM is where it is, and as it is.
pub fn of_vm(world: &World, vm: &Vm) -> Vec<Finding> {
    let mut found = vec![state(world, vm)];
    let waits = vm.waits.as_ref();
    found.extend(waits.map(|waits| {
        let text = format!("it lost its node, and waits for another: {}", waits.reason);
        finding("waits", text, Some(waits.since))
    }));
    found.extend(placement(world, vm));
    let table = Table::of(world);
    for node in world.nodes.keys() {
        let here = vm.placed_on(node);
        let text = match table.obstacle(vm, node) {
            None if here => "it is here, and could stay".to_string(),
            None => "could take it".to_string(),
            Some(why) if here => format!("it is here; as a new place the node {why}"),
            Some(why) => why.to_string(),
        };
        found.push(finding(format!("node {node}"), text, None));
    }
    for rule in world.rules.values().filter(|rule| rule.spec.applies_to(vm)) {
        let strength = if rule.spec.strength == Strength::Must { "must" } else { "should" };
        let broken = broken_by(world, rule);
        let how = if broken.is_empty() { "kept".into() } else { format!("broken by {}", broken.join(", ")) };
        found.push(finding("rule", format!("{rule}, {strength}: {how}"), Some(rule.meta.updated)));
    }
    let recovery = if vm.spec.recover { "it is started elsewhere" } else { "it is left to a person" };
    let text = format!("when its node is dead {recovery}; priority {}", vm.spec.priority);
    found.push(finding("recovery", text, None));
    found.extend(last_task(world, |task| task.subject.uid() == vm.uid()));
    found.extend(faults(world, &vm.subject()));
    found
}

fn state(world: &World, vm: &Vm) -> Finding {
    let (phase, reason) = vm_phase(world, vm);
    let word = match phase {
        VmPhase::Stopped if vm.desired == Power::Disabled => "it is off on purpose",
        VmPhase::Stopped => "it is off",
        VmPhase::Pending => "it is to run, and waits",
        VmPhase::Starting => "it is being started",
        VmPhase::Running => "it runs",
        VmPhase::ShuttingDown => "it is being shut down",
        VmPhase::Migrating => "it is being moved live",
        VmPhase::Backoff => "it ended by itself, and is started again after a pause",
        VmPhase::Failed => "it was given up; `pvc vm start` tries again",
        VmPhase::Unknown => "nothing is known of it now",
        VmPhase::Deleting => "it is being removed",
    };
    let waits = plan::is_released(vm).then_some("it was shut down to empty its node and fits nowhere else");
    let reasons: Vec<&str> =
        waits.into_iter().chain((!reason.is_empty()).then_some(reason.as_str())).collect();
    let text = if reasons.is_empty() { word.to_string() } else { format!("{word}: {}", reasons.join("; ")) };
    finding("state", text, vm.current_observation().map(|seen| seen.since))
}

fn placement(world: &World, vm: &Vm) -> Vec<Finding> {
    let Some(placement) = &vm.placement else {
        return vec![finding("placement", "it has never been started, so it is nowhere yet", None)];
    };
    let node = &placement.node;
    let mut text = format!("it is placed on node {node}, its {} place", ordinal(placement.epoch));
    match (&vm.migrated_from, &vm.spec.home) {
        (Some(from), _) => text.push_str(&format!("; for a while: it comes from {from} and returns there")),
        (None, Some(home)) if home == node => text.push_str(", which is its home"),
        (None, Some(home)) => text.push_str(&format!("; its home is {home}")),
        (None, None) => {}
    }
    let mut found = vec![finding("placement", text, None)];
    if vm.desired == Power::On && vm.is_proven_off() {
        found.push(finding("placement", format!("node {node} has said that it is off there"), None));
    } else if vm.current_observation().is_none() && world.nodes.contains_key(node) {
        found.push(finding(
            "placement",
            format!("node {node} has said nothing of it at this place yet"),
            None,
        ));
    }
    found
}

fn ordinal(number: u64) -> String {
    match (number % 10, number % 100) {
        (1, n) if n != 11 => format!("{number}st"),
        (2, n) if n != 12 => format!("{number}nd"),
        (3, n) if n != 13 => format!("{number}rd"),
        _ => format!("{number}th"),
    }
}

/// Why a node is as it is, and what it holds.
pub fn of_node(world: &World, node: &Node) -> Vec<Finding> {
    let name = &node.meta.name;
    let heard = match node.status.reachability {
        Reachability::NeverSeen => "it has enrolled and was never heard of",
        Reachability::Reachable => "the leader hears it",
        Reachability::Unreachable => "it is silent",
    };
    let mut found = vec![finding("state", heard, Some(node.status.since))];
    found.extend(node.status.fence.as_ref().map(fence));
    found.extend(isolation(node));
    if node.spec.maintenance {
        let text = "it is in maintenance: nothing is placed on it; `pvc node ready` ends that";
        found.push(finding("maintenance", text, None));
    }
    found.extend(node.status.leaving.as_ref().map(leaving));
    if !node.spec.schedulable {
        found.push(finding("placement", "it takes no new VMs: people have said so", None));
    }
    if !node.status.facts.problem.is_empty() {
        found.push(finding("placement", format!("it can't run VMs: {}", node.status.facts.problem), None));
    }
    let usage = Table::of(world).usage(name);
    let usable = plan::usable_mib(node);
    let text = format!(
        "{} VMs with {} vCPUs and {} of {usable} MiB run on it or may",
        usage.vms, usage.vcpus, usage.memory_mib
    );
    found.push(finding("holds", text, None));
    let held = world.vms_placed_on(name).map(|vm| vm.meta.name.clone()).collect();
    found.extend(names("holds", "placed on it", held));
    let away = world.vms.values().filter(|vm| vm.migrated_from.as_ref() == Some(name) && !vm.placed_on(name));
    found.extend(names("away", "away from it, to return", away.map(|vm| vm.meta.name.clone()).collect()));
    for rule in world.rules.values().filter(|rule| rule.spec.nodes.contains(name)) {
        found.push(finding("rule", rule.to_string(), Some(rule.meta.updated)));
    }
    if let Some(short) = plan::shortage(world).filter(|short| short.node == *name) {
        found.push(finding("capacity", short.to_string(), None));
    }
    found.extend(last_task(world, |task| task.subject.uid() == node.meta.uid));
    found.extend(faults(world, &format!("node/{name}")));
    found
}

/// What becomes of its guests when it is cut off, where that is not the usual.
fn isolation(node: &Node) -> Option<Finding> {
    let text = match (node.spec.isolation, &node.status.guard) {
        (Isolation::Keep, None) => return None,
        (Isolation::Keep, Some(_)) => {
            "its guests run on when it is cut off; its guard is being disarmed".to_string()
        }
        (Isolation::Stop, None) => {
            "its guests are to stop when it is cut off, and no guard is armed: a lapsed lease proves nothing"
                .to_string()
        }
        (Isolation::Stop, Some(guard)) => format!("its guests stop when it is cut off: guard {guard}"),
    };
    Some(finding("isolation", text, None))
}

/// Its host's shutdown, and what it means for the node's silence.
fn leaving(leaving: &Leaving) -> Finding {
    let policy = leaving.policy.as_str();
    let text = match (leaving.empty, leaving.policy) {
        (true, _) => "its host was shut down in order, and it is empty: it may be silent".to_owned(),
        (false, OnShutdown::Keep) => {
            "its host was shut down in order, and its VMs wait for it: it is not fenced for a quarter of an hour".to_owned()
        }
        (false, OnShutdown::Move | OnShutdown::Stop) => {
            format!("its host is being shut down, and its VMs leave it ({policy}): it takes none")
        }
    };
    finding("shutdown", text, Some(leaving.since))
}

/// The fence, with its evidence.
fn fence(fence: &Fence) -> Finding {
    let proof = match &fence.proof {
        None => "no proof yet".to_string(),
        Some(proof) => format!("proof: {}, by {}", proof.kind.as_str(), proof.by),
    };
    let now = match fence.phase {
        FencePhase::Fencing => "is being fenced: it gets no lease",
        FencePhase::Fenced => "is fenced: its VMs were given up here",
        FencePhase::Returned => "is back from a fence and takes no VM yet; `pvc node ready` ends that",
    };
    finding(
        "fence",
        format!("it {now} (fence {}: {}; {proof})", fence.epoch, fence.reason),
        Some(fence.since),
    )
}

fn names(topic: &str, what: &str, names: Vec<Name>) -> Option<Finding> {
    if names.is_empty() {
        return None;
    }
    let named: Vec<_> = names.iter().take(NAMED_MAX).map(|vm| format!("vm/{vm}")).collect();
    let more = names.len() - named.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(finding(topic, format!("{what}: {}{more}", named.join(", ")), None))
}

/// The newest task about it.
fn last_task(world: &World, about: impl Fn(&Task) -> bool) -> Option<Finding> {
    let newest = world
        .tasks
        .values()
        .filter(|task| about(task))
        .max_by_key(|task| (task.started, task.meta.revision))?;
    let (task, kind, who) = (&newest.meta.name, newest.kind.as_str(), &newest.actor);
    let how = match newest.state {
        TaskState::Running => format!("is at \"{}\"", newest.stage_name()),
        TaskState::Succeeded => "has succeeded".to_string(),
        TaskState::Failed => "has failed".to_string(),
        TaskState::Cancelled => "was cancelled".to_string(),
    };
    let message = if newest.message.is_empty() { String::new() } else { format!(": {}", newest.message) };
    let at = newest.ended.unwrap_or(newest.stage_since);
    Some(finding("task", format!("{task} ({kind}, asked by {who}) {how}{message}"), Some(at)))
}

fn faults(world: &World, subject: &str) -> Vec<Finding> {
    let about = world.faults.values().filter(|fault| fault.subject == subject);
    about.map(|fault| finding("fault", fault.message.clone(), Some(fault.first))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command::*;
    use crate::rule::{RuleKind, RuleSpec};
    use crate::testing::{Cluster, name};

    fn told(found: &[Finding]) -> Vec<String> {
        found.iter().map(|one| format!("{}: {}", one.topic, one.text)).collect()
    }

    #[test]
    fn a_vm_is_explained_node_by_node() {
        let mut c = Cluster::of(&["hv1", "hv2", "hv3"]);
        c.running("a", "hv1");
        c.running("b", "hv2");
        c.unreachable("hv3");
        let vms = [name("a"), name("b")].into();
        let spec = RuleSpec {
            kind: RuleKind::Apart,
            strength: Strength::Must,
            vms,
            tag: None,
            nodes: Default::default(),
        };
        c.ok(CreateRule { name: name("r"), spec });
        let found = of_vm(&c.world, &c.vm("a"));
        let task = c.task_of("a").meta.name;
        assert_eq!(
            told(&found),
            [
                "state: it runs".to_string(),
                "placement: it is placed on node hv1, its 1st place".into(),
                "node hv1: it is here, and could stay".into(),
                "node hv2: has vm/b, from which affinity/r keeps it apart".into(),
                "node hv3: is not reachable".into(),
                "rule: affinity/r (apart), must: kept".into(),
                "recovery: when its node is dead it is started elsewhere; priority 100".into(),
                format!("task: {task} (vm.start, asked by admin/test) has succeeded"),
            ]
        );
    }

    #[test]
    fn a_vm_that_is_nowhere_says_so() {
        let mut c = Cluster::of(&["hv1"]);
        c.create("a");
        let found = told(&of_vm(&c.world, &c.vm("a")));
        assert!(found.contains(&"placement: it has never been started, so it is nowhere yet".into()));
    }

    #[test]
    fn a_node_is_explained() {
        let mut c = Cluster::of(&["hv1", "hv2"]);
        c.running("a", "hv1");
        c.ok(FlushNode { node: name("hv1"), stop_unmovable: false });
        c.ok(RaiseFault {
            name: name("disk-slow.hv1"),
            subject: "node/hv1".into(),
            message: "its disk is slow".into(),
            help: "replace it".into(),
        });
        let found = of_node(&c.world, &c.world.nodes[&name("hv1")]);
        let told = told(&found);
        for line in [
            "state: the leader hears it",
            "maintenance: it is in maintenance: nothing is placed on it; `pvc node ready` ends that",
            "holds: 1 VMs with 1 vCPUs and 128 of 3584 MiB run on it or may",
            "holds: placed on it: vm/a",
            "fault: its disk is slow",
        ] {
            assert!(told.contains(&line.to_string()), "{line}: {told:?}");
        }
        assert!(told.iter().any(|line| line.contains("node.flush, asked by admin/test) is at")), "{told:?}");
        assert!(found[0].at.is_some());
    }
}
