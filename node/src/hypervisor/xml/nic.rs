//! A NIC in libvirt's words, and back.

use pvc_model::nic::Rate;
use pvc_model::vm::Mac;

use super::tree::Element;
use super::{RenderError, live};
use crate::hypervisor::{GuestNic, LiveNic, NicPort};

/// The element of a NIC that a guest is to have. Its device has a name by which its host knows it; libvirt keeps any
/// but those that begin as its own do ("vnet").
pub(super) fn interface(nic: &GuestNic) -> Element {
    let mut interface = Element::new("interface")
        .with("type", "bridge")
        .child(Element::new("mac").with("address", nic.port.mac.to_string()))
        .child(Element::new("source").with("bridge", nic.port.bridge.as_str()))
        .child(Element::new("target").with("dev", nic.port.device()))
        .child(Element::new("model").with("type", nic.model.as_str()))
        .child(Element::new("rom").with("enabled", "no"));
    if let Some(mtu) = nic.mtu {
        interface = interface.child(Element::new("mtu").with("size", mtu.to_string()));
    }
    set_port(&mut interface, &nic.port);
    interface
}

/// The document of a NIC, for a guest that runs.
pub fn nic(nic: &GuestNic) -> Result<String, RenderError> {
    live::write(&interface(nic))
}

/// The NICs of a domain, given its live document.
pub fn nics(document: &str) -> Result<Vec<LiveNic>, RenderError> {
    let root = live::parse(document)?;
    let devices = root.find("devices").into_iter().flat_map(Element::elements);
    Ok(devices.filter(|e| e.name() == "interface").filter_map(read).collect())
}

/// The document of the domain's NIC with that address, as libvirt shows it. None: it has none.
pub fn nic_as_it_is(document: &str, mac: Mac) -> Result<Option<String>, RenderError> {
    live_interface(document, mac)?.map(|interface| live::write(&interface)).transpose()
}

/// The same, with the port that is wanted in place of the one that it has.
pub fn nic_with_port(document: &str, port: &NicPort) -> Result<Option<String>, RenderError> {
    let interface = live_interface(document, port.mac)?;
    interface
        .map(|mut interface| {
            set_port(&mut interface, port);
            live::write(&interface)
        })
        .transpose()
}

fn live_interface(document: &str, mac: Mac) -> Result<Option<Element>, RenderError> {
    let root = live::parse(document)?;
    let mut devices = root.find("devices").into_iter().flat_map(Element::elements);
    Ok(devices.find(|e| has_mac(e, mac)).cloned())
}

/// Whether it is a NIC with this address.
pub(super) fn has_mac(element: &Element, mac: Mac) -> bool {
    element.name() == "interface" && mac_of(element) == Some(mac)
}

fn mac_of(interface: &Element) -> Option<Mac> {
    interface.find("mac")?.attribute("address")?.parse().ok()
}

fn set_port(interface: &mut Element, port: &NicPort) {
    interface.find_or_add("source").set("bridge", port.bridge.as_str());
    interface.find_or_add("link").set("state", if port.link_up { "up" } else { "down" });
    interface.drop_elements(|e| e.name() == "bandwidth");
    let directions = [("inbound", port.rate_in), ("outbound", port.rate_out)];
    if directions.iter().any(|(_, rate)| rate.is_some()) {
        let mut bandwidth = Element::new("bandwidth");
        for (direction, rate) in directions {
            if let Some(rate) = rate {
                bandwidth = bandwidth.child(limit(direction, rate));
            }
        }
        interface.replace(bandwidth);
    }
}

/// libvirt counts kB/s and KiB.
fn limit(direction: &str, rate: Rate) -> Element {
    let mut limit = Element::new(direction).with("average", (rate.average_kbit / 8).to_string());
    if let Some(peak) = rate.peak_kbit {
        limit.set("peak", (peak / 8).to_string());
    }
    if let Some(burst) = rate.burst_kib {
        limit.set("burst", burst.to_string());
    }
    limit
}

/// None: it has no address, which no NIC of a running guest lacks.
fn read(interface: &Element) -> Option<LiveNic> {
    let attribute = |child: &str, key: &str| interface.find(child)?.attribute(key);
    let rate = |direction: &str| {
        let limit = interface.find("bandwidth")?.find(direction)?;
        let number = |key: &str| limit.attribute(key)?.parse::<u32>().ok();
        Some(Rate {
            average_kbit: number("average")?.saturating_mul(8),
            peak_kbit: number("peak").map(|peak| peak.saturating_mul(8)),
            burst_kib: number("burst"),
        })
    };
    let port = NicPort {
        mac: mac_of(interface)?,
        bridge: attribute("source", "bridge").unwrap_or_default().to_owned(),
        link_up: attribute("link", "state") != Some("down"),
        rate_in: rate("inbound"),
        rate_out: rate("outbound"),
    };
    let ours = attribute("target", "dev") == Some(port.device().as_str());
    Some(LiveNic { port, ours })
}
