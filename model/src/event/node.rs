//! What happened to a node.

use super::{Said, because, said};
use crate::fence::{Fence, FencePhase};
use crate::leaving::Leaving;
use crate::node::{NetworkHealth, Node, NodeRole, Reachability};

pub(super) fn events(old: Option<&Node>, new: &Node) -> Vec<Said> {
    let Some(old) = old else {
        return vec![said("settings", format!("it joined as a {}", role(new.spec.role)))];
    };
    let mut events = settings(old, new);
    let (was, is) = (&old.status, &new.status);
    match (was.member_id, is.member_id) {
        (0, 0) => {}
        (0, _) => events.push(said("store", "it became a member of the store")),
        (_, 0) => events.push(said("store", "it is a member of the store no more")),
        (was, is) if was != is => events.push(said("store", "it became a member of the store anew")),
        (_, _) => {}
    }
    if was.reachability != is.reachability {
        events.extend(match is.reachability {
            Reachability::Unreachable => Some(said("contact", "it fell silent")),
            Reachability::Reachable if was.reachability == Reachability::NeverSeen => {
                Some(said("contact", "it is heard for the first time"))
            }
            Reachability::Reachable => Some(said("contact", "it is heard again")),
            Reachability::NeverSeen => None,
        });
    }
    if is.session > was.session && was.session > 0 {
        events.push(said("contact", format!("its daemon started, the {}. time", is.session)));
    }
    if is.facts.version != was.facts.version && !was.facts.version.is_empty() {
        let text = format!("its daemon has version {}, it had {}", is.facts.version, was.facts.version);
        events.push(said("contact", text));
    }
    match (was.facts.problem.as_str(), is.facts.problem.as_str()) {
        ("", "") => {}
        ("", problem) => events.push(said("contact", format!("it can't run VMs: {problem}"))),
        (_, "") => events.push(said("contact", "it can run VMs again")),
        (was, is) if was != is => events.push(said("contact", format!("it can't run VMs: {is}"))),
        (_, _) => {}
    }
    events.extend(network_health(&was.facts.network_health, &is.facts.network_health));
    events.extend(shutdown(was.leaving.as_ref(), is.leaving.as_ref()));
    events.extend(fence(was.fence.as_ref(), is.fence.as_ref()));
    events
}

fn network_health(was: &NetworkHealth, is: &NetworkHealth) -> Vec<Said> {
    let news = is.problems.iter().filter(|(part, problem)| was.problems.get(*part) != Some(problem));
    let news = news.map(|(part, problem)| format!("its client networks ({part}): {problem}"));
    let over = was.problems.keys().filter(|part| !is.problems.contains_key(*part));
    let over = over.map(|part| format!("its client networks ({part}) are as they should be again"));
    let repaired = (is.repairs != was.repairs && is.repairs > 0)
        .then(|| format!("its client networks were put right: {}", is.last_repair));
    news.chain(over).chain(repaired).map(|text| said("networks", text)).collect()
}

fn role(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Coordinator => "coordinator",
        NodeRole::Hypervisor => "hypervisor",
    }
}

fn settings(old: &Node, new: &Node) -> Vec<Said> {
    let (was, is) = (&old.spec, &new.spec);
    let mut events = Vec::new();
    if was == is {
        return events;
    }
    let switched = |was: bool, is: bool, on: &str, off: &str| {
        (was != is).then(|| said("settings", if is { on } else { off }))
    };
    if was.role != is.role {
        events.push(said("settings", format!("it became a {}", role(is.role))));
    }
    events.extend(switched(
        was.maintenance,
        is.maintenance,
        "its maintenance began",
        "its maintenance ended",
    ));
    events.extend(switched(was.schedulable, is.schedulable, "it takes new VMs", "it takes no new VM"));
    events.extend(switched(was.standby, is.standby, "it is a standby", "it is no standby any more"));
    match (&was.bmc, &is.bmc) {
        (None, Some(_)) => events.push(said("settings", "its BMC was set")),
        (Some(_), None) => events.push(said("settings", "its BMC was forgotten")),
        (Some(was), Some(is)) if was != is => events.push(said("settings", "its BMC was changed")),
        (_, _) => {}
    }
    if events.is_empty() {
        events.push(said("settings", "its settings were changed"));
    }
    events
}

fn shutdown(was: Option<&Leaving>, is: Option<&Leaving>) -> Option<Said> {
    let text = match (was, is) {
        (None, Some(leaving)) => {
            format!("its host is being shut down; its VMs: {}", leaving.policy.as_str())
        }
        (Some(was), Some(is)) if is.empty && !was.empty => "it is empty, and its host may go down".to_owned(),
        (Some(was), Some(is)) if is.policy != was.policy => {
            "the guests that are left end with its host".to_owned()
        }
        (_, _) => return None,
    };
    Some(said("shutdown", text))
}

fn fence(was: Option<&Fence>, is: Option<&Fence>) -> Option<Said> {
    let phase = |fence: Option<&Fence>| fence.map(|fence| (fence.epoch, fence.phase));
    if phase(was) == phase(is) {
        return None;
    }
    let text = match (was, is) {
        (_, Some(fence)) => match fence.phase {
            FencePhase::Fencing => format!("its fence began{}", because(&fence.reason)),
            FencePhase::Fenced => {
                let by = |proof: &crate::fence::Proof| {
                    format!(", proven by {} ({})", proof.kind.as_str(), proof.by)
                };
                format!("it is fenced{}", fence.proof.as_ref().map(by).unwrap_or_default())
            }
            FencePhase::Returned => "it is back from its fence, and has no guest".to_owned(),
        },
        (Some(fence), None) if fence.phase == FencePhase::Fencing => {
            "its fence was called off: it is heard".to_owned()
        }
        (_, None) => "it is trusted with VMs again".to_owned(),
    };
    Some(said("fence", text))
}
