//! BMCs, and what they answer.

use pvc_proto::v1::{Bmc, CheckNodeBmcResponse, PowerState, Wiring};

use super::words::choice;
use crate::output::Tone;
use crate::output::page::Page;

pub fn power(state: PowerState) -> String {
    choice(state.as_str_name(), "POWER_STATE_")
}

fn tone(wiring: Wiring) -> Tone {
    match wiring {
        Wiring::Verified => Tone::Good,
        Wiring::NotVerified => Tone::Busy,
        Wiring::Wrong => Tone::Bad,
        Wiring::Unspecified => Tone::Plain,
    }
}

fn wiring(wiring: Wiring) -> &'static str {
    match wiring {
        Wiring::Verified => "verified: it tells the node's own system UUID",
        Wiring::NotVerified => "not verified: nothing tells that it is this node's",
        Wiring::Wrong => "WRONG: it tells another identity",
        Wiring::Unspecified => "",
    }
}

/// Whether it is the node's, in a sentence's end.
pub fn wiring_in_words(bmc: &Bmc) -> String {
    match bmc.wiring() {
        Wiring::Verified => "it is the node's own by its system GUID".to_owned(),
        _ if bmc.trusted => "that it is this node's is your word".to_owned(),
        _ => "that it is this node's is not verified: one of the two can't tell who it is".to_owned(),
    }
}

/// The lines about a node's BMC.
pub fn rows(page: Page, bmc: Option<&Bmc>) -> Page {
    let Some(bmc) = bmc else { return page.row("BMC", "none: it can't be fenced by power") };
    let adapter = choice(bmc.adapter().as_str_name(), "BMC_ADAPTER_");
    let password = if bmc.has_password { "with a password" } else { "without a password" };
    page.row("BMC", format!("{} at {}, {password} (adapter {adapter})", bmc.user, bmc.address))
        .row("BMC identity", &bmc.identity)
        .toned("BMC wiring", wiring(bmc.wiring()), tone(bmc.wiring()))
        .row("BMC trusted", if bmc.trusted { "by an administrator's word" } else { "" })
}

/// What a BMC has answered.
pub fn check(reply: &CheckNodeBmcResponse, colour: bool) -> String {
    Page::new(colour)
        .row("Power", power(reply.power()))
        .row("Identity", if reply.identity.is_empty() { "it can't tell" } else { &reply.identity })
        .toned("Wiring", wiring(reply.wiring()), tone(reply.wiring()))
        .row("Answered in", format!("{} ms", reply.took_ms))
        .finish()
}
