//! Tasks. A kind and what it was asked with are two fields on the wire: "vm.migrate" and its arguments.

use std::collections::BTreeMap;

use pvc_model::task::{Subject, TaskKind, TaskState};
use pvc_model::vm::MigrationMethod;
use pvc_model::{Name, Rejection, Task};

use super::meta::{meta, subject};
use super::refuse::{At, WireEnum, wire_enum, wire_time};
use crate::v1;

wire_enum!(v1::TaskState, TaskState, { Running, Succeeded, Failed, Cancelled });

/// As a filter: unset is no filter.
pub fn task_state(at: &At<'_>, number: i32) -> Result<Option<TaskState>, Rejection> {
    if number == 0 { Ok(None) } else { TaskState::from_wire(number, at).map(Some) }
}

impl From<&Task> for v1::Task {
    fn from(task: &Task) -> Self {
        v1::Task {
            meta: Some((&task.meta).into()),
            kind: task.kind.as_str().to_string(),
            subject: task.subject.to_string(),
            subject_uid: task.subject.uid().to_string(),
            arguments: arguments(&task.kind),
            actor: task.actor.clone(),
            state: v1::TaskState::from(task.state).into(),
            stage: task.stage_name().to_string(),
            stages: task.kind.stages().iter().map(ToString::to_string).collect(),
            stage_index: task.stage,
            stage_time: Some(wire_time(task.stage_since)),
            message: task.message.clone(),
            start_time: Some(wire_time(task.started)),
            end_time: task.ended.map(wire_time),
            cancel_requested: task.cancel_requested,
            percent: None,
            progress: String::new(),
        }
    }
}

fn arguments(kind: &TaskKind) -> BTreeMap<String, String> {
    let pairs: Vec<(&str, String)> = match kind {
        TaskKind::VmMigrate { to, method }
        | TaskKind::VmUnmigrate { to, method }
        | TaskKind::VmMove { to, method }
        | TaskKind::VmRebalance { to, method } => {
            vec![("to", to.to_string()), ("method", method_name(*method).to_string())]
        }
        TaskKind::VolumeSnapshotCreate { snapshot } | TaskKind::VolumeSnapshotDelete { snapshot } => {
            vec![("snapshot", snapshot.to_string())]
        }
        TaskKind::NodeFlush { vms, stop_unmovable } => {
            vec![("vms", vms.to_string()), ("stop_unmovable", stop_unmovable.to_string())]
        }
        TaskKind::NodeReady { vms } | TaskKind::NodeShutdown { vms } => vec![("vms", vms.to_string())],
        TaskKind::VmStart
        | TaskKind::VmShutdown
        | TaskKind::VmStop
        | TaskKind::VmRestart
        | TaskKind::VmDisable
        | TaskKind::VmDelete
        | TaskKind::VolumeCreate
        | TaskKind::VolumeResize
        | TaskKind::VolumeDelete
        | TaskKind::ClusterBalance => Vec::new(),
    };
    pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
}

fn method_name(method: MigrationMethod) -> &'static str {
    match method {
        MigrationMethod::Live => "live",
        MigrationMethod::Shutdown => "shutdown",
    }
}

