//! A node's BMC: the small computer on its board that can switch it off when nothing else answers. Here is what is known of
//! it, and the rules about single values; the decisions are in `command::bmc`.
//!
//! A BMC that is wired to another host would make a fence that is none. So both tell who they are where they can: the BMC its
//! system GUID, the node its system UUID, and the two are compared at enrolment and at each check.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The port of IPMI over LAN (RMCP).
pub const PORT_DEFAULT: u16 = 623;
/// Longest name of a user, and longest password, that IPMI knows.
pub const USER_BYTES_MAX: usize = 16;
pub const PASSWORD_BYTES_MAX: usize = 20;
const HOST_BYTES_MAX: usize = 253;

/// How a node's BMC is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bmc {
    /// host:port, as [`address`] writes it.
    pub address: String,
    pub user: String,
    pub password: Sealed,
    pub adapter: BmcAdapter,
    /// The system GUID that the BMC told when it was enrolled, as [`identity`] writes it; empty: it can't tell.
    pub identity: String,
    /// An administrator has said that it is this node's, though the two tell different identities.
    pub trusted: bool,
}

/// By which program a BMC is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BmcAdapter {
    /// The native one, and ipmitool where that one can't.
    #[default]
    Auto,
    /// The built-in one: RMCP+ with cipher suite 3, and IPMI 1.5.
    Native,
    /// The program ipmitool: also for cipher suite 17.
    Ipmitool,
}

/// A password that only a coordinator can open. Shown nowhere.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Whether a BMC belongs to its node, as far as the two tell who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// Both told, and it is the same.
    Verified,
    /// One of them can't tell, or an administrator has said that it is right.
    NotVerified,
    /// Both told, and they differ.
    Wrong,
}

impl Bmc {
    /// `found`: the identity that the BMC tells, now or at enrolment.
    pub fn wiring(&self, found: &str, system_uuid: &str) -> Wiring {
        match wiring(found, system_uuid) {
            Wiring::Wrong if self.trusted => Wiring::NotVerified,
            wiring => wiring,
        }
    }
}

/// Compares a BMC's GUID with a host's UUID. Makers send the GUID's bytes in three orders: as the UUID is written (RFC 4122),
/// as SMBIOS keeps it (the first three parts reversed), and as IPMI's text has it (all reversed). Each of them counts.
pub fn wiring(identity: &str, system_uuid: &str) -> Wiring {
    let (Some(told), Some(uuid)) = (bytes(identity), bytes(system_uuid)) else { return Wiring::NotVerified };
    let mut smbios = uuid;
    smbios[..4].reverse();
    smbios[4..6].reverse();
    smbios[6..8].reverse();
    let mut reversed = uuid;
    reversed.reverse();
    if [uuid, smbios, reversed].contains(&told) { Wiring::Verified } else { Wiring::Wrong }
}

/// A GUID as text, in the order in which the BMC sends its bytes. Empty for those that are no identity: all 00 or all FF.
pub fn identity(guid: [u8; 16]) -> String {
    if guid == [0; 16] || guid == [0xff; 16] {
        return String::new();
    }
    let hex: String = guid.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// The 16 bytes of a UUID, with or without dashes; None: it is none, or says nothing.
fn bytes(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    if digits.len() != 32 {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    (!identity(bytes).is_empty()).then_some(bytes)
}

/// `host[:port]` in its one spelling, the port always there: two spellings of one address must not pass for two BMCs. An IPv6
/// address with a port stands in brackets. What is wrong is told in words that follow "the address".
pub fn address(text: &str) -> Result<String, &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']').ok_or("has a bracket that is not closed")? {
            (host, "") => (host, None),
            (host, port) => (host, Some(port.strip_prefix(':').ok_or("has something behind its bracket")?)),
        },
        None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let bracketed = text.starts_with('[');
    let port = match port.map(str::parse::<u16>) {
        None => PORT_DEFAULT,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return Err("has a port that is none: it must be 1 to 65535"),
    };
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return Ok(format!("[{address}]:{port}"));
    }
    if bracketed {
        return Err("has brackets around what is no IPv6 address");
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(format!("{address}:{port}"));
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // "10.0.0" and "10.0.0.300" are mistyped addresses, no names of hosts.
    let numeric = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if host.len() > HOST_BYTES_MAX || numeric || !host.split('.').all(label) {
        return Err("must be an IPv4 or IPv6 address or a host's name, and may have a port: 10.0.0.21:623");
    }
    Ok(format!("{}:{port}", host.to_ascii_lowercase()))
}

