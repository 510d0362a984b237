//! What this node is to do about one VM, and what it has to say about it: a pure function of the VM as
//! the cluster has it, the guest as the hypervisor has it, the lease and what is remembered.
//!
//! The two rules that keep a disk from two writers live here:
//! - a guest is started only where it is placed, with a valid lease, and never while it is in mid-transfer;
//! - a guest is ended only by order, or when it is placed elsewhere with a newer epoch than its own.

use std::time::Duration;

use pvc_model::command::{MigrationEvent, MigrationReport};
use pvc_model::network::Attachment;
use pvc_model::vm::{Migration, MigrationPhase, Observed, ObservedPhase, Placement};
use pvc_model::{Name, Timestamp, Vm};
use tokio::time::Instant;

use super::memory::{Doing, GoingOff, Receiving, Sending, VmMemory};
use super::nics;
use crate::hypervisor::{Guest, GuestState, MigrationOrder, Stamp};

/// The power button is pressed again this often: a guest that was still booting has missed it.
const PRESS_AGAIN: Duration = Duration::from_secs(10);
/// A start whose outcome is unknown is taken for dead when this long nothing of it was seen and the
/// hypervisor has ended whatever there was.
const UNCERTAIN_FOR: Duration = Duration::from_secs(30);

/// A bridge that is being made is looked for this often: nobody tells that it has come.
const BRIDGE_LOOK: Duration = Duration::from_millis(250);

/// A guest that has arrived is first told of by its source, which knows what it cost; if that is silent for so long, by
/// its target.
const SOURCE_FIRST: Duration = Duration::from_secs(1);

/// What this node knows besides the VM.
pub struct Look<'a> {
    pub me: &'a Name,
    pub now: Instant,
    /// There is a lease, and it covers the view that this is decided on.
    pub lease_valid: bool,
    /// The node's guard ends guests while there is no lease.
    pub guarded: bool,
    pub guest: Option<&'a Guest>,
    /// Why the VM's volumes can't be used yet; empty when they can.
    pub volumes_wait: String,
    /// What one of the VM's NICs is attached to, and whose bridge is missing here.
    pub missing_bridge: Option<Attachment>,
    /// Why no start is begun here now; empty when one may be.
    pub starts_wait: &'static str,
    /// How the guest ended, if the hypervisor told.
    pub ending: Option<String>,
    /// Where a migration hither is to be sent.
    pub migration_address: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Nothing,
    Start,
    PowerButton,
    PowerOff,
    Stamp(Stamp),
    /// Look whether the guest's NICs are as they are wanted, and make them so.
    Nics,
    /// Look whether the guest could be received.
    CheckReceiving {
        task: Name,
    },
    Migrate {
        task: Name,
        order: MigrationOrder,
    },
    CancelMigration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub action: Action,
    pub observed: Option<Observed>,
    pub word: Option<MigrationReport>,
    /// Look again then, even if nothing happens.
    pub look_at: Option<Instant>,
}

impl Verdict {
    fn nothing() -> Self {
        Verdict { action: Action::Nothing, observed: None, word: None, look_at: None }
    }
}

pub fn decide(vm: &Vm, look: &Look<'_>, memory: &mut VmMemory) -> Verdict {
    memory.follow(vm);
    let Some(placement) = &vm.placement else { return Verdict::nothing() };
    let migration = vm.migration.as_ref();
    if placement.node == *look.me {
        return match migration {
            Some(m) if m.phase == MigrationPhase::Transferring => send(vm, placement, m, look, memory),
            Some(_) | None => keep(vm, placement, look, memory),
        };
    }
    match migration.filter(|m| m.to == *look.me) {
        Some(m) => receive(placement, m, look, memory),
        None => not_ours(placement, look, memory),
    }
}

