//! What a DHCP server is told: its configuration, and the addresses that are kept for one NIC each.
//!
//! One server of each family serves all networks (docs/decisions/0024): a thousand are begun with in the time that one
//! needs, and no two servers wait for the same unicast packets. Networks are told apart by tags, each its own.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::{IpNet, Ipv6Net};
use pvc_model::command::LEASES_OF_NETWORK_MAX;
use pvc_model::network::host::HostPlan;
use pvc_model::network::{DhcpRange, LEASE_SECONDS_DEFAULT, Managed, Network, Subnet, Vni};

use super::wire::Family;

/// Our own, from RFC 5612's for examples: a server's identifier needs an enterprise's number.
const ENTERPRISE: u32 = 32_473;
/// dnsmasq's shortest for DHCPv6.
const PREFIX_V6: u8 = 64;

/// A server's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rendered {
    pub conf: String,
    /// Of the directory of reservations: name and content. One file each, for a new file is read without a signal.
    pub hosts: BTreeMap<String, String>,
    /// Networks in it; with none the server isn't needed.
    pub networks: usize,
    /// What can't be served, and why.
    pub complaints: Vec<String>,
}

/// What the host has to say.
pub(super) struct Place<'a> {
    pub hosts_dir: &'a Path,
    pub script: &'a Path,
    /// Who the server is once it has its sockets.
    pub user: Option<&'a str>,
    /// Of the host's devices.
    pub mtus: &'a HashMap<String, u32>,
}

pub(super) fn render(family: Family, plan: &HostPlan, place: &Place<'_>) -> Rendered {
    let mut rendered = Rendered { conf: head(family, plan, place), ..Rendered::default() };
    for network in &plan.networks {
        let Some(managed) = network.managed() else { continue };
        let subnet = match family {
            Family::V4 => &managed.ipv4,
            Family::V6 => &managed.ipv6,
        };
        let Some((subnet, gateway)) = subnet.as_ref().and_then(|subnet| Some((subnet, subnet.gateway?)))
        else {
            continue;
        };
        let mtu = network.spec.mtu.or_else(|| place.mtus.get(&network.vni.bridge()).copied());
        let section = match family {
            Family::V4 => section4(network, managed, subnet, gateway, mtu),
            Family::V6 => section6(network, managed, subnet, gateway),
        };
        match section {
            Ok(Some(section)) => {
                rendered.conf.push_str(&section);
                rendered.networks += 1;
                rendered.hosts.extend(hosts(family, network.vni, managed));
            }
            Ok(None) => {}
            Err(why) => rendered.complaints.push(format!("network {}: {why}", network.vni)),
        }
    }
    rendered
}

fn head(family: Family, plan: &HostPlan, place: &Place<'_>) -> String {
    let mut conf = String::from("# Made by pvcd, again and again: what is changed here is lost.\n");
    // Names are another one's business. It may start before there are bridges and addresses, and sees them come.
    conf.push_str("port=0\nbind-dynamic\nno-hosts\nno-resolv\npid-file=\nlog-facility=-\n");
    conf.push_str("quiet-dhcp\nquiet-dhcp6\nquiet-ra\n");
    if let Some(user) = place.user {
        let _ = writeln!(conf, "user={user}");
    }
    // All addresses of these networks are ours to give: a guest that asks for another is told so at once. Looking first
    // whether an address answers would take three seconds.
    conf.push_str("dhcp-authoritative\nno-ping\ndhcp-lease-max=1000000\n");
    let _ = writeln!(conf, "leasefile-ro\ndhcp-script={}\nscript-on-renewal", place.script.display());
    let _ = writeln!(conf, "dhcp-hostsdir={}", place.hosts_dir.display());
    // Two networks may have a guest of the same name: names count with their domains.
    conf.push_str("dhcp-fqdn\ndomain=pvc.internal\n");
    if family == Family::V6 {
        let _ = writeln!(conf, "dhcp-duid={ENTERPRISE},{}", pairs(&plan.cluster.to_be_bytes()));
    }
    conf
}

/// The server's identifier as the lease file has it: type 2, the enterprise, the cluster (RFC 8415 section 11.3). All
/// coordinators have the same, so that a guest renews with the next primary what the last has lent.
pub(super) fn duid(plan: &HostPlan) -> String {
    let mut bytes = vec![0, 2];
    bytes.extend(ENTERPRISE.to_be_bytes());
    bytes.extend(plan.cluster.to_be_bytes());
    pairs(&bytes)
}

