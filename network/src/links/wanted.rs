//! What devices this host is to have: from the plan, and from what carries them here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use pvc_model::network::host::HostPlan;
use pvc_model::network::{Attachment, HostNetwork, Network, NetworkKind, OVERLAY_BYTES, Vni};

use super::names::bridge_mac;
use crate::Site;
use crate::netlink::{Device, Kind};

/// What the overlay's outer header is longer by where the tunnels' ends have IPv6 addresses.
const IPV6_HEADER_MORE: u32 = 20;
/// The smallest packet that IPv6 must be able to send (RFC 8200).
const IPV6_MTU_MIN: u32 = 1280;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) networks: Vec<WantedNetwork>,
    /// All networks of the plan, also those that can't be made just now: nothing of theirs is taken away.
    pub(super) kept: BTreeSet<Vni>,
    /// A host's own bridge, and the name by which guests' NICs find it.
    pub(super) other_names: Vec<(u32, String)>,
    /// The devices over which a coordinator forwards.
    pub(super) forwarding: Vec<u32>,
    /// Whether there is IPv6 to be forwarded.
    pub(super) forwards_v6: bool,
    /// What can't be had, each in a sentence.
    pub(super) problems: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedNetwork {
    pub(super) vni: Vni,
    pub(super) mac: [u8; 6],
    pub(super) mtu: u32,
    /// The host may have addresses of these families on the bridge, and forwards from it.
    pub(super) serves_v4: bool,
    pub(super) serves_v6: bool,
    pub(super) carrier: Carrier,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Tunnel { local: IpAddr, below: u32 },
    Vlan { id: u16, below: u32 },
}

pub(super) fn wanted(site: &Site, plan: &HostPlan, devices: &[Device]) -> Wanted {
    let find = |name: &str| {
        devices
            .iter()
            .find(|device| device.name == name || device.other_names.iter().any(|other| other == name))
    };
    let mut wanted =
        Wanted { kept: plan.networks.iter().map(|network| network.vni).collect(), ..Wanted::default() };
    let mut no_device: BTreeMap<String, Vec<Vni>> = BTreeMap::new();
    for network in &plan.networks {
        let carrying = match &network.spec.kind {
            NetworkKind::Managed(_) => Some(site.cluster_device.as_str()),
            NetworkKind::Bridged { device } => device.as_deref().or(site.bridge_device.as_deref()),
        };
        let Some(carrying) = carrying else {
            wanted.problems.push(format!(
                "bridged network {} can't be carried: this host has no bridge_device, and the network names no device; set \
                 one of them",
                network.vni
            ));
            continue;
        };
        match find(carrying) {
            Some(below) => match for_network(site, plan, network, below) {
                Ok((made, warning)) => {
                    wanted.networks.push(made);
                    wanted.problems.extend(warning);
                }
                Err(problem) => wanted.problems.push(problem),
            },
            None => no_device.entry(carrying.to_owned()).or_default().push(network.vni),
        }
    }
    for (device, networks) in no_device {
        let more =
            if networks.len() > 1 { format!(" and {} more", networks.len() - 1) } else { String::new() };
        wanted.problems.push(format!("there is no device {device} to carry network {}{more}", networks[0]));
    }
    if plan.stance.is_coordinator() {
        let devices = [Some(site.cluster_device.as_str()), site.upstream_device.as_deref()];
        wanted.forwarding =
            devices.into_iter().flatten().filter_map(find).map(|device| device.index).collect();
        wanted.forwards_v6 = wanted.networks.iter().any(|network| network.serves_v6);
    }
    host_networks(site, plan, devices, find, &mut wanted);
    wanted
}

fn for_network(
    site: &Site,
    plan: &HostPlan,
    network: &Network,
    below: &Device,
) -> Result<(WantedNetwork, Option<String>), String> {
    let vni = network.vni;
    let (carrier, most) = match &network.spec.kind {
        NetworkKind::Managed(_) => {
            let more = if site.address.is_ipv6() { IPV6_HEADER_MORE } else { 0 };
            let carrier = Carrier::Tunnel { local: site.address, below: below.index };
            (carrier, below.mtu.saturating_sub(OVERLAY_BYTES + more))
        }
        NetworkKind::Bridged { .. } => {
            let id = u16::try_from(vni.get()).map_err(|_| format!("{vni} is no VLAN"))?;
            (Carrier::Vlan { id, below: below.index }, below.mtu)
        }
    };
    let asked = network.spec.mtu.unwrap_or(most);
    let warning = (asked > most).then(|| {
        format!(
            "network {vni} is to have MTU {asked}, but {} (MTU {}) carries no more than {most}, which it has now; make \
             that device's greater, or the network's smaller (pvc network modify {vni} --mtu {most})",
            below.name, below.mtu
        )
    });
    let mtu = asked.min(most);
    let serves = |subnet: bool| subnet && plan.stance.is_coordinator();
    let managed = network.managed();
    Ok((
        WantedNetwork {
            vni,
            mac: bridge_mac(&site.node, vni),
            mtu,
            serves_v4: serves(managed.is_some_and(|managed| managed.ipv4.is_some())),
            serves_v6: serves(managed.is_some_and(|managed| managed.ipv6.is_some()) && mtu >= IPV6_MTU_MIN),
            carrier,
        },
        warning,
    ))
}

/// Guests may be ports of the hosts' own networks where the site's device is a bridge already, or a port of one. It then
/// gets the name that NICs look for as one more. A plain device is left as it is: to make a bridge of it would mean to
/// move the host's own addresses, and with them the cluster's connections, behind the administrator's back.
fn host_networks<'a>(
    site: &Site,
    plan: &HostPlan,
    devices: &'a [Device],
    find: impl Fn(&str) -> Option<&'a Device>,
    wanted: &mut Wanted,
) {
    for network in HostNetwork::ALL {
        let attached = |port: &&pvc_model::network::host::Port| port.attachment == Attachment::Host(network);
        let Some(port) = plan.ports.iter().find(attached) else { continue };
        if find(network.bridge()).is_some() {
            continue;
        }
        let (setting, device) = match network {
            HostNetwork::Upstream => ("upstream_device", site.upstream_device.as_deref()),
            HostNetwork::Cluster => ("cluster_device", Some(site.cluster_device.as_str())),
            HostNetwork::Storage => ("storage_device", site.storage_device.as_deref()),
        };
        let bridge = device.and_then(&find).and_then(|device| {
            let master = device.master.and_then(|index| devices.iter().find(|other| other.index == index));
            [Some(device), master].into_iter().flatten().find(|device| matches!(device.kind, Kind::Bridge(_)))
        });
        match bridge {
            Some(bridge) => wanted.other_names.push((bridge.index, network.bridge().to_owned())),
            None => wanted.problems.push(format!(
                "a NIC of {} is to be in the {} network, but on this host {} is no bridge and in none: make a bridge of \
                 it in the host's own network settings, and name it as {setting}",
                port.vm,
                network.as_str(),
                device.map_or_else(|| format!("{setting} (not set)"), str::to_owned),
            )),
        }
    }
}
