//! VMs' NICs.

use std::net::IpAddr;

use pvc_model::Rejection;
use pvc_model::network::{Attachment, HostNetwork, VNI_MAX};
use pvc_model::nic::{ADDRESSES_MAX, Nic, NicChange, NicModel, Rate};
use pvc_model::vm::Mac;

use super::refuse::At;
use crate::v1;

/// Linux: IFNAMSIZ is 16, with the closing zero.
const BRIDGE_BYTES_MAX: usize = 15;
const KBIT: std::ops::RangeInclusive<u32> = 8..=400_000_000;
const BURST_KIB_MAX: u32 = 1_048_576;

impl From<&Nic> for v1::Nic {
    fn from(nic: &Nic) -> Self {
        let (network, bridge) = wire_attachment(&nic.attachment);
        v1::Nic {
            bridge,
            mac: nic.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            model: nic.model.as_str().to_owned(),
            network,
            link_down: !nic.link_up,
            rate_in: nic.rate_in.map(Into::into),
            rate_out: nic.rate_out.map(Into::into),
            trusted: !nic.spoof_check,
            addresses: nic.addresses.iter().map(IpAddr::to_string).collect(),
        }
    }
}

impl From<Rate> for v1::NicRate {
    fn from(rate: Rate) -> Self {
        v1::NicRate {
            average_kbit: rate.average_kbit,
            peak_kbit: rate.peak_kbit.unwrap_or_default(),
            burst_kib: rate.burst_kib.unwrap_or_default(),
        }
    }
}

/// The fields `network` and `bridge`, one of them empty.
fn wire_attachment(attachment: &Attachment) -> (String, String) {
    match attachment {
        Attachment::Network(vni) => (vni.to_string(), String::new()),
        Attachment::Host(network) => (network.as_str().to_owned(), String::new()),
        Attachment::Bridge(bridge) => (String::new(), bridge.clone()),
    }
}

pub(super) fn nic(at: &At<'_>, wire: &v1::Nic) -> Result<Nic, Rejection> {
    let attachment = attachment(at, &wire.network, &wire.bridge)?.ok_or_else(|| {
        at.refuse(
            "must-be-set",
            "network or bridge must be set: the number of a network, upstream, …, or a bridge",
        )
    })?;
    let limit = |field, given: &Option<v1::NicRate>| {
        given.as_ref().map(|wire| rate(&at.field(field), wire)).transpose()
    };
    Ok(Nic {
        attachment,
        mac: if wire.mac.is_empty() { None } else { Some(nic_mac(&at.field("mac"), &wire.mac)?) },
        model: model(&at.field("model"), &wire.model)?.unwrap_or(NicModel::Virtio),
        link_up: !wire.link_down,
        rate_in: limit("rate_in", &wire.rate_in)?,
        rate_out: limit("rate_out", &wire.rate_out)?,
        spoof_check: !wire.trusted,
        addresses: addresses(at, &wire.addresses)?,
    })
}

pub(super) fn nic_change(at: &At<'_>, wire: &v1::NicChange) -> Result<NicChange, Rejection> {
    if !wire.set_addresses && !wire.addresses.is_empty() {
        return Err(at.field("set_addresses").refuse("must-be-set", "must be set with addresses"));
    }
    let limit = |field, given: &Option<v1::NicRate>| match given {
        None => Ok(None),
        Some(wire) if *wire == v1::NicRate::default() => Ok(Some(None)),
        Some(wire) => rate(&at.field(field), wire).map(|rate| Some(Some(rate))),
    };
    Ok(NicChange {
        mac: nic_mac(&at.field("mac"), &wire.mac)?,
        attachment: attachment(at, &wire.network, &wire.bridge)?,
        model: model(&at.field("model"), &wire.model)?,
        link_up: wire.link_down.map(|down| !down),
        rate_in: limit("rate_in", &wire.rate_in)?,
        rate_out: limit("rate_out", &wire.rate_out)?,
        spoof_check: wire.trusted.map(|trusted| !trusted),
        addresses: wire.set_addresses.then(|| addresses(at, &wire.addresses)).transpose()?,
    })
}

