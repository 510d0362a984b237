//! Who measures. `compare` puts the store beside ZooKeeper and etcd, on one disk, in one run; `benches/` holds
//! the criterion benches of its parts. What is measured is never asserted here but against goals that are
//! ratios: these are not the only programs on the machine.

pub mod compare;

/// Real daemons on loopback, as `node`'s own tests found them.
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../node/tests/it/daemons.rs"]
mod daemons;

/// A program of ours: it lies beside this one.
pub fn program(name: &str) -> std::path::PathBuf {
    std::env::current_exe().map_or_else(|_| name.into(), |own| own.with_file_name(name))
}
