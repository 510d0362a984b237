//! Who founds: the steps that make a host a member of a cluster, and a whole cluster on one machine.
//!
//! Everything here can be interrupted and run again. Nothing here is needed once a cluster runs.

pub mod daemon_config;
pub mod demo;
pub mod durable_file;
pub mod found;
pub mod guest;
pub mod libvirt_pki;
pub mod local;
pub mod step;
pub mod tool;
