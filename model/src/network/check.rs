//! What a network's object may hold, whatever else there is in the cluster: kinds and numbers, MTU, domain, addresses,
//! reservations. Its rules are [`super::check_acl`]'s, and what it may not share with others [`super::conflict`]'s.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::check_acl::check_acl;
use super::{DhcpRange, Managed, Network, NetworkKind, Reservation, Subnet, VLAN_MAX};
use crate::name::Name;
use crate::rejection::{Rejection, RejectionKind};

/// Bytes of a network as it is stored, at most: the store takes 256 KiB, and what stands around it needs some.
pub const NETWORK_BYTES_MAX: usize = 250 << 10;
/// Name servers, and time servers, of one network, at most.
pub const SERVERS_MAX: usize = 8;
/// Characters of a domain, at most: with a label before it it is a name in the DNS (RFC 1035 section 2.3.4).
pub const DOMAIN_LENGTH_MAX: usize = 189;
/// MTU, bytes; 576 is what every host must take (RFC 791).
pub const MTU_RANGE: std::ops::RangeInclusive<u32> = 576..=65_535;
/// The least MTU with IPv6 (RFC 8200 section 5).
pub const MTU_IPV6_MIN: u32 = 1280;
/// Seconds for which an address may be lent.
pub const LEASE_SECONDS_RANGE: std::ops::RangeInclusive<u32> = 120..=31_536_000;
/// Lengths of prefixes.
const PREFIX_V4_RANGE: std::ops::RangeInclusive<u8> = 8..=30;
const PREFIX_V6_RANGE: std::ops::RangeInclusive<u8> = 16..=126;
/// Characters of a device's name, at most (IFNAMSIZ without its end).
const DEVICE_LENGTH_MAX: usize = 15;

/// Refuses a network that can't be right.
pub fn check_network(network: &Network) -> Result<(), Rejection> {
    let check = Check { subject: network.subject() };
    let spec = &network.spec;
    check.description(&spec.description)?;
    if let Some(mtu) = spec.mtu {
        let (least, most) = MTU_RANGE.into_inner();
        if !MTU_RANGE.contains(&mtu) {
            return check.invalid("mtu-range", format!("the MTU is {least} to {most} bytes, not {mtu}"));
        }
    }
    match &spec.kind {
        NetworkKind::Managed(managed) => {
            check.managed(managed)?;
            if let Some(mtu) = spec.mtu.filter(|mtu| managed.ipv6.is_some() && *mtu < MTU_IPV6_MIN) {
                let detail = format!("with IPv6 the MTU is at least {MTU_IPV6_MIN} bytes, not {mtu}");
                return check.invalid("mtu-range", detail);
            }
        }
        NetworkKind::Bridged { device } => {
            if network.vni.get() > VLAN_MAX {
                let detail = format!("the number of a bridged network is its VLAN, 1 to {VLAN_MAX}");
                return check.invalid("vlan-range", detail);
            }
            device.iter().try_for_each(|device| check.device(device))?;
        }
    }
    let bytes = size(network);
    if bytes > NETWORK_BYTES_MAX {
        let detail = format!(
            "with all its reservations and rules it would take about {} KiB, and {} are the most",
            bytes.div_ceil(1024),
            NETWORK_BYTES_MAX >> 10
        );
        return Err(Rejection::new(RejectionKind::Exhausted, "network-at-most", check.subject, detail)
            .help("join rules: one rule takes several addresses and ports; or split the network"));
    }
    Ok(())
}

struct Check {
    subject: String,
}

impl Check {
    fn invalid<T>(&self, rule: &'static str, detail: impl Into<String>) -> Result<T, Rejection> {
        Err(Rejection::invalid(rule, &self.subject, detail))
    }

    fn description(&self, description: &Name) -> Result<(), Rejection> {
        let text = description.as_str();
        if text.contains('.') {
            return self.invalid("network-description", format!("{text:?}: a description has no dots in it"));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let detail = format!("{text:?}: a description is no number, for those are the networks' own");
            return self.invalid("network-description", detail);
        }
        Ok(())
    }

