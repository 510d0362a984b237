//! What dnsmasq says of leases and is told of them: the arguments and variables of its script, and the lines of its lease
//! file. All of it comes from, or goes to, a program that speaks with guests: nothing is believed that does not parse.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pvc_model::network::Vni;
use pvc_model::network::lease::LeaseReport;
use pvc_model::vm::Mac;
use pvc_model::{Name, Timestamp};
use serde::{Deserialize, Serialize};

/// A call, in bytes, at most: the arguments are an address, an identifier of 128 bytes at most, and a label.
pub(super) const CALL_BYTES_MAX: usize = 8 << 10;
/// A DHCPv4 client identifier or a DUID, in bytes, at most (RFC 8415 section 11.1; dnsmasq's own limit is 255).
const IDENTIFIER_BYTES_MAX: usize = 255;

/// The variables that are passed on; all others are of no use to us, and some are the guest's own words.
pub(super) const VARIABLES: [&str; 6] = [
    "DNSMASQ_CLIENT_ID",
    "DNSMASQ_DATA_MISSING",
    "DNSMASQ_IAID",
    "DNSMASQ_INTERFACE",
    "DNSMASQ_LEASE_EXPIRES",
    "DNSMASQ_MAC",
];

/// A call of the script, as it crosses the socket: one line of JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
}

/// What became of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was lent.
    Add,
    /// It is lent: it was renewed, has another name, or is only told of again.
    Old,
    /// It was given back, or has run out.
    Del,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseEvent {
    pub change: Change,
    pub lease: LeaseReport,
}

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// All leases, before the server lends its first.
    Init(Family),
    Event {
        event: LeaseEvent,
        /// The client's identifier may be missing, though it has one.
        partial: bool,
    },
}

/// Each has a server of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "dhcp4",
            Family::V6 => "dhcp6",
        }
    }

    pub fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Family::V4)
    }
}

impl std::str::FromStr for Family {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Family, Refused> {
        Family::ALL
            .into_iter()
            .find(|family| family.name() == text)
            .ok_or(Refused("no server of ours has called"))
    }
}

/// Why a call is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(pub &'static str);

impl Call {
    /// `server` is who calls; `network_of` knows whose subnet an address is of.
    pub fn parse(&self, network_of: impl Fn(IpAddr) -> Option<Vni>) -> Result<Asked, Refused> {
        let mut args = self.args.iter().map(String::as_str);
        let family: Family = args.next().unwrap_or_default().parse()?;
        let change = match args.next().unwrap_or_default() {
            "init" => return Ok(Asked::Init(family)),
            "add" => Change::Add,
            "old" => Change::Old,
            "del" => Change::Del,
            _ => return Err(Refused("neither init nor add, old or del")),
        };
        let who = args.next().ok_or(Refused("nobody to lend to"))?;
        let address: IpAddr = args.next().and_then(|text| text.parse().ok()).ok_or(Refused("no address"))?;
        if !family.has(address) {
            return Err(Refused("an address of the other family"));
        }
        let network = network_of(address).ok_or(Refused("an address of no network of ours"))?;
        if self.env.get("DNSMASQ_INTERFACE").is_some_and(|device| *device != network.bridge()) {
            return Err(Refused("asked for in another network than the address is of"));
        }
        let (mac, client_id, iaid) = match family {
            Family::V4 => {
                let mac = who.parse().map_err(|_| Refused("a client without an Ethernet address"))?;
                (Some(mac), self.identifier("DNSMASQ_CLIENT_ID")?, None)
            }
            Family::V6 => {
                let iaid =
                    self.env.get("DNSMASQ_IAID").filter(|iaid| is_iaid(iaid)).ok_or(Refused("no IAID"))?;
                let duid = identifier(who).filter(|duid| !duid.is_empty()).ok_or(Refused("no DUID"))?;
                (self.env.get("DNSMASQ_MAC").and_then(|mac| mac.parse().ok()), duid, Some(iaid.clone()))
            }
        };
        let expires = self.env.get("DNSMASQ_LEASE_EXPIRES").and_then(|text| text.parse::<u64>().ok());
        // What is over needs no end.
        let expires =
            expires.or((change == Change::Del).then_some(0)).ok_or(Refused("no end of the lease"))?;
        let lease = LeaseReport {
            network,
            address,
            mac,
            hostname: args.next().and_then(label),
            client_id,
            iaid,
            expires: Timestamp(expires.saturating_mul(1000)),
        };
        let partial = self.env.contains_key("DNSMASQ_DATA_MISSING");
        Ok(Asked::Event { event: LeaseEvent { change, lease }, partial })
    }

    fn identifier(&self, variable: &str) -> Result<String, Refused> {
        let given = self.env.get(variable).map_or("", String::as_str);
        identifier(given).ok_or(Refused("an identifier of the client that is none"))
    }
}

/// A guest's own name for itself, if it is one label.
fn label(text: &str) -> Option<Name> {
    let first = text.split('.').next().unwrap_or_default();
    first.to_ascii_lowercase().parse().ok()
}

/// Hexadecimal pairs joined by ':', lower case, or nothing.
fn identifier(text: &str) -> Option<String> {
    let pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fits =
        text.is_empty() || (text.split(':').all(pair) && text.split(':').count() <= IDENTIFIER_BYTES_MAX);
    fits.then(|| text.to_ascii_lowercase())
}

fn is_iaid(text: &str) -> bool {
    text.strip_prefix('T').unwrap_or(text).parse::<u32>().is_ok()
}

/// The lease file that a server of `family` begins with. A line that it could not read it would pass over, and lend that
/// address to somebody else: what is left out here is only what was never lent by it.
pub(super) fn lease_file<'a>(
    family: Family,
    leases: impl Iterator<Item = &'a LeaseReport>,
    duid: &str,
    now: Timestamp,
) -> String {
    let mut text = String::new();
    if family == Family::V6 {
        // Before the leases: it says whose they are.
        text.push_str(&format!("duid {duid}\n"));
    }
    for lease in leases.filter(|lease| lease.expires > now) {
        let expires = lease.expires.0.div_ceil(1000);
        let hostname = lease.hostname.as_ref().map_or("*", Name::as_str);
        let client_id =
            identifier(&lease.client_id).filter(|id| !id.is_empty()).unwrap_or_else(|| "*".into());
        match (lease.address, family) {
            (IpAddr::V4(address), Family::V4) => {
                let Some(mac) = lease.mac else { continue };
                text.push_str(&line4(expires, mac, address, hostname, &client_id));
            }
            (IpAddr::V6(address), Family::V6) => {
                let Some(iaid) = lease.iaid.as_deref().filter(|iaid| is_iaid(iaid)) else { continue };
                text.push_str(&line6(expires, iaid, address, hostname, &client_id));
            }
            _ => {}
        }
    }
    text
}

fn line4(expires: u64, mac: Mac, address: Ipv4Addr, hostname: &str, client_id: &str) -> String {
    format!("{expires} {mac} {address} {hostname} {client_id}\n")
}

fn line6(expires: u64, iaid: &str, address: Ipv6Addr, hostname: &str, duid: &str) -> String {
    format!("{expires} {iaid} {address} {hostname} {duid}\n")
}
