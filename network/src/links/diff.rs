//! What has to be done, given what is wanted and what there is. Pure: looked at again after it was done, until nothing is left.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use pvc_model::network::Vni;

use super::names::{Role, is_ours, mark, role};
use super::wanted::{Carrier, Wanted, WantedNetwork};
use crate::netlink::{Device, Kind, no_address_generation};

/// As IANA has assigned it to VXLAN (RFC 7348).
pub(super) const VXLAN_PORT: u16 = 4789;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    AddBridge {
        vni: Vni,
        mac: [u8; 6],
        mtu: u32,
    },
    AddTunnel {
        vni: Vni,
        local: IpAddr,
        below: u32,
        bridge: u32,
        mtu: u32,
    },
    AddVlan {
        vni: Vni,
        id: u16,
        below: u32,
        bridge: u32,
        mtu: u32,
    },
    /// A setting of ours has been changed, or is not made yet.
    Adjust {
        index: u32,
        name: String,
        change: Change,
    },
    /// What can't be changed while it lives is made anew: the next look does that.
    Remake {
        index: u32,
        name: String,
    },
    Setting(Setting),
    OtherName {
        index: u32,
        name: String,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) alias: Option<String>,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) mtu: Option<u32>,
    pub(super) master: Option<u32>,
    pub(super) up: bool,
    /// Spanning tree, forward delay and snooping as ours have them.
    pub(super) bridge: bool,
    /// Neither learning nor neighbour suppression, as a tunnel's end has them.
    pub(super) port: bool,
}

/// A file below /proc/sys/net.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) path: String,
    pub(super) value: i32,
}

pub(super) fn diff(wanted: &Wanted, devices: &[Device]) -> (Vec<Action>, Vec<String>) {
    let by_name: HashMap<&str, &Device> =
        devices.iter().map(|device| (device.name.as_str(), device)).collect();
    let mut actions = Vec::new();
    let mut problems = Vec::new();
    for network in &wanted.networks {
        let Some(bridge) = by_name.get(network.vni.bridge().as_str()) else {
            actions.push(Action::AddBridge { vni: network.vni, mac: network.mac, mtu: network.mtu });
            continue;
        };
        if !matches!(bridge.kind, Kind::Bridge(_)) {
            problems
                .push(format!("there is a device {} that is no bridge; give it another name", bridge.name));
            continue;
        }
        settings(bridge, network, &mut actions);
        adjust(bridge, bridge_change(bridge, network), &mut actions);
        match network.carrier {
            Carrier::Tunnel { local, below } => tunnel(network, local, below, bridge, &by_name, &mut actions),
            Carrier::Vlan { id, below } => {
                problems.extend(vlan(network, id, below, bridge, &by_name, &mut actions));
            }
        }
    }
    for (index, name) in &wanted.other_names {
        actions.push(Action::OtherName { index: *index, name: name.clone() });
    }
    for device in devices.iter().filter(|device| wanted.forwarding.contains(&device.index)) {
        let Some(v4) = &device.v4 else { continue };
        put(v4.forwarding, 1, "ipv4", &device.name, "forwarding", &mut actions);
        loose(v4.rp_filter, &device.name, &mut actions);
    }
    (actions, problems)
}

fn bridge_change(bridge: &Device, network: &WantedNetwork) -> Change {
    let as_ours = match &bridge.kind {
        Kind::Bridge(flags) => !flags.spanning_tree && flags.forward_delay == 0 && !flags.snooping,
        _ => true,
    };
    Change { bridge: !as_ours, ..change(bridge, network, Some(network.mac), None) }
}

/// What all devices of a network have in common.
fn change(device: &Device, network: &WantedNetwork, mac: Option<[u8; 6]>, master: Option<u32>) -> Change {
    Change {
        alias: Some(mark(network.vni)).filter(|mark| device.alias != *mark),
        mac: mac.filter(|mac| device.mac != mac),
        mtu: Some(network.mtu).filter(|mtu| device.mtu != *mtu),
        master: master.filter(|_| device.master != master),
        up: !device.up,
        ..Change::default()
    }
}

fn adjust(device: &Device, change: Change, actions: &mut Vec<Action>) {
    if change != Change::default() {
        actions.push(Action::Adjust { index: device.index, name: device.name.clone(), change });
    }
}

fn tunnel(
    network: &WantedNetwork,
    local: IpAddr,
    below: u32,
    bridge: &Device,
    by_name: &HashMap<&str, &Device>,
    actions: &mut Vec<Action>,
) {
    let vni = network.vni;
    let Some(tunnel) = by_name.get(vni.tunnel().as_str()) else {
        actions.push(Action::AddTunnel { vni, local, below, bridge: bridge.index, mtu: network.mtu });
        return;
    };
    let as_ours = match &tunnel.kind {
        Kind::Tunnel(found) => {
            found.vni == vni.get()
                && found.local == Some(local)
                && found.below == Some(below)
                && found.port == VXLAN_PORT
                && !found.learning
        }
        _ => false,
    };
    if !as_ours {
        actions.push(Action::Remake { index: tunnel.index, name: tunnel.name.clone() });
        return;
    }
    no_addresses(tunnel, actions);
    let enslaved = tunnel.master == Some(bridge.index);
    // No learning: the routing daemon tells who is where. No suppression of neighbour discovery: with it the kernel keeps all
    // gratuitous ARP from the other hosts, also of guests that take an address over from each other, and of our gateways.
    // (A device that is no port yet has no flags of one: they are looked at when it is.)
    let port =
        enslaved && tunnel.port.as_ref().is_none_or(|port| port.learning || port.neighbour_suppression);
    adjust(tunnel, Change { port, ..change(tunnel, network, None, Some(bridge.index)) }, actions);
}

