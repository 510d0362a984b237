//! The daemon's configuration file as bootstrap writes it. `pvcd` reads it with unknown keys refused.

use serde::{Deserialize, Serialize};

/// Where `pvcd` looks for its configuration.
pub const PATH: &str = "/etc/pvc/pvcd.toml";
/// Port on which every `pvcd` listens.
pub const PORT: u16 = 7741;

/// How guests are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VirtType {
    /// Pure emulation.
    Qemu,
    /// With the processor's help; never guessed, for libvirt offers it where it does not work.
    Kvm,
}
