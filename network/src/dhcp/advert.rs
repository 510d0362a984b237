//! What a router says of itself and of the link: a router advertisement (RFC 4861 section 4.2), with resolvers and domain
//! (RFC 8106).

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use pvc_model::network::Network;

use super::config::servers;

const ROUTER_ADVERTISEMENT: u8 = 134;
const HOP_LIMIT: u8 = 64;
/// Addresses by DHCPv6; the rest by DHCPv6.
const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;
/// What guests can make addresses of their own in (RFC 4862).
pub(super) const AUTONOMOUS_PREFIX: u8 = 64;
/// For so long guests hold it for a router, and its resolvers for theirs, after the last advertisement: the most that RFC 4861
/// section 6.2.1 lets it be.
const ROUTER_SECONDS: u16 = 9000;
/// That section's defaults for prefixes: 30 days, and 7 to be used for what is new.
const VALID_SECONDS: u32 = 2_592_000;
const PREFERRED_SECONDS: u32 = 604_800;
const MTU_MIN: u32 = 1280;

/// The message, but for its checksum, which the kernel fills in. None: the network has no router for IPv6.
pub(super) fn advertisement(network: &Network, mac: [u8; 6], mtu: u32) -> Option<Vec<u8>> {
    let managed = network.managed()?;
    let subnet = managed.ipv6.as_ref()?;
    let (IpAddr::V6(gateway), IpNet::V6(net)) = (subnet.gateway?, subnet.subnet) else { return None };
    let by_themselves = subnet.dhcp.is_none() && net.prefix_len() <= AUTONOMOUS_PREFIX;
    let (flags, prefix, use_of_it) = if by_themselves {
        (OTHER, Ipv6Net::new(gateway, AUTONOMOUS_PREFIX).ok()?.trunc(), ON_LINK | AUTONOMOUS)
    } else {
        (MANAGED | OTHER, net, ON_LINK)
    };
    let mut message = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, HOP_LIMIT, flags];
    message.extend(ROUTER_SECONDS.to_be_bytes());
    // How guests find out that a neighbour is there: as they like.
    message.extend([0; 8]);
    message.extend([1, 1]);
    message.extend(mac);
    let mtu = network.spec.mtu.unwrap_or(mtu);
    if mtu >= MTU_MIN {
        message.extend([5, 1, 0, 0]);
        message.extend(mtu.to_be_bytes());
    }
    message.extend([3, 4, prefix.prefix_len(), use_of_it]);
    message.extend(VALID_SECONDS.to_be_bytes());
    message.extend(PREFERRED_SECONDS.to_be_bytes());
    message.extend([0; 4]);
    message.extend(prefix.network().octets());
    resolvers(&mut message, &servers(&managed.name_servers, gateway.into()));
    domain(&mut message, &managed.domain);
    Some(message)
}

fn resolvers(message: &mut Vec<u8>, servers: &[IpAddr]) {
    let servers: Vec<Ipv6Addr> = servers
        .iter()
        .filter_map(|server| match server {
            IpAddr::V6(server) => Some(*server),
            IpAddr::V4(_) => None,
        })
        .collect();
    // Eight are the most that a network has.
    let Ok(units) = u8::try_from(1 + 2 * servers.len()) else { return };
    if !servers.is_empty() {
        message.extend([25, units, 0, 0]);
        message.extend(u32::from(ROUTER_SECONDS).to_be_bytes());
        servers.iter().for_each(|server| message.extend(server.octets()));
    }
}

fn domain(message: &mut Vec<u8>, domain: &str) {
    let mut name = Vec::new();
    for label in domain.split('.') {
        let Some(length) = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length)) else {
            return;
        };
        name.push(length);
        name.extend(label.as_bytes());
    }
    name.push(0);
    name.resize(name.len().next_multiple_of(8), 0);
    let Ok(units) = u8::try_from(1 + name.len() / 8) else { return };
    message.extend([31, units, 0, 0]);
    message.extend(u32::from(ROUTER_SECONDS).to_be_bytes());
    message.extend(name);
}
