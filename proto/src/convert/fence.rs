//! Fences, the storm brake, and automatic recovery switched off.

use pvc_model::Rejection;
use pvc_model::fence::{Brake, Disarmed, Fence, FencePhase, OnReturn, Proof, ProofKind};

use super::refuse::{At, WireEnum, wire_enum, wire_time};
use crate::v1;

wire_enum!(v1::FencePhase, FencePhase, { Fencing, Fenced, Returned });
wire_enum!(v1::ProofKind, ProofKind, { Power, Storage, Lease, Operator });
wire_enum!(v1::OnReturn, OnReturn, { Automatic, Home, Manual });

/// Unset, as objects of before have it: the default.
pub(super) fn on_return(at: &At<'_>, number: i32) -> Result<OnReturn, Rejection> {
    Ok(asked_on_return(at, number)?.unwrap_or_default())
}

/// In a request; unset: unchanged.
pub fn asked_on_return(at: &At<'_>, number: i32) -> Result<Option<OnReturn>, Rejection> {
    if number == 0 { Ok(None) } else { OnReturn::from_wire(number, at).map(Some) }
}

impl From<&Fence> for v1::Fence {
    fn from(fence: &Fence) -> Self {
        v1::Fence {
            epoch: fence.epoch,
            phase: v1::FencePhase::from(fence.phase).into(),
            since: Some(wire_time(fence.since)),
            reason: fence.reason.clone(),
            by_person: fence.by_person,
            proof: fence.proof.as_ref().map(|proof| v1::Proof {
                kind: v1::ProofKind::from(proof.kind).into(),
                by: proof.by.clone(),
                time: Some(wire_time(proof.at)),
            }),
        }
    }
}

pub(super) fn fence(at: &At<'_>, wire: &v1::Fence) -> Result<Fence, Rejection> {
    let proof = wire.proof.as_ref().map(|proof| {
        let at = at.field("proof");
        Ok(Proof {
            kind: ProofKind::from_wire(proof.kind, &at.field("kind"))?,
            by: proof.by.clone(),
            at: at.field("time").time(proof.time.as_ref())?,
        })
    });
    Ok(Fence {
        epoch: wire.epoch,
        phase: FencePhase::from_wire(wire.phase, &at.field("phase"))?,
        since: at.field("since").time(wire.since.as_ref())?,
        reason: wire.reason.clone(),
        by_person: wire.by_person,
        proof: proof.transpose()?,
    })
}

impl From<&Brake> for v1::Brake {
    fn from(brake: &Brake) -> Self {
        v1::Brake {
            since: Some(wire_time(brake.since)),
            nodes: brake.nodes.iter().map(ToString::to_string).collect(),
            released_by: brake.released_by.clone().unwrap_or_default(),
        }
    }
}

pub(super) fn brake(at: &At<'_>, wire: &v1::Brake) -> Result<Brake, Rejection> {
    let nodes = wire.nodes.iter().enumerate();
    Ok(Brake {
        since: at.field("since").time(wire.since.as_ref())?,
        nodes: nodes.map(|(i, node)| at.item("nodes", i).name(node)).collect::<Result<_, _>>()?,
        released_by: (!wire.released_by.is_empty()).then(|| wire.released_by.clone()),
    })
}

impl From<&Disarmed> for v1::Disarmed {
    fn from(disarmed: &Disarmed) -> Self {
        v1::Disarmed {
            by: disarmed.by.clone(),
            since: Some(wire_time(disarmed.since)),
            reason: disarmed.reason.clone(),
        }
    }
}

pub(super) fn disarmed(at: &At<'_>, wire: &v1::Disarmed) -> Result<Disarmed, Rejection> {
    Ok(Disarmed {
        by: wire.by.clone(),
        since: at.field("since").time(wire.since.as_ref())?,
        reason: wire.reason.clone(),
    })
}
