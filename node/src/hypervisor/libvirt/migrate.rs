//! Sending a guest to another host, on a thread and a connection of its own.
//!
//! The two libvirts do it among themselves (peer to peer, over TLS), so it goes on when this daemon
//! dies. The guest is described anew for the target, with the stamp that it is to carry there from its
//! first moment.

use std::ffi::CStr;
use std::ffi::CString;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pvc_model::Uid;
use tokio::sync::oneshot;
use tokio::time::Instant;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt::sys;

use super::connection::Connection;
use super::events::Notices;
use super::jobs::{self, Job};
use crate::hypervisor::{MigrateError, MigrationOrder, MigrationReport, xml};

/// Description that another libvirt can take.
const XML_MIGRATABLE: u32 = sys::VIR_DOMAIN_XML_MIGRATABLE | sys::VIR_DOMAIN_XML_SECURE;
/// How long the figures of a finished migration may be behind its end.
const COST_WAIT: Duration = Duration::from_millis(300);

/// Sends a guest away and waits for the end, however long that takes. `patience` is for the beginning.
pub(super) async fn send(
    uri: &str,
    notices: &Arc<Notices>,
    uid: Uid,
    order: &MigrationOrder,
    patience: Duration,
) -> Result<MigrationReport, MigrateError> {
    if !notices.begin_leaving(uid) {
        return Err(MigrateError::UnderWay { uid });
    }
    let (begun, beginning) = oneshot::channel();
    let (ended, end) = oneshot::channel();
    let abandoned = Arc::new(AtomicBool::new(false));
    let (uri, leaving) = (uri.to_owned(), Leaving { uid, notices: notices.clone() });
    let (order, given_up) = (order.clone(), abandoned.clone());
    let carry = move || {
        let sent = prepare(&uri, uid, &order, &given_up).and_then(|ready| {
            // Whoever waits may have gone; the migration goes on.
            let _ = begun.send(());
            ready.go()
        });
        let _ = ended.send((sent, leaving));
    };
    let failed = |detail: String| MigrateError::Failed { detail };
    super::threads::named("libvirt-migrate")
        .spawn(carry)
        .map_err(|e| failed(format!("no thread for it: {e}")))?;
    if tokio::time::timeout(patience, beginning).await.is_err() {
        // Decided by whoever comes first: the thread asks just before it begins.
        if !abandoned.swap(true, Ordering::AcqRel) {
            return Err(failed(format!("libvirt was not ready for it within {} s", patience.as_secs())));
        }
    }
    let lost = |_| MigrateError::Unknown { detail: "the thread that watched it died".to_owned() };
    let (sent, leaving) = end.await.map_err(lost)?;
    let took = sent?;
    // The figures come as an event, by another way than the answer.
    let until = Instant::now() + COST_WAIT;
    let cost = loop {
        match notices.cost(uid) {
            Some(cost) => break cost,
            None if Instant::now() >= until => break MigrationReport::default(),
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    drop(leaving);
    Ok(MigrationReport { total_ms: took.as_millis() as u64, ..cost })
}

/// Remembers that a guest is being sent, until dropped.
struct Leaving {
    uid: Uid,
    notices: Arc<Notices>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.notices.end_leaving(self.uid);
    }
}

/// All that can be refused before anything has begun.
struct Ready {
    domain: Domain,
    connection: Connection,
    destination: CString,
    params: Params,
    flags: u32,
}

fn prepare(
    uri: &str,
    uid: Uid,
    order: &MigrationOrder,
    abandoned: &AtomicBool,
) -> Result<Ready, MigrateError> {
    let failed = |e: Error| MigrateError::Failed { detail: e.message().to_owned() };
    let connection = Connection::open(uri, None).map_err(failed)?;
    let found = Domain::lookup_by_uuid_string(&connection, &uid.to_string());
    let domain = found.map_err(|e| match e.code() {
        ErrorNumber::NoDomain => MigrateError::NoSuchGuest { uid },
        _ => failed(e),
    })?;
    match jobs::query(&domain).map_err(failed)? {
        Job::None => {}
        Job::Outgoing(_) => return Err(MigrateError::UnderWay { uid }),
        Job::Incoming => {
            return Err(MigrateError::Failed { detail: "it is still being received here".to_owned() });
        }
    }
    let here = domain.get_xml_desc(XML_MIGRATABLE).map_err(failed)?;
    let there = xml::with_stamp(&here, order.stamp).map_err(|e| {
        let detail = format!("its description can't carry the new stamp: {e}");
        MigrateError::Failed { detail }
    })?;
    let host = url_host(&order.target_address);
    let mut params = Params::new();
    params.text(sys::VIR_MIGRATE_PARAM_DEST_XML, &there).map_err(failed)?;
    // Else the source would ask the target for its name, and have to resolve it.
    params.text(sys::VIR_MIGRATE_PARAM_URI, &format!("tcp://{host}")).map_err(failed)?;
    if order.bandwidth_mib > 0 {
        params.number(sys::VIR_MIGRATE_PARAM_BANDWIDTH, order.bandwidth_mib).map_err(failed)?;
    }
    let mut flags = sys::VIR_MIGRATE_LIVE | sys::VIR_MIGRATE_PEER2PEER | sys::VIR_MIGRATE_TLS;
    if xml::has_file_disk(&here) {
        // libvirt takes no folder to be shared; that this one is, is what the pool promises.
        flags |= sys::VIR_MIGRATE_UNSAFE;
    }
    if order.auto_converge {
        flags |= sys::VIR_MIGRATE_AUTO_CONVERGE;
    }
    if let Err(error) = domain.migrate_set_max_downtime(u64::from(order.max_downtime_ms), 0) {
        tracing::warn!(%uid, %error, "the migration's longest pause stays libvirt's");
    }
    let destination = CString::new(format!("qemu+tls://{host}/system"))
        .map_err(|e| MigrateError::Failed { detail: e.to_string() })?;
    if abandoned.swap(true, Ordering::AcqRel) {
        return Err(MigrateError::Failed { detail: "it was given up before it began".to_owned() });
    }
    Ok(Ready { domain, connection, destination, params, flags })
}

impl Ready {
    fn go(self) -> Result<Duration, MigrateError> {
        let began = Instant::now();
        // SAFETY: domain, URI and parameters live until the call returns.
        let sent = unsafe {
            sys::virDomainMigrateToURI3(
                self.domain.as_ptr(),
                self.destination.as_ptr(),
                self.params.list,
                self.params.count as u32,
                self.flags,
            )
        };
        if sent == 0 {
            return Ok(began.elapsed());
        }
        let error = Error::last_error();
        let detail = error.message().to_owned();
        if !self.connection.is_usable() {
            return Err(MigrateError::Unknown { detail });
        }
        match self.domain.get_state() {
            // It stands still since its last moment and nobody knows whether the target has begun.
            Ok((sys::VIR_DOMAIN_PAUSED, reason)) if reason as u32 == sys::VIR_DOMAIN_PAUSED_MIGRATION => {
                Err(MigrateError::Unknown { detail })
            }
            Ok(_) if error.code() == ErrorNumber::OperationAborted => Err(MigrateError::Cancelled),
            Ok(_) => Err(MigrateError::Failed { detail }),
            // Gone from here without a word of success.
            Err(_) => Err(MigrateError::Unknown { detail }),
        }
    }
}

/// An IP address as a URI wants it.
fn url_host(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
        Ok(IpAddr::V4(_)) | Err(_) => address.to_owned(),
    }
}