fn kind(at: &At<'_>, wire: &v1::Task) -> Result<TaskKind, Rejection> {
    let arguments = at.field("arguments");
    let name = |key| -> Result<Name, Rejection> {
        arguments.field(key).name(wire.arguments.get(key).map_or("", String::as_str))
    };
    let method = || match wire.arguments.get("method").map(String::as_str) {
        Some("live") => Ok(MigrationMethod::Live),
        Some("shutdown") => Ok(MigrationMethod::Shutdown),
        other => {
            let detail = format!("must be \"live\" or \"shutdown\", not {other:?}");
            Err(arguments.field("method").refuse("unknown-value", detail))
        }
    };
    let vms = || {
        let text = wire.arguments.get("vms").map_or("", String::as_str);
        let bad =
            |_| arguments.field("vms").refuse("unknown-value", format!("must be a number, not {text:?}"));
        text.parse::<u32>().map_err(bad)
    };
    let stop_unmovable = wire.arguments.get("stop_unmovable").is_some_and(|yes| yes == "true");
    Ok(match wire.kind.as_str() {
        "vm.start" => TaskKind::VmStart,
        "vm.shutdown" => TaskKind::VmShutdown,
        "vm.stop" => TaskKind::VmStop,
        "vm.restart" => TaskKind::VmRestart,
        "vm.disable" => TaskKind::VmDisable,
        "vm.migrate" => TaskKind::VmMigrate { to: name("to")?, method: method()? },
        "vm.unmigrate" => TaskKind::VmUnmigrate { to: name("to")?, method: method()? },
        "vm.move" => TaskKind::VmMove { to: name("to")?, method: method()? },
        "vm.rebalance" => TaskKind::VmRebalance { to: name("to")?, method: method()? },
        "node.flush" => TaskKind::NodeFlush { vms: vms()?, stop_unmovable },
        "node.shutdown" => TaskKind::NodeShutdown { vms: vms()? },
        "node.ready" => TaskKind::NodeReady { vms: vms()? },
        "cluster.balance" => TaskKind::ClusterBalance,
        "vm.remove" => TaskKind::VmDelete,
        "volume.create" => TaskKind::VolumeCreate,
        "volume.resize" => TaskKind::VolumeResize,
        "volume.delete" => TaskKind::VolumeDelete,
        "volume.snapshot" => TaskKind::VolumeSnapshotCreate { snapshot: name("snapshot")? },
        "volume.snapshot-delete" => TaskKind::VolumeSnapshotDelete { snapshot: name("snapshot")? },
        other => return Err(at.field("kind").refuse("unknown-value", format!("no task is a {other:?}"))),
    })
}

fn task_subject(at: &At<'_>, wire: &v1::Task) -> Result<Subject, Rejection> {
    let uid = at.field("subject_uid").uid(&wire.subject_uid)?;
    let at = at.field("subject");
    match wire.subject.split_once('/') {
        Some(("vm", name)) => Ok(Subject::Vm { uid, name: at.name(name)? }),
        Some(("volume", name)) => Ok(Subject::Volume { uid, name: at.name(name)? }),
        Some(("node", name)) => Ok(Subject::Node { uid, name: at.name(name)? }),
        None if wire.subject == "cluster" => Ok(Subject::Cluster { uid }),
        Some(_) | None => {
            let detail =
                format!("must be vm/NAME, volume/NAME, node/NAME or cluster, not {:?}", wire.subject);
            Err(at.refuse("unknown-value", detail))
        }
    }
}

impl TryFrom<&v1::Task> for Task {
    type Error = Rejection;

    fn try_from(wire: &v1::Task) -> Result<Self, Rejection> {
        let subject = subject("task", wire.meta.as_ref());
        let at = At::new(&subject);
        let end = wire.end_time.as_ref().map(|time| at.field("end_time").time(Some(time)));
        Ok(Task {
            meta: meta(&at, wire.meta.as_ref())?,
            kind: kind(&at, wire)?,
            subject: task_subject(&at, wire)?,
            actor: wire.actor.clone(),
            state: TaskState::from_wire(wire.state, &at.field("state"))?,
            stage: wire.stage_index,
            stage_since: at.field("stage_time").time(wire.stage_time.as_ref())?,
            message: wire.message.clone(),
            started: at.field("start_time").time(wire.start_time.as_ref())?,
            ended: end.transpose()?,
            cancel_requested: wire.cancel_requested,
        })
    }
}

/// A task as it is shown: with its percentage and its figures, where the leader knows them.
pub fn task_view(task: &Task, progress: Option<(u32, String)>) -> v1::Task {
    let mut view = v1::Task::from(task);
    if let Some((percent, figures)) = progress {
        view.percent = Some(percent.min(100));
        view.progress = figures;
    }
    view
}
