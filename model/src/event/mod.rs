//! Events: what a decision has made happen to a VM, a node, a client network or the cluster, as sentences for people. Derived from the
//! world before and after it, so that whoever decides need not think of telling it. Pure; nothing is decided by them.

mod cluster;
mod network;
mod node;
#[cfg(test)]
mod tests;
mod vm;

use crate::change::{Changes, Collection, Object, ObjectKey};
use crate::name::{Name, Uid};
use crate::time::Timestamp;
use crate::world::World;

/// So many events are kept of each object; the oldest go first.
pub const KEPT: usize = 50;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub at: Timestamp,
    /// What it is about: "power", "placement", "state", "fence", "settings".
    pub topic: String,
    /// A sentence without a full stop.
    pub text: String,
    /// Who asked for it: "admin/root"; a node by its report: "node/hv1"; the cluster by itself: "pvc".
    pub actor: String,
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub uid: Uid,
    /// It is gone, and its events go with it.
    pub gone: bool,
    pub said: Vec<Said>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub topic: &'static str,
    pub text: String,
}

fn said(topic: &'static str, text: impl Into<String>) -> Said {
    Said { topic, text: text.into() }
}

/// What `changes` made happen, which led from one world to the other.
pub fn happened(before: &World, after: &World, changes: &Changes) -> Vec<Told> {
    let put = changes.puts().iter().filter_map(|object| match object {
        Object::Vm(new) => {
            let old = before.vm_by_uid(new.uid()).map(|vm| &**vm);
            Some(told(new.uid(), vm::events(after, old, new)))
        }
        Object::Node(new) => {
            let old = before.nodes.get(&new.meta.name).filter(|old| old.meta.uid == new.meta.uid);
            Some(told(new.meta.uid, node::events(old.map(|node| &**node), new)))
        }
        Object::Cluster(new) => Some(told(new.meta.uid, cluster::events(before.cluster.as_deref(), new))),
        Object::Network(new) => {
            let old = before.networks.get(&new.meta.name).filter(|old| old.meta.uid == new.meta.uid);
            Some(told(new.meta.uid, network::events(old.map(|network| &**network), new)))
        }
        // Tasks, faults, tokens and leases tell of themselves; volumes and rules hardly change.
        Object::Volume(_)
        | Object::Task(_)
        | Object::Token(_)
        | Object::Fault(_)
        | Object::Rule(_)
        | Object::Lease(_) => None,
    });
    let gone = changes.deletes().iter().filter_map(|key| gone(before, after, key));
    put.chain(gone).filter(|told| told.gone || !told.said.is_empty()).collect()
}

fn told(uid: Uid, said: Vec<Said>) -> Told {
    Told { uid, gone: false, said }
}

/// The object that a delete has taken away; one that lives on under another name is not gone.
fn gone(before: &World, after: &World, key: &ObjectKey) -> Option<Told> {
    let uid = match key.collection {
        Collection::Vms => before.vms.get(&key.name).map(|vm| vm.uid()),
        Collection::Nodes => before.nodes.get(&key.name).map(|node| node.meta.uid),
        Collection::Networks => before.networks.get(&key.name).map(|network| network.meta.uid),
        Collection::Volumes
        | Collection::Tasks
        | Collection::Tokens
        | Collection::Faults
        | Collection::Cluster
        | Collection::Rules
        | Collection::Leases => None,
    }?;
    let lives = after.vm_by_uid(uid).is_some();
    (!lives).then(|| Told { uid, gone: true, said: Vec::new() })
}

fn list<'a>(names: impl IntoIterator<Item = &'a Name>) -> String {
    names.into_iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}

/// ": REASON", where there is one.
fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}