fn pairs(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

fn section4(
    network: &Network,
    managed: &Managed,
    subnet: &Subnet,
    gateway: IpAddr,
    mtu: Option<u32>,
) -> Result<Option<String>, String> {
    let (Some(DhcpRange { first: IpAddr::V4(first), last: IpAddr::V4(last), lease_seconds }), IpNet::V4(net)) =
        (&subnet.dhcp, subnet.subnet)
    else {
        return Ok(None);
    };
    let most = u32::try_from(lent_at_most(managed) - 1).unwrap_or(0);
    let last = Ipv4Addr::from(first.to_bits().saturating_add(most)).min(*last);
    check_domain(&managed.domain)?;
    let tag = format!("n{}", network.vni);
    let mut text = format!("interface={}\n", network.vni.bridge());
    let _ = writeln!(text, "dhcp-range=set:{tag},{first},{last},{},{lease_seconds}", net.netmask());
    let _ = writeln!(text, "domain={},{net}", managed.domain);
    let _ = writeln!(text, "dhcp-option=tag:{tag},option:router,{gateway}");
    option(&mut text, &tag, "option:dns-server", &servers(&managed.name_servers, gateway));
    option(&mut text, &tag, "option:ntp-server", &of_family(&managed.ntp_servers, gateway));
    if let Some(mtu) = mtu {
        let _ = writeln!(text, "dhcp-option=tag:{tag},option:mtu,{mtu}");
    }
    Ok(Some(text))
}

fn section6(
    network: &Network,
    managed: &Managed,
    subnet: &Subnet,
    gateway: IpAddr,
) -> Result<Option<String>, String> {
    let (IpNet::V6(net), IpAddr::V6(router)) = (subnet.subnet, gateway) else { return Ok(None) };
    check_domain(&managed.domain)?;
    let tag = format!("n{}", network.vni);
    let mut text = format!("interface={}\n", network.vni.bridge());
    match &subnet.dhcp {
        Some(DhcpRange { first: IpAddr::V6(first), last: IpAddr::V6(last), lease_seconds }) => {
            let prefix = net.prefix_len().max(PREFIX_V6);
            let part = Ipv6Net::new(*first, prefix).map_err(|error| error.to_string())?.trunc();
            if !part.contains(last) || !part.contains(&router) {
                return Err(format!(
                    "DHCPv6 serves addresses of the /{PREFIX_V6} that the gateway {router} is in, and {first} to {last} \
                     are not: choose others by `pvc network modify {}`",
                    network.vni
                ));
            }
            let most = u128::try_from(lent_at_most(managed) - 1).unwrap_or(0);
            let last = Ipv6Addr::from(first.to_bits().saturating_add(most)).min(*last);
            let _ = writeln!(text, "dhcp-range=set:{tag},{first},{last},{prefix},{lease_seconds}");
        }
        // None are lent; those that make addresses of their own ask for the rest.
        _ => {
            let part = Ipv6Net::new(router, net.prefix_len().max(PREFIX_V6))
                .map_err(|error| error.to_string())?
                .trunc();
            let (first, prefix) = (part.network(), part.prefix_len());
            let _ = writeln!(text, "dhcp-range=set:{tag},{first},static,{prefix},{LEASE_SECONDS_DEFAULT}");
        }
    }
    if net.prefix_len() >= PREFIX_V6 {
        let _ = writeln!(text, "domain={},{net}", managed.domain);
    } else {
        let _ = writeln!(text, "domain={},{}/{PREFIX_V6}", managed.domain, first_address(router));
    }
    let bracketed =
        |all: Vec<IpAddr>| all.into_iter().map(|address| format!("[{address}]")).collect::<Vec<_>>();
    option(&mut text, &tag, "option6:dns-server", &bracketed(servers(&managed.name_servers, gateway)));
    option(&mut text, &tag, "option6:ntp-server", &bracketed(of_family(&managed.ntp_servers, gateway)));
    option(&mut text, &tag, "option6:domain-search", &[&managed.domain]);
    Ok(Some(text))
}

/// Addresses of a range, as far as the store has room for leases of them all: what was lent and is not stored would be lent
/// twice. A range that is longer is used from its begin.
fn lent_at_most(managed: &Managed) -> usize {
    let reserved = managed
        .reservations
        .iter()
        .map(|one| usize::from(one.ipv4.is_some()) + usize::from(one.ipv6.is_some()));
    let ranges = managed.subnets().filter(|subnet| subnet.dhcp.is_some()).count().max(1);
    (LEASES_OF_NETWORK_MAX.saturating_sub(reserved.sum()) / ranges).max(1)
}

/// The /64 that an address is in.
fn first_address(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Net::new(address, PREFIX_V6).map_or(address, |net| net.network())
}

fn option(text: &mut String, tag: &str, name: &str, values: &[impl ToString]) {
    if values.is_empty() {
        return;
    }
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    let _ = writeln!(text, "dhcp-option=tag:{tag},{name},{}", values.join(","));
}

/// Those of `gateway`'s family.
fn of_family(servers: &[IpAddr], gateway: IpAddr) -> Vec<IpAddr> {
    servers.iter().copied().filter(|server| server.is_ipv4() == gateway.is_ipv4()).collect()
}

pub(super) fn servers(name_servers: &[IpAddr], gateway: IpAddr) -> Vec<IpAddr> {
    if name_servers.is_empty() { vec![gateway] } else { of_family(name_servers, gateway) }
}

/// It ends in a line that other networks' lines follow: one that is none would be all networks' trouble.
fn check_domain(domain: &str) -> Result<(), String> {
    let fits = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if domain.split('.').all(fits) { Ok(()) } else { Err(format!("{domain:?} is no domain")) }
}

fn hosts(family: Family, vni: Vni, managed: &Managed) -> Vec<(String, String)> {
    let host = |reservation: &pvc_model::network::Reservation| {
        let address = match family {
            Family::V4 => reservation.ipv4?.to_string(),
            Family::V6 => format!("[{}]", reservation.ipv6?),
        };
        let file = format!("{vni}-{}", reservation.mac.to_string().replace(':', ""));
        Some((file, format!("{},{address},{}\n", reservation.mac, reservation.hostname)))
    };
    managed.reservations.iter().filter_map(host).collect()
}
