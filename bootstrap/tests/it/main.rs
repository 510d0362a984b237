//! What a user of `pvc-bootstrap` would notice, tried with real namespaces, libvirt and qemu. Needs root.

mod bench;
mod cluster;
mod join;
mod local;
mod networks;
mod primary;
mod restore;
mod upstream;
