//! What a running command has at hand: its streams, the global options, and the connection, which is
//! opened when it is first needed.

use crate::args::{Global, Output};
use crate::call::Session;
use crate::failure::{Exit, Failure};
use crate::io::Io;
use crate::output;
use serde::Serialize;

pub struct Context<'a> {
    pub io: &'a mut Io,
    pub global: Global,
    session: Option<Session>,
}

impl<'a> Context<'a> {
    pub fn new(io: &'a mut Io, global: Global) -> Context<'a> {
        Context { io, global, session: None }
    }

    /// With a connection that is open already.
    pub fn with_session(io: &'a mut Io, global: Global, session: Session) -> Context<'a> {
        Context { io, global, session: Some(session) }
    }

    /// The connection to the cluster.
    pub fn session(&mut self) -> Result<Session, Failure> {
        if let Some(session) = &self.session {
            return Ok(session.clone());
        }
        let session = Session::open(self.global.connection.as_deref(), self.global.timeout)?;
        if self.global.verbose {
            self.io.note(format!("connection {}", session.describe()));
        }
        self.session = Some(session.clone());
        Ok(session)
    }

    /// Whether a table is asked for, and so what is not in the reply may be shown beside it.
    pub fn is_for_people(&self) -> bool {
        self.global.output == Output::Table
    }

    /// Prints a reply by `-o`.
    pub fn reply<R: Serialize>(
        &mut self,
        reply: &R,
        table: impl FnOnce(bool) -> String,
        names: impl FnOnce() -> Vec<String>,
    ) -> Result<(), Failure> {
        output::reply(self.io, self.global.output, reply, table, names)
    }

    /// Prints what was done: a sentence as a table (nothing with -q), else the reply.
    pub fn done<R: Serialize>(&mut self, reply: &R, name: &str, sentence: String) -> Result<(), Failure> {
        if self.global.quiet && self.global.output == Output::Table {
            return Ok(());
        }
        self.reply(reply, |_| sentence + "\n", || vec![name.to_owned()])
    }

    /// Asks before something is destroyed. `what` is a sentence: "vm/web1 and its volumes are removed".
    pub fn confirm(&mut self, subject: &str, what: &str) -> Result<(), Failure> {
        if self.global.yes {
            return Ok(());
        }
        if !self.io.in_terminal {
            return Err(Failure::usage(
                subject,
                "this destroys something, and there is no terminal to ask on",
            )
            .rule("destruction-needs-yes")
            .help("give -y to confirm"));
        }
        if self.io.ask(&format!("{what}. Go on?")) {
            Ok(())
        } else {
            Err(Failure::new(Exit::Interrupted, subject, "not confirmed; nothing was changed"))
        }
    }
}
