//! What people are told of fences: one that finds no proof, the storm brake, automatic recovery that is switched off.

use std::sync::Arc;

use pvc_model::fence::FencePhase;
use pvc_model::{Command, Name, Node, World};

use super::super::super::seat::Seat;
use super::super::fault_name::{cluster_fault, fault_name};
use super::bmcs::Bmcs;

/// What is to be raised and cleared now.
pub(super) fn faults<S: Seat>(world: &World, bmcs: &Bmcs<S>) -> Vec<Command> {
    let mut commands = stuck(world, bmcs);
    commands.extend(cluster_fault(
        world,
        "storm-brake",
        world.brake().map(|brake| {
            let nodes: Vec<&str> = brake.nodes.iter().map(Name::as_str).collect();
            (
                format!(
                    "{} fell silent together: taken for a fault of the network, nobody's power is touched",
                    nodes.join(", ")
                ),
                "repair the network; or, if they are dead: pvc cluster release-brake",
            )
        }),
    ));
    let disarmed = world.cluster.as_ref().and_then(|cluster| cluster.status.disarmed.clone());
    commands.extend(cluster_fault(
        world,
        "recovery-disarmed",
        disarmed.map(|disarmed| {
            let why =
                if disarmed.reason.is_empty() { String::new() } else { format!(" ({})", disarmed.reason) };
            (
                format!(
                    "{} has disarmed automatic recovery{why}: no VM is started elsewhere when a node dies",
                    disarmed.by
                ),
                "pvc cluster arm",
            )
        }),
    ));
    commands
}

/// A fence that finds no proof needs a person. One that relies on the node's guard finds it in time.
fn stuck<S: Seat>(world: &World, bmcs: &Bmcs<S>) -> Vec<Command> {
    let mut commands = Vec::new();
    // Mostly there is nothing to raise, and nothing to clear.
    let told_of = |node: &&Arc<Node>| node.status.fence.is_some() || !world.faults.is_empty();
    for node in world.nodes.values().filter(told_of) {
        let name = &node.meta.name;
        let fault = fault_name("fence-stuck", name);
        let fencing = node.status.fence.as_ref().filter(|fence| fence.phase == FencePhase::Fencing);
        let told = match (&fencing, &node.spec.bmc) {
            (None, _) => None,
            (Some(_), _) if node.relied_guard().is_some() => None,
            (Some(_), None) => Some("it has no BMC that could switch it off".to_owned()),
            (Some(_), Some(_)) => bmcs.failure(name),
        };
        let stands = world.faults.get(&fault);
        match told {
            Some(why) if stands.is_none() => commands.push(Command::RaiseFault {
                name: fault,
                subject: format!("node/{name}"),
                message: format!("node {name} can't be fenced: {why}. Its VMs stay where they are"),
                help: format!("when it is certainly off: pvc node fence {name} --confirm-off"),
            }),
            None if stands.is_some() && fencing.is_none() => {
                commands.push(Command::ClearFault { name: fault });
            }
            _ => {}
        }
    }
    commands
}
