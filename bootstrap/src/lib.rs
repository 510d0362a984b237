//! Who founds: the steps that make a host a member of a cluster, and a whole cluster on one machine.
//!
//! Everything here can be interrupted and run again. Nothing here is needed once a cluster runs.

pub mod cli;
pub mod demo;
pub mod found;
pub mod guest;
pub mod local;
pub mod recover;
pub mod step;
pub mod tool;

pub use pvc_host::{daemon_config, durable_file, libvirt_pki};
