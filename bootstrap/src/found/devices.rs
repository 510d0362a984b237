//! Which of this host's network devices carries what, for the section `[network]` of the daemon's configuration.
//!
//! Looks, and changes nothing.

use std::net::IpAddr;

use pvc_host::network_config::{Network, NetworkConfigError};
use serde::Deserialize;

use crate::tool::{self, ToolError};

/// What people have said of the host's devices; what they have not is found, or left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenDevices {
    pub cluster: Option<String>,
    pub upstream: Option<String>,
    pub storage: Option<String>,
    pub bridge: Option<String>,
}

/// Why the devices could not be settled.
#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    #[error("no device of this host has the address {address}: it has {has}")]
    NoAddress { address: IpAddr, has: String },
    #[error("{option} {device}: this host has no such device, it has {has}")]
    NoDevice { option: &'static str, device: String, has: String },
    #[error(transparent)]
    Config(#[from] NetworkConfigError),
    #[error("`ip` gave an answer that is not its usual JSON")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Tool(#[from] ToolError),
}

#[derive(Debug, Deserialize)]
struct Link {
    #[serde(default)]
    ifname: String,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Debug, Deserialize)]
struct Address {
    local: Option<IpAddr>,
}

/// The section for a host that is reached at `address` in the cluster's network.
pub async fn settle(address: IpAddr, given: &GivenDevices) -> Result<Network, DevicesError> {
    let text = tool::ip(&["-j", "address", "show"]).await?;
    settled(&serde_json::from_str::<Vec<Link>>(&text)?, address, given)
}

fn settled(links: &[Link], address: IpAddr, given: &GivenDevices) -> Result<Network, DevicesError> {
    for (option, device) in [
        ("--cluster-device", &given.cluster),
        ("--upstream-device", &given.upstream),
        ("--storage-device", &given.storage),
        ("--bridge-device", &given.bridge),
    ] {
        if let Some(device) = device
            && !links.iter().any(|link| link.ifname == *device)
        {
            return Err(DevicesError::NoDevice { option, device: device.clone(), has: names(links) });
        }
    }
    let carries = |link: &&Link| link.addr_info.iter().any(|known| known.local == Some(address));
    let cluster = match (&given.cluster, links.iter().find(carries)) {
        (Some(device), _) => device.clone(),
        (None, Some(link)) => link.ifname.clone(),
        (None, None) => return Err(DevicesError::NoAddress { address, has: addresses(links) }),
    };
    let network = Network {
        cluster_device: Some(cluster),
        upstream_device: given.upstream.clone(),
        storage_device: given.storage.clone(),
        bridge_device: given.bridge.clone(),
        ..Network::default()
    };
    network.validate()?;
    Ok(network)
}

fn names(links: &[Link]) -> String {
    links.iter().map(|link| link.ifname.as_str()).collect::<Vec<_>>().join(", ")
}

fn addresses(links: &[Link]) -> String {
    let mut found = Vec::new();
    for link in links {
        let own = link.addr_info.iter().filter_map(|known| known.local);
        found.extend(own.map(|address| format!("{address} on {}", link.ifname)));
    }
    found.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    // what iproute2 6.1 answers, less what is not looked at; it has an empty object for a link that has gone meanwhile
    const ANSWER: &str = r#"[{"ifindex":1,"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]},
        {"ifindex":2,"ifname":"bond0.100","addr_info":[{"family":"inet","local":"10.1.2.3","prefixlen":24},
          {"family":"inet6","local":"fe80::1","prefixlen":64}]},{},{"ifindex":3,"ifname":"eth2","addr_info":[]}]"#;

    fn settle(address: &str, given: &GivenDevices) -> Result<Network, String> {
        let links: Vec<Link> = serde_json::from_str(ANSWER).unwrap();
        settled(&links, address.parse().unwrap(), given).map_err(|error| error.to_string())
    }

    #[test]
    fn the_device_of_the_address_is_found_and_the_others_are_told() {
        let network = settle("10.1.2.3", &GivenDevices::default()).unwrap();
        assert_eq!(network.cluster_device.as_deref(), Some("bond0.100"));
        assert_eq!((network.upstream_device, network.bridge_device), (None, None));
        let given = GivenDevices { upstream: Some("eth2".to_owned()), ..GivenDevices::default() };
        let network = settle("10.1.2.3", &given).unwrap();
        assert_eq!(network.upstream_device.as_deref(), Some("eth2"));
    }

    #[test]
    fn an_address_or_a_device_that_is_not_there_is_named_with_those_that_are() {
        let error = settle("10.1.2.4", &GivenDevices::default()).unwrap_err();
        assert!(error.contains("10.1.2.4: it has 127.0.0.1 on lo, 10.1.2.3 on bond0.100"), "{error}");
        let given = GivenDevices { bridge: Some("eth7".to_owned()), ..GivenDevices::default() };
        let error = settle("10.1.2.3", &given).unwrap_err();
        assert!(error.contains("--bridge-device eth7") && error.contains("bond0.100"), "{error}");
    }
}