/// Host and port of an address that [`address`] has written.
pub fn host_and_port(address: &str) -> (&str, u16) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    (host.trim_start_matches('[').trim_end_matches(']'), port.parse().unwrap_or(PORT_DEFAULT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        for (text, canonical) in [
            ("10.0.0.21", "10.0.0.21:623"),
            ("10.0.0.21:6230", "10.0.0.21:6230"),
            ("BMC-1.Lab.example", "bmc-1.lab.example:623"),
            ("bmc1:623", "bmc1:623"),
            ("fd00::21", "[fd00::21]:623"),
            ("[fd00:0::21]:624", "[fd00::21]:624"),
            ("[fd00::21]", "[fd00::21]:623"),
        ] {
            assert_eq!(address(text).as_deref(), Ok(canonical), "{text}");
            assert_eq!(address(canonical).as_deref(), Ok(canonical), "again");
            let (host, port) = host_and_port(canonical);
            assert!(
                canonical.starts_with(['[', host.chars().next().unwrap()])
                    && canonical.ends_with(&port.to_string())
            );
            assert!(!host.contains(['[', ']']), "{host}");
        }
        for bad in [
            "",
            ":623",
            "10.0.0",
            "10.0.0.300",
            "10.0.0.1:",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "10.0.0.1:a",
            "a b",
            "-a",
            "a..b",
            "[10.0.0.1]:623",
            "[fd00::1",
            "[fd00::1]x",
            "bmc_1",
            "http://bmc",
            "a:1:2",
            "ä",
        ] {
            assert!(address(bad).is_err(), "{bad:?} is no address");
        }
    }

    #[test]
    fn a_guid_in_any_makers_order_is_the_host() {
        let uuid = "00112233-4455-6677-8899-aabbccddeeff";
        for told in [
            uuid,
            "00112233445566778899AABBCCDDEEFF",
            "33221100-5544-7766-8899-aabbccddeeff",
            "ffeeddcc-bbaa-9988-7766-554433221100",
        ] {
            assert_eq!(wiring(told, uuid), Wiring::Verified, "{told}");
        }
        assert_eq!(wiring("00112233-4455-6677-8899-aabbccddeefe", uuid), Wiring::Wrong);
        assert_eq!(wiring("33221100-4455-6677-8899-aabbccddeeff", uuid), Wiring::Wrong);
    }

    #[test]
    fn what_says_nothing_verifies_nothing() {
        let uuid = "00112233-4455-6677-8899-aabbccddeeff";
        for nothing in ["", "Not Settable", "0", &"0".repeat(32), &"f".repeat(32), &"é".repeat(16)] {
            assert_eq!(wiring(nothing, uuid), Wiring::NotVerified, "{nothing}");
            assert_eq!(wiring(uuid, nothing), Wiring::NotVerified, "{nothing}");
        }
        assert_eq!(identity([0; 16]), "");
        assert_eq!(identity([0xff; 16]), "");
        assert_eq!(identity(*b"0123456789abcdef"), "30313233-3435-3637-3839-616263646566");
    }

    #[test]
    fn a_sealed_password_is_not_shown() {
        assert_eq!(format!("{:?}", Sealed(b"hunter2".to_vec())), "…");
    }
}
