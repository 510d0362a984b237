//! The power of hosts, as the leader's controllers and services see it: one trait, whose real form is `node`'s BMC adapter and
//! whose form for tests is [`FakeBmcs`]. Given to the core with its options, like all else from outside.
//!
//! What may never happen behind this trait: "off" said of a host whose power was not read back as off, and a host switched by
//! a BMC that tells another identity than the one it was enrolled with.

mod fake;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use pvc_model::bmc::Bmc;
use pvc_model::{Name, Node};

pub use fake::{FakeBmcs, Fault};

/// Whether a host has power, as its BMC reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerState {
    On,
    Off,
}

impl fmt::Display for PowerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PowerState::On => "on",
            PowerState::Off => "off",
        })
    }
}

/// How a node's BMC is reached. Its password stays sealed: only the real adapter opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BmcAccess {
    pub node: Name,
    pub bmc: Bmc,
}

impl BmcAccess {
    /// None: the node has no BMC.
    pub fn of(node: &Node) -> Option<Self> {
        let bmc = node.spec.bmc.clone()?;
        Some(BmcAccess { node: node.meta.name.clone(), bmc })
    }

    /// For whom the password is sealed.
    pub fn owner(&self) -> String {
        format!("node/{}", self.node)
    }
}

/// Why a BMC did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PowerError {
    #[error("no BMC answers at {address}")]
    Unreachable { address: String },
    #[error("the BMC at {address} did not answer within {} s", after.as_secs())]
    Timeout { address: String, after: Duration },
    #[error("the BMC at {address} does not take this user and password")]
    WrongPassword { address: String },
    #[error("the BMC at {address} refuses: {detail}")]
    Refused { address: String, detail: String },
    #[error(
        "the BMC at {address} is another one: it tells the system GUID {found}, and was enrolled with {expected}"
    )]
    AnotherIdentity { address: String, expected: String, found: String },
    #[error("the BMC at {address} took the order, and after {} s still reads the power as {reads}", after.as_secs())]
    NotReadBack { address: String, reads: PowerState, after: Duration },
    /// Neither adapter can speak with it.
    #[error("the BMC at {address} can't be spoken to: {detail}")]
    NotSpoken { address: String, detail: String },
    #[error("the password of the BMC can't be opened: {detail}")]
    Sealed { detail: String },
}

impl PowerError {
    /// Time will not put it right: somebody must.
    pub fn is_wrong(&self) -> bool {
        matches!(
            self,
            PowerError::WrongPassword { .. } | PowerError::AnotherIdentity { .. } | PowerError::Sealed { .. }
        )
    }
}

/// What can be done about hosts' power. Each call ends in bounded time by itself.
#[async_trait]
pub trait Power: fmt::Debug + Send + Sync {
    async fn status(&self, access: &BmcAccess) -> Result<PowerState, PowerError>;

    /// Takes the host's power away. Done when it is read back as off; a host that was off already is a success.
    async fn off(&self, access: &BmcAccess) -> Result<(), PowerError>;

    /// Gives the host power. Done when it is read back as on.
    async fn on(&self, access: &BmcAccess) -> Result<(), PowerError>;

    /// The system GUID that the BMC tells, as `pvc_model::bmc::identity` writes it; empty: it can't tell.
    async fn identity(&self, access: &BmcAccess) -> Result<String, PowerError>;
}

/// Where there is no way to BMCs.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPower;

impl NoPower {
    fn error(access: &BmcAccess) -> PowerError {
        PowerError::NotSpoken {
            address: access.bmc.address.clone(),
            detail: "there is no way to BMCs".into(),
        }
    }
}

#[async_trait]
impl Power for NoPower {
    async fn status(&self, access: &BmcAccess) -> Result<PowerState, PowerError> {
        Err(Self::error(access))
    }

    async fn off(&self, access: &BmcAccess) -> Result<(), PowerError> {
        Err(Self::error(access))
    }

    async fn on(&self, access: &BmcAccess) -> Result<(), PowerError> {
        Err(Self::error(access))
    }

    async fn identity(&self, access: &BmcAccess) -> Result<String, PowerError> {
        Err(Self::error(access))
    }
}
