//! A guest: a namespace with one NIC, which is a port of a host's bridge.

use super::{Netns, cable};

pub struct Guest {
    pub netns: Netns,
    mac: String,
}

impl Guest {
    pub fn new(host: &Netns, bridge: &str, mac: &str, mtu: u32) -> Guest {
        let guest = Guest { netns: Netns::new("guest"), mac: mac.to_owned() };
        cable(host, &guest.device(), &guest.netns, "eth0", mtu);
        guest.netns.ip(&["link", "set", "eth0", "address", mac]);
        host.ip(&["link", "set", &guest.device(), "master", bridge]);
        guest
    }

    /// Its NIC on the host.
    pub fn device(&self) -> String {
        format!("nic{}", self.mac.replace(':', ""))
    }
}
