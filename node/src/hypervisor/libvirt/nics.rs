//! NICs of a running guest: it gets, loses and changes them. Its domain is transient, so only the running one is asked.

use pvc_model::Uid;
use pvc_model::vm::Mac;
use rustix::net;
use virt::domain::Domain;
use virt::sys;

use super::threads::CallError;
use crate::hypervisor::{GuestNic, HypervisorError, NicPort, xml};

const LIVE: u32 = sys::VIR_DOMAIN_AFFECT_LIVE;

/// Whether the host has a device of that name. libvirt, its guests' devices and this process are in one network namespace;
/// that such a device is no bridge, libvirt says itself.
pub(super) fn device_exists(name: &str) -> bool {
    let socket = net::socket(net::AddressFamily::INET, net::SocketType::DGRAM, None);
    socket.is_ok_and(|socket| net::netdevice::name_to_index(socket, name).is_ok())
}

pub(super) fn attach(domain: &Domain, uid: Uid, nic: &GuestNic) -> Result<(), CallError> {
    let document = domain.get_xml_desc(0)?;
    if described(uid, xml::nic_as_it_is(&document, nic.port.mac))?.is_some() {
        return Ok(());
    }
    domain.attach_device_flags(&described(uid, xml::nic(nic))?, LIVE)?;
    Ok(())
}

pub(super) fn update(domain: &Domain, uid: Uid, port: &NicPort) -> Result<(), CallError> {
    let document = domain.get_xml_desc(0)?;
    let Some(wanted) = described(uid, xml::nic_with_port(&document, port))? else {
        let detail = format!("it has no NIC {}", port.mac);
        return Err(CallError::Said(HypervisorError::Refused { request: "change a NIC", detail }));
    };
    domain.update_device_flags(&wanted, LIVE)?;
    Ok(())
}

pub(super) fn detach(domain: &Domain, uid: Uid, mac: Mac) -> Result<(), CallError> {
    let document = domain.get_xml_desc(0)?;
    if let Some(interface) = described(uid, xml::nic_as_it_is(&document, mac))? {
        domain.detach_device_flags(&interface, LIVE)?;
    }
    Ok(())
}

fn described<T>(uid: Uid, described: Result<T, xml::RenderError>) -> Result<T, CallError> {
    described.map_err(|source| CallError::Said(HypervisorError::Render { uid, source }))
}
