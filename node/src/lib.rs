//! Who acts: the daemon `pvcd`: the agent with its reconcilers, and one adapter for each outside program.

pub mod agent;
pub mod args;
pub mod daemon;
pub mod hypervisor;
pub mod leave;
pub mod power;
pub mod primary;
pub mod pulse;
pub mod realtime;
pub mod storage;
