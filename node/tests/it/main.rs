//! The node's adapters and the daemon itself, through their public faces.

mod daemon;
mod daemons;
mod libvirt;
