//! Leases: reported by the primary, which lends the addresses, given back by people, and forgotten when they are of no use
//! to anybody.

use std::net::IpAddr;

use super::super::draft::Draft;
use super::super::report::refuse_stale;
use crate::change::{Changes, Collection, Object};
use crate::context::Context;
use crate::mac::Mac;
use crate::name::Name;
use crate::network::lease::{Lease, LeaseReport};
use crate::network::{Network, Vni};
use crate::rejection::{Rejection, RejectionKind};
use crate::time::Timestamp;
use crate::world::World;

/// Leases of one report, put and gone together, at most.
pub const REPORTED_MAX: usize = 1000;
/// Leases of one network, at most: with the network itself they go in one transaction.
pub const LEASES_OF_NETWORK_MAX: usize = 4000;
/// Seconds for which a lease is remembered after its end: a primary that was away tells of its end late.
pub const KEPT_AFTER_SECONDS: u64 = 6 * 3600;
/// Leases that are forgotten at once, at most.
const FORGOTTEN_AT_ONCE: usize = 1000;

/// `epoch`: at which the node was the primary when it lent and took back. At another one it has no say.
pub(super) fn report_leases(
    world: &World,
    node: &Name,
    (session, epoch): (u64, u64),
    put: &[LeaseReport],
    gone: &[Name],
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let subject = format!("node/{node}");
    refuse_stale(world.node(node)?, session)?;
    let primary = world.primary();
    if primary.is_none_or(|primary| primary.node != *node || primary.epoch != epoch) {
        let now = match primary {
            Some(primary) => format!("node {} is the primary, at epoch {}", primary.node, primary.epoch),
            None => "there is no primary".to_owned(),
        };
        let detail = format!("at epoch {epoch} it lends no addresses any more: {now}");
        return Err(Rejection::precondition("primary-epoch", subject, detail));
    }
    if put.len() + gone.len() > REPORTED_MAX {
        let detail = format!("at most {REPORTED_MAX} leases in a report, not {}", put.len() + gone.len());
        return Err(Rejection::new(RejectionKind::Exhausted, "leases-at-most", subject, detail));
    }
    // No deed of a person: it would crowd those out of the audit.
    let mut draft = Draft::new(world, "", context);
    for name in gone {
        if draft.world.leases.contains_key(name) {
            draft.delete(Collection::Leases, name);
        }
    }
    for report in put {
        take(&mut draft, report);
    }
    Ok(draft.finish())
}

fn take(draft: &mut Draft<'_>, report: &LeaseReport) {
    let name = Lease::name(report.network, report.address);
    // A network that was removed or changed meanwhile has no such address any more.
    let Some(network) = draft.world.networks.get(&report.network.name()).cloned() else { return };
    if !has_room_for(&network, report.address) {
        return;
    }
    let old = draft.world.leases.get(&name).cloned();
    let hostname = report.hostname.clone().filter(|hostname| !is_anothers(&network, hostname, report.mac));
    let known = old.as_ref().filter(|old| is_same(old, report) && old.hostname == hostname);
    if known.is_some_and(|old| hardly_longer(old.expires, report.expires, draft.context.now)) {
        return;
    }
    if old.is_none() && draft.world.leases_of(report.network).count() >= LEASES_OF_NETWORK_MAX {
        return;
    }
    let mut meta = match &old {
        Some(old) => old.meta.clone(),
        None => draft.new_meta(name),
    };
    meta.updated = draft.context.now;
    draft.put(Object::Lease(Lease { hostname, ..Lease::of(meta, report) }));
}

fn has_room_for(network: &Network, address: IpAddr) -> bool {
    network.managed().is_some_and(|managed| managed.subnets().any(|one| one.subnet.contains(&address)))
}

/// A guest can't take the name that is reserved for another NIC.
fn is_anothers(network: &Network, hostname: &Name, mac: Option<Mac>) -> bool {
    let reserved = network.managed().into_iter().flat_map(|managed| &managed.reservations);
    reserved.into_iter().any(|one| one.hostname == *hostname && Some(one.mac) != mac)
}

fn is_same(old: &Lease, report: &LeaseReport) -> bool {
    old.mac == report.mac && old.client_id == report.client_id && old.iaid == report.iaid
}

/// A lease that ends later by less than a tenth of what is left of it is not stored anew: a client renews at half of its
/// time, and one that asks all the time must not make the cluster write all the time.
fn hardly_longer(stored: Timestamp, reported: Timestamp, now: Timestamp) -> bool {
    let left = reported.millis_since(now);
    reported == stored || (reported > stored && reported.millis_since(stored) < left / 10)
}

/// Given back by a person: the address can be lent to another NIC.
pub(super) fn delete_lease(world: &World, name: &Name, context: &mut Context) -> Result<Changes, Rejection> {
    let Some(lease) = world.leases.get(name) else {
        let help = "pvc network lease list";
        return Err(Rejection::not_found(format!("lease/{name}")).help(help));
    };
    let mut draft =
        Draft::new(world, format!("release {} of network/{}", lease.address, lease.network), context);
    draft.delete(Collection::Leases, name);
    Ok(draft.finish())
}

/// Forgets leases that ended long ago, and those of networks that are gone or have other addresses now.
pub(in crate::command) fn prune_leases(draft: &mut Draft<'_>) {
    let now = draft.context.now;
    let over = |lease: &Lease| now.millis_since(lease.expires) > KEPT_AFTER_SECONDS * 1000;
    let networks = &draft.world.networks;
    let stray = |lease: &Lease| {
        networks.get(&lease.network.name()).is_none_or(|network| !has_room_for(network, lease.address))
    };
    let useless = draft.world.leases.values().filter(|lease| over(lease) || stray(lease));
    forget(draft, useless.take(FORGOTTEN_AT_ONCE).map(|lease| lease.meta.name.clone()).collect());
}

/// The network is gone.
pub(super) fn forget_all(draft: &mut Draft<'_>, vni: Vni) {
    let of_it = draft.world.leases_of(vni).take(LEASES_OF_NETWORK_MAX);
    forget(draft, of_it.map(|lease| lease.meta.name.clone()).collect());
}

/// The network has other addresses now.
pub(super) fn forget_stray(draft: &mut Draft<'_>, network: &Network) {
    let stray = draft.world.leases_of(network.vni).filter(|lease| !has_room_for(network, lease.address));
    forget(draft, stray.take(LEASES_OF_NETWORK_MAX).map(|lease| lease.meta.name.clone()).collect());
}

fn forget(draft: &mut Draft<'_>, names: Vec<Name>) {
    names.iter().for_each(|name| draft.delete(Collection::Leases, name));
}