    fn device(&self, device: &str) -> Result<(), Rejection> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if device.is_empty() || device.len() > DEVICE_LENGTH_MAX || !device.chars().all(fits) {
            let detail = format!(
                "{:?} is no name of a network device: 1 to {DEVICE_LENGTH_MAX} letters, digits, '.', '-' and '_'",
                device.chars().take(32).collect::<String>()
            );
            return self.invalid("device-name", detail);
        }
        if ["vmbr", "vxlan", "vlan", "nic"].iter().any(|ours| device.starts_with(ours)) {
            return self.invalid("device-name", format!("{device} is a name that the cluster uses itself"));
        }
        Ok(())
    }

    fn managed(&self, managed: &Managed) -> Result<(), Rejection> {
        self.domain(&managed.domain)?;
        self.servers("name servers", &managed.name_servers)?;
        self.servers("time servers", &managed.ntp_servers)?;
        if managed.ipv4.is_none() && managed.ipv6.is_none() {
            let detail = "a managed network has an IPv4 or an IPv6 subnet, or both";
            return self.invalid("subnet-needed", detail);
        }
        for (subnet, v6) in [(&managed.ipv4, false), (&managed.ipv6, true)] {
            let Some(subnet) = subnet else { continue };
            if matches!(subnet.subnet, IpNet::V6(_)) != v6 {
                let family = if v6 { "IPv6" } else { "IPv4" };
                return self.invalid("subnet-family", format!("{} is no {family} subnet", subnet.subnet));
            }
            self.subnet(subnet)?;
        }
        self.reservations(managed)?;
        check_acl(&self.subject, &managed.acl)
    }

    fn domain(&self, domain: &str) -> Result<(), Rejection> {
        let label = |label: &str| label.parse::<Name>().is_ok();
        let whole = !domain.is_empty() && domain.len() <= DOMAIN_LENGTH_MAX && domain.split('.').all(label);
        if !whole {
            let shown: String = domain.chars().take(64).collect();
            let detail = format!(
                "{shown:?} is no domain: labels of a-z, 0-9 and '-' joined by dots, at most {DOMAIN_LENGTH_MAX} characters"
            );
            return self.invalid("domain-name", detail);
        }
        if domain == "arpa" || domain.ends_with(".arpa") {
            return self.invalid("domain-name", "reverse zones are made by the cluster, from the subnets");
        }
        Ok(())
    }

    fn servers(&self, what: &str, servers: &[IpAddr]) -> Result<(), Rejection> {
        if servers.len() > SERVERS_MAX {
            let detail = format!("at most {SERVERS_MAX} {what}, not {}", servers.len());
            return self.invalid("servers-at-most", detail);
        }
        match servers.iter().find(|server| !is_host(**server)) {
            Some(server) => {
                self.invalid("server-address", format!("{what}: {server} is no address of a host"))
            }
            None => Ok(()),
        }
    }

    fn subnet(&self, subnet: &Subnet) -> Result<(), Rejection> {
        let net = subnet.subnet;
        let range = if net.addr().is_ipv4() { PREFIX_V4_RANGE } else { PREFIX_V6_RANGE };
        if !range.contains(&net.prefix_len()) {
            let (least, most) = range.into_inner();
            let detail = format!("{net}: the length of the prefix is {least} to {most}");
            return self.invalid("prefix-length", detail);
        }
        if net.trunc() != net {
            return self.invalid(
                "subnet-bits",
                format!("{net} has bits beyond its prefix: {} has none", net.trunc()),
            );
        }
        if let Some(special) = special_nets().into_iter().find(|special| overlap(*special, net)) {
            let detail = format!("{net} touches {special}, which is kept for other uses");
            return self.invalid("subnet-special", detail);
        }
        if let Some(gateway) = subnet.gateway {
            self.inside(net, gateway, "gateway", "the gateway")?;
        }
        let Some(dhcp) = &subnet.dhcp else { return Ok(()) };
        self.dhcp(subnet, dhcp)
    }

    fn dhcp(&self, subnet: &Subnet, dhcp: &DhcpRange) -> Result<(), Rejection> {
        let DhcpRange { first, last, lease_seconds } = *dhcp;
        self.inside(subnet.subnet, first, "dhcp-range", "the first address for DHCP")?;
        self.inside(subnet.subnet, last, "dhcp-range", "the last address for DHCP")?;
        if first > last {
            let detail = format!("the addresses for DHCP end at {last}, before they begin at {first}");
            return self.invalid("dhcp-range", detail);
        }
        let Some(gateway) = subnet.gateway else {
            let detail = format!("{}: DHCP is served from the gateway, and there is none", subnet.subnet);
            return Err(Rejection::invalid("dhcp-needs-gateway", &self.subject, detail)
                .help("give a gateway, or leave DHCP out"));
        };
        if (first..=last).contains(&gateway) {
            let detail = format!("the gateway {gateway} is among the addresses for DHCP, {first} to {last}");
            return self.invalid("dhcp-range", detail);
        }
        if !LEASE_SECONDS_RANGE.contains(&lease_seconds) {
            let (least, most) = LEASE_SECONDS_RANGE.into_inner();
            let detail = format!("an address is lent for {least} to {most} seconds, not {lease_seconds}");
            return self.invalid("lease-range", detail);
        }
        Ok(())
    }

    /// An address that a host in `net` can have.
    fn inside(&self, net: IpNet, address: IpAddr, rule: &'static str, what: &str) -> Result<(), Rejection> {
        if !net.contains(&address) {
            return self.invalid(rule, format!("{what}, {address}, is not in {net}"));
        }
        if address == net.network() {
            return self.invalid(rule, format!("{what}, {address}, is the address of {net} itself"));
        }
        if address.is_ipv4() && address == net.broadcast() {
            return self.invalid(rule, format!("{what}, {address}, is the broadcast address of {net}"));
        }
        Ok(())
    }

    fn reservations(&self, managed: &Managed) -> Result<(), Rejection> {
        let (mut macs, mut hostnames, mut addresses) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for reservation in &managed.reservations {
            let name = &reservation.hostname;
            if name.as_str().contains('.') {
                let detail = format!("{name}: a hostname is one label; the network's domain follows it");
                return self.invalid("hostname", detail);
            }
            if !macs.insert(reservation.mac) {
                let detail = format!("the NIC {} has a reservation already", reservation.mac);
                return self.twice(managed, reservation, detail);
            }
            if !hostnames.insert(name) {
                return self.twice(managed, reservation, format!("the name {name} is reserved already"));
            }
            if reservation.addresses().next().is_none() {
                let detail = format!("{name}: a reservation has an IPv4 or an IPv6 address, or both");
                return self.invalid("reservation-address", detail);
            }
            for address in reservation.addresses() {
                if !addresses.insert(address) {
                    return self.twice(managed, reservation, format!("{address} is reserved already"));
                }
                self.reserved(managed, name, address)?;
            }
        }
        Ok(())
    }

    fn reserved(&self, managed: &Managed, name: &Name, address: IpAddr) -> Result<(), Rejection> {
        let subnet = if address.is_ipv4() { &managed.ipv4 } else { &managed.ipv6 };
        let what = format!("the reserved address of {name}");
        let Some(subnet) = subnet else {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let detail = format!("{what}, {address}, is in no subnet: the network has no {family}");
            return self.invalid("reservation-address", detail);
        };
        self.inside(subnet.subnet, address, "reservation-address", &what)?;
        if subnet.gateway == Some(address) {
            return self.invalid("reservation-address", format!("{what}, {address}, is the gateway's"));
        }
        Ok(())
    }

    /// `second` takes what another reservation has.
    fn twice(&self, managed: &Managed, second: &Reservation, detail: String) -> Result<(), Rejection> {
        let shares = |one: &&Reservation| {
            *one != second
                && (one.mac == second.mac
                    || one.hostname == second.hostname
                    || one.addresses().any(|address| second.addresses().any(|other| other == address)))
        };
        let by =
            managed.reservations.iter().find(shares).map(|one| format!(", for {one}")).unwrap_or_default();
        Err(Rejection::new(
            RejectionKind::AlreadyExists,
            "reservation-once",
            &self.subject,
            format!("{detail}{by}"),
        )
        .help("pvc network dhcp list shows them; remove that one first"))
    }
}

