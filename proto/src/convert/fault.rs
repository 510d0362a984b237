//! Faults.

use pvc_model::{Fault, Rejection};

use super::meta::{meta, subject};
use super::refuse::{At, wire_time};
use crate::v1;

impl From<&Fault> for v1::Fault {
    fn from(fault: &Fault) -> Self {
        let state = match fault.acknowledged_by {
            Some(_) => v1::FaultState::Acknowledged,
            None => v1::FaultState::New,
        };
        v1::Fault {
            meta: Some((&fault.meta).into()),
            state: state.into(),
            subject: fault.subject.clone(),
            message: fault.message.clone(),
            help: fault.help.clone(),
            first_time: Some(wire_time(fault.first)),
            last_time: Some(wire_time(fault.last)),
            acknowledged_by: fault.acknowledged_by.clone().unwrap_or_default(),
        }
    }
}

impl TryFrom<&v1::Fault> for Fault {
    type Error = Rejection;

    fn try_from(wire: &v1::Fault) -> Result<Self, Rejection> {
        let subject = subject("fault", wire.meta.as_ref());
        let at = At::new(&subject);
        let acknowledged_by = match v1::FaultState::try_from(wire.state) {
            Ok(v1::FaultState::New) => None,
            Ok(v1::FaultState::Acknowledged) => Some(wire.acknowledged_by.clone()),
            Ok(v1::FaultState::Unspecified) => {
                return Err(at.field("state").refuse("must-be-set", "must be set"));
            }
            Err(error) => return Err(at.field("state").refuse("unknown-value", error)),
        };
        Ok(Fault {
            meta: meta(&at, wire.meta.as_ref())?,
            subject: wire.subject.clone(),
            message: wire.message.clone(),
            help: wire.help.clone(),
            first: at.field("first_time").time(wire.first_time.as_ref())?,
            last: at.field("last_time").time(wire.last_time.as_ref())?,
            acknowledged_by,
        })
    }
}
