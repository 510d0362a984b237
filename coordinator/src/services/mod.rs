//! The services over the core: parse, submit, answer. No rule of the product is written here; what a
//! caller may do is decided in `authz` before a service is reached.

pub mod authz;
mod caller;
pub mod hosts;
mod listing;
mod node;
mod shared;
mod task;
mod vm;
mod vm_host;
mod volume;
mod watching;

pub use caller::Caller;
pub use node::Nodes;
pub use shared::Shared;
pub use task::Tasks;
pub use vm::Vms;
pub use volume::Volumes;
