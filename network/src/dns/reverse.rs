//! Reverse zones: which there are for a subnet, and what an address is called in them.
//!
//! Zones end at octets (in-addr.arpa) or at nibbles (ip6.arpa). A subnet whose prefix ends between two has several, and
//! exactly those: a /22 four, a /60 … one, a /61 eight. One that is longer than the last such end (a /25; a /126) is a part
//! of a zone that it shares with its neighbours: RFC 2317's delegations inside of it are the matter of whoever has the rest.

use std::net::IpAddr;

use ipnet::IpNet;

/// The longest prefixes of a zone: beyond them there would be one for each address.
const LONGEST_V4: u8 = 24;
const LONGEST_V6: u8 = 124;

/// The zones of a subnet.
pub(super) fn zones(subnet: IpNet) -> Vec<String> {
    let (step, longest) = if subnet.addr().is_ipv4() { (8, LONGEST_V4) } else { (4, LONGEST_V6) };
    let end = subnet.prefix_len().max(1).div_ceil(step) * step;
    let name = |net: IpNet| name(net.network(), net.prefix_len());
    if end > longest {
        let around = IpNet::new(subnet.addr(), longest).map(|net| net.trunc());
        return around.map(name).into_iter().collect();
    }
    subnet.subnets(end).map(|nets| nets.map(name).collect()).unwrap_or_default()
}

/// The name of an address.
pub(super) fn pointer(address: IpAddr) -> String {
    name(address, if address.is_ipv4() { 32 } else { 128 })
}

/// The name of the first `bits` of an address, which are whole octets or nibbles.
fn name(address: IpAddr, bits: u8) -> String {
    let bits = usize::from(bits);
    match address {
        IpAddr::V4(v4) => {
            let octets = v4.octets();
            let parts = octets.iter().take(bits / 8).rev().map(|octet| format!("{octet}."));
            parts.collect::<String>() + "in-addr.arpa"
        }
        IpAddr::V6(v6) => {
            let nibbles = v6.octets().into_iter().flat_map(|octet| [octet >> 4, octet & 15]).take(bits / 4);
            let parts: Vec<String> = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
            parts.into_iter().rev().collect::<String>() + "ip6.arpa"
        }
    }
}
