//! Who decides: the services that clients and nodes call, and the leader's controllers.
//!
//! `core` is the coordinator without a network; `services` carry it over gRPC. Rules are `pvc-model`'s:
//! nothing in here knows what a VM may do.

pub mod core;
pub mod door;
pub mod peers;
pub mod raft_transport;
pub mod server;
pub mod services;
pub mod status;
