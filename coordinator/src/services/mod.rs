//! The services over the core: parse, submit, answer. No rule of the product is written here; what a
//! caller may do is decided in `authz` before a service is reached.

mod agent;
mod answers;
pub mod authz;
mod backup;
mod caller;
mod cluster;
mod cluster_status;
mod event;
pub mod hosts;
mod join;
mod listing;
mod network;
mod network_state;
mod network_views;
mod node;
mod node_bmc;
mod primary;
mod raft;
mod rule;
mod shared;
mod task;
mod token;
mod vm;
mod vm_host;
mod volume;
mod voters;
mod watching;

pub use agent::Agents;
pub use answers::{Answers, Sink, answers};
pub use caller::Caller;
pub use cluster::ClusterInfo;
pub use event::Events;
pub use join::Joins;
pub use network::Networks;
pub use node::Nodes;
pub use raft::Raft;
pub use rule::Rules;
pub use shared::Shared;
pub use task::Tasks;
pub use token::Tokens;
pub use vm::Vms;
pub use volume::Volumes;
