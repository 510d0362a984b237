//! What a managed network has many of: reservations, and the rules of its firewall.

use super::{change, managed};
use crate::Revision;
use crate::change::Changes;
use crate::context::Context;
use crate::name::Name;
use crate::network::acl::{Acl, AclRule};
use crate::network::{Network, Reservation};
use crate::rejection::{Rejection, RejectionKind};
use crate::world::World;

pub(super) fn add_reservation(
    world: &World,
    network: &Name,
    reservation: &Reservation,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let verb = format!("reserve {reservation} in");
    change(world, network, expected, &verb, context, |network| {
        let reservations = &mut managed(network, "reservations")?.reservations;
        // Asked for again.
        if !reservations.contains(reservation) {
            reservations.push(reservation.clone());
            reservations.sort_by(|a, b| a.hostname.cmp(&b.hostname));
        }
        Ok(())
    })
}

pub(super) fn remove_reservation(
    world: &World,
    network: &Name,
    hostname: &Name,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let verb = format!("remove the reservation {hostname} of");
    change(world, network, expected, &verb, context, |network| {
        let subject = network.subject();
        let reservations = &mut managed(network, "reservations")?.reservations;
        let before = reservations.len();
        reservations.retain(|one| one.hostname != *hostname);
        if reservations.len() == before {
            let detail = format!("it has no reservation {hostname}");
            return Err(missing(&subject, detail).help(format!("pvc network dhcp list {}", network.vni)));
        }
        Ok(())
    })
}

pub(super) fn add_acl_rule(
    world: &World,
    network: &Name,
    rule: &AclRule,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let verb = format!("add rule {} to", rule.name);
    change(world, network, expected, &verb, context, |network| {
        let rules = &mut managed(network, "rules")?.acl.rules;
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
        Ok(())
    })
}

/// The whole rule anew.
pub(super) fn update_acl_rule(
    world: &World,
    network: &Name,
    rule: &AclRule,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let verb = format!("modify rule {} of", rule.name);
    change(world, network, expected, &verb, context, |network| {
        let found = acl(network)?.rules.iter_mut().find(|one| one.name == rule.name);
        match found {
            Some(found) => found.clone_from(rule),
            None => return Err(no_rule(network, &rule.name)),
        }
        Ok(())
    })
}

pub(super) fn remove_acl_rule(
    world: &World,
    network: &Name,
    rule: &Name,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let verb = format!("remove rule {rule} of");
    change(world, network, expected, &verb, context, |network| {
        let rules = &mut acl(network)?.rules;
        let before = rules.len();
        rules.retain(|one| one.name != *rule);
        if rules.len() == before {
            return Err(no_rule(network, rule));
        }
        Ok(())
    })
}

/// All rules anew, in one step.
pub(super) fn replace_acl(
    world: &World,
    network: &Name,
    rules: &Acl,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let verb = format!("give {} rules to", rules.rules.len());
    change(world, network, expected, &verb, context, |network| {
        acl(network)?.clone_from(rules);
        Ok(())
    })
}

fn acl(network: &mut Network) -> Result<&mut Acl, Rejection> {
    managed(network, "rules").map(|managed| &mut managed.acl)
}

fn no_rule(network: &Network, rule: &Name) -> Rejection {
    let help = format!("pvc network acl list {}", network.vni);
    missing(&network.subject(), format!("it has no rule {rule}")).help(help)
}

fn missing(subject: &str, detail: String) -> Rejection {
    Rejection::new(RejectionKind::NotFound, "must-exist", subject, detail)
}