/// Parameters of a call, in libvirt's memory.
struct Params {
    list: sys::virTypedParameterPtr,
    count: i32,
    room: i32,
}

impl Params {
    fn new() -> Self {
        Params { list: std::ptr::null_mut(), count: 0, room: 0 }
    }

    fn text(&mut self, name: &CStr, value: &str) -> Result<(), Error> {
        // XML and addresses hold no NUL; one that did ends there, and libvirt refuses it.
        let value = CString::new(value.split('\0').next().unwrap_or("")).unwrap_or_default();
        // SAFETY: list, count and room belong together; libvirt copies the value.
        let added = unsafe {
            sys::virTypedParamsAddString(
                &mut self.list,
                &mut self.count,
                &mut self.room,
                name.as_ptr(),
                value.as_ptr(),
            )
        };
        if added < 0 { Err(Error::last_error()) } else { Ok(()) }
    }

    fn number(&mut self, name: &CStr, value: u64) -> Result<(), Error> {
        // SAFETY: list, count and room belong together.
        let added = unsafe {
            sys::virTypedParamsAddULLong(
                &mut self.list,
                &mut self.count,
                &mut self.room,
                name.as_ptr(),
                value,
            )
        };
        if added < 0 { Err(Error::last_error()) } else { Ok(()) }
    }
}

impl Drop for Params {
    fn drop(&mut self) {
        // SAFETY: libvirt's memory, freed once; an empty list is fine.
        unsafe { sys::virTypedParamsFree(self.list, self.count) };
    }
}

#[cfg(test)]
mod tests {
    use super::url_host;

    #[test]
    fn addresses_stand_in_uris() {
        assert_eq!(url_host("10.0.0.2"), "10.0.0.2");
        assert_eq!(url_host("fd00::2"), "[fd00::2]");
    }
}
