//! A VM's NICs: what each is attached to, and what its guest may do on it.

use std::net::IpAddr;

use crate::mac::Mac;
use crate::network::Attachment;

/// NICs of a VM at most: each takes a slot of the guest's PCI bus, of which there are 32.
pub const NICS_MAX: usize = 16;
/// Extra addresses of a NIC at most.
pub const ADDRESSES_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    pub attachment: Attachment,
    /// Always set once the VM is stored; unique in the cluster. It names the NIC.
    pub mac: Option<Mac>,
    pub model: NicModel,
    /// False: as if its cable were pulled.
    pub link_up: bool,
    /// Of what comes to the guest; None: no limit.
    pub rate_in: Option<Rate>,
    /// Of what the guest sends.
    pub rate_out: Option<Rate>,
    /// Only frames from its own MAC, and packets from its own addresses, are taken from it.
    pub spoof_check: bool,
    /// Addresses that it may use besides those that it was lent or that are reserved for it.
    pub addresses: Vec<IpAddr>,
}

impl Nic {
    /// With the defaults of everything else.
    pub fn new(attachment: Attachment) -> Self {
        Nic {
            attachment,
            mac: None,
            model: NicModel::Virtio,
            link_up: true,
            rate_in: None,
            rate_out: None,
            spoof_check: true,
            addresses: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NicModel {
    Virtio,
    E1000e,
    Rtl8139,
}

impl NicModel {
    pub const ALL: [NicModel; 3] = [NicModel::Virtio, NicModel::E1000e, NicModel::Rtl8139];

    /// As people and libvirt write it.
    pub fn as_str(self) -> &'static str {
        match self {
            NicModel::Virtio => "virtio",
            NicModel::E1000e => "e1000e",
            NicModel::Rtl8139 => "rtl8139",
        }
    }
}

/// How much may pass in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// kbit/s over time: 8 to 400000000, the least and the most that the kernel's shaper can be told.
    pub average_kbit: u32,
    /// kbit/s in a burst, not below the average; None: the kernel's choice.
    pub peak_kbit: Option<u32>,
    /// KiB that may pass at the peak; None: the kernel's choice.
    pub burst_kib: Option<u32>,
}

/// What is changed of one NIC: only what is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicChange {
    /// Of which NIC.
    pub mac: Mac,
    pub attachment: Option<Attachment>,
    /// Takes effect at the guest's next start; all else at once.
    pub model: Option<NicModel>,
    pub link_up: Option<bool>,
    /// `Some(None)`: no limit any more.
    pub rate_in: Option<Option<Rate>>,
    pub rate_out: Option<Option<Rate>>,
    pub spoof_check: Option<bool>,
    pub addresses: Option<Vec<IpAddr>>,
}

impl NicChange {
    /// That changes nothing yet.
    pub fn of(mac: Mac) -> Self {
        NicChange {
            mac,
            attachment: None,
            model: None,
            link_up: None,
            rate_in: None,
            rate_out: None,
            spoof_check: None,
            addresses: None,
        }
    }

    pub(crate) fn apply(&self, nic: &mut Nic) {
        fn set<T: Clone>(given: &Option<T>, field: &mut T) {
            if let Some(value) = given {
                *field = value.clone();
            }
        }
        set(&self.attachment, &mut nic.attachment);
        set(&self.model, &mut nic.model);
        set(&self.link_up, &mut nic.link_up);
        set(&self.rate_in, &mut nic.rate_in);
        set(&self.rate_out, &mut nic.rate_out);
        set(&self.spoof_check, &mut nic.spoof_check);
        set(&self.addresses, &mut nic.addresses);
    }
}
