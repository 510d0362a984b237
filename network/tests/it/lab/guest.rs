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

    pub fn has(&self, address: &str, gateway: &str) -> &Guest {
        self.netns.ip(&["addr", "add", address, "dev", "eth0"]);
        self.netns.ip(&["route", "add", "default", "via", gateway]);
        self
    }

    /// One answer within a second.
    pub fn reaches(&self, address: &str) -> bool {
        self.netns.run("ping", &["-n", "-c1", "-W1", address]).is_some()
    }
}
