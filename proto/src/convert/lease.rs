//! Addresses that were lent.

use pvc_model::network::lease::{Lease, LeaseReport};
use pvc_model::vm::Mac;
use pvc_model::{Rejection, World};

use super::meta::{meta, subject};
use super::network::{ip, vni};
use super::refuse::{At, wire_name, wire_time};
use crate::{internal, v1};

/// Bytes of a client's identifier, as text: a DUID has at most 130 bytes (RFC 8415 section 11.1), a DHCPv4 client
/// identifier 255.
const CLIENT_ID_LENGTH_MAX: usize = 255 * 3;
/// An identity association is a number of 32 bits, with a letter before it.
const IAID_LENGTH_MAX: usize = 16;

impl From<&Lease> for v1::Lease {
    fn from(lease: &Lease) -> Self {
        v1::Lease {
            meta: Some((&lease.meta).into()),
            vni: lease.network.get(),
            address: lease.address.to_string(),
            mac: lease.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            hostname: wire_name(lease.hostname.as_ref()),
            client_id: lease.client_id.clone(),
            iaid: lease.iaid.clone().unwrap_or_default(),
            expire_time: Some(wire_time(lease.expires)),
            vm: String::new(),
        }
    }
}

impl From<&LeaseReport> for internal::v1::LeaseReport {
    fn from(report: &LeaseReport) -> Self {
        internal::v1::LeaseReport {
            vni: report.network.get(),
            address: report.address.to_string(),
            mac: report.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            hostname: wire_name(report.hostname.as_ref()),
            client_id: report.client_id.clone(),
            iaid: report.iaid.clone().unwrap_or_default(),
            expire_time: Some(wire_time(report.expires)),
        }
    }
}

/// A lease as it is shown: with the VM whose NIC has it.
pub fn lease_view(world: &World, lease: &Lease) -> v1::Lease {
    let vm = lease.mac.and_then(|mac| world.mac_user(mac));
    v1::Lease { vm: wire_name(vm), ..v1::Lease::from(lease) }
}

fn optional_mac(at: &At<'_>, text: &str) -> Result<Option<Mac>, Rejection> {
    (!text.is_empty()).then(|| text.parse().map_err(|error| at.refuse("bad-mac", error))).transpose()
}

/// `at` is the report itself.
pub fn lease_report(at: &At<'_>, wire: &internal::v1::LeaseReport) -> Result<LeaseReport, Rejection> {
    at.field("client_id").at_most(wire.client_id.len(), CLIENT_ID_LENGTH_MAX, "characters")?;
    at.field("iaid").at_most(wire.iaid.len(), IAID_LENGTH_MAX, "characters")?;
    Ok(LeaseReport {
        network: vni(&at.field("vni"), wire.vni)?,
        address: ip(&at.field("address"), &wire.address)?,
        mac: optional_mac(&at.field("mac"), &wire.mac)?,
        hostname: at.field("hostname").optional_name(&wire.hostname)?,
        client_id: wire.client_id.clone(),
        iaid: (!wire.iaid.is_empty()).then(|| wire.iaid.clone()),
        expires: at.field("expire_time").time(wire.expire_time.as_ref())?,
    })
}

impl TryFrom<&v1::Lease> for Lease {
    type Error = Rejection;

    fn try_from(wire: &v1::Lease) -> Result<Self, Rejection> {
        let subject = subject("lease", wire.meta.as_ref());
        let at = At::new(&subject);
        Ok(Lease {
            meta: meta(&at, wire.meta.as_ref())?,
            network: vni(&at.field("vni"), wire.vni)?,
            address: ip(&at.field("address"), &wire.address)?,
            mac: optional_mac(&at.field("mac"), &wire.mac)?,
            hostname: at.field("hostname").optional_name(&wire.hostname)?,
            client_id: wire.client_id.clone(),
            iaid: (!wire.iaid.is_empty()).then(|| wire.iaid.clone()),
            expires: at.field("expire_time").time(wire.expire_time.as_ref())?,
        })
    }
}
