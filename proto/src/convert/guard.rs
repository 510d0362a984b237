//! What becomes of an isolated node's guests, and the guard that sees to it.

use std::time::Duration;

use pvc_model::Rejection;
use pvc_model::guard::{Guard, GuardKind, Isolation};

use super::refuse::{At, WireEnum, wire_enum};
use crate::v1;

wire_enum!(v1::Isolation, Isolation, { Keep, Stop });
wire_enum!(v1::GuardKind, GuardKind, { Device, Softdog, Process });

/// Unset, as objects of before have it: the default.
pub(super) fn isolation(at: &At<'_>, number: i32) -> Result<Isolation, Rejection> {
    Ok(asked_isolation(at, number)?.unwrap_or_default())
}

/// In a request; unset: unchanged.
pub fn asked_isolation(at: &At<'_>, number: i32) -> Result<Option<Isolation>, Rejection> {
    if number == 0 { Ok(None) } else { Isolation::from_wire(number, at).map(Some) }
}

impl From<&Guard> for v1::Guard {
    fn from(guard: &Guard) -> Self {
        v1::Guard {
            kind: v1::GuardKind::from(guard.kind).into(),
            device: guard.device.clone(),
            strike_after_ms: guard.strike_after.as_millis() as u64,
        }
    }
}

pub fn guard(at: &At<'_>, wire: &v1::Guard) -> Result<Guard, Rejection> {
    Ok(Guard {
        kind: GuardKind::from_wire(wire.kind, &at.field("kind"))?,
        device: wire.device.clone(),
        strike_after: Duration::from_millis(wire.strike_after_ms),
    })
}
