//! A network device as the kernel tells of it: the part of it that matters here.

use std::net::IpAddr;

use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoBridge, InfoBridgePort,
    InfoData, InfoPortData, InfoVlan, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Prop,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) other_names: Vec<String>,
    /// What somebody has written on it.
    pub(crate) alias: String,
    pub(crate) mac: Vec<u8>,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// The bridge that it is a port of.
    pub(crate) master: Option<u32>,
    /// The device that it is on top of.
    pub(crate) below: Option<u32>,
    pub(crate) kind: Kind,
    /// As a bridge's port.
    pub(crate) port: Option<Port>,
    pub(crate) v4: Option<V4>,
    pub(crate) v6: Option<V6>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    Bridge(Bridge),
    Tunnel(Tunnel),
    Vlan(u16),
    #[default]
    Other,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bridge {
    pub(crate) spanning_tree: bool,
    pub(crate) forward_delay: u32,
    pub(crate) snooping: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tunnel {
    pub(crate) vni: u32,
    pub(crate) local: Option<IpAddr>,
    pub(crate) below: Option<u32>,
    pub(crate) port: u16,
    pub(crate) learning: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) learning: bool,
    pub(crate) neighbour_suppression: bool,
}

/// net.ipv4.conf.DEVICE
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct V4 {
    pub(crate) forwarding: i32,
    pub(crate) rp_filter: i32,
    pub(crate) arp_ignore: i32,
    pub(crate) arp_announce: i32,
    pub(crate) accept_redirects: i32,
}

/// net.ipv6.conf.DEVICE
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct V6 {
    pub(crate) disable_ipv6: i32,
    pub(crate) accept_ra: i32,
    pub(crate) addr_gen_mode: i32,
    pub(crate) accept_redirects: i32,
}

impl From<LinkMessage> for Device {
    fn from(message: LinkMessage) -> Self {
        let mut device = Device {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            ..Device::default()
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => device.name = name,
                LinkAttribute::IfAlias(alias) => device.alias = alias,
                LinkAttribute::Address(mac) => device.mac = mac,
                LinkAttribute::Mtu(mtu) => device.mtu = mtu,
                LinkAttribute::Controller(master) => device.master = Some(master).filter(|index| *index > 0),
                LinkAttribute::Link(below) => device.below = Some(below).filter(|index| *index > 0),
                LinkAttribute::PropList(properties) => {
                    device.other_names.extend(properties.into_iter().filter_map(|property| match property {
                        Prop::AltIfName(name) => Some(name),
                        _ => None,
                    }));
                }
                LinkAttribute::LinkInfo(infos) => infos.into_iter().for_each(|info| match info {
                    LinkInfo::Data(data) => device.kind = kind(data),
                    LinkInfo::PortData(InfoPortData::BridgePort(flags)) => device.port = Some(port(&flags)),
                    _ => {}
                }),
                LinkAttribute::AfSpecUnspec(families) => device.read_families(families),
                _ => {}
            }
        }
        device
    }
}

impl Device {
    fn read_families(&mut self, families: Vec<AfSpecUnspec>) {
        for family in families {
            match family {
                AfSpecUnspec::Inet(settings) => {
                    self.v4 = settings.iter().find_map(|setting| match setting {
                        AfSpecInet::DevConf(conf) => Some(V4 {
                            forwarding: conf.forwarding,
                            rp_filter: conf.rp_filter,
                            arp_ignore: conf.arp_ignore,
                            arp_announce: conf.arp_announce,
                            accept_redirects: conf.accept_redirects,
                        }),
                        _ => None,
                    });
                }
                AfSpecUnspec::Inet6(settings) => self.v6 = v6(&settings),
                _ => {}
            }
        }
    }
}

fn v6(settings: &[AfSpecInet6]) -> Option<V6> {
    let mut found = settings.iter().find_map(|setting| match setting {
        AfSpecInet6::DevConf(conf) => Some(V6 {
            disable_ipv6: conf.disable_ipv6,
            accept_ra: conf.accept_ra,
            addr_gen_mode: conf.addr_gen_mode,
            accept_redirects: conf.accept_redirects,
        }),
        _ => None,
    })?;
    // The kernel tells of this one in a place of its own, and only of some devices in the other too.
    for setting in settings {
        if let AfSpecInet6::AddrGenMode(mode) = setting {
            found.addr_gen_mode = i32::from(u8::from(mode));
        }
    }
    Some(found)
}

/// No addresses made up by the kernel (net.ipv6.conf.DEVICE.addr_gen_mode).
pub(crate) fn no_address_generation() -> i32 {
    i32::from(u8::from(&In6AddrGenMode::None))
}

fn kind(data: InfoData) -> Kind {
    match data {
        InfoData::Bridge(infos) => {
            let mut bridge = Bridge::default();
            for info in infos {
                match info {
                    InfoBridge::StpState(state) => bridge.spanning_tree = state != BridgeStpState::Disabled,
                    InfoBridge::ForwardDelay(delay) => bridge.forward_delay = delay,
                    InfoBridge::MulticastSnooping(on) => bridge.snooping = on,
                    _ => {}
                }
            }
            Kind::Bridge(bridge)
        }
        InfoData::Vxlan(infos) => {
            let mut tunnel = Tunnel::default();
            for info in infos {
                match info {
                    InfoVxlan::Id(vni) => tunnel.vni = vni,
                    InfoVxlan::Local(local) => tunnel.local = Some(local.into()),
                    InfoVxlan::Local6(local) => tunnel.local = Some(local.into()),
                    InfoVxlan::Link(below) => tunnel.below = Some(below),
                    InfoVxlan::Port(port) => tunnel.port = port,
                    InfoVxlan::Learning(on) => tunnel.learning = on,
                    _ => {}
                }
            }
            Kind::Tunnel(tunnel)
        }
        InfoData::Vlan(infos) => infos
            .into_iter()
            .find_map(|info| match info {
                InfoVlan::Id(id) => Some(Kind::Vlan(id)),
                _ => None,
            })
            .unwrap_or_default(),
        _ => Kind::Other,
    }
}

fn port(flags: &[InfoBridgePort]) -> Port {
    let mut port = Port::default();
    for flag in flags {
        match flag {
            InfoBridgePort::Learning(on) => port.learning = *on,
            InfoBridgePort::NeighSupress(on) => port.neighbour_suppression = *on,
            _ => {}
        }
    }
    port
}
