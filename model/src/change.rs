//! What a decision leaves: objects to put, objects to delete, and whom to answer with.

use std::fmt;

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::name::Name;
use crate::network::Network;
use crate::network::lease::Lease;
use crate::node::Node;
use crate::rule::Rule;
use crate::task::Task;
use crate::token::Token;
use crate::vm::Vm;
use crate::volume::Volume;

/// The collections of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collection {
    Nodes,
    Vms,
    Volumes,
    Tasks,
    Tokens,
    Faults,
    /// The cluster's own object; there is one.
    Cluster,
    Rules,
    /// Client networks.
    Networks,
    /// Addresses that were lent in client networks.
    Leases,
}

impl Collection {
    pub const ALL: [Collection; 10] = [
        Collection::Nodes,
        Collection::Vms,
        Collection::Volumes,
        Collection::Tasks,
        Collection::Tokens,
        Collection::Faults,
        Collection::Cluster,
        Collection::Rules,
        Collection::Networks,
        Collection::Leases,
    ];

    /// The collection's name in the store's keys. Never changes once released.
    pub fn as_str(self) -> &'static str {
        match self {
            Collection::Nodes => "nodes",
            Collection::Vms => "vms",
            Collection::Volumes => "volumes",
            Collection::Tasks => "tasks",
            Collection::Tokens => "tokens",
            Collection::Faults => "faults",
            Collection::Cluster => "cluster",
            Collection::Rules => "rules",
            Collection::Networks => "networks",
            Collection::Leases => "leases",
        }
    }

    pub fn from_str_opt(text: &str) -> Option<Collection> {
        Collection::ALL.into_iter().find(|c| c.as_str() == text)
    }
}

/// Names one stored object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub collection: Collection,
    pub name: Name,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection.as_str(), self.name)
    }
}

/// Any stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    Node(Node),
    Vm(Vm),
    Volume(Volume),
    Task(Task),
    Token(Token),
    Fault(Fault),
    Cluster(Cluster),
    Rule(Rule),
    Network(Network),
    Lease(Lease),
}

impl Object {
    pub fn key(&self) -> ObjectKey {
        let (collection, meta) = match self {
            Object::Node(o) => (Collection::Nodes, &o.meta),
            Object::Vm(o) => (Collection::Vms, &o.meta),
            Object::Volume(o) => (Collection::Volumes, &o.meta),
            Object::Task(o) => (Collection::Tasks, &o.meta),
            Object::Token(o) => (Collection::Tokens, &o.meta),
            Object::Fault(o) => (Collection::Faults, &o.meta),
            Object::Cluster(o) => (Collection::Cluster, &o.meta),
            Object::Rule(o) => (Collection::Rules, &o.meta),
            Object::Network(o) => (Collection::Networks, &o.meta),
            Object::Lease(o) => (Collection::Leases, &o.meta),
        };
        ObjectKey { collection, name: meta.name.clone() }
    }
}

/// What a decision changes. Applied whole or not at all. A later put of a key replaces an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    puts: Vec<Object>,
    deletes: Vec<ObjectKey>,
    /// The object that the caller is answered with.
    pub reply: Option<ObjectKey>,
    /// For the audit: what was done, in a few words: "start vm/web1". Empty: not for the audit.
    pub summary: String,
}

impl Changes {
    pub fn new(summary: impl Into<String>) -> Self {
        Changes { summary: summary.into(), ..Changes::default() }
    }

    pub fn put(&mut self, object: Object) {
        let key = object.key();
        self.puts.retain(|o| o.key() != key);
        self.deletes.retain(|k| *k != key);
        self.puts.push(object);
    }

    pub fn delete(&mut self, key: ObjectKey) {
        self.puts.retain(|o| o.key() != key);
        self.deletes.retain(|k| *k != key);
        self.deletes.push(key);
    }

    #[must_use]
    pub fn replying(mut self, key: ObjectKey) -> Self {
        self.reply = Some(key);
        self
    }

    pub fn puts(&self) -> &[Object] {
        &self.puts
    }

    pub fn deletes(&self) -> &[ObjectKey] {
        &self.deletes
    }

    /// Nothing to commit: a decision that finds all as it should be costs no log entry.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }
}