/// Placed here, not in mid-transfer: to run or not to run.
fn keep(vm: &Vm, placement: &Placement, look: &Look<'_>, memory: &mut VmMemory) -> Verdict {
    let say = |phase, reason: &str, memory: &VmMemory| {
        Some(observation(vm, placement, look, memory, phase, reason))
    };
    let mut verdict = Verdict::nothing();
    if memory.doing == Some(Doing::Start) {
        verdict.observed = say(ObservedPhase::Starting, "", memory);
        return verdict;
    }
    let Some(guest) = look.guest else { return absent(vm, placement, look, memory) };
    if guest.incoming {
        // A leftover of a migration hither that failed: it has never run, and blocks the guest's place.
        verdict.action = Action::PowerOff;
        return verdict;
    }
    if !vm.should_run() || guest.stamp.boot_generation < vm.boot_generation {
        return go_off(vm, placement, look, memory);
    }
    memory.going_off = None;
    memory.saw_running(look.now);
    if guest.stamp.epoch < placement.epoch {
        verdict.action = Action::Stamp(Stamp { epoch: placement.epoch, ..guest.stamp });
    }
    if verdict.action == Action::Nothing && memory.nics.is_due(vm, guest, look.now) {
        verdict.action = Action::Nics;
    }
    verdict.look_at = memory.nics.again_at();
    let paused = guest.state == GuestState::Paused;
    let reason = if paused { "its processors are paused" } else { memory.nics.problem(vm) }.to_owned();
    verdict.observed = say(ObservedPhase::Running, &reason, memory);
    verdict
}

/// Placed here, and no guest is here.
fn absent(vm: &Vm, placement: &Placement, look: &Look<'_>, memory: &mut VmMemory) -> Verdict {
    let mut verdict = Verdict::nothing();
    let say = |phase, reason: &str, memory: &VmMemory| {
        Some(observation(vm, placement, look, memory, phase, reason))
    };
    if let Some(since) = memory.uncertain_since {
        if look.now.duration_since(since) < UNCERTAIN_FOR {
            verdict.action = Action::PowerOff;
            verdict.observed = say(ObservedPhase::Starting, "the hypervisor has not answered", memory);
            verdict.look_at = Some(look.now + Duration::from_secs(5));
            return verdict;
        }
        memory.uncertain_since = None;
    }
    memory.going_off = None;
    memory.nics.forget();
    if !vm.should_run() {
        memory.running_since = None;
        verdict.observed = say(ObservedPhase::Stopped, "", memory);
        return verdict;
    }
    if look.guarded && !look.lease_valid {
        // Whoever has ended it now is likely the guard: that is no crash.
        memory.running_since = None;
    }
    if memory.running_since.is_some() {
        let why = look.ending.clone().unwrap_or_else(|| "the guest ended by itself".to_string());
        memory.failed(look.now, &why, vm.spec.max_restarts);
    }
    if memory.gave_up {
        verdict.observed = say(ObservedPhase::Failed, &memory.last_failure, memory);
        return verdict;
    }
    if let Some(retry_at) = memory.retry_at.filter(|at| *at > look.now) {
        verdict.observed = say(ObservedPhase::Backoff, &memory.last_failure, memory);
        verdict.look_at = Some(retry_at);
        return verdict;
    }
    let bridge_wait = bridge_wait(look, memory);
    if !look.volumes_wait.is_empty() {
        verdict.observed = say(ObservedPhase::Pending, &look.volumes_wait, memory);
    } else if let Some(wait) = bridge_wait {
        verdict.observed = say(ObservedPhase::Pending, &wait.why, memory);
        verdict.look_at = wait.being_made.then_some(look.now + BRIDGE_LOOK);
    } else if !look.lease_valid {
        verdict.observed = say(ObservedPhase::Pending, "its node has lost its lease", memory);
        verdict.look_at = Some(look.now + Duration::from_millis(500));
    } else if !look.starts_wait.is_empty() {
        verdict.observed = say(ObservedPhase::Pending, look.starts_wait, memory);
    } else {
        verdict.action = Action::Start;
        verdict.observed = say(ObservedPhase::Starting, "", memory);
    }
    verdict
}

