//! Chores of the repo: `cargo xtask NAME`. What checks never writes.

#[cfg(feature = "dist")]
mod dist;
mod layers;
mod parity;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", about = "Chores of the repo")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Checks who imports whom, who may name which library, and how long a file may be
    Layers,
    /// Checks that every public method has its HTTP rule, its role, its command and its Python method
    Parity,
    /// Writes man pages and completions of all programs into target/dist; needs --features dist
    #[cfg(feature = "dist")]
    Dist,
}

fn main() -> anyhow::Result<()> {
    match Args::parse().chore {
        Chore::Layers => layers::check(&root()),
        Chore::Parity => parity::check(&root()),
        #[cfg(feature = "dist")]
        Chore::Dist => dist::write(&root().join("target/dist")),
    }
}

/// The repo's top: this crate lies directly below it.
fn root() -> PathBuf {
    // Cargo tells it anew with every run: a program built in another clone checks this one all the same.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&here).parent().map(Path::to_path_buf).unwrap_or_default()
}
