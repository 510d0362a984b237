//! Telling the neighbours where an address is now: a gratuitous ARP (RFC 5227) for IPv4, an unsolicited neighbour
//! advertisement (RFC 4861, 7.2.6) for IPv6. Both name the address and a link address, to everybody on a link.
//!
//! One socket for all links, bound to none: to bind one costs the kernel 16 ms, and a take-over has hundreds of links.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

const EVERYBODY: [u8; 6] = [0xff; 6];
/// ff02::1, all nodes, as an Ethernet address (RFC 2464).
const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const ICMPV6: u8 = 58;
/// Who says it is a router.
const ROUTER: u8 = 0x80;
/// It replaces what is known.
const OVERRIDE: u8 = 0x20;

/// Whose address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    Host,
    /// One that did not say so would be struck off guests' lists of routers.
    Router,
}

pub struct Announcer {
    socket: Socket,
}

impl Announcer {
    pub fn open() -> io::Result<Self> {
        // No protocol: it hears nothing.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        Ok(Announcer { socket })
    }

    /// Says on the link with this index that the address is at `mac`.
    pub fn announce(&self, speaker: Speaker, index: u32, mac: [u8; 6], address: IpAddr) -> io::Result<()> {
        let frame = frame(speaker, mac, address);
        self.socket.send_to(&frame, &on_link(index, &frame)).map(drop)
    }
}

/// The link and the frame's receiver, as packet(7) wants them.
fn on_link(index: u32, frame: &[u8]) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: all zeros is a sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index as i32;
    address.sll_halen = EVERYBODY.len() as u8;
    address.sll_addr[..6].copy_from_slice(&frame[..6]);
    // SAFETY: a sockaddr_ll is one of the kinds of address that the storage is made for.
    unsafe { *storage.view_as::<libc::sockaddr_ll>() = address };
    // SAFETY: the storage holds an address of this length.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) }
}

fn frame(speaker: Speaker, mac: [u8; 6], address: IpAddr) -> Vec<u8> {
    let (to, kind, packet) = match address {
        IpAddr::V4(address) => (EVERYBODY, ARP, arp(address, mac)),
        IpAddr::V6(address) => (ALL_NODES, IPV6, advertisement(speaker, address, mac)),
    };
    [&to[..], &mac, &kind.to_be_bytes(), &packet].concat()
}

/// A request by the address for the address: who knows it takes the new link address.
fn arp(address: Ipv4Addr, mac: [u8; 6]) -> Vec<u8> {
    // Ethernet, IPv4, their lengths, a request.
    [&[0, 1, 8, 0, 6, 4, 0, 1], &mac[..], &address.octets(), &[0; 6], &address.octets()].concat()
}

fn advertisement(speaker: Speaker, address: Ipv6Addr, mac: [u8; 6]) -> Vec<u8> {
    const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    const TARGET_LINK_ADDRESS: u8 = 2;
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let flags = if speaker == Speaker::Router { ROUTER | OVERRIDE } else { OVERRIDE };
    let mut message = [&[NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0], &address.octets()[..]].concat();
    message.extend([TARGET_LINK_ADDRESS, 1]);
    message.extend(mac);
    let length = message.len() as u16;
    let pseudo =
        [&address.octets()[..], &all_nodes.octets(), &[0, 0], &length.to_be_bytes(), &[0, 0, 0, ICMPV6]];
    let sum = checksum(&[&pseudo.concat()[..], &message].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    // Receivers believe it only with a hop limit of 255: it has passed no router.
    let header = [&[0x60, 0, 0, 0], &length.to_be_bytes()[..], &[ICMPV6, 255]].concat();
    [&header[..], &address.octets(), &all_nodes.octets(), &message].concat()
}

/// The Internet's (RFC 1071), of a whole number of pairs.
fn checksum(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = pairs.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x02, 0x54, 0, 0x12, 0x34, 0x5f];

    #[test]
    fn a_gratuitous_arp_is_as_the_rfc_says() {
        let frame = frame(Speaker::Host, MAC, "10.0.0.9".parse().expect("an address"));
        assert_eq!(frame[..14], [255, 255, 255, 255, 255, 255, 2, 0x54, 0, 0x12, 0x34, 0x5f, 8, 6]);
        assert_eq!(frame[14..22], [0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(frame[22..32], [2, 0x54, 0, 0x12, 0x34, 0x5f, 10, 0, 0, 9]);
        assert_eq!(frame[32..], [0, 0, 0, 0, 0, 0, 10, 0, 0, 9]);
    }

    #[test]
    fn an_advertisement_is_a_routers_and_replaces_what_is_known() {
        let frame = frame(Speaker::Router, MAC, "2001:db8::9".parse().expect("an address"));
        assert_eq!(frame[..6], ALL_NODES);
        assert_eq!(frame[12..22], [0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
        let (addresses, message) = (&frame[22..54], &frame[54..]);
        assert_eq!((message[0], message[4]), (136, 0xa0));
        assert_eq!(message[24..26], [2, 1]);
        assert_eq!(message[26..], MAC);
        // A right checksum makes the sum of all nothing.
        let pseudo = [addresses, &[0, 0, 0, 32, 0, 0, 0, 58]].concat();
        assert_eq!(checksum(&[&pseudo[..], message].concat()), 0);
        let hosts = super::frame(Speaker::Host, MAC, "2001:db8::9".parse().expect("an address"));
        assert_eq!(hosts[54..][4], 0x20);
    }
}
