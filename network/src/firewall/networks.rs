//! Which networks this host's own devices are in: what client networks must not reach.

use std::net::IpAddr;

use futures::TryStreamExt as _;
use ipnet::IpNet;

use crate::netlink::{Address, Netlink, NetlinkError};
use crate::site::Site;

/// The networks of the cluster and of its storage, as far as they are networks of their own: where the cluster's device leads to
/// the rest of the site too, clients pass through it.
pub async fn internal(site: &Site) -> Result<Vec<IpNet>, NetlinkError> {
    let upstream = site.upstream_device.as_deref();
    let cluster =
        Some(site.cluster_device.as_str()).filter(|device| upstream.is_some_and(|other| other != *device));
    let storage = site.storage_device.as_deref().filter(|device| Some(*device) != upstream);
    let storage = storage.filter(|device| *device != site.cluster_device);
    let netlink = Netlink::open()?;
    let mut networks = Vec::new();
    for device in cluster.into_iter().chain(storage) {
        networks.extend(of(&netlink, device).await?);
    }
    networks.sort_unstable();
    networks.dedup();
    Ok(networks)
}

/// A device that is not there is in no network. Asked by name: a host has a thousand devices, and this is asked often.
async fn of(netlink: &Netlink, device: &str) -> Result<Vec<IpNet>, NetlinkError> {
    let mut links = netlink.handle.link().get().match_name(device.to_owned()).execute();
    let Ok(Some(link)) = links.try_next().await else { return Ok(Vec::new()) };
    let addresses = netlink.handle.address().get().set_link_index_filter(link.header.index).execute();
    let addresses: Vec<Option<Address>> = addresses.map_ok(Address::read).try_collect().await?;
    let network = |found: Address| {
        let is_of_the_link = matches!(found.address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let network = IpNet::new(found.address, found.prefix).ok()?.trunc();
        (!is_of_the_link).then_some(network)
    };
    Ok(addresses.into_iter().flatten().filter_map(network).collect())
}
