//! VMs: what is stored of them, and what people are shown.

use pvc_model::phase::{self, vm_phase};
use pvc_model::vm::{Migration, MigrationPhase, Observed, ObservedPhase, Placement, Power, Waiting};
use pvc_model::{Rejection, Timestamp, Vm, World};

use super::meta::{meta, subject};
use super::refuse::{At, WireEnum, wire_enum, wire_name, wire_time};
use super::vm_spec::vm_spec;
use crate::v1;

wire_enum!(v1::Power, Power, { Off, On, Disabled });
wire_enum!(v1::MigrationPhase, MigrationPhase, { Preparing, Transferring });
wire_enum!(v1::VmPhase, ObservedPhase, { Stopped, Pending, Starting, Running, ShuttingDown, Backoff, Failed });
wire_enum!(v1::VmPhase, phase::VmPhase, {
    Stopped, Pending, Starting, Running, ShuttingDown, Migrating, Backoff, Failed, Unknown, Deleting,
});

/// As a filter: unset is no filter.
pub fn vm_phase_filter(at: &At<'_>, number: i32) -> Result<Option<phase::VmPhase>, Rejection> {
    if number == 0 { Ok(None) } else { phase::VmPhase::from_wire(number, at).map(Some) }
}

impl From<&Vm> for v1::Vm {
    fn from(vm: &Vm) -> Self {
        v1::Vm {
            meta: Some((&vm.meta).into()),
            spec: Some((&vm.spec).into()),
            desired: v1::Power::from(vm.desired).into(),
            status: Some(v1::VmStatus {
                placement: vm.placement.as_ref().map(Into::into),
                observed: vm.observed.as_ref().map(Into::into),
                migration: vm.migration.as_ref().map(Into::into),
                migrated_from: wire_name(vm.migrated_from.as_ref()),
                waits: vm.waits.as_ref().map(|waits| v1::Waiting {
                    reason: waits.reason.clone(),
                    since: Some(wire_time(waits.since)),
                }),
                ..v1::VmStatus::default()
            }),
            boot_generation: vm.boot_generation,
            spec_generation: vm.spec_generation,
            off_grace_seconds: vm.off_grace_seconds,
            task: wire_name(vm.task.as_ref()),
            deleting: vm.deleting,
            delete_volumes: vm.delete_volumes,
            intent: vm.intent,
            release: vm.release,
            confirmed: vm.confirmed,
        }
    }
}

impl From<&Placement> for v1::Placement {
    fn from(placement: &Placement) -> Self {
        v1::Placement { node: placement.node.to_string(), epoch: placement.epoch }
    }
}

impl From<&Observed> for v1::Observed {
    fn from(observed: &Observed) -> Self {
        v1::Observed {
            node: observed.node.to_string(),
            epoch: observed.epoch,
            phase: v1::VmPhase::from(observed.phase).into(),
            reason: observed.reason.clone(),
            seen_intent: observed.seen_intent,
            boot_generation: observed.boot_generation,
            restarts: observed.restarts,
            since: Some(wire_time(observed.since)),
            spec_generation: observed.spec_generation,
        }
    }
}

impl From<&Migration> for v1::Migration {
    fn from(migration: &Migration) -> Self {
        v1::Migration {
            from: migration.from.to_string(),
            to: migration.to.to_string(),
            phase: v1::MigrationPhase::from(migration.phase).into(),
            permanent: migration.permanent,
            cancel: migration.cancel,
            task: migration.task.to_string(),
            target_address: migration.target_address.clone(),
            source_absent: migration.source_absent,
        }
    }
}

/// What a node reports of a VM; `at` is the observation itself. Since when is the leader's to say: a report
/// may leave it unset, which is time 0.
pub fn observed(at: &At<'_>, wire: &v1::Observed) -> Result<Observed, Rejection> {
    Ok(Observed {
        node: at.field("node").name(&wire.node)?,
        epoch: wire.epoch,
        phase: ObservedPhase::from_wire(wire.phase, &at.field("phase"))?,
        reason: wire.reason.clone(),
        seen_intent: wire.seen_intent,
        boot_generation: wire.boot_generation,
        spec_generation: wire.spec_generation,
        restarts: wire.restarts,
        since: wire.since.as_ref().map_or(Ok(Timestamp(0)), |since| at.field("since").time(Some(since)))?,
    })
}

fn placement(at: &At<'_>, wire: &v1::Placement) -> Result<Placement, Rejection> {
    Ok(Placement { node: at.field("node").name(&wire.node)?, epoch: wire.epoch })
}

fn migration(at: &At<'_>, wire: &v1::Migration) -> Result<Migration, Rejection> {
    Ok(Migration {
        from: at.field("from").name(&wire.from)?,
        to: at.field("to").name(&wire.to)?,
        phase: MigrationPhase::from_wire(wire.phase, &at.field("phase"))?,
        permanent: wire.permanent,
        cancel: wire.cancel,
        task: at.field("task").name(&wire.task)?,
        target_address: wire.target_address.clone(),
        source_absent: wire.source_absent,
    })
}

fn waiting(at: &At<'_>, wire: &v1::Waiting) -> Result<Waiting, Rejection> {
    Ok(Waiting { reason: wire.reason.clone(), since: at.field("since").time(wire.since.as_ref())? })
}

/// What is output only in the message (`status.phase` and the like) is not looked at.
impl TryFrom<&v1::Vm> for Vm {
    type Error = Rejection;

    fn try_from(wire: &v1::Vm) -> Result<Self, Rejection> {
        let subject = subject("vm", wire.meta.as_ref());
        let root = At::new(&subject);
        let spec = root.field("spec");
        let at = root.field("status");
        let status = at.present(wire.status.as_ref())?;
        let part = |field| at.field(field);
        Ok(Vm {
            meta: meta(&root, wire.meta.as_ref())?,
            spec: vm_spec(&spec, spec.present(wire.spec.as_ref())?)?,
            desired: Power::from_wire(wire.desired, &root.field("desired"))?,
            placement: status.placement.as_ref().map(|p| placement(&part("placement"), p)).transpose()?,
            observed: status.observed.as_ref().map(|o| observed(&part("observed"), o)).transpose()?,
            migration: status.migration.as_ref().map(|m| migration(&part("migration"), m)).transpose()?,
            migrated_from: part("migrated_from").optional_name(&status.migrated_from)?,
            boot_generation: wire.boot_generation,
            spec_generation: wire.spec_generation,
            intent: wire.intent,
            release: wire.release,
            off_grace_seconds: wire.off_grace_seconds,
            task: root.field("task").optional_name(&wire.task)?,
            deleting: wire.deleting,
            delete_volumes: wire.delete_volumes,
            confirmed: wire.confirmed,
            waits: status.waits.as_ref().map(|w| waiting(&part("waits"), w)).transpose()?,
        })
    }
}

/// A VM as it is shown: with its phase and the reason for it, since when, and whether the running guest
/// lags behind its spec.
pub fn vm_view(world: &World, vm: &Vm) -> v1::Vm {
    let (phase, reason) = vm_phase(world, vm);
    let now = vm.current_observation();
    let mut view = v1::Vm::from(vm);
    let status = view.status.get_or_insert_default();
    status.set_phase(phase.into());
    status.reason = reason;
    // 0: no guest runs, so the next start shows all there is.
    status.restart_pending =
        now.is_some_and(|o| o.spec_generation != 0 && o.spec_generation != vm.spec_generation);
    status.since = Some(wire_time(now.map_or(vm.meta.updated, |o| o.since)));
    view
}
