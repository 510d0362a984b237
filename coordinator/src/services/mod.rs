//! The services over the core: parse, submit, answer. No rule of the product is written here; what a
//! caller may do is decided in `authz` before a service is reached.

mod agent;
pub mod authz;
mod caller;
pub mod hosts;
mod join;
mod listing;
mod node;
mod raft;
mod shared;
mod task;
mod vm;
mod vm_host;
mod volume;
mod watching;

pub use agent::Agents;
pub use caller::Caller;
pub use join::Joins;
pub use node::Nodes;
pub use raft::Raft;
pub use shared::Shared;
pub use task::Tasks;
pub use vm::Vms;
pub use volume::Volumes;
