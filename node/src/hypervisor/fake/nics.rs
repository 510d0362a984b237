//! NICs of the model's guests. They are ports of the host's bridges, of which it has all but those that a fault takes away.

use pvc_model::vm::Mac;
use pvc_model::{Name, Uid};

use super::world::State;
use crate::hypervisor::{GuestNic, GuestSpec, HypervisorError, LiveNic, NicPort};

impl State {
    pub fn has_bridge(&self, host: &Name, bridge: &str) -> bool {
        self.hosts.get(host).is_some_and(|h| h.powered && !h.faults.missing_bridges.contains(bridge))
    }

    /// A bridge that the guest needs, and the host lacks.
    pub fn lacks_bridge(&self, host: &Name, spec: &GuestSpec) -> Option<String> {
        let bridges = spec.nics.iter().map(|nic| &nic.port.bridge);
        bridges.into_iter().find(|bridge| !self.has_bridge(host, bridge)).cloned()
    }

    pub fn live_nics(&mut self, host: &Name, uid: Uid) -> Result<Vec<LiveNic>, HypervisorError> {
        let nics = self.nics_of(host, uid)?;
        Ok(nics.iter().map(|nic| LiveNic { port: nic.port.clone(), ours: true }).collect())
    }

    pub fn attach_nic(&mut self, host: &Name, uid: Uid, nic: &GuestNic) -> Result<(), HypervisorError> {
        const REQUEST: &str = "attach a NIC";
        if self.nics_of(host, uid)?.iter().any(|there| there.port.mac == nic.port.mac) {
            return Ok(());
        }
        self.take_port(host, REQUEST, &nic.port)?;
        self.nics_of(host, uid)?.push(nic.clone());
        Ok(())
    }

    pub fn update_nic(&mut self, host: &Name, uid: Uid, port: &NicPort) -> Result<(), HypervisorError> {
        const REQUEST: &str = "change a NIC";
        self.take_port(host, REQUEST, port)?;
        let there = self.nics_of(host, uid)?.iter_mut().find(|nic| nic.port.mac == port.mac);
        let detail = format!("it has no NIC {}", port.mac);
        there.ok_or(HypervisorError::Refused { request: REQUEST, detail })?.port = port.clone();
        Ok(())
    }

    pub fn detach_nic(&mut self, host: &Name, uid: Uid, mac: Mac) -> Result<(), HypervisorError> {
        let clings = self.hosts.get(host).is_some_and(|h| h.faults.clinging_guests);
        let nics = self.nics_of(host, uid)?;
        if !clings {
            nics.retain(|nic| nic.port.mac != mac);
        }
        Ok(())
    }

    /// What every change of a port may fail for.
    fn take_port(
        &mut self,
        host: &Name,
        request: &'static str,
        port: &NicPort,
    ) -> Result<(), HypervisorError> {
        let refused = |detail: String| Err(HypervisorError::Refused { request, detail });
        if !self.has_bridge(host, &port.bridge) {
            return refused(no_bridge(&port.bridge));
        }
        let Some(h) = self.hosts.get_mut(host).filter(|h| h.faults.fail_nics > 0) else { return Ok(()) };
        h.faults.fail_nics -= 1;
        refused("internal error: No more available PCI slots".to_owned())
    }

    fn nics_of(&mut self, host: &Name, uid: Uid) -> Result<&mut Vec<GuestNic>, HypervisorError> {
        let guest = self.hosts.get_mut(host).and_then(|h| h.guests.get_mut(&uid));
        Ok(&mut guest.ok_or(HypervisorError::NoSuchGuest { uid })?.spec.nics)
    }
}

/// In libvirt's words.
pub(super) fn no_bridge(bridge: &str) -> String {
    format!("Cannot get interface MTU on '{bridge}': No such device")
}
