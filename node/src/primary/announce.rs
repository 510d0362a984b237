//! Telling the neighbours where an address is now: a gratuitous ARP (RFC 5227) for IPv4, an unsolicited neighbour
//! advertisement (RFC 4861, 7.2.6) for IPv6. Both name the address and this host's link address, to everybody.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use super::addresses::Link;

const BROADCAST: [u8; 6] = [0xff; 6];
const ARP_LEN: usize = 28;
const ADVERTISEMENT_LEN: usize = 32;

pub fn announce(address: IpAddr, link: &Link) -> io::Result<()> {
    match address {
        IpAddr::V4(address) => {
            let protocol = (libc::ETH_P_ARP as u16).to_be();
            let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(i32::from(protocol))))?;
            let to = everybody(link.index, protocol);
            socket.set_nonblocking(true)?;
            socket.send_to(&arp(address, link.mac), &to).map(drop)
        }
        IpAddr::V6(address) => {
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
            socket.set_nonblocking(true)?;
            // Receivers believe it only from the same link: it has passed no router.
            socket.set_multicast_hops_v6(255)?;
            socket.set_multicast_if_v6(link.index)?;
            socket.bind(&SocketAddrV6::new(address, 0, 0, 0).into())?;
            let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            let to = SocketAddrV6::new(all_nodes, 0, 0, link.index);
            // The kernel fills in the checksum.
            socket.send_to(&advertisement(address, link.mac), &to.into()).map(drop)
        }
    }
}

/// The link's broadcast address, as packet(7) wants it.
fn everybody(index: u32, protocol_be: u16) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: all zeros is a sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol_be;
    address.sll_ifindex = index as i32;
    address.sll_halen = BROADCAST.len() as u8;
    address.sll_addr[..BROADCAST.len()].copy_from_slice(&BROADCAST);
    // SAFETY: a sockaddr_ll is one of the kinds of address that the storage is made for.
    unsafe { *storage.view_as::<libc::sockaddr_ll>() = address };
    // SAFETY: the storage holds an address of this length.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) }
}

/// A request by the address for the address: who knows it takes the new link address.
fn arp(address: Ipv4Addr, mac: [u8; 6]) -> [u8; ARP_LEN] {
    let mut packet = [0; ARP_LEN];
    // Ethernet, IPv4, their lengths, a request.
    packet[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    packet[8..14].copy_from_slice(&mac);
    packet[14..18].copy_from_slice(&address.octets());
    packet[24..28].copy_from_slice(&address.octets());
    packet
}

fn advertisement(address: Ipv6Addr, mac: [u8; 6]) -> [u8; ADVERTISEMENT_LEN] {
    const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    const OVERRIDE: u8 = 0x20;
    const TARGET_LINK_ADDRESS: u8 = 2;
    let mut packet = [0; ADVERTISEMENT_LEN];
    packet[0] = NEIGHBOUR_ADVERTISEMENT;
    packet[4] = OVERRIDE;
    packet[8..24].copy_from_slice(&address.octets());
    packet[24..26].copy_from_slice(&[TARGET_LINK_ADDRESS, 1]);
    packet[26..].copy_from_slice(&mac);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_the_rfcs_say() {
        let mac = [0x52, 0x54, 0, 0x12, 0x34, 0x5f];
        let arp = arp(Ipv4Addr::new(10, 0, 0, 9), mac);
        assert_eq!(arp[..8], [0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(arp[8..18], [0x52, 0x54, 0, 0x12, 0x34, 0x5f, 10, 0, 0, 9]);
        assert_eq!(arp[18..], [0, 0, 0, 0, 0, 0, 10, 0, 0, 9]);
        let advertisement = advertisement("2001:db8::9".parse().expect("an address"), mac);
        assert_eq!(advertisement[..8], [136, 0, 0, 0, 0x20, 0, 0, 0]);
        assert_eq!(advertisement[23..], [9, 2, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x5f]);
    }
}
