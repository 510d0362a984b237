//! A node's BMC: which one it is said to have, and when its power may be taken away by hand.

use super::draft::{Draft, check_revision};
use crate::Revision;
use crate::bmc::{self, Bmc, USER_BYTES_MAX, Wiring};
use crate::change::{Changes, Collection, Object};
use crate::context::Context;
use crate::name::Name;
use crate::node::Node;
use crate::rejection::Rejection;
use crate::world::World;

pub(super) fn set(
    world: &World,
    name: &Name,
    bmc: &Bmc,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.node(name)?;
    check_revision(&format!("node/{name}"), expected, old.meta.revision)?;
    let bmc = checked(world, old, bmc)?;
    let mut node = Node::clone(old);
    node.spec.bmc = Some(bmc);
    let mut draft = Draft::new(world, format!("set the BMC of node/{name}"), context);
    node.meta.updated = draft.context.now;
    draft.put(Object::Node(node));
    Ok(draft.finish_replying(Collection::Nodes, name))
}

pub(super) fn clear(
    world: &World,
    name: &Name,
    expected: Revision,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let old = world.node(name)?;
    check_revision(&format!("node/{name}"), expected, old.meta.revision)?;
    let mut draft = Draft::new(world, format!("clear the BMC of node/{name}"), context);
    if old.spec.bmc.is_some() {
        let mut node = Node::clone(old);
        node.spec.bmc = None;
        node.meta.updated = draft.context.now;
        draft.put(Object::Node(node));
    }
    Ok(draft.finish_replying(Collection::Nodes, name))
}

/// The BMC as it will be stored, if it may be this node's.
fn checked(world: &World, node: &Node, bmc: &Bmc) -> Result<Bmc, Rejection> {
    let name = &node.meta.name;
    let subject = || format!("node/{name}");
    let address = bmc::address(&bmc.address).map_err(|wrong| {
        Rejection::invalid("bmc-address", subject(), format!("the address {:?} {wrong}", bmc.address))
    })?;
    let plain = |byte: u8| byte.is_ascii_graphic();
    if bmc.user.is_empty() || bmc.user.len() > USER_BYTES_MAX || !bmc.user.bytes().all(plain) {
        let detail =
            format!("the BMC's user must have 1 to {USER_BYTES_MAX} printable characters, no blanks");
        return Err(Rejection::invalid("bmc-user", subject(), detail));
    }
    let mut others = world.nodes.values().filter(|other| other.meta.name != *name);
    let same_address =
        others.find(|other| other.spec.bmc.as_ref().is_some_and(|theirs| theirs.address == address));
    if let Some(other) = same_address {
        let detail = format!("{address} is the BMC of node {} already", other.meta.name);
        return Err(Rejection::precondition("bmc-address-unique", subject(), detail)
            .help(format!("clear it there first: pvc node bmc clear {}", other.meta.name)));
    }
    check_wiring(world, node, bmc)?;
    Ok(Bmc { address, ..bmc.clone() })
}

/// Whether it may be this node's by what the two tell of themselves.
fn check_wiring(world: &World, node: &Node, bmc: &Bmc) -> Result<(), Rejection> {
    let subject = format!("node/{}", node.meta.name);
    let (identity, own) = (&bmc.identity, &node.status.facts.system_uuid);
    if let Some(other) = owner_of(world, node, identity) {
        // No word of an administrator helps here: it would switch off another node of the cluster.
        let detail =
            format!("the BMC is that of node {}: it tells the system GUID {identity}", other.meta.name);
        return Err(Rejection::precondition("bmc-of-another-node", subject, detail)
            .help("look at the cables and addresses of both BMCs"));
    }
    if bmc.wiring(identity, own) == Wiring::Wrong {
        let detail = format!("the BMC tells the system GUID {identity}, and the node the system UUID {own}");
        return Err(Rejection::precondition("bmc-of-this-node", subject, detail).help(
            "look at its cable and address; if it is this node's all the same, say so: --trust-wiring",
        ));
    }
    Ok(())
}

/// The other node whose BMC this is by the identity that it tells.
fn owner_of<'a>(world: &'a World, node: &Node, identity: &str) -> Option<&'a Node> {
    let is = |node: &Node| bmc::wiring(identity, &node.status.facts.system_uuid) == Wiring::Verified;
    let mut others = world.nodes.values().filter(|other| other.meta.name != node.meta.name);
    let other = others.find(|other| is(other))?;
    (!is(node)).then_some(&**other)
}

/// Whether the BMC that tells the identity `found` now is the node's: neither another than was enrolled, nor another node's.
pub fn bmc_wiring(world: &World, node: &Node, bmc: &Bmc, found: &str) -> Wiring {
    let replaced = !bmc.identity.is_empty() && bmc.identity != found;
    if replaced || owner_of(world, node, found).is_some() {
        return Wiring::Wrong;
    }
    bmc.wiring(found, &node.status.facts.system_uuid)
}

/// What a person orders of a node's BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerOrder {
    On,
    Off,
    /// Off, and on again.
    Cycle,
}

/// A person's order, before it is carried out: the audit has it, and with it who may have cut guests off.
pub(super) fn order(
    world: &World,
    name: &Name,
    order: PowerOrder,
    force: bool,
    context: &mut Context,
) -> Result<Changes, Rejection> {
    let node = world.node(name)?;
    if order != PowerOrder::On {
        refuse_power_off(world, name, force)?;
    }
    let what = match order {
        PowerOrder::On => "switch node/NAME on",
        PowerOrder::Off => "switch node/NAME off",
        PowerOrder::Cycle => "switch node/NAME off and on again",
    };
    let mut draft = Draft::new(world, what.replace("NAME", name.as_str()) + " by its BMC", context);
    let mut node = Node::clone(node);
    node.meta.updated = draft.context.now;
    draft.put(Object::Node(node));
    Ok(draft.finish_replying(Collection::Nodes, name))
}

/// Refuses to take a node's power away while VMs are placed on it, or on their way there. `force` is a person's word that
/// they may be lost.
fn refuse_power_off(world: &World, name: &Name, force: bool) -> Result<(), Rejection> {
    world.node(name)?;
    let vms = world
        .vms
        .values()
        .filter(|vm| vm.placed_on(name) || vm.migration.as_ref().is_some_and(|m| m.to == *name))
        .map(|vm| vm.meta.name.as_str());
    let held: Vec<&str> = vms.collect();
    if held.is_empty() || force {
        return Ok(());
    }
    let shown = held.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    let more = if held.len() > 5 { format!(" and {} more", held.len() - 5) } else { String::new() };
    let detail = format!("VMs are placed on it, and would lose their power with it: {shown}{more}");
    Err(Rejection::precondition("node-must-be-empty", format!("node/{name}"), detail)
        .help("move them away: pvc vm move VM -t NODE; or say --force"))
}
