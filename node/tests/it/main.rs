//! The node's adapters and the daemon itself, through their public faces.

use std::path::PathBuf;

mod daemon;
#[allow(dead_code, reason = "chaos-tests and benches use the rest of it")]
mod daemons;
mod guard;
mod ipmi_sim;
mod libvirt;
mod nics;
mod power;
mod shutdown;

/// A program of this package.
fn program(name: &str) -> PathBuf {
    assert_eq!(name, "pvcd");
    PathBuf::from(env!("CARGO_BIN_EXE_pvcd"))
}