struct BridgeWait {
    why: String,
    /// It is the cluster's own, and will be there in a moment.
    being_made: bool,
}

/// None: no bridge is missing.
fn bridge_wait(look: &Look<'_>, memory: &mut VmMemory) -> Option<BridgeWait> {
    let missing_for = memory.bridge_missing_for(look.missing_bridge.is_some(), look.now)?;
    let attachment = look.missing_bridge.as_ref()?;
    let why = nics::missing_bridge(attachment, look.me, missing_for);
    let being_made = attachment.network().is_some() && missing_for < nics::BRIDGE_PATIENCE;
    Some(BridgeWait { why, being_made })
}

/// The guest is to end: at once, or by its power button and a grace.
fn go_off(vm: &Vm, placement: &Placement, look: &Look<'_>, memory: &mut VmMemory) -> Verdict {
    let grace = Duration::from_secs(u64::from(vm.off_grace_seconds));
    let begun = memory.going_off.filter(|g| g.intent == vm.intent);
    let (action, since) = match begun {
        None if grace.is_zero() => (Action::PowerOff, look.now),
        None => {
            memory.going_off = Some(GoingOff { intent: vm.intent, since: look.now, pressed: look.now });
            (Action::PowerButton, look.now)
        }
        Some(going) if look.now.duration_since(going.since) >= grace => (Action::PowerOff, going.since),
        Some(going) if look.now.duration_since(going.pressed) >= PRESS_AGAIN => {
            memory.going_off = Some(GoingOff { pressed: look.now, ..going });
            (Action::PowerButton, going.since)
        }
        Some(going) => (Action::Nothing, going.since),
    };
    // Ending by order is no crash.
    memory.running_since = None;
    let observed = observation(vm, placement, look, memory, ObservedPhase::ShuttingDown, "");
    let look_at =
        Some((since + grace).min(look.now + PRESS_AGAIN).max(look.now + Duration::from_millis(100)));
    Verdict { action, observed: Some(observed), word: None, look_at }
}

/// Placed here, its memory on its way to another node.
fn send(
    vm: &Vm,
    placement: &Placement,
    migration: &Migration,
    look: &Look<'_>,
    memory: &mut VmMemory,
) -> Verdict {
    let task = &migration.task;
    let mut verdict = Verdict::nothing();
    let sending = memory.sending_of(task).cloned();
    let word = |event, error: &str| Some(word(task, event, "", error));
    match (look.guest, sending) {
        (_, Some(Sending::Arrived(cost))) => {
            verdict.word = word(MigrationEvent::Arrived, "").map(|word| MigrationReport { cost, ..word });
        }
        (Some(_), Some(Sending::UnderWay)) if migration.cancel => verdict.action = Action::CancelMigration,
        (_, Some(Sending::UnderWay)) => {}
        (None, _) => verdict.word = word(MigrationEvent::Absent, ""),
        (Some(guest), _) if guest.outgoing && migration.cancel => verdict.action = Action::CancelMigration,
        // Begun before this daemon was restarted, or lost sight of: the hypervisors go on by themselves.
        (Some(guest), _) if guest.outgoing => {}
        (Some(_), Some(Sending::Failed(why) | Sending::Unknown(why))) => {
            verdict.word = word(MigrationEvent::Failed, &why);
        }
        (Some(_), None) if migration.cancel => verdict.word = word(MigrationEvent::Failed, "cancelled"),
        (Some(guest), None) if look.lease_valid => {
            let order = MigrationOrder {
                target_address: migration.target_address.clone(),
                max_downtime_ms: vm.spec.migration_max_downtime_ms,
                bandwidth_mib: 0,
                auto_converge: true,
                stamp: Stamp { epoch: placement.epoch + 1, ..guest.stamp },
            };
            verdict.action = Action::Migrate { task: task.clone(), order };
        }
        (Some(_), None) => {}
    }
    verdict.look_at = Some(look.now + Duration::from_secs(1));
    verdict
}

