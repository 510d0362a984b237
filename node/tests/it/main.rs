//! The node's adapters, through their public faces.

mod libvirt;
