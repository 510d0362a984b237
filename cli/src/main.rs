//! `pvc`: parses, runs, exits with the documented code.

use pvc_cli::failure::Exit;
use pvc_cli::io::Io;

fn main() {
    let mut io = Io::of_process();
    let exit = match pvc_cli::parse(std::env::args_os(), &mut io) {
        Err(exit) => exit,
        // One thread is enough for one question, and starts faster than several.
        Ok(cli) => match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(pvc_cli::execute(cli, &mut io, None)),
            Err(error) => {
                io.note(format!("error: {error}"));
                Exit::Other
            }
        },
    };
    // Not by return: a thread that still waits for a key must not hold the process.
    std::process::exit(i32::from(exit as u8));
}
