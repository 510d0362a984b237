//! Making, changing and removing client networks, and what belongs to them.

mod fabric;
mod lease;
mod parts;

pub use lease::LEASES_OF_NETWORK_MAX;
pub(super) use lease::prune_leases;

use std::net::IpAddr;

use fabric::{add_peer, remove_peer, update_fabric};
use lease::{delete_lease, report_leases};
use parts::{
    add_acl_rule, add_reservation, remove_acl_rule, remove_reservation, replace_acl, update_acl_rule,
};

use super::adopt;
use super::draft::{Draft, check_revision};
use crate::Revision;
use crate::change::{Changes, Collection, Object};
use crate::context::Context;
use crate::name::Name;
use crate::network::acl::{Acl, AclRule};
use crate::network::check::check_network;
use crate::network::conflict::refuse_conflicts;
use crate::network::fabric::Peer;
use crate::network::lease::LeaseReport;
use crate::network::{Managed, Network, NetworkKind, NetworkSpec, Reservation, Vni};
use crate::rejection::{Rejection, RejectionKind};
use crate::world::World;

/// Client networks of a cluster, at most.
pub const NETWORKS_MAX: usize = 4096;

/// What is asked about client networks. `network` and `name` are a network's number, or its description.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkCommand {
    CreateNetwork {
        vni: Vni,
        spec: Box<NetworkSpec>,
    },
    /// The whole spec anew; reservations and rules in it are not looked at.
    UpdateNetwork {
        name: Name,
        spec: Box<NetworkSpec>,
        expected_revision: Revision,
    },
    DeleteNetwork {
        name: Name,
        expected_revision: Revision,
    },
    AddReservation {
        network: Name,
        reservation: Reservation,
        expected_revision: Revision,
    },
    RemoveReservation {
        network: Name,
        hostname: Name,
        expected_revision: Revision,
    },
    AddAclRule {
        network: Name,
        rule: Box<AclRule>,
        expected_revision: Revision,
    },
    /// The whole rule anew.
    UpdateAclRule {
        network: Name,
        rule: Box<AclRule>,
        expected_revision: Revision,
    },
    RemoveAclRule {
        network: Name,
        rule: Name,
        expected_revision: Revision,
    },
    /// All rules anew, in one step.
    ReplaceAcl {
        network: Name,
        acl: Acl,
        expected_revision: Revision,
    },
    /// The address can be lent to another NIC.
    DeleteLease {
        name: Name,
    },
    /// Unset: unchanged. The revision is that of the cluster's object.
    UpdateFabric {
        asn: Option<u32>,
        zone_secondaries: Option<Vec<IpAddr>>,
        forwarders: Option<Vec<IpAddr>>,
        expected_revision: Revision,
    },
    AddPeer {
        peer: Peer,
    },
    RemovePeer {
        name: Name,
    },
    /// The primary's own word about the addresses that it lends: `put` are lent, or for longer, `gone` no more.
    ReportLeases {
        node: Name,
        session: u64,
        /// Of the primary's role.
        epoch: u64,
        put: Vec<LeaseReport>,
        /// Names of leases.
        gone: Vec<Name>,
    },
}

pub(super) fn decide(
    world: &World,
    command: &NetworkCommand,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    match command {
        NetworkCommand::CreateNetwork { vni, spec } => create(world, *vni, spec, context),
        NetworkCommand::UpdateNetwork { name, spec, expected_revision } => {
            update(world, name, spec, *expected_revision, context)
        }
        NetworkCommand::DeleteNetwork { name, expected_revision } => {
            delete(world, name, *expected_revision, context)
        }
        NetworkCommand::AddReservation { network, reservation, expected_revision } => {
            add_reservation(world, network, reservation, *expected_revision, context)
        }
        NetworkCommand::RemoveReservation { network, hostname, expected_revision } => {
            remove_reservation(world, network, hostname, *expected_revision, context)
        }
        NetworkCommand::AddAclRule { network, rule, expected_revision } => {
            add_acl_rule(world, network, rule, *expected_revision, context)
        }
        NetworkCommand::UpdateAclRule { network, rule, expected_revision } => {
            update_acl_rule(world, network, rule, *expected_revision, context)
        }
        NetworkCommand::RemoveAclRule { network, rule, expected_revision } => {
            remove_acl_rule(world, network, rule, *expected_revision, context)
        }
        NetworkCommand::ReplaceAcl { network, acl, expected_revision } => {
            replace_acl(world, network, acl, *expected_revision, context)
        }
        NetworkCommand::DeleteLease { name } => delete_lease(world, name, context),
        NetworkCommand::UpdateFabric { asn, zone_secondaries, forwarders, expected_revision } => {
            let (secondaries, forwarders) = (zone_secondaries.as_deref(), forwarders.as_deref());
            update_fabric(world, *asn, secondaries, forwarders, *expected_revision, context)
        }
        NetworkCommand::AddPeer { peer } => add_peer(world, peer, context),
        NetworkCommand::RemovePeer { name } => remove_peer(world, name, context),
        NetworkCommand::ReportLeases { node, session, epoch, put, gone } => {
            report_leases(world, node, (*session, *epoch), put, gone, context)
        }
    }
}

