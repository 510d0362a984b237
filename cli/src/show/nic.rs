//! A VM's NICs.

use pvc_proto::v1::{Nic, VmSpec};

use crate::output::Tone;
use crate::output::table::{Cell, Column, optional, render, text};
use crate::spec::nic::{attachment, show_rate};

const COLUMNS: &[Column] = &[
    text("MAC"),
    text("NETWORK"),
    text("MODEL"),
    text("LINK"),
    optional("RATE IN"),
    optional("RATE OUT"),
    text("SPOOF CHECK"),
    optional("ADDRESSES"),
];

pub fn table(nics: &[Nic], colour: bool) -> String {
    render(COLUMNS, nics.iter().map(row).collect(), colour)
}

fn row(nic: &Nic) -> Vec<Cell> {
    vec![
        nic.mac.as_str().into(),
        attachment(nic).into(),
        model(nic).into(),
        if nic.link_down { Cell::toned("down", Tone::Dim) } else { Cell::toned("up", Tone::Good) },
        show_rate(nic.rate_in.as_ref()).into(),
        show_rate(nic.rate_out.as_ref()).into(),
        if nic.trusted { Cell::toned("off", Tone::Busy) } else { "on".into() },
        nic.addresses.join(",").into(),
    ]
}

/// One line for each, for a VM's page.
pub fn lines(spec: &VmSpec) -> Vec<String> {
    spec.nics.iter().map(line).collect()
}

fn line(nic: &Nic) -> String {
    let mac = if nic.mac.is_empty() { "no address yet" } else { &nic.mac };
    let mut said = vec![model(nic).to_owned()];
    if nic.link_down {
        said.push("link down".to_owned());
    }
    for (direction, rate) in [("in", &nic.rate_in), ("out", &nic.rate_out)] {
        let rate = show_rate(rate.as_ref());
        if !rate.is_empty() {
            said.push(format!("{direction} at {rate}"));
        }
    }
    if nic.trusted {
        said.push("spoof check off".to_owned());
    }
    if !nic.addresses.is_empty() {
        said.push(format!("also {}", nic.addresses.join(" ")));
    }
    format!("{} {mac} ({})", attachment(nic), said.join(", "))
}

fn model(nic: &Nic) -> &str {
    if nic.model.is_empty() { "virtio" } else { &nic.model }
}
