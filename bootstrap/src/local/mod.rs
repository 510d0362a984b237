//! A whole cluster on one machine: hosts as namespaces, each with its own libvirtd and its own `pvcd`.
//!
//! ```text
//!   machine ──┬─ pvc-NAME-c ─┐                      ┌─ eth0 ── pvcd, libvirtd, FRR    netns pvc-NAME-hv1
//!             │              ├─ switch "cluster" ───┤                                  netns pvc-NAME-hv2 …
//!             │              │  netns pvc-NAME-hub  └─ …
//!             │              │  the hosts' BMCs
//!             ├─ pvc-NAME-v ─┼─ switch "vm" ──────── eth1 ── vmbr0 ── guests
//!             │              │
//!             └─ pvc-NAME-u ─┴─ switch "upstream" ─┬─ eth2 of each host
//!                                                  └─ eth0 ── FRR, names ── the world     netns pvc-NAME-router
//! ```
//! Everything is found by the cluster's name and by looking at the machine, never by remembered process numbers: a kill
//! at any moment leaves nothing that `down` does not find.

pub mod bmc;
pub mod bring_up;
pub mod cluster;
pub mod connection;
pub mod cut;
pub mod enrolment;
pub mod enter;
pub mod frr;
pub mod host_disk;
pub mod index;
pub mod init;
pub mod mountpoints;
pub mod people;
pub mod plan;
pub mod power;
pub mod processes;
pub mod router;
pub mod state;
pub mod status;
pub mod supervisor;
pub mod teardown;
pub mod up;
pub mod wiring;
