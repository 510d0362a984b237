//! The real adapter: iproute2's `ip` for the addresses, and the gateways' announcer.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use pvc_model::primary::{Device, Floating};
use pvc_network::announce::{Announcer, Speaker};
use pvc_process::{Cmd, CmdError, Output};
use serde::Deserialize;

use super::addresses::{AddressError, Addresses, Link};

/// The kernel answers at once; a host that is out of memory does not.
const DEADLINE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, Default)]
pub struct IpRoute;

#[derive(Deserialize)]
struct Shown {
    ifindex: u32,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    address: String,
    #[serde(default)]
    addr_info: Vec<ShownAddress>,
}

#[derive(Deserialize)]
struct ShownAddress {
    local: Option<IpAddr>,
}

async fn ip(args: &[&str]) -> Result<Output, CmdError> {
    Cmd::new("ip").args(args).run(DEADLINE).await
}

/// `ip -json address show dev DEVICE`.
fn link(device: &Device, json: &str) -> Result<Link, AddressError> {
    let shown: Vec<Shown> =
        serde_json::from_str(json).map_err(|error| AddressError::Unreadable(error.to_string()))?;
    // Devices that it leaves out are empty objects in some versions; one that is named is there.
    let shown = shown.into_iter().next().ok_or_else(|| AddressError::NoDevice(device.clone()))?;
    Ok(Link {
        index: shown.ifindex,
        // A tunnel has none: there is nobody to tell on it.
        mac: mac(&shown.address).unwrap_or_default(),
        up: shown.flags.iter().any(|flag| flag == "UP"),
        addresses: shown.addr_info.into_iter().filter_map(|address| address.local).collect(),
    })
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes?.try_into().ok()
}

#[async_trait]
impl Addresses for IpRoute {
    async fn look(&self, device: &Device) -> Result<Link, AddressError> {
        match ip(&["-json", "address", "show", "dev", device.as_str()]).await {
            Ok(shown) => link(device, &shown.stdout_text()),
            Err(error) if error.to_string().contains("does not exist") => {
                Err(AddressError::NoDevice(device.clone()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn add(&self, floating: &Floating) -> Result<(), AddressError> {
        let address = floating.address.to_string();
        let mut args = vec!["address", "replace", &address, "dev", floating.device.as_str()];
        if floating.address.address.is_ipv6() {
            // At once, without asking around for a second; and never the source of what the host itself says.
            args.extend(["nodad", "valid_lft", "forever", "preferred_lft", "0"]);
        }
        ip(&args).await?;
        Ok(())
    }

    async fn remove(&self, floating: &Floating) -> Result<(), AddressError> {
        let address = floating.address.to_string();
        let removed = ip(&["address", "del", &address, "dev", floating.device.as_str()]).await;
        let Err(error) = removed else { return Ok(()) };
        match self.look(&floating.device).await {
            Err(AddressError::NoDevice(_)) => Ok(()),
            Ok(link) if !link.addresses.contains(&floating.address.address) => Ok(()),
            _ => Err(error.into()),
        }
    }

    async fn announce(&self, floating: &Floating, link: &Link) -> Result<(), AddressError> {
        let announced = Announcer::open().and_then(|announcer| {
            announcer.announce(Speaker::Host, link.index, link.mac, floating.address.address)
        });
        announced.map_err(AddressError::Announce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ip_says_is_read() {
        let device: Device = "br0".parse().expect("a device");
        let json = r#"[{"ifindex":3,"ifname":"br0","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],"mtu":1500,
            "operstate":"UP","link_type":"ether","address":"52:54:00:12:34:5f","broadcast":"ff:ff:ff:ff:ff:ff",
            "addr_info":[{"family":"inet","local":"10.0.0.2","prefixlen":24,"scope":"global"},
            {"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]}]"#;
        let seen = link(&device, json).expect("read");
        assert_eq!((seen.index, seen.up, seen.mac), (3, true, [0x52, 0x54, 0, 0x12, 0x34, 0x5f]));
        assert_eq!(seen.addresses, ["10.0.0.2".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
        assert!(matches!(link(&device, "[]"), Err(AddressError::NoDevice(_))));
        assert!(matches!(link(&device, "nonsense"), Err(AddressError::Unreadable(_))));
    }
}
