//! What people were told, held against what is there in the end: all that was acknowledged, nothing twice,
//! and nothing of what was refused.

use std::collections::BTreeMap;

use pvc_model::change::Collection;
use pvc_model::task::{Subject, Task};
use pvc_model::vm::Power;
use pvc_model::{Command, Name, Uid, World};
use raft_store::View;

use crate::people::{Deed, Told, mark, vm_of};
use crate::witness::{Rule, Witness};

/// The end of a story: what a coordinator that is up to date shows.
pub struct End<'a> {
    pub world: &'a World,
    pub view: &'a View,
}

pub fn check(deeds: &[Deed], end: &End<'_>, witness: &Witness) {
    for (number, deed) in deeds.iter().enumerate() {
        let own = end.world.tasks.values().filter(|task| task.actor == deed.actor);
        let tasks = own.filter(|task| is_asked_for(task, &deed.command)).count();
        if tasks > 1 {
            witness.accuse(Rule::NothingTwice, format!("deed {number} has {tasks} tasks"));
        }
        match &deed.told {
            Told::Done { .. } => acknowledged(number, deed, deeds, end, witness),
            Told::NotDone(_) | Told::Rejected { sure: true, .. } => {
                if tasks > 0 || has_left_a_trace(number, deed, end) {
                    let detail = format!("deed {number} was not done, and is there: {deed:?}");
                    witness.accuse(Rule::RefusedIsUndone, detail);
                }
            }
            Told::Rejected { .. } | Told::Unknown(_) | Told::Waiting => {}
        }
    }
    power(deeds, end, witness);
}

/// A task that moves many VMs has one for each of them, in the name of the same person.
fn is_asked_for(task: &Task, command: &Command) -> bool {
    match command {
        Command::FlushNode { .. } | Command::ReadyNode { .. } | Command::BalanceCluster => {
            matches!(task.subject, Subject::Node { .. } | Subject::Cluster { .. })
        }
        _ => true,
    }
}

fn has_left_a_trace(number: usize, deed: &Deed, end: &End<'_>) -> bool {
    end.view.outcome(&deed.request_id).is_some()
        || end.world.vms.values().any(|vm| vm.spec.notes.contains_key(&mark(number)))
}

fn acknowledged(number: usize, deed: &Deed, deeds: &[Deed], end: &End<'_>, witness: &Witness) {
    let Told::Done { revision, reply, vm } = &deed.told else { return };
    let lost = |what: String| witness.accuse(Rule::NothingLost, format!("deed {number} {what}: {deed:?}"));
    let said = reply.as_ref().map(ToString::to_string).unwrap_or_default();
    match end.view.outcome(&deed.request_id) {
        None if may_change_nothing(&deed.command) => {}
        None => lost("is not remembered".to_owned()),
        Some((at, answer)) if at != *revision || answer != said.as_bytes() => {
            let detail = format!("deed {number} was done at {revision}, and again at {at}: {deed:?}");
            witness.accuse(Rule::NothingTwice, detail);
        }
        Some(_) => {}
    }
    let task = reply.as_ref().filter(|reply| reply.collection == Collection::Tasks);
    if task.is_some_and(|task| !end.world.tasks.contains_key(&task.name)) {
        lost("has no task".to_owned());
    }
    let Some(uid) = *vm else { return };
    match end.world.vm_by_uid(uid) {
        None if may_be_deleted(uid, deeds) => {}
        None => lost(format!("concerns VM {uid}, which is gone, and nobody deleted it")),
        Some(vm) => {
            if let Command::UpdateVm { patch, .. } = &deed.command
                && patch.set_notes.keys().any(|key| !vm.spec.notes.contains_key(key))
            {
                lost("has left no mark".to_owned());
            }
        }
    }
}

/// What finds all as it should be is not written down.
fn may_change_nothing(command: &Command) -> bool {
    match command {
        Command::UpdateNode { .. } | Command::FenceNode { .. } => true,
        // Somebody else has asked for it already.
        Command::FlushNode { .. } | Command::ReadyNode { .. } | Command::BalanceCluster => true,
        Command::Arm | Command::Disarm { .. } | Command::HandOverPrimary { .. } => true,
        Command::UpdateVm { patch, .. } => patch.set_notes.is_empty(),
        _ => false,
    }
}