fn create(world: &World, vni: Vni, spec: &NetworkSpec, context: &mut Context) -> Result<Changes, Rejection> {
    let subject = format!("network/{vni}");
    adopt::refuse_while_restoring(world, &subject)?;
    if let Some(old) = world.networks.get(&vni.name()) {
        let detail = format!("the number is taken: {} has it", old.called());
        return Err(Rejection::new(RejectionKind::AlreadyExists, "vni-taken", subject, detail)
            .help("choose another number, or see `pvc network list`"));
    }
    if world.networks.len() >= NETWORKS_MAX {
        let detail = format!("a cluster has at most {NETWORKS_MAX} networks");
        return Err(Rejection::new(RejectionKind::Exhausted, "networks-at-most", subject, detail)
            .help("remove one that nobody uses: `pvc network list` shows who does"));
    }
    let mut draft = Draft::new(world, format!("make {subject} ({})", spec.description), context);
    let meta = draft.new_meta(vni.name());
    put(draft, Network { meta, vni, spec: spec.clone() })
}

/// The whole spec anew, but for reservations and rules: those have commands of their own, and stay as they are.
fn update(
    world: &World,
    name: &Name,
    spec: &NetworkSpec,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.network(name)?;
    let mut spec = spec.clone();
    match (&mut spec.kind, &old.spec.kind) {
        (NetworkKind::Managed(new), NetworkKind::Managed(old)) => {
            new.reservations.clone_from(&old.reservations);
            new.acl.clone_from(&old.acl);
        }
        (NetworkKind::Bridged { .. }, NetworkKind::Bridged { .. }) => {}
        _ => {
            let detail = "a managed network stays managed, and a bridged one bridged";
            return Err(Rejection::precondition("network-kind-stays", old.subject(), detail)
                .help(format!("make another network, and remove this one: pvc network remove {}", old.vni)));
        }
    }
    change(world, name, expected, "modify", context, |network| {
        network.spec = spec;
        Ok(())
    })
}

fn delete(
    world: &World,
    name: &Name,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let network = world.network(name)?;
    let subject = network.subject();
    check_revision(&subject, expected, network.meta.revision)?;
    let users = world.network_users(network.vni);
    if let Some(first) = users.first() {
        let shown: Vec<String> = users.iter().take(5).map(|vm| format!("vm/{vm}")).collect();
        let more = users.len() - shown.len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let detail = format!(
            "{}{more} {} in it",
            shown.join(", "),
            if users.len() == 1 { "has a NIC" } else { "have NICs" }
        );
        return Err(Rejection::precondition("network-unused", subject, detail)
            .help(format!("pvc vm network remove {first} {} takes its NIC out of it", network.vni)));
    }
    let mut draft = Draft::new(world, format!("remove {subject} ({})", network.spec.description), context);
    draft.delete(Collection::Networks, &network.meta.name);
    lease::forget_all(&mut draft, network.vni);
    Ok(draft.finish())
}

/// Changes the network that is meant, where that leaves one that can be; nothing where it is so already.
fn change(
    world: &World,
    name: &Name,
    expected: Revision,
    verb: &str,
    context: &mut Context,
    what: impl FnOnce(&mut Network) -> Result<(), Rejection>,
) -> Result<Changes, Rejection> {
    let old = world.network(name)?;
    check_revision(&old.subject(), expected, old.meta.revision)?;
    let mut network = Network::clone(old);
    what(&mut network)?;
    let draft = Draft::new(world, format!("{verb} {}", network.subject()), context);
    if network == **old {
        return Ok(draft.finish_replying(Collection::Networks, &network.meta.name));
    }
    network.meta.updated = draft.context.now;
    put(draft, network)
}

fn put(mut draft: Draft<'_>, network: Network) -> Result<Changes, Rejection> {
    check_network(&network)?;
    refuse_conflicts(&draft.world, &network)?;
    let name = network.meta.name.clone();
    draft.put(Object::Network(network.clone()));
    lease::forget_stray(&mut draft, &network);
    Ok(draft.finish_replying(Collection::Networks, &name))
}

/// The managed part of a network; a bridged one has nothing of that.
fn managed<'a>(network: &'a mut Network, what: &str) -> Result<&'a mut Managed, Rejection> {
    let subject = network.subject();
    match &mut network.spec.kind {
        NetworkKind::Managed(managed) => Ok(managed),
        NetworkKind::Bridged { .. } => {
            let detail = format!("it is a bridged network: the cluster has no {what} in it");
            Err(Rejection::precondition("network-managed", subject, detail)
                .help("pvc network list shows which networks are managed"))
        }
    }
}