/// Addresses that no client network may have: this host, loopback, link-local (the metadata service's among them),
/// multicast, and what is kept (RFC 6890).
fn special_nets() -> [IpNet; 9] {
    [
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/16",
        "64:ff9b::/96",
        "fe80::/10",
        "ff00::/8",
    ]
    .map(|net| net.parse().unwrap_or_else(|_| unreachable!("these are networks")))
}

/// Whether two networks have an address in common: then one holds the other.
pub fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// Whether a host elsewhere can have it.
pub fn is_host(address: IpAddr) -> bool {
    let whole = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || whole)
}

/// Bytes of the network as it is stored, at most: its texts, and for each field of them what protobuf puts before it.
pub fn size(network: &Network) -> usize {
    /// Tag and length of a field, or a number.
    const FIELD: usize = 8;
    /// An address with a prefix, as text.
    const NET: usize = 44 + FIELD;
    let Some(managed) = network.managed() else { return 1024 };
    let reservation = |one: &Reservation| one.hostname.as_str().len() + 17 + 2 * NET + 4 * FIELD;
    let servers = (managed.name_servers.len() + managed.ntp_servers.len()) * NET;
    let reserved: usize = managed.reservations.iter().map(reservation).sum();
    let rules: usize = managed.acl.rules.iter().map(|rule| rule.size(FIELD, NET)).sum();
    1024 + managed.domain.len() + servers + reserved + rules
}
