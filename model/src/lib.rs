//! What it means: the objects of a cluster, the rules about them, and the decisions.
//!
//! Everything here is pure: no async, no I/O, no clock, no randomness. What a rule needs to know
//! arrives as an argument; what it decides leaves as a value. Nothing in this crate may fail for
//! any reason but a [`Rejection`].

pub mod bmc;
pub mod change;
pub mod cluster;
pub mod command;
pub mod context;
pub mod event;
pub mod fault;
pub mod feature;
pub mod fence;
pub mod guard;
pub mod health;
pub mod leaving;
mod mac;
pub mod name;
pub mod network;
pub mod nic;
pub mod node;
pub mod phase;
pub mod plan;
pub mod primary;
pub mod rejection;
pub mod role;
pub mod rule;
pub mod task;
#[cfg(test)]
mod testing;
pub mod time;
pub mod token;
pub mod vm;
pub mod volume;
pub mod voting;
pub mod why;
pub mod world;

pub use change::{Changes, Object, ObjectKey};
pub use cluster::Cluster;
pub use command::{Command, decide};
pub use context::Context;
pub use fault::Fault;
pub use name::{Name, NameError, Uid};
pub use node::Node;
pub use rejection::{Rejection, RejectionKind};
pub use role::Role;
pub use rule::Rule;
pub use task::Task;
pub use time::Timestamp;
pub use token::Token;
pub use vm::Vm;
pub use volume::Volume;
pub use world::World;

/// Number of a change: the Raft log index that carried it. 0: never stored.
pub type Revision = u64;

/// What every stored object carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub name: Name,
    pub uid: Uid,
    /// Revision of the last change; filled in by whoever reads the store, never stored.
    pub revision: Revision,
    pub created: Timestamp,
    pub updated: Timestamp,
}
