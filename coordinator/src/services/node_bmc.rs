//! A node's BMC and its power, as people ask for them: the part of `NodeService` that talks with the outside. A password comes
//! in here in clear and leaves sealed; a BMC is asked before it is stored.

use std::time::Duration;

use pvc_identity::Secret;
use pvc_model::bmc::{self, Bmc, PASSWORD_BYTES_MAX, Sealed};
use pvc_model::change::Collection;
use pvc_model::command::{PowerOrder, bmc_wiring};
use pvc_model::{Command, Name, Rejection, World};
use pvc_proto::convert::{At, bmc_adapter};
use pvc_proto::v1;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::caller::Caller;
use super::shared::{Shared, name, refuse, reply_name};
use crate::core::power::{BmcAccess, PowerError, PowerState};
use crate::status;

pub async fn set(
    shared: &Shared,
    caller: &Caller,
    request: v1::SetNodeBmcRequest,
) -> Result<v1::Node, Status> {
    let node = name("node", "name", &request.name)?;
    let subject = format!("node/{node}");
    let adapter = bmc_adapter(&At::new(&subject).field("adapter"), request.adapter).map_err(refuse)?;
    let password = password(&subject, request.password)?;
    let command = |bmc: &Bmc| Command::SetNodeBmc {
        name: node.clone(),
        bmc: Box::new(bmc.clone()),
        expected_revision: request.expected_revision,
    };
    let mut bmc = Bmc {
        address: request.address,
        user: request.user,
        password: Sealed::default(),
        adapter,
        identity: String::new(),
        trusted: request.trust_wiring,
    };
    // What is refused whatever the BMC may say is refused before it is asked.
    let world = shared.core.world();
    shared.core.check(&world, &command(&bmc), &caller.identity).map_err(refuse)?;
    bmc.address = bmc::address(&bmc.address).map_err(|_| status::internal("an address that was checked"))?;
    let mut access = BmcAccess { node: node.clone(), bmc };
    let sealed = shared.vault.seal(&access.owner(), &password);
    access.bmc.password = Sealed(sealed.map_err(|error| {
        tracing::error!(%error, "a BMC's password can't be sealed");
        let detail = format!("the password can't be sealed: {error}");
        let help = "copy /etc/pvc/ca from another coordinator";
        status::of(Code::FailedPrecondition, "ca-usable", &subject, &detail, help, None)
    })?);
    let found = shared.core.power().identity(&access).await;
    access.bmc.identity = found.map_err(|error| refused(&subject, &error))?;
    let committed = shared.submit(caller, command(&access.bmc), &request.request_id).await?;
    let node = committed.world.node(reply_name(&committed, Collection::Nodes)?).map_err(refuse)?;
    Ok(shared.show_node(&committed.world, node))
}

pub async fn clear(
    shared: &Shared,
    caller: &Caller,
    request: v1::ClearNodeBmcRequest,
) -> Result<v1::Node, Status> {
    let command = Command::ClearNodeBmc {
        name: name("node", "name", &request.name)?,
        expected_revision: request.expected_revision,
    };
    let committed = shared.submit(caller, command, &request.request_id).await?;
    let node = committed.world.node(reply_name(&committed, Collection::Nodes)?).map_err(refuse)?;
    Ok(shared.show_node(&committed.world, node))
}

pub async fn check(shared: &Shared, node: &str) -> Result<v1::CheckNodeBmcResponse, Status> {
    let node = name("node", "name", node)?;
    let world = shared.core.world();
    let access = access(&world, &node)?;
    let begun = Instant::now();
    let failed = |error: PowerError| refused(&format!("node/{node}"), &error);
    let power = shared.core.power().status(&access).await.map_err(failed)?;
    let identity = shared.core.power().identity(&access).await.map_err(failed)?;
    let took_ms = millis(begun.elapsed());
    let wiring = bmc_wiring(&world, world.node(&node).map_err(refuse)?, &access.bmc, &identity);
    Ok(v1::CheckNodeBmcResponse {
        power: shown(power).into(),
        identity,
        wiring: v1::Wiring::from(wiring).into(),
        took_ms,
    })
}

