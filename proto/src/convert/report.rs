//! What nodes report to the leader.

use pvc_model::Rejection;
use pvc_model::command::{CountedGuest, MigrationEvent, MigrationReport, VmReport, VolumeReport};

use super::refuse::{At, WireEnum, wire_enum};
use super::vm::observed;
use super::volume::volume_status;
use crate::internal::v1 as wire;

wire_enum!(wire::MigrationEvent, MigrationEvent, { Ready, Arrived, Failed, Absent });

impl From<&VmReport> for wire::VmReport {
    fn from(report: &VmReport) -> Self {
        wire::VmReport {
            uid: report.uid.to_string(),
            observed: report.observed.as_ref().map(Into::into),
            migration: report.migration.as_ref().map(|m| wire::MigrationReport {
                task: m.task.to_string(),
                event: wire::MigrationEvent::from(m.event).into(),
                address: m.address.clone(),
                error: m.error.clone(),
                cost: m.cost.clone(),
            }),
        }
    }
}

impl From<&VolumeReport> for wire::VolumeReport {
    fn from(report: &VolumeReport) -> Self {
        wire::VolumeReport {
            name: report.name.to_string(),
            uid: report.uid.to_string(),
            status: Some((&report.status).into()),
            deleted: report.deleted,
        }
    }
}

/// `at` is the report itself: `At::new("node/hv1").item("vms", 3)`.
pub fn vm_report(at: &At<'_>, report: &wire::VmReport) -> Result<VmReport, Rejection> {
    let migration = report.migration.as_ref().map(|m| {
        let at = at.field("migration");
        Ok(MigrationReport {
            task: at.field("task").name(&m.task)?,
            event: MigrationEvent::from_wire(m.event, &at.field("event"))?,
            address: m.address.clone(),
            error: m.error.clone(),
            cost: m.cost.clone(),
        })
    });
    Ok(VmReport {
        uid: at.field("uid").uid(&report.uid)?,
        observed: report.observed.as_ref().map(|o| observed(&at.field("observed"), o)).transpose()?,
        migration: migration.transpose()?,
    })
}

/// `at` is the report itself.
pub fn volume_report(at: &At<'_>, report: &wire::VolumeReport) -> Result<VolumeReport, Rejection> {
    let status = at.field("status");
    Ok(VolumeReport {
        name: at.field("name").name(&report.name)?,
        uid: at.field("uid").uid(&report.uid)?,
        status: volume_status(&status, status.present(report.status.as_ref())?)?,
        deleted: report.deleted,
    })
}

impl From<&CountedGuest> for wire::CountedGuest {
    fn from(guest: &CountedGuest) -> Self {
        wire::CountedGuest {
            uid: guest.uid.to_string(),
            epoch: guest.epoch,
            boot_generation: guest.boot_generation,
            spec_generation: guest.spec_generation,
        }
    }
}

/// `at` is the guest itself.
pub fn counted_guest(at: &At<'_>, guest: &wire::CountedGuest) -> Result<CountedGuest, Rejection> {
    Ok(CountedGuest {
        uid: at.field("uid").uid(&guest.uid)?,
        epoch: guest.epoch,
        boot_generation: guest.boot_generation,
        spec_generation: guest.spec_generation,
    })
}
