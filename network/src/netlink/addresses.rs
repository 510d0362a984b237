//! An address on a device.

use std::net::IpAddr;

use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    /// The device's index.
    pub(crate) device: u32,
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

impl Address {
    pub(crate) fn read(message: AddressMessage) -> Option<Address> {
        // Of a point-to-point device the one is the peer's, the other its own; else there is the one, or both are the same.
        let mut address = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(local) => address = Some(*local),
                AddressAttribute::Address(other) => address = address.or(Some(*other)),
                _ => {}
            }
        }
        Some(Address { device: message.header.index, address: address?, prefix: message.header.prefix_len })
    }
}
