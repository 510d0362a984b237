//! Real programs' answers, written down once and given again in tests.
//!
//! ```text
//! $ [hv1] nft -f -          the command as it is shown
//! < table inet pvc          what it read
//! > ...                     what it wrote to stdout
//! ! ...                     what it wrote to stderr
//! = 0                       its exit code, which ends the entry
//! ```
//! One line of the text per line of the file; a stream that does not end in a newline has a last line marked `\`. What
//! is not text, and what was secret, is not recorded.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::cmd::Cmd;
use crate::error::{CmdError, Exit, last_words};
use crate::run::Output;
use crate::runner::Runner;

/// One command and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The command as `Cmd` shows it.
    pub command: String,
    /// What it was given to read; empty if nothing, or if it was secret.
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

/// Exchanges in the order in which they happened; its text form is in the module's head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording(pub Vec<Exchange>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the recording: {what}")]
pub struct RecordingError {
    line: usize,
    what: &'static str,
}

/// Runs commands by another runner and writes down what was said. Commands that did not come to an exit code (killed, not
/// installed) are not written down.
#[derive(Debug)]
pub struct RecordingRunner<R> {
    inner: R,
    heard: Mutex<Vec<Exchange>>,
}

/// Answers from a recording: each command with the first answer to it that has not been given yet. A command that is not
/// there (any more) is an error.
#[derive(Debug, Clone)]
pub struct ReplayingRunner {
    left: Arc<Mutex<Vec<Exchange>>>,
}

impl<R> RecordingRunner<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, heard: Mutex::new(Vec::new()) }
    }

    /// What was said so far.
    pub fn recording(&self) -> Recording {
        Recording(self.heard.lock().clone())
    }
}

#[async_trait]
impl<R: Runner> Runner for RecordingRunner<R> {
    async fn run(&self, cmd: Cmd, deadline: Duration) -> Result<Output, CmdError> {
        let (command, stdin) = (cmd.to_string(), shown_stdin(&cmd));
        let result = self.inner.run(cmd, deadline).await;
        let (code, stdout, stderr) = match &result {
            Ok(output) => (output.code, output.stdout_text().into_owned(), output.stderr_text().into_owned()),
            Err(CmdError::Failed { exit: Exit::Code(code), tail, .. }) => {
                (*code, String::new(), tail.clone())
            }
            Err(_) => return result,
        };
        self.heard.lock().push(Exchange { command, stdin, stdout, stderr, code });
        result
    }
}

impl ReplayingRunner {
    pub fn new(recording: Recording) -> Self {
        Self { left: Arc::new(Mutex::new(recording.0)) }
    }

    /// The commands that nobody has asked for yet; a test may want none to be left.
    pub fn left(&self) -> Vec<String> {
        self.left.lock().iter().map(|exchange| exchange.command.clone()).collect()
    }
}

#[async_trait]
impl Runner for ReplayingRunner {
    async fn run(&self, cmd: Cmd, _deadline: Duration) -> Result<Output, CmdError> {
        let (command, stdin) = (cmd.to_string(), shown_stdin(&cmd));
        let mut left = self.left.lock();
        let found = left.iter().position(|exchange| exchange.command == command && exchange.stdin == stdin);
        let Some(found) = found else {
            let left = left.iter().map(|exchange| exchange.command.as_str()).collect::<Vec<_>>().join("; ");
            return Err(CmdError::NotRecorded { command, left });
        };
        let Exchange { stdout, stderr, code, .. } = left.remove(found);
        if cmd.accepted_codes.contains(&code) {
            return Ok(Output { code, stdout: stdout.into_bytes(), stderr: stderr.into_bytes() });
        }
        let tail = last_words(stdout.as_bytes(), stderr.as_bytes());
        Err(CmdError::Failed { command, exit: Exit::Code(code), tail })
    }
}

fn shown_stdin(cmd: &Cmd) -> String {
    let shown = cmd.stdin.as_ref().filter(|stdin| !stdin.hidden);
    shown.map_or(String::new(), |stdin| String::from_utf8_lossy(&stdin.bytes).into_owned())
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for exchange in &self.0 {
            writeln!(f, "$ {}", exchange.command)?;
            for (mark, text) in [('<', &exchange.stdin), ('>', &exchange.stdout), ('!', &exchange.stderr)] {
                for line in text.split_inclusive('\n') {
                    match line.strip_suffix('\n') {
                        Some(line) => writeln!(f, "{mark} {line}")?,
                        None => writeln!(f, "{mark}\\{line}")?,
                    }
                }
            }
            writeln!(f, "= {}", exchange.code)?;
        }
        Ok(())
    }
}

impl FromStr for Recording {
    type Err = RecordingError;

    fn from_str(text: &str) -> Result<Self, RecordingError> {
        let mut done = Vec::new();
        let mut open: Option<Exchange> = None;
        for (number, line) in text.lines().enumerate() {
            let wrong = |what| RecordingError { line: number + 1, what };
            if line.is_empty() && open.is_none() {
                continue;
            }
            let mark = line.chars().next().unwrap_or(' ');
            let (newline, rest) = match line.get(1..2) {
                Some(" ") => ("\n", &line[2..]),
                // An editor has taken the blank at the end of an empty line away.
                None if line.len() == 1 => ("\n", ""),
                Some("\\") => ("", &line[2..]),
                _ => return Err(wrong("expected a mark, a blank, and text")),
            };
            match (mark, &mut open) {
                ('$', None) => {
                    open = Some(Exchange {
                        command: rest.to_owned(),
                        stdin: String::new(),
                        stdout: String::new(),
                        stderr: String::new(),
                        code: 0,
                    });
                }
                ('<', Some(exchange)) => exchange.stdin.extend([rest, newline]),
                ('>', Some(exchange)) => exchange.stdout.extend([rest, newline]),
                ('!', Some(exchange)) => exchange.stderr.extend([rest, newline]),
                ('=', Some(exchange)) => {
                    exchange.code = rest.parse().map_err(|_| wrong("the exit code is not a number"))?;
                    done.extend(open.take());
                }
                ('$', Some(_)) => return Err(wrong("the entry before this one has no exit code")),
                _ => return Err(wrong("expected an entry to begin with $")),
            }
        }
        if open.is_some() {
            return Err(RecordingError {
                line: text.lines().count(),
                what: "the last entry has no exit code",
            });
        }
        Ok(Self(done))
    }
}
