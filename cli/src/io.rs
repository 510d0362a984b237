//! The streams of one run: what is printed where, and whether a person looks on.
//!
//! Nothing else in this crate names stdin, stdout or stderr, so a test can run a whole command on buffers.

use std::io::{self, BufRead, Read, Write};

/// Streams and what is known of them.
pub struct Io {
    pub out: Box<dyn Write + Send>,
    pub err: Box<dyn Write + Send>,
    /// Taken by the one who reads it.
    pub input: Option<Box<dyn Read + Send>>,
    pub out_terminal: bool,
    pub err_terminal: bool,
    pub in_terminal: bool,
    /// False when NO_COLOR or TERM forbids colours, whatever the streams are.
    pub colour_allowed: bool,
}

impl Io {
    /// The streams of this process.
    pub fn of_process() -> Io {
        use std::io::IsTerminal;
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let out_terminal = io::stdout().is_terminal();
        // Lines at once for a person, blocks for a pipe.
        let out: Box<dyn Write + Send> =
            if out_terminal { Box::new(io::stdout()) } else { Box::new(io::BufWriter::new(io::stdout())) };
        Io {
            out,
            err: Box::new(io::stderr()),
            input: Some(Box::new(io::stdin())),
            out_terminal,
            err_terminal: io::stderr().is_terminal(),
            in_terminal: io::stdin().is_terminal(),
            colour_allowed: !forbidden,
        }
    }

    pub fn out_colour(&self) -> bool {
        self.colour_allowed && self.out_terminal
    }

    pub fn err_colour(&self) -> bool {
        self.colour_allowed && self.err_terminal
    }

    /// One line on stdout.
    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.out, "{}", text.as_ref())
    }

    /// One line on stderr. A stderr that is gone is nobody's concern.
    pub fn note(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.err, "{}", text.as_ref());
    }

    /// Asks on the terminal for what is not to be seen on it.
    pub fn ask_secret(&mut self, question: &str) -> io::Result<String> {
        rpassword::prompt_password(question)
    }

    /// Asks on stderr, reads a line of stdin. True for "y" and "yes" only.
    pub fn ask(&mut self, question: &str) -> bool {
        let _ = write!(self.err, "{question} [y/N] ");
        let _ = self.err.flush();
        let Some(input) = self.input.take() else { return false };
        let mut reader = io::BufReader::new(input);
        let mut answer = String::new();
        let read = reader.read_line(&mut answer);
        self.input = Some(Box::new(reader));
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes" | "Yes")
    }
}
