//! Hosts that are shut down in order.

use pvc_model::Rejection;
use pvc_model::leaving::{Leaving, OnShutdown};

use super::refuse::{At, WireEnum, wire_enum, wire_time};
use crate::v1;

wire_enum!(v1::OnShutdown, OnShutdown, { Move, Stop, Keep });

/// Unset, as objects of before have it: the default.
pub(super) fn on_shutdown(at: &At<'_>, number: i32) -> Result<OnShutdown, Rejection> {
    Ok(asked_on_shutdown(at, number)?.unwrap_or_default())
}

/// In a request; unset: unchanged.
pub fn asked_on_shutdown(at: &At<'_>, number: i32) -> Result<Option<OnShutdown>, Rejection> {
    if number == 0 { Ok(None) } else { OnShutdown::from_wire(number, at).map(Some) }
}

impl From<&Leaving> for v1::Leaving {
    fn from(leaving: &Leaving) -> Self {
        v1::Leaving {
            since: Some(wire_time(leaving.since)),
            policy: v1::OnShutdown::from(leaving.policy).into(),
            within_seconds: leaving.within_seconds,
            empty: leaving.empty,
            session: leaving.session,
        }
    }
}

pub(super) fn leaving(at: &At<'_>, wire: &v1::Leaving) -> Result<Leaving, Rejection> {
    Ok(Leaving {
        since: at.field("since").time(wire.since.as_ref())?,
        policy: OnShutdown::from_wire(wire.policy, &at.field("policy"))?,
        within_seconds: wire.within_seconds,
        empty: wire.empty,
        session: wire.session,
    })
}