/// On its way hither, or about to be.
fn receive(placement: &Placement, migration: &Migration, look: &Look<'_>, memory: &mut VmMemory) -> Verdict {
    let task = &migration.task;
    let mut verdict = Verdict { look_at: Some(look.now + Duration::from_secs(1)), ..Verdict::nothing() };
    match migration.phase {
        MigrationPhase::Preparing => match look.guest {
            // On its way already: the source has heard sooner than we that we are ready.
            Some(guest) if guest.incoming && memory.receiving_of(task) == Some(&Receiving::Ready) => {}
            // A leftover: of an earlier try, which never ran, or of an older placement.
            Some(guest) if guest.incoming || guest.stamp.epoch < placement.epoch => {
                verdict.action = Action::PowerOff;
            }
            Some(_) => {}
            None if !look.lease_valid => {}
            None => match memory.receiving_of(task) {
                None => match bridge_wait(look, memory) {
                    None => verdict.action = Action::CheckReceiving { task: task.clone() },
                    Some(wait) if wait.being_made => verdict.look_at = Some(look.now + BRIDGE_LOOK),
                    Some(wait) => {
                        verdict.word = Some(word(task, MigrationEvent::Failed, "", &wait.why));
                    }
                },
                Some(Receiving::Ready) => {
                    verdict.word = Some(word(task, MigrationEvent::Ready, look.migration_address, ""));
                }
                Some(Receiving::Refused(why)) => {
                    verdict.word = Some(word(task, MigrationEvent::Failed, "", why))
                }
            },
        },
        MigrationPhase::Transferring => match look.guest {
            Some(guest) if !guest.incoming && guest.stamp.epoch > placement.epoch => {
                let source_until = memory.arrived_at(task, look.now) + SOURCE_FIRST;
                if look.now >= source_until {
                    verdict.word = Some(word(task, MigrationEvent::Arrived, "", ""));
                } else {
                    verdict.look_at = Some(source_until);
                }
            }
            Some(_) => {}
            None if migration.source_absent => {
                verdict.word = Some(word(task, MigrationEvent::Absent, "", ""))
            }
            None => {}
        },
    }
    verdict
}

/// Placed elsewhere, and not on its way hither.
fn not_ours(placement: &Placement, look: &Look<'_>, memory: &VmMemory) -> Verdict {
    let mut verdict = Verdict::nothing();
    let sending = matches!(memory.sending, Some((_, Sending::UnderWay)));
    let idle = look.guest.filter(|g| !g.outgoing && !sending);
    if idle.is_some_and(|guest| guest.stamp.epoch < placement.epoch || guest.incoming) {
        verdict.action = Action::PowerOff;
    }
    verdict
}

fn word(task: &Name, event: MigrationEvent, address: &str, error: &str) -> MigrationReport {
    MigrationReport {
        task: task.clone(),
        event,
        address: address.to_string(),
        error: error.to_string(),
        cost: String::new(),
    }
}

fn observation(
    vm: &Vm,
    placement: &Placement,
    look: &Look<'_>,
    memory: &VmMemory,
    phase: ObservedPhase,
    reason: &str,
) -> Observed {
    let told_before = vm.current_observation().map_or(0, |o| o.boot_generation);
    let boot_generation = match (look.guest, phase) {
        (Some(guest), _) => guest.stamp.boot_generation,
        (None, ObservedPhase::Failed) => vm.boot_generation,
        (None, _) => told_before,
    };
    Observed {
        node: placement.node.clone(),
        epoch: placement.epoch,
        phase,
        reason: reason.chars().take(1024).collect(),
        seen_intent: vm.intent,
        boot_generation,
        spec_generation: look.guest.map_or(0, |g| g.stamp.spec_generation),
        restarts: memory.restarts,
        since: Timestamp(0),
    }
}
