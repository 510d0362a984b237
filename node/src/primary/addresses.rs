//! What carries the primary's address: the host's network, behind a trait.

use std::net::IpAddr;

use async_trait::async_trait;
use pvc_model::primary::{Device, Floating};

/// A network device as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub mac: [u8; 6],
    pub up: bool,
    pub addresses: Vec<IpAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error("there is no network device {0}")]
    NoDevice(Device),
    #[error(transparent)]
    Command(#[from] pvc_process::CmdError),
    #[error("`ip` says what can't be read: {0}")]
    Unreadable(String),
    #[error("the address can't be announced: {0}")]
    Announce(#[source] std::io::Error),
}

/// Every call may be repeated: what is as asked already is a success.
#[async_trait]
pub trait Addresses: Send + Sync + 'static {
    async fn look(&self, device: &Device) -> Result<Link, AddressError>;

    async fn add(&self, floating: &Floating) -> Result<(), AddressError>;

    /// A device that is gone has taken the address with it.
    async fn remove(&self, floating: &Floating) -> Result<(), AddressError>;

    /// Tells all neighbours that the address is here now.
    async fn announce(&self, floating: &Floating, link: &Link) -> Result<(), AddressError>;
}
