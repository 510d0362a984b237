//! Frames as bytes, honest and otherwise.

use std::net::{Ipv4Addr, Ipv6Addr};

use pvc_model::vm::Mac;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(pub Vec<u8>);

const EVERYBODY: [u8; 6] = [0xff; 6];

impl Frame {
    pub fn ethernet(source: Mac, kind: u16, payload: &[u8]) -> Frame {
        let mut bytes = EVERYBODY.to_vec();
        bytes.extend(source.0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(payload);
        // The shortest that Ethernet carries.
        bytes.resize(bytes.len().max(60), 0);
        Frame(bytes)
    }

    /// As a hypervisor sends it when a guest has arrived: RARP.
    pub fn announcement(mac: Mac) -> Frame {
        Frame::ethernet(mac, 0x8035, &arp(3, mac, Ipv4Addr::UNSPECIFIED, mac, Ipv4Addr::UNSPECIFIED))
    }

    /// "This address is at that MAC", in a frame from `source`.
    pub fn arp_reply(source: Mac, mac: Mac, address: Ipv4Addr) -> Frame {
        Frame::ethernet(source, 0x0806, &arp(2, mac, address, Mac(EVERYBODY), Ipv4Addr::BROADCAST))
    }

    /// "Has anybody this address?", by somebody who has none yet.
    pub fn arp_probe(mac: Mac, address: Ipv4Addr) -> Frame {
        Frame::ethernet(mac, 0x0806, &arp(1, mac, Ipv4Addr::UNSPECIFIED, Mac([0; 6]), address))
    }

    pub fn udp4(mac: Mac, source: (Ipv4Addr, u16), target: (Ipv4Addr, u16)) -> Frame {
        let datagram = udp(source.1, target.1);
        let length = u16::try_from(20 + datagram.len()).expect("short");
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        packet.extend(source.0.octets());
        packet.extend(target.0.octets());
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(datagram);
        Frame::ethernet(mac, 0x0800, &packet)
    }

    pub fn udp6(mac: Mac, source: (Ipv6Addr, u16), target: (Ipv6Addr, u16)) -> Frame {
        Frame::ipv6(mac, source.0, target.0, 17, &udp(source.1, target.1))
    }

    /// A router advertisement without options.
    pub fn router_advertisement(mac: Mac, source: Ipv6Addr) -> Frame {
        let body = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        Frame::ipv6(mac, source, ALL_NODES, 58, &body)
    }

    /// "That address is at this MAC", said from `source`.
    pub fn neighbour_advertisement(mac: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Frame {
        let mut body = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
        body.extend(target.octets());
        body.extend([2, 1]);
        body.extend(mac.0);
        Frame::ipv6(mac, source, ALL_NODES, 58, &body)
    }

    /// "Has anybody this address?", by somebody who has none yet.
    pub fn duplicate_detection(mac: Mac, target: Ipv6Addr) -> Frame {
        let mut body = vec![135, 0, 0, 0, 0, 0, 0, 0];
        body.extend(target.octets());
        Frame::ipv6(mac, Ipv6Addr::UNSPECIFIED, ALL_NODES, 58, &body)
    }

    fn ipv6(mac: Mac, source: Ipv6Addr, target: Ipv6Addr, next: u8, payload: &[u8]) -> Frame {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
        packet.extend([next, 255]);
        packet.extend(source.octets());
        packet.extend(target.octets());
        packet.extend(payload);
        Frame::ethernet(mac, 0x86dd, &packet)
    }
}

pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn arp(operation: u8, from: Mac, from_address: Ipv4Addr, to: Mac, to_address: Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, operation];
    bytes.extend(from.0);
    bytes.extend(from_address.octets());
    bytes.extend(to.0);
    bytes.extend(to_address.octets());
    bytes
}

fn udp(source: u16, target: u16) -> Vec<u8> {
    let mut bytes = source.to_be_bytes().to_vec();
    bytes.extend(target.to_be_bytes());
    bytes.extend([0, 12, 0, 0]);
    bytes.extend(*b"word");
    bytes
}

fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from(folded & 0xffff).expect("folded")
}
