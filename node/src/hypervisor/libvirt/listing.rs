//! Which guests of PVC's are on this host. Domains without PVC's metadata are none of ours.

use std::sync::Arc;

use pvc_model::{Name, Uid};
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt::sys;

use super::connection::Connection;
use super::jobs::{self, Job};
use super::threads::CallError;
use crate::hypervisor::{GuestState, Stamp, xml};

const METADATA_ELEMENT: i32 = sys::VIR_DOMAIN_METADATA_ELEMENT as i32;
const LIVE: u32 = sys::VIR_DOMAIN_AFFECT_LIVE;

/// A guest as the listing shows it, before its job is known.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub uid: Uid,
    pub name: Name,
    pub stamp: Stamp,
    pub state: GuestState,
    /// It may be that it is being received, or in the last moment of being sent.
    pub maybe_moving: bool,
    /// Whether its job was asked for on this connection before, and what it was.
    pub known_outgoing: Option<bool>,
}

/// All guests that exist, by three quick questions each; none of them waits for a guest's emulator.
pub(super) fn list(connection: &Connection) -> Result<Vec<Seen>, CallError> {
    let domains = connection.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE)?;
    let mut seen = Vec::new();
    for domain in domains {
        match look(connection, &domain) {
            Ok(guest) => seen.extend(guest),
            // It ended meanwhile.
            Err(e) if matches!(e.code(), ErrorNumber::NoDomain | ErrorNumber::OperationInvalid) => {}
            Err(e) => return Err(e.into()),
        }
    }
    connection.asked.lock().retain(|uid, _| seen.iter().any(|s| s.uid == *uid));
    Ok(seen)
}

fn look(connection: &Connection, domain: &Domain) -> Result<Option<Seen>, Error> {
    let Some(stamp) = stamp_of(domain)? else { return Ok(None) };
    let (uuid, name) = (domain.get_uuid_string()?, domain.get_name()?);
    let (Ok(uid), Ok(name)) = (uuid.parse(), name.parse()) else {
        tracing::warn!(uuid, name, "a domain with PVC's metadata that PVC can't have made");
        return Ok(None);
    };
    let (state, reason) = domain.get_state()?;
    let reason = reason as u32;
    let maybe_moving = state == sys::VIR_DOMAIN_PAUSED
        && (reason == sys::VIR_DOMAIN_PAUSED_MIGRATION || reason == sys::VIR_DOMAIN_PAUSED_STARTING_UP);
    let state = match state {
        sys::VIR_DOMAIN_NOSTATE | sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED => GuestState::Running,
        sys::VIR_DOMAIN_SHUTDOWN => GuestState::ShuttingDown,
        // Also one that is just being set up or torn down: it is here, and does not run.
        _ => GuestState::Paused,
    };
    let known_outgoing = connection.asked.lock().get(&uid).copied();
    Ok(Some(Seen { uid, name, stamp, state, maybe_moving, known_outgoing }))
}

/// None: not one of ours.
fn stamp_of(domain: &Domain) -> Result<Option<Stamp>, Error> {
    match domain.get_metadata(METADATA_ELEMENT, Some(xml::METADATA_NAMESPACE), LIVE) {
        Ok(element) => Ok(xml::read_stamp(&element)),
        Err(e) if e.code() == ErrorNumber::NoDomainMetadata => Ok(None),
        Err(e) => Err(e),
    }
}

pub(super) fn write_stamp(domain: &Domain, stamp: Stamp) -> Result<(), Error> {
    let element = xml::stamp_element(stamp);
    let (prefix, namespace) = (Some(xml::METADATA_PREFIX), Some(xml::METADATA_NAMESPACE));
    domain.set_metadata(METADATA_ELEMENT, Some(&element), prefix, namespace, LIVE)?;
    Ok(())
}

/// The jobs of the guests that are asked for; of one that has ended, none.
pub(super) fn jobs(connection: &Arc<Connection>, uids: &[Uid]) -> Result<Vec<(Uid, Job)>, CallError> {
    let mut found = Vec::new();
    for uid in uids {
        let job = Domain::lookup_by_uuid_string(connection, &uid.to_string()).and_then(|d| jobs::query(&d));
        let job = match job {
            Ok(job) => job,
            Err(e) if e.code() == ErrorNumber::NoDomain => continue,
            // Whatever is the matter with that one guest, the others must not wait.
            Err(error) if connection.is_usable() => {
                tracing::debug!(%uid, %error, "a guest's job is not known");
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        connection.asked.lock().insert(*uid, matches!(job, Job::Outgoing(_)));
        found.push((*uid, job));
    }
    Ok(found)
}
