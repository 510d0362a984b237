//! Which networks this host's own devices are in: what client networks must not reach.

use std::net::IpAddr;

use futures::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::packet_route::address::AddressAttribute;

use crate::site::Site;

/// The networks of the cluster and of its storage, as far as they are networks of their own: where the cluster's device leads to
/// the rest of the site too, clients pass through it.
pub async fn internal(site: &Site) -> Result<Vec<IpNet>, rtnetlink::Error> {
    let upstream = site.upstream_device.as_deref();
    let cluster =
        Some(site.cluster_device.as_str()).filter(|device| upstream.is_some_and(|other| other != *device));
    let storage = site.storage_device.as_deref().filter(|device| Some(*device) != upstream);
    let storage = storage.filter(|device| *device != site.cluster_device);
    let mut networks = Vec::new();
    for device in cluster.into_iter().chain(storage) {
        networks.extend(of(device).await?);
    }
    networks.sort_unstable();
    networks.dedup();
    Ok(networks)
}

/// A device that is not there is in no network.
async fn of(device: &str) -> Result<Vec<IpNet>, rtnetlink::Error> {
    let (connection, handle, _) = rtnetlink::new_connection()
        .map_err(|error| rtnetlink::Error::NamespaceError(format!("there is no netlink socket: {error}")))?;
    let connection = tokio::spawn(connection);
    let found = async {
        let mut links = handle.link().get().match_name(device.to_owned()).execute();
        let Ok(Some(link)) = links.try_next().await else { return Ok(Vec::new()) };
        let addresses = handle.address().get().set_link_index_filter(link.header.index).execute();
        let addresses: Vec<_> = addresses.try_collect().await?;
        let network = |message: &rtnetlink::packet_route::address::AddressMessage| {
            let address = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })?;
            let is_of_the_link = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            let network = IpNet::new(address, message.header.prefix_len).ok()?.trunc();
            (!is_of_the_link).then_some(network)
        };
        Ok(addresses.iter().filter_map(network).collect())
    };
    let found = found.await;
    connection.abort();
    found
}
