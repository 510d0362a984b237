//! What a host is set up with: the daemon's configuration, and the cluster's certificates where libvirt
//! looks for them. `bootstrap` writes it first; `node` reads it, and renews what expires.
//!
//! Nothing here knows a cluster's state, and nothing reaches beyond this host's files.

pub mod daemon_config;
pub mod durable_file;
pub mod libvirt_pki;
pub mod network_config;
pub mod store_config;
