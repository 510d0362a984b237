//! Who acts: the daemon `pvcd`: the agent with its reconcilers, and one adapter for each outside program; and the guard, which
//! strikes when the daemon can't.

pub mod agent;
pub mod args;
pub mod daemon;
pub mod guard;
pub mod hypervisor;
pub mod leave;
pub mod network;
pub mod power;
pub mod primary;
pub mod pulse;
pub mod realtime;
pub mod storage;
