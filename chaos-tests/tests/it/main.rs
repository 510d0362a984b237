//! Whole clusters under test: of real programs, and simulated.

use std::path::PathBuf;

mod ages;
mod checks;
#[allow(dead_code, reason = "the daemon's own tests use the rest of it")]
#[path = "../../../node/tests/it/daemons.rs"]
mod daemons;
mod doors;
mod history;
mod processes;
mod recover;
mod repeats;
mod scenarios;
mod seeds;
mod sim;
mod store;
mod stories;

/// A program of the workspace, beside the tests' own folder.
fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("this program has a path");
    let path = tests.parent().and_then(|deps| deps.parent()).expect("it is in target/*/deps").join(name);
    assert!(
        path.exists(),
        "{} is not there: cargo build --workspace, or test the whole workspace",
        path.display()
    );
    path
}
