//! Client networks.

use pvc_proto::v1::{DhcpRange, Lease, ManagedNetwork, Network, NetworkSpec, NetworkState, Node, Subnet};

use super::words::{duration, name, time};
use super::{network_parts, network_state};
use crate::output::page::Page;
use crate::output::table::{Cell, Column, figures, optional, render, text};

const COLUMNS: &[Column] = &[
    text("VNI"),
    text("DESCRIPTION"),
    text("TYPE"),
    text("MTU"),
    optional("DOMAIN"),
    optional("SUBNET"),
    optional("GATEWAY"),
    optional("DHCP"),
    optional("SUBNET6"),
    optional("GATEWAY6"),
    optional("DEVICE"),
    figures("VMS"),
    figures("LEASES"),
    figures("RULES"),
];

/// "network/1001 (lan)".
pub fn called(network: &Network) -> String {
    let description = network.spec.as_ref().map_or("", |spec| spec.description.as_str());
    format!("network/{} ({description})", network.vni)
}

pub fn kind(spec: &NetworkSpec) -> &'static str {
    if spec.managed.is_some() { "managed" } else { "bridged" }
}

fn mtu(spec: &NetworkSpec) -> String {
    if spec.mtu == 0 { "auto".to_owned() } else { spec.mtu.to_string() }
}

fn subnet(subnet: Option<&Subnet>) -> String {
    subnet.map(|subnet| subnet.subnet.clone()).unwrap_or_default()
}

fn gateway(subnet: Option<&Subnet>) -> String {
    subnet.map(|subnet| subnet.gateway.clone()).unwrap_or_default()
}

fn range(dhcp: &DhcpRange) -> String {
    format!("{}-{}", dhcp.first, dhcp.last)
}

fn dhcp(subnet: Option<&Subnet>) -> String {
    subnet.and_then(|subnet| subnet.dhcp.as_ref()).map(range).unwrap_or_default()
}

/// In order of their numbers.
pub fn table(networks: &[&Network], colour: bool) -> String {
    let mut networks = networks.to_vec();
    networks.sort_by_key(|network| network.vni);
    render(COLUMNS, networks.into_iter().map(row).collect(), colour)
}

fn row(network: &Network) -> Vec<Cell> {
    let spec = network.spec.clone().unwrap_or_default();
    let managed = spec.managed.clone().unwrap_or_default();
    let (v4, v6) = (managed.ipv4.as_ref(), managed.ipv6.as_ref());
    let device = spec.bridged.as_ref().map(|bridged| bridged.device.clone()).unwrap_or_default();
    vec![
        network.vni.to_string().into(),
        spec.description.clone().into(),
        kind(&spec).into(),
        mtu(&spec).into(),
        managed.domain.clone().into(),
        subnet(v4).into(),
        gateway(v4).into(),
        dhcp(v4).into(),
        subnet(v6).into(),
        gateway(v6).into(),
        device.into(),
        network.users.len().to_string().into(),
        network.lease_count.to_string().into(),
        network.acl_rule_count.to_string().into(),
    ]
}

/// What there is to show of a network besides itself.
pub struct Around<'a> {
    pub leases: &'a [Lease],
    /// Where the gateways are.
    pub primary: Option<&'a Node>,
    /// What hosts see of it, or why that is not known.
    pub state: Result<&'a NetworkState, &'a str>,
}

/// Everything that is known of it.
pub fn page(network: &Network, around: &Around<'_>, colour: bool) -> String {
    let Around { leases, primary, state } = around;
    let meta = network.meta.clone().unwrap_or_default();
    let spec = network.spec.clone().unwrap_or_default();
    let mut page = Page::new(colour)
        .row("VNI", network.vni.to_string())
        .row("UID", &meta.uid)
        .row("Description", &spec.description)
        .row("Type", kind(&spec))
        .row("MTU", mtu(&spec));
    if let Some(bridged) = &spec.bridged {
        let device = if bridged.device.is_empty() { "each host's bridge_device" } else { &bridged.device };
        page = page.row("Device", device);
    }
    if let Some(managed) = &spec.managed {
        page = served(page, managed, *primary);
    }
    let reservations: Vec<String> =
        network.reservations.iter().map(network_parts::reservation_line).collect();
    let rules: Vec<String> =
        network_parts::acl(&network.acl, None, false).lines().map(str::to_owned).collect();
    let leases: Vec<String> = leases.iter().map(network_parts::lease_line).collect();
    let users: Vec<String> = network.users.iter().map(|vm| format!("vm/{vm}")).collect();
    page = page
        .section("VMs", &users)
        .section("Reservations", &reservations)
        .section("Leases", &leases)
        .section("Rules", if network.acl.is_empty() { &[] } else { &rules });
    page = match state {
        Ok(state) => network_state::sections(page, state, spec.managed.is_some()),
        Err(why) => page.row("Seen by hosts", format!("not known: {why}")),
    };
    page.row("Revision", meta.revision.to_string())
        .row("Created", time(meta.create_time.as_ref()))
        .row("Changed", time(meta.update_time.as_ref()))
        .finish()
}

fn served(page: Page, managed: &ManagedNetwork, primary: Option<&Node>) -> Page {
    let names = |servers: &[String], none: &str| {
        if servers.is_empty() { none.to_owned() } else { servers.join(", ") }
    };
    let mut page = page
        .row("Domain", &managed.domain)
        .row("Name servers", names(&managed.name_servers, "the gateway"))
        .row("Time servers", names(&managed.ntp_servers, "none"));
    for (family, subnet) in [("IPv4", &managed.ipv4), ("IPv6", &managed.ipv6)] {
        let Some(subnet) = subnet else { continue };
        let gateway = if subnet.gateway.is_empty() { "none: it is not routed" } else { &subnet.gateway };
        let dhcp = match &subnet.dhcp {
            Some(dhcp) => {
                let time = std::time::Duration::from_secs(dhcp.lease_seconds.into());
                format!("{}, for {}", range(dhcp), duration(time))
            }
            None if family == "IPv6" && !subnet.gateway.is_empty() => {
                "none: guests make their addresses from the prefix".to_owned()
            }
            None => "none".to_owned(),
        };
        page = page
            .row(&format!("{family} subnet"), &subnet.subnet)
            .row(&format!("{family} gateway"), gateway)
            .row(&format!("{family} DHCP"), dhcp);
    }
    let routed =
        [&managed.ipv4, &managed.ipv6].into_iter().flatten().any(|subnet| !subnet.gateway.is_empty());
    match primary {
        Some(primary) if routed => page.row("Gateway on", format!("node/{}", name(primary.meta.as_ref()))),
        None if routed => page.row("Gateway on", "no node: there is no primary"),
        _ => page,
    }
}