pub(super) fn nic_mac(at: &At<'_>, text: &str) -> Result<Mac, Rejection> {
    text.parse().map_err(|error| at.refuse("bad-mac", error))
}

/// None: neither is set.
fn attachment(at: &At<'_>, network: &str, bridge: &str) -> Result<Option<Attachment>, Rejection> {
    match (network, bridge) {
        ("", "") => Ok(None),
        (network, "") => self::network(&at.field("network"), network).map(Some),
        ("", bridge) => self::bridge(&at.field("bridge"), bridge).map(Some),
        (_, _) => Err(at.refuse("one-attachment", "network and bridge can't both be set")),
    }
}

fn network(at: &At<'_>, text: &str) -> Result<Attachment, Rejection> {
    if let Ok(network) = text.parse::<HostNetwork>() {
        return Ok(Attachment::Host(network));
    }
    text.parse().map(Attachment::Network).map_err(|_| {
        let shown: String = text.chars().take(32).collect();
        let detail = format!(
            "must be a network's number (1 to {VNI_MAX}) or description, upstream, cluster or storage, not {shown:?}"
        );
        at.refuse("bad-network", detail).help("see `pvc network list`")
    })
}

fn bridge(at: &At<'_>, text: &str) -> Result<Attachment, Rejection> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let good = text.len() <= BRIDGE_BYTES_MAX && text.chars().all(allowed);
    if !good || matches!(text, "." | "..") {
        let detail = format!(
            "must be the name of a bridge on the host: 1 to {BRIDGE_BYTES_MAX} letters, digits, '-', '_' or '.', not {text:?}",
        );
        return Err(at.refuse("bad-name", detail));
    }
    Ok(Attachment::Bridge(text.to_owned()))
}

/// None: not set.
fn model(at: &At<'_>, text: &str) -> Result<Option<NicModel>, Rejection> {
    if text.is_empty() {
        return Ok(None);
    }
    let known = NicModel::ALL.into_iter().find(|model| model.as_str() == text);
    known.map(Some).ok_or_else(|| {
        let detail = format!("must be \"virtio\", \"e1000e\" or \"rtl8139\", not {text:?}");
        at.refuse("unknown-value", detail)
    })
}

fn rate(at: &At<'_>, wire: &v1::NicRate) -> Result<Rate, Rejection> {
    let given = |value: u32| (value > 0).then_some(value);
    let average_kbit = at.field("average_kbit").within(wire.average_kbit, KBIT)?;
    let peak_at = at.field("peak_kbit");
    let peak_kbit = given(wire.peak_kbit).map(|kbit| peak_at.within(kbit, average_kbit..=*KBIT.end()));
    let burst_at = at.field("burst_kib");
    let burst_kib = given(wire.burst_kib).map(|kib| burst_at.within(kib, 1..=BURST_KIB_MAX));
    Ok(Rate { average_kbit, peak_kbit: peak_kbit.transpose()?, burst_kib: burst_kib.transpose()? })
}

/// Each once, in their order.
fn addresses(at: &At<'_>, texts: &[String]) -> Result<Vec<IpAddr>, Rejection> {
    at.field("addresses").at_most(texts.len(), ADDRESSES_MAX, "addresses")?;
    let mut addresses = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let at = at.item("addresses", index);
        let address: IpAddr = text.parse().map_err(|_| {
            let shown: String = text.chars().take(48).collect();
            at.refuse("bad-address", format_args!("must be an IP address, not {shown:?}"))
        })?;
        let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        if address.is_unspecified() || address.is_loopback() || address.is_multicast() || broadcast {
            return Err(at.refuse("bad-address", format_args!("{address} can't be a NIC's own address")));
        }
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}
