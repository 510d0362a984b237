//! The primary's role, and where it is reached.

use pvc_model::command::{FloatingPatch, PrimaryReport};
use pvc_model::primary::{Floating, Primary, PrimaryPhase};
use pvc_model::{Name, Rejection};

use super::refuse::{At, WireEnum, wire_enum, wire_name, wire_time};
use crate::{internal, v1};

wire_enum!(internal::v1::PrimaryReport, PrimaryReport, { Ready, Released, Leaving });

impl From<&Primary> for v1::Primary {
    fn from(primary: &Primary) -> Self {
        let (phase, other) = match &primary.phase {
            PrimaryPhase::Holding => (v1::PrimaryPhase::Holding, None),
            PrimaryPhase::HandingOver { to } => (v1::PrimaryPhase::HandingOver, Some(to)),
            PrimaryPhase::TakingOver { from } => (v1::PrimaryPhase::TakingOver, Some(from)),
        };
        v1::Primary {
            node: primary.node.to_string(),
            epoch: primary.epoch,
            since: Some(wire_time(primary.since)),
            phase: phase.into(),
            other: wire_name(other),
            reason: primary.reason.clone(),
        }
    }
}

pub(super) fn primary(at: &At<'_>, wire: &v1::Primary) -> Result<Primary, Rejection> {
    let other = || at.field("other").name(&wire.other);
    let phase = at.field("phase");
    let phase = match v1::PrimaryPhase::try_from(wire.phase) {
        Ok(v1::PrimaryPhase::Holding) => PrimaryPhase::Holding,
        Ok(v1::PrimaryPhase::HandingOver) => PrimaryPhase::HandingOver { to: other()? },
        Ok(v1::PrimaryPhase::TakingOver) => PrimaryPhase::TakingOver { from: other()? },
        Ok(v1::PrimaryPhase::Unspecified) => return Err(phase.refuse("must-be-set", "must be set")),
        Err(_) => {
            return Err(phase.refuse("unknown-value", format_args!("no value has the number {}", wire.phase)));
        }
    };
    Ok(Primary {
        node: at.field("node").name(&wire.node)?,
        epoch: wire.epoch,
        since: at.field("since").time(wire.since.as_ref())?,
        phase,
        reason: wire.reason.clone(),
    })
}

/// The two fields of a setting: empty where there is none.
pub(super) fn wire_floating(floating: Option<&Floating>) -> (String, String) {
    floating.map(|f| (f.address.to_string(), f.device.to_string())).unwrap_or_default()
}

pub(super) fn floating(at: &At<'_>, address: &str, device: &str) -> Result<Option<Floating>, Rejection> {
    if address.is_empty() {
        return Ok(None);
    }
    let patch = floating_patch(at, Some(address), Some(device))?;
    Ok(patch.address.flatten().zip(patch.device).map(|(address, device)| Floating { address, device }))
}

/// What a request asks to change.
pub fn floating_patch(
    at: &At<'_>,
    address: Option<&str>,
    device: Option<&str>,
) -> Result<FloatingPatch, Rejection> {
    let address = match address {
        None => None,
        Some("") => Some(None),
        Some(text) => {
            let bad = |why: String| at.field("floating_address").refuse("bad-address", why);
            Some(Some(text.parse().map_err(bad)?))
        }
    };
    let bad = |why: String| at.field("floating_device").refuse("bad-device", why);
    let device = device.map(|text| text.parse().map_err(bad)).transpose()?;
    Ok(FloatingPatch { address, device })
}

pub fn primary_report(at: &At<'_>, wire: i32) -> Result<PrimaryReport, Rejection> {
    PrimaryReport::from_wire(wire, at)
}

/// What a node is told.
pub fn wire_primary_role(
    primary: Option<&Primary>,
    floating: Option<&Floating>,
) -> internal::v1::PrimaryRole {
    let (floating_address, floating_device) = wire_floating(floating);
    internal::v1::PrimaryRole { primary: primary.map(Into::into), floating_address, floating_device }
}

/// What a node was told.
pub fn primary_role(
    at: &At<'_>,
    wire: &internal::v1::PrimaryRole,
) -> Result<(Option<Primary>, Option<Floating>), Rejection> {
    let told = wire.primary.as_ref().map(|told| primary(&at.field("primary"), told)).transpose()?;
    Ok((told, floating(at, &wire.floating_address, &wire.floating_device)?))
}

/// Whether this node is the one that holds the role.
pub(super) fn holds(primary: Option<&Primary>, node: &Name) -> bool {
    primary.is_some_and(|primary| primary.node == *node)
}
