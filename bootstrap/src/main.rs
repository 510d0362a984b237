//! `pvc-bootstrap`: parses what is asked and hands it on.

use std::process::ExitCode;

use clap::Parser;
use pvc_bootstrap::cli;

fn main() -> ExitCode {
    let args = cli::Args::parse();
    match cli::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // each cause on a line of its own: the first says what, the last says why
            let mut chain = error.chain();
            if let Some(first) = chain.next() {
                eprintln!("pvc-bootstrap: {first}");
            }
            for cause in chain {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}
