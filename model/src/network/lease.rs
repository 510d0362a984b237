//! Leases: which guest has which address now. Facts that must survive the primary: the next one lends the same.

use std::net::IpAddr;

use super::Vni;
use crate::Meta;
use crate::mac::Mac;
use crate::name::Name;
use crate::time::Timestamp;

/// An address that was lent. Its name follows from network and address, so that none is lent twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub meta: Meta,
    pub network: Vni,
    pub address: IpAddr,
    /// None: of a DHCPv6 client that did not show it.
    pub mac: Option<Mac>,
    /// As the client gave it, a DNS label, lower case; None: it gave none, or one that is no label.
    pub hostname: Option<Name>,
    /// DHCPv4: the client identifier, hexadecimal pairs joined by ':'. DHCPv6: the client's DUID. Empty: none.
    pub client_id: String,
    /// DHCPv6: the identity association (RFC 8415 section 4.2), prefixed by 'T' for temporary addresses.
    pub iaid: Option<String>,
    pub expires: Timestamp,
}

/// An address that was lent, as the primary's DHCP server has it: a [`Lease`] without what only the store knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseReport {
    pub network: Vni,
    pub address: IpAddr,
    pub mac: Option<Mac>,
    pub hostname: Option<Name>,
    pub client_id: String,
    pub iaid: Option<String>,
    pub expires: Timestamp,
}

impl From<&Lease> for LeaseReport {
    fn from(lease: &Lease) -> Self {
        LeaseReport {
            network: lease.network,
            address: lease.address,
            mac: lease.mac,
            hostname: lease.hostname.clone(),
            client_id: lease.client_id.clone(),
            iaid: lease.iaid.clone(),
            expires: lease.expires,
        }
    }
}

impl Lease {
    /// What was reported, as it is stored.
    pub fn of(meta: Meta, report: &LeaseReport) -> Lease {
        let LeaseReport { network, address, mac, hostname, client_id, iaid, expires } = report.clone();
        Lease { meta, network, address, mac, hostname, client_id, iaid, expires }
    }

    /// The name of the lease of `address` in the store.
    pub fn name(network: Vni, address: IpAddr) -> Name {
        let hex = match address {
            IpAddr::V4(v4) => format!("{:08x}", v4.to_bits()),
            IpAddr::V6(v6) => format!("{:032x}", v6.to_bits()),
        };
        format!("{network}-{hex}").parse().unwrap_or_else(|_| unreachable!("digits and a dash are a name"))
    }
}
