//! What happened to the cluster as a whole.

use super::{Said, because, list, said};
use crate::cluster::Cluster;
use crate::primary::PrimaryPhase;

pub(super) fn events(old: Option<&Cluster>, new: &Cluster) -> Vec<Said> {
    let mut events = Vec::new();
    let was = old.map(|old| old.status.clone()).unwrap_or_default();
    let is = &new.status;
    if old.map(|old| old.spec.clone()).unwrap_or_default() != new.spec {
        events.push(said("settings", "its settings were changed"));
    }
    if was.incarnation != is.incarnation {
        events.push(said(
            "store",
            format!("it was restored or recovered: its incarnation is {}", is.incarnation),
        ));
    }
    if was.level != is.level {
        events.push(said("store", format!("its feature level is {}", is.level)));
    }
    match (&was.brake, &is.brake) {
        (None, Some(brake)) => {
            let text = format!("the storm brake holds: {} fell silent together", list(&brake.nodes));
            events.push(said("fence", text));
        }
        (Some(_), None) => events.push(said("fence", "the storm brake was let go")),
        (Some(was), Some(is)) if was.released_by != is.released_by => {
            let by = is.released_by.as_deref().unwrap_or("nobody");
            events.push(said("fence", format!("the storm brake was released by {by}")));
        }
        (Some(was), Some(is)) if was.nodes != is.nodes => {
            events.push(said("fence", format!("the storm brake holds for {}", list(&is.nodes))));
        }
        (_, _) => {}
    }
    match (&was.disarmed, &is.disarmed) {
        (None, Some(disarmed)) => {
            events
                .push(said("fence", format!("automatic recovery is disarmed{}", because(&disarmed.reason))));
        }
        (Some(_), None) => events.push(said("fence", "automatic recovery is armed")),
        (_, _) => {}
    }
    if let Some(primary) = &is.primary {
        let known = was.primary.as_ref().map(|primary| (&primary.node, &primary.phase));
        if known != Some((&primary.node, &primary.phase)) {
            let node = &primary.node;
            let text = match &primary.phase {
                PrimaryPhase::Holding => format!("{node} is the primary{}", because(&primary.reason)),
                PrimaryPhase::HandingOver { to } => format!("{node} hands the primary's role over to {to}"),
                PrimaryPhase::TakingOver { from } => {
                    format!("{node} takes the primary's role over from {from}")
                }
            };
            events.push(said("primary", text));
        }
    }
    events
}