pub async fn set_power(
    shared: &Shared,
    caller: &Caller,
    request: v1::SetNodePowerRequest,
) -> Result<v1::SetNodePowerResponse, Status> {
    let node = name("node", "name", &request.name)?;
    let subject = format!("node/{node}");
    let order = match v1::PowerAction::try_from(request.action).unwrap_or_default() {
        v1::PowerAction::On => PowerOrder::On,
        v1::PowerAction::Off => PowerOrder::Off,
        v1::PowerAction::Cycle => PowerOrder::Cycle,
        v1::PowerAction::Unspecified => {
            return Err(refuse(
                At::new(&subject).field("action").refuse("must-be-set", "must be on, off or cycle"),
            ));
        }
    };
    let world = shared.world(v1::Consistency::Linearizable.into()).await?;
    let access = access(&world, &node)?;
    let command = Command::OrderPower { node: node.clone(), order, force: request.force };
    shared.submit(caller, command, "").await?;
    tracing::warn!(%node, by = caller.identity, ?order, "power by hand");
    let begun = Instant::now();
    let (power, failed) = (shared.core.power(), |error: PowerError| refused(&subject, &error));
    let reads = match order {
        PowerOrder::On => {
            power.on(&access).await.map_err(failed)?;
            PowerState::On
        }
        PowerOrder::Off => {
            power.off(&access).await.map_err(failed)?;
            PowerState::Off
        }
        PowerOrder::Cycle => {
            power.off(&access).await.map_err(failed)?;
            power.on(&access).await.map_err(failed)?;
            PowerState::On
        }
    };
    let took_ms = millis(begun.elapsed());
    Ok(v1::SetNodePowerResponse { power: shown(reads).into(), took_ms })
}

fn access(world: &World, node: &Name) -> Result<BmcAccess, Status> {
    let found = world.node(node).map_err(refuse)?;
    BmcAccess::of(found).ok_or_else(|| {
        let rejection = Rejection::precondition("node-has-bmc", format!("node/{node}"), "it has no BMC");
        refuse(rejection.help(format!("pvc node bmc set {node} --address HOST --user USER")))
    })
}

fn password(subject: &str, password: String) -> Result<Secret, Status> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX || password.chars().any(char::is_control) {
        let detail =
            format!("password: must have 1 to {PASSWORD_BYTES_MAX} bytes, as IPMI has it, and be one line");
        return Err(refuse(Rejection::invalid("bmc-password", subject, detail)));
    }
    Ok(Secret::new(password))
}

/// What a BMC did not do. It is no matter of this coordinator: another would be answered alike, so nobody is asked to try it.
fn refused(subject: &str, error: &PowerError) -> Status {
    let (rule, help) = match error {
        PowerError::Unreachable { .. } | PowerError::Timeout { .. } => {
            ("bmc-answers", "is its network reachable from the coordinators, and IPMI over LAN switched on?")
        }
        PowerError::WrongPassword { .. } => ("bmc-password", "set it anew: pvc node bmc set"),
        PowerError::Sealed { .. } => ("bmc-password-opens", "set it anew: pvc node bmc set"),
        PowerError::Refused { .. } => ("bmc-willing", ""),
        PowerError::AnotherIdentity { .. } => {
            ("bmc-same-identity", "if it was replaced, enrol it anew: pvc node bmc set")
        }
        PowerError::NotReadBack { .. } => ("power-read-back", "look at the host itself"),
        PowerError::NotSpoken { .. } => {
            ("bmc-spoken-with", "try another --adapter: ipmitool knows more kinds of BMCs")
        }
    };
    status::of(Code::FailedPrecondition, rule, subject, &error.to_string(), help, None)
}

fn shown(state: PowerState) -> v1::PowerState {
    match state {
        PowerState::On => v1::PowerState::On,
        PowerState::Off => v1::PowerState::Off,
    }
}

fn millis(took: Duration) -> u32 {
    u32::try_from(took.as_millis()).unwrap_or(u32::MAX)
}