/// Whether anybody asked for the deletion of a VM that had one of its names.
fn may_be_deleted(uid: Uid, deeds: &[Deed]) -> bool {
    let named = |deed: &Deed| matches!(deed.told, Told::Done { vm: Some(vm), .. } if vm == uid);
    let mut names: Vec<&Name> =
        deeds.iter().filter(|deed| named(deed)).filter_map(|deed| vm_of(&deed.command)).collect();
    let renamed = deeds.iter().filter_map(|deed| match (&deed.command, &deed.told) {
        (_, Told::Rejected { sure: true, .. } | Told::NotDone(_)) => None,
        (Command::RenameVm { name, new_name, .. }, _) => Some((name, new_name)),
        _ => None,
    });
    let renamed: Vec<_> = renamed.collect();
    // A few rounds follow every chain of renames; one that is a name too far makes the check milder.
    for _ in 0..renamed.len() {
        let further: Vec<_> =
            renamed.iter().filter(|(old, _)| names.contains(old)).map(|(_, new)| *new).collect();
        names.extend(further);
    }
    deeds.iter().any(|deed| {
        let refused = matches!(deed.told, Told::Rejected { sure: true, .. } | Told::NotDone(_));
        matches!(&deed.command, Command::DeleteVm { name, .. } if names.contains(&name)) && !refused
    })
}

/// The last acknowledged word about a VM's power is what is wanted of it.
fn power(deeds: &[Deed], end: &End<'_>, witness: &Witness) {
    let mut last: BTreeMap<Uid, (u64, usize, Power)> = BTreeMap::new();
    let mut unclear: Vec<&Name> = Vec::new();
    let mut anything_cancelled = false;
    for (number, deed) in deeds.iter().enumerate() {
        let Some(wanted) = power_wanted(&deed.command) else {
            anything_cancelled |= matches!(deed.command, Command::CancelTask { .. });
            continue;
        };
        match &deed.told {
            Told::Done { revision, vm: Some(uid), .. } => {
                let known = last.entry(*uid).or_insert((*revision, number, wanted));
                if (*revision, number) > (known.0, known.1) {
                    *known = (*revision, number, wanted);
                }
            }
            Told::Unknown(_) | Told::Waiting | Told::Rejected { sure: false, .. } => {
                unclear.extend(vm_of(&deed.command));
            }
            Told::Done { .. } | Told::Rejected { .. } | Told::NotDone(_) => {}
        }
    }
    // Cancelling a task takes its wish back: then the last word is another's.
    if anything_cancelled {
        return;
    }
    for (uid, (revision, number, wanted)) in last {
        let Some(vm) = end.world.vm_by_uid(uid) else { continue };
        // Two words in one entry share their revision; who came first is not told.
        let alone = deeds.iter().filter(|deed| {
            matches!(deed.told, Told::Done { revision: r, vm: Some(u), .. } if r == revision && u == uid)
                && power_wanted(&deed.command).is_some()
        });
        let stopped_while_disabled = wanted == Power::Off && vm.desired == Power::Disabled;
        if alone.count() == 1
            && vm.desired != wanted
            && !stopped_while_disabled
            && !unclear.contains(&&vm.meta.name)
        {
            let detail =
                format!("vm {} is to be {:?}, deed {number} said {wanted:?}", vm.meta.name, vm.desired);
            witness.accuse(Rule::NothingLost, detail);
        }
    }
}

fn power_wanted(command: &Command) -> Option<Power> {
    match command {
        Command::StartVm { .. } | Command::RestartVm { .. } => Some(Power::On),
        Command::ShutdownVm { .. } | Command::StopVm { .. } => Some(Power::Off),
        Command::DisableVm { .. } => Some(Power::Disabled),
        _ => None,
    }
}
