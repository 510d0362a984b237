//! How running a program can go wrong. Each error tells which command it was, without its secrets.

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// How much of a failed program's last words is kept.
const TAIL_BYTES_MAX: usize = 4096;
const TAIL_LINES_MAX: usize = 20;

#[derive(Debug, thiserror::Error)]
pub enum CmdError {
    #[error("could not start `{command}`: {program} is not installed (or not in PATH)")]
    NotInstalled { command: String, program: String },
    #[error("could not start `{command}`")]
    Start {
        command: String,
        #[source]
        source: io::Error,
    },
    #[error("`{command}` failed with {exit}{}", said(tail))]
    Failed { command: String, exit: Exit, tail: String },
    #[error("`{command}` did not end within {deadline:?} and was killed{}", said(tail))]
    DeadlineExceeded { command: String, deadline: Duration, tail: String },
    #[error("`{command}` wrote more than {max} bytes to its {stream} and was killed")]
    OutputTooLong { command: String, stream: &'static str, max: usize },
    #[error("the connection to `{command}` broke")]
    Pipe {
        command: String,
        #[source]
        source: io::Error,
    },
    #[error("could not open {path} for the output of `{command}`")]
    Log {
        command: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{command}` is not in the recording (any more); what is left there: {left}")]
    NotRecorded { command: String, left: String },
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl CmdError {
    /// How the program ended by itself, if that is what went wrong.
    pub fn exit(&self) -> Option<Exit> {
        match self {
            Self::Failed { exit, .. } => Some(*exit),
            _ => None,
        }
    }

    /// The last of what the program said, if it was running.
    pub fn tail(&self) -> &str {
        match self {
            Self::Failed { tail, .. } | Self::DeadlineExceeded { tail, .. } => tail,
            _ => "",
        }
    }
}

fn said(tail: &str) -> String {
    if tail.is_empty() { String::new() } else { format!(": {tail}") }
}

/// The last lines of what a program wrote: from stderr, or from stdout for those that complain there.
pub(crate) fn last_words(stdout: &[u8], stderr: &[u8]) -> String {
    let blank = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_whitespace);
    let source = if blank(stderr) { stdout } else { stderr };
    let tail = &source[source.len().saturating_sub(TAIL_BYTES_MAX)..];
    let text = String::from_utf8_lossy(tail);
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES_MAX)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_prefer_stderr_and_are_short() {
        assert_eq!(last_words(b"fine", b"  bad thing \n"), "bad thing");
        assert_eq!(last_words(b"complaint\n", b" \n"), "complaint");
        assert_eq!(last_words(b"", b""), "");
        let many: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let tail = last_words(b"", many.as_bytes());
        assert!(tail.starts_with("line 80") && tail.ends_with("line 99"), "{tail}");
        assert!(last_words(b"", &[b'x'; 100_000]).len() <= TAIL_BYTES_MAX);
    }
}