/// A problem, if there is one: a VLAN's device may be the administrator's own.
fn vlan(
    network: &WantedNetwork,
    id: u16,
    below: u32,
    bridge: &Device,
    by_name: &HashMap<&str, &Device>,
    actions: &mut Vec<Action>,
) -> Option<String> {
    let name = network.vni.vlan_device();
    let Some(device) = by_name.get(name.as_str()) else {
        actions.push(Action::AddVlan { vni: network.vni, id, below, bridge: bridge.index, mtu: network.mtu });
        return None;
    };
    if !is_ours(device) && device.master != Some(bridge.index) {
        return Some(format!(
            "{name} is there already and was not made for client networks: bridged network {} is not carried; give that \
             device another name",
            network.vni
        ));
    }
    if device.kind != Kind::Vlan(id) || device.below != Some(below) {
        actions.push(Action::Remake { index: device.index, name });
        return None;
    }
    no_addresses(device, actions);
    adjust(device, change(device, network, None, Some(bridge.index)), actions);
    None
}

/// A bridge's settings. Where the host serves nothing it has no address, answers nobody and forwards nothing that guests send
/// to it.
fn settings(bridge: &Device, network: &WantedNetwork, actions: &mut Vec<Action>) {
    let name = &bridge.name;
    if let Some(v4) = &bridge.v4 {
        put(v4.forwarding, i32::from(network.serves_v4), "ipv4", name, "forwarding", actions);
        // Else the host would answer for all its addresses, on this bridge as on all others, with this bridge's link address.
        put(v4.arp_ignore, 1, "ipv4", name, "arp_ignore", actions);
        put(v4.arp_announce, 2, "ipv4", name, "arp_announce", actions);
        put(v4.accept_redirects, 0, "ipv4", name, "accept_redirects", actions);
        if network.serves_v4 {
            loose(v4.rp_filter, name, actions);
        }
    }
    if let Some(v6) = &bridge.v6 {
        put(v6.addr_gen_mode, no_address_generation(), "ipv6", name, "addr_gen_mode", actions);
        // A guest must not become this host's router.
        put(v6.accept_ra, 0, "ipv6", name, "accept_ra", actions);
        put(v6.accept_redirects, 0, "ipv6", name, "accept_redirects", actions);
        put(v6.disable_ipv6, i32::from(!network.serves_v6), "ipv6", name, "disable_ipv6", actions);
    }
}

/// A bridge's port has no address.
fn no_addresses(device: &Device, actions: &mut Vec<Action>) {
    if let Some(v6) = &device.v6 {
        put(v6.disable_ipv6, 1, "ipv6", &device.name, "disable_ipv6", actions);
    }
}

fn put(is: i32, value: i32, family: &str, device: &str, setting: &str, actions: &mut Vec<Action>) {
    if is != value {
        let path = format!("{family}/conf/{device}/{setting}");
        actions.push(Action::Setting(Setting { path, value }));
    }
}

/// The way there need not be the way back: what one coordinator takes in from outside, another one may deliver. The kernel
/// takes the greater of the device's and of `all`'s, so that 2 (loose) wins over a strict 1.
fn loose(is: i32, device: &str, actions: &mut Vec<Action>) {
    put(is, 2, "ipv4", device, "rp_filter", actions);
}

/// What is ours and not wanted any more, in the order in which it is to go; and bridges that must stay, because something
/// that is not ours is still a port of them.
pub(super) fn unwanted(wanted: &Wanted, devices: &[Device]) -> (Vec<(u32, String)>, Vec<String>) {
    let mut ports: BTreeMap<u32, Vec<&Device>> = BTreeMap::new();
    for device in devices {
        if let Some(master) = device.master {
            ports.entry(master).or_default().push(device);
        }
    }
    let carriers: HashMap<Vni, &Carrier> =
        wanted.networks.iter().map(|network| (network.vni, &network.carrier)).collect();
    let mut leaving = Vec::new();
    let mut kept = Vec::new();
    for device in devices.iter().filter(|device| is_ours(device)) {
        let Some((role, vni)) = role(device) else { continue };
        // A network that was managed and is bridged now, or the other way round, has one device too many.
        let other_kind = carriers.get(&vni).is_some_and(|carrier| match carrier {
            Carrier::Tunnel { .. } => role == Role::Vlan,
            Carrier::Vlan { .. } => role == Role::Tunnel,
        });
        if wanted.kept.contains(&vni) && !other_kind {
            continue;
        }
        let bridge = if role == Role::Bridge { Some(device.index) } else { device.master };
        let guests = bridge.and_then(|bridge| ports.get(&bridge));
        let guest = guests.and_then(|ports| ports.iter().find(|port| !is_ours(port)));
        match guest {
            // What carries its frames stays too.
            Some(_) if role != Role::Bridge && !other_kind => {}
            Some(guest) if role == Role::Bridge => {
                kept.push(format!(
                    "{} is not wanted any more, but {} is still in it",
                    device.name, guest.name
                ));
            }
            _ => leaving.push((role, device.index, device.name.clone())),
        }
    }
    leaving.sort();
    (leaving.into_iter().map(|(_, index, name)| (index, name)).collect(), kept)
}
