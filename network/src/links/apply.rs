//! Carries out actions: all requests to the kernel in a row, settings as files below /proc/sys.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use rtnetlink::packet_route::link::{BridgeStpState, InfoKind, LinkMessage};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVlan, LinkVxlan};

use super::diff::{Action, Change, Setting, VXLAN_PORT};
use crate::netlink::{Netlink, said, system_error};

/// What the kernel says of a kind of device that it does not know.
const UNKNOWN_KIND: i32 = libc::EOPNOTSUPP;

/// What was done, and what could not be, each in a few words.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) done: Vec<String>,
    pub(super) problems: Vec<String>,
}

pub(super) async fn apply(netlink: &Netlink, actions: Vec<Action>) -> Applied {
    let mut applied = Applied::default();
    // First of all: a device must not be up before it is told to make up no addresses.
    for action in &actions {
        if let Action::Setting(setting) = action {
            applied.note(format!("set {}", setting), write(setting).map_err(|error| error.to_string()));
            tokio::task::yield_now().await;
        }
    }
    let requests: Vec<Action> =
        actions.into_iter().filter(|action| !matches!(action, Action::Setting(_))).collect();
    let answers = netlink
        .each(requests.clone(), |handle, action| async move {
            let links = handle.link();
            match action {
                Action::AddBridge { .. } | Action::AddTunnel { .. } | Action::AddVlan { .. } => {
                    links.add(adding(&action)).execute().await
                }
                Action::Adjust { index, ref change, .. } => {
                    links.change(changing(index, change)).execute().await?;
                    // The kernel takes no delay of nothing before the spanning tree is off.
                    if change.bridge {
                        links.change(bridge(index).forward_delay(0).build()).execute().await?;
                    }
                    // A port's flags go in a request of their own, of another kind.
                    if change.port {
                        links.set_port(port(index)).execute().await?;
                    }
                    Ok(())
                }
                Action::Remake { index, .. } => links.del(index).execute().await,
                Action::OtherName { index, ref name } => {
                    links.property_add(index).alt_ifname(&[name]).execute().await
                }
                Action::Setting(_) => Ok(()),
            }
        })
        .await;
    for (action, answer) in requests.iter().zip(answers) {
        let answer = answer.map_err(|error| explain(action, &error));
        applied.note(words(action), answer);
    }
    applied
}

impl Applied {
    fn note(&mut self, what: String, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.done.push(what),
            Err(reason) => self.problems.push(format!("could not: {what}: {reason}")),
        }
    }
}

fn adding(action: &Action) -> LinkMessage {
    match *action {
        Action::AddBridge { vni, mac, mtu } => LinkMessageBuilder::<LinkBridge>::new(&vni.bridge())
            .stp_state(BridgeStpState::Disabled)
            .forward_delay(0)
            .mcast_snooping(false)
            .address(mac.to_vec())
            .mtu(mtu)
            .build(),
        Action::AddTunnel { vni, local, below, bridge, mtu } => {
            let tunnel = LinkMessageBuilder::<LinkVxlan>::new(&vni.tunnel())
                .id(vni.get())
                .dev(below)
                .port(VXLAN_PORT)
                .learning(false);
            let tunnel = match local {
                IpAddr::V4(local) => tunnel.local(local),
                IpAddr::V6(local) => tunnel.local6(local),
            };
            tunnel.mtu(mtu).controller(bridge).build()
        }
        Action::AddVlan { vni, id, below, bridge, mtu } => {
            LinkVlan::new(&vni.vlan_device(), below, id).mtu(mtu).controller(bridge).build()
        }
        _ => unreachable!("it adds nothing"),
    }
}

fn changing(index: u32, change: &Change) -> LinkMessage {
    if change.bridge {
        return common(bridge(index), change)
            .stp_state(BridgeStpState::Disabled)
            .mcast_snooping(false)
            .build();
    }
    common(LinkUnspec::new_with_index(index), change).build()
}

fn bridge(index: u32) -> LinkMessageBuilder<LinkBridge> {
    LinkMessageBuilder::<LinkBridge>::new_with_info_kind(InfoKind::Bridge).index(index)
}

fn common<T: std::fmt::Debug + Default>(
    mut message: LinkMessageBuilder<T>,
    change: &Change,
) -> LinkMessageBuilder<T> {
    if let Some(alias) = &change.alias {
        message = message.alias(alias);
    }
    if let Some(mac) = change.mac {
        message = message.address(mac.to_vec());
    }
    if let Some(mtu) = change.mtu {
        message = message.mtu(mtu);
    }
    if let Some(master) = change.master {
        message = message.controller(master);
    }
    if change.up { message.up() } else { message }
}

fn port(index: u32) -> LinkMessage {
    LinkBridgePort::new(index).learning(false).neigh_suppress(false).build()
}

/// Writes a setting of the namespace that this thread is in.
pub(super) fn write(setting: &Setting) -> io::Result<()> {
    fs::write(Path::new("/proc/sys/net").join(&setting.path), setting.value.to_string())
}

/// A setting of the host's that is no single device's. None: this kernel does not have it.
pub(super) fn read(path: &str) -> Option<i32> {
    fs::read_to_string(Path::new("/proc/sys/net").join(path)).ok()?.trim().parse().ok()
}

fn words(action: &Action) -> String {
    match action {
        Action::AddBridge { vni, .. } => format!("made {}", vni.bridge()),
        Action::AddTunnel { vni, .. } => format!("made {}", vni.tunnel()),
        Action::AddVlan { vni, .. } => format!("made {}", vni.vlan_device()),
        Action::Adjust { name, change, .. } => format!("set {} of {name}", change.words()),
        Action::Remake { name, .. } => format!("took {name} away, to make it anew"),
        Action::OtherName { name, .. } => format!("gave a bridge the name {name} too"),
        Action::Setting(setting) => format!("set {setting}"),
    }
}

impl Change {
    fn words(&self) -> String {
        [
            (self.mac.is_some(), "address"),
            (self.mtu.is_some(), "MTU"),
            (self.master.is_some(), "bridge"),
            (self.up, "up"),
            (self.bridge, "spanning tree and snooping"),
            (self.port, "learning and suppression"),
            (self.alias.is_some(), "mark"),
        ]
        .iter()
        .filter_map(|(set, word)| set.then_some(*word))
        .collect::<Vec<_>>()
        .join(", ")
    }
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "net/{}={}", self.path, self.value)
    }
}

fn explain(action: &Action, error: &rtnetlink::Error) -> String {
    let unknown = system_error(error).is_some_and(|error| error.raw_os_error() == Some(UNKNOWN_KIND));
    match action {
        Action::AddVlan { .. } if unknown => {
            "this host's kernel has no VLAN devices (modprobe 8021q; a kernel without that module carries no bridged network)"
                .to_owned()
        }
        Action::AddTunnel { .. } if unknown => {
            "this host's kernel has no VXLAN devices (modprobe vxlan)".to_owned()
        }
        _ => said(error),
    }
}
