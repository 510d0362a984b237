//! The host itself, as its own configuration tells of it.

use std::net::IpAddr;
use std::path::PathBuf;

use pvc_model::Name;

use crate::netlink::{Netlink, NetlinkError};

/// What a host is of itself, and where things are on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub node: Name,
    /// This host's address in the cluster's network; tunnels begin and end there.
    pub address: IpAddr,
    /// The device that carries the cluster's network.
    pub cluster_device: String,
    /// The device towards the site's routers.
    pub upstream_device: Option<String>,
    /// The device that carries the storage network.
    pub storage_device: Option<String>,
    /// The device that VLANs of bridged networks are on, where they name no other.
    pub bridge_device: Option<String>,
    /// What must survive a start of the host: /var/lib/pvc/network.
    pub state_dir: PathBuf,
    /// Sockets, process ids, configurations that are made anew: /run/pvc/network.
    pub run_dir: PathBuf,
    /// FRRouting's configuration: /etc/frr.
    pub frr_dir: PathBuf,
    /// FRRouting's sockets: /run/frr.
    pub frr_run_dir: PathBuf,
    /// Where people put settings of their own for FRRouting, one or more files `*.conf`: /etc/pvc/frr.conf.d.
    pub frr_snippets_dir: PathBuf,
    /// The program that DHCP servers call with what they lend: `pvc-dhcp-event`. They give it no arguments but their own.
    pub program: PathBuf,
}

/// The device that has this address; None: none has.
pub async fn device_of(address: IpAddr) -> Result<Option<String>, NetlinkError> {
    let netlink = Netlink::open()?;
    let Some(index) = netlink.addresses().await?.into_iter().find(|a| a.address == address).map(|a| a.device)
    else {
        return Ok(None);
    };
    Ok(netlink.devices().await?.into_iter().find(|device| device.index == index).map(|device| device.name))
}
