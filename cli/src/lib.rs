//! Who asks: `pvc`, the command line of a cluster.
//!
//! A command is parsed ([`args`]), asks the cluster ([`call`]), and prints the answer ([`output`], [`show`]).
//! No rule of the cluster lives here: what is refused is refused there, and told here.

pub mod args;
pub mod call;
mod commands;
mod console;
pub mod context;
pub mod coverage;
pub mod failure;
mod follow;
pub mod io;
mod listing;
pub mod output;
pub mod show;
pub mod spec;
mod terminal;

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use crate::args::Cli;
use crate::call::Session;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::io::Io;

/// The whole tree of commands, for man pages, completions and the parity test.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs one command line (its first word is the program's name) on these streams. Without a session the
/// connection is opened by the command line and the connections file.
pub async fn run(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    io: &mut Io,
    session: Option<Session>,
) -> Exit {
    match parse(args, io) {
        Ok(cli) => execute(cli, io, session).await,
        Err(exit) => exit,
    }
}

/// Parses a command line. Help and errors are printed; the exit is then known.
pub fn parse(args: impl IntoIterator<Item = impl Into<OsString> + Clone>, io: &mut Io) -> Result<Cli, Exit> {
    Cli::try_parse_from(args).map_err(|error| {
        let to_stderr = error.use_stderr();
        let colour = if to_stderr { io.err_colour() } else { io.out_colour() };
        let rendered = error.render();
        let text = if colour { rendered.ansi().to_string() } else { rendered.to_string() };
        let stream = if to_stderr { &mut io.err } else { &mut io.out };
        // Nobody to tell when the stream is gone.
        let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
        if to_stderr { Exit::Usage } else { Exit::Ok }
    })
}

/// Does what was parsed; a failure is printed.
pub async fn execute(cli: Cli, io: &mut Io, session: Option<Session>) -> Exit {
    if cli.global.no_color {
        io.colour_allowed = false;
    }
    let mut cx = match session {
        Some(session) => Context::with_session(io, cli.global, session),
        None => Context::new(io, cli.global),
    };
    let outcome = commands::run(&mut cx, cli.command).await;
    let flushed = cx.io.out.flush().map_err(Failure::from);
    match outcome.and(flushed) {
        Ok(()) => Exit::Ok,
        Err(failure) if failure.is_broken_pipe() => Exit::Ok,
        Err(failure) => {
            failure.print(cx.io);
            failure.exit
        }
    }
}
