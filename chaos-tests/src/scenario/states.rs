//! The states of nodes and of tasks that a scenario may expect.

use pvc_model::fence::FencePhase;
use pvc_model::node::{Node, Reachability};
use pvc_model::task::{Subject, Task, TaskKind, TaskState};
use pvc_model::{Name, World};

use super::check::is;
use crate::net::Place;

/// A task that people ask for and follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Flush(Name),
    Return(Name),
    Balancing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    UnderWay,
    Done,
    Failed,
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    Silent,
    Heard,
    /// It has no fence.
    Trusted,
    Fencing,
    Fenced,
    Returned,
    Removed,
    /// It is worked on: it was flushed, or is being.
    Maintained,
}

impl Work {
    pub fn is(&self, task: &Task) -> bool {
        let of = |node: &Name| matches!(&task.subject, Subject::Node { name, .. } if name == node);
        match self {
            Work::Flush(node) => matches!(task.kind, TaskKind::NodeFlush { .. }) && of(node),
            Work::Return(node) => matches!(task.kind, TaskKind::NodeReady { .. }) && of(node),
            Work::Balancing => task.kind == TaskKind::ClusterBalance,
        }
    }
}

impl Progress {
    pub fn parse(words: &[&str]) -> Result<Progress, String> {
        Ok(match words {
            ["under", "way"] => Progress::UnderWay,
            ["done"] => Progress::Done,
            ["failed"] => Progress::Failed,
            ["cancelled"] => Progress::Cancelled,
            _ => return Err(format!("a task is under way, done, failed or cancelled, not {words:?}")),
        })
    }

    pub fn is(self, state: TaskState) -> bool {
        match self {
            Progress::UnderWay => matches!(state, TaskState::Running),
            Progress::Done => state == TaskState::Succeeded,
            Progress::Failed => state == TaskState::Failed,
            Progress::Cancelled => state == TaskState::Cancelled,
        }
    }
}

impl NodeState {
    pub fn parse(text: &str) -> Result<NodeState, String> {
        Ok(match text {
            "silent" => NodeState::Silent,
            "heard" => NodeState::Heard,
            "trusted" => NodeState::Trusted,
            "fencing" => NodeState::Fencing,
            "fenced" => NodeState::Fenced,
            "returned" => NodeState::Returned,
            "removed" => NodeState::Removed,
            "maintained" => NodeState::Maintained,
            _ => return Err(format!("{text:?} is nothing that a node can be")),
        })
    }

    pub fn look(self, world: &World, place: Place) -> Result<(), String> {
        let Some(node) = world.nodes.get(&place.node()) else {
            return is(self == NodeState::Removed, || format!("there is no {place}"));
        };
        let phase = node.status.fence.as_ref().map(|fence| fence.phase);
        let so = match self {
            NodeState::Silent => node.status.reachability == Reachability::Unreachable,
            NodeState::Heard => node.is_reachable(),
            NodeState::Trusted => phase.is_none(),
            NodeState::Fencing => phase == Some(FencePhase::Fencing),
            NodeState::Fenced => phase == Some(FencePhase::Fenced),
            NodeState::Returned => phase == Some(FencePhase::Returned),
            NodeState::Removed => false,
            NodeState::Maintained => node.spec.maintenance,
        };
        is(so, || told(node))
    }
}

fn told(node: &Node) -> String {
    format!("{} is {:?}, its fence: {:?}", node.meta.name, node.status.reachability, node.status.fence)
}
