//! NICs of guests: what the hypervisor is told of them, and what it shows.

use pvc_model::network::host::port_device;
use pvc_model::nic::{Nic, NicModel, Rate};
use pvc_model::vm::Mac;

/// What of a NIC can change while its guest runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicPort {
    /// Names the NIC.
    pub mac: Mac,
    /// The bridge on this host that it is a port of.
    pub bridge: String,
    pub link_up: bool,
    /// Of what comes to the guest. Whole kB/s, as the hypervisor counts them.
    pub rate_in: Option<Rate>,
    pub rate_out: Option<Rate>,
}

/// A NIC that a guest is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestNic {
    pub port: NicPort,
    pub model: NicModel,
    /// Largest packet; None: the bridge's.
    pub mtu: Option<u32>,
}

/// A NIC that a guest has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveNic {
    pub port: NicPort,
    /// Its device on the host has the name that PVC gives: it is not of the user's own XML.
    pub ours: bool,
}

impl GuestNic {
    /// None: it has no address yet, which only one that was never stored hasn't.
    pub fn of(nic: &Nic, mtu: Option<u32>) -> Option<GuestNic> {
        let port = NicPort {
            mac: nic.mac?,
            bridge: nic.attachment.bridge(),
            link_up: nic.link_up,
            rate_in: nic.rate_in.map(in_kilobytes),
            rate_out: nic.rate_out.map(in_kilobytes),
        };
        Some(GuestNic { port, model: nic.model, mtu })
    }
}

impl NicPort {
    /// The name of its device on the host.
    pub fn device(&self) -> String {
        port_device(self.mac)
    }
}

/// Rounded up to whole kB/s: the hypervisor knows nothing finer, and what it shows must compare.
fn in_kilobytes(rate: Rate) -> Rate {
    let whole = |kbit: u32| kbit.div_ceil(8) * 8;
    Rate { average_kbit: whole(rate.average_kbit), peak_kbit: rate.peak_kbit.map(whole), ..rate }
}
