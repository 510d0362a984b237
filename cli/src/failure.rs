//! What a failed command says and how it exits. Every failure names the object, what is wrong, the
//! rule where there is one, and a command that helps where one is known.

use std::io::Write;

use owo_colors::OwoColorize;
use pvc_client::{CallError, ConnectionError, ConnectionsError};

use crate::io::Io;

/// How the process ends; documented in `pvc --help`. The numbers never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    Other = 1,
    Usage = 2,
    NotFound = 3,
    Refused = 4,
    Denied = 5,
    Unreachable = 6,
    TaskFailed = 7,
    Interrupted = 8,
    Conflict = 9,
}

impl Exit {
    /// The one mapping of gRPC codes.
    pub fn of_code(code: tonic::Code) -> Exit {
        use tonic::Code;
        match code {
            Code::Ok => Exit::Ok,
            Code::NotFound => Exit::NotFound,
            Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::ResourceExhausted
            | Code::Unimplemented => Exit::Refused,
            Code::PermissionDenied | Code::Unauthenticated => Exit::Denied,
            Code::Unavailable | Code::DeadlineExceeded => Exit::Unreachable,
            Code::Cancelled => Exit::Interrupted,
            Code::AlreadyExists | Code::Aborted => Exit::Conflict,
            Code::Unknown | Code::Internal | Code::DataLoss => Exit::Other,
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    /// "vm/web1"; may be empty.
    pub subject: String,
    pub detail: String,
    /// The rule's short name; may be empty.
    pub rule: String,
    /// A command or a step that helps; may be empty.
    pub help: String,
}

impl Failure {
    pub fn new(exit: Exit, subject: impl Into<String>, detail: impl Into<String>) -> Failure {
        Failure {
            exit,
            subject: subject.into(),
            detail: detail.into(),
            rule: String::new(),
            help: String::new(),
        }
    }

    /// The command line, or a file that it names, is wrong.
    pub fn usage(subject: impl Into<String>, detail: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, subject, detail)
    }

    /// The connection of this name can't be used as it is.
    pub fn of_connection(name: &str, error: &ConnectionError) -> Failure {
        let exit = match error {
            ConnectionError::NoCoordinator | ConnectionError::NoCredentials => Exit::Usage,
            ConnectionError::OtherCluster { .. }
            | ConnectionError::Credentials(_)
            | ConnectionError::Tls(_)
            | ConnectionError::Ca(_) => Exit::Denied,
        };
        Failure::new(exit, format!("connection/{name}"), error.to_string())
    }

    #[must_use]
    pub fn rule(mut self, rule: impl Into<String>) -> Failure {
        self.rule = rule.into();
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Failure {
        self.help = help.into();
        self
    }

    /// True when the reader of our output has gone: not worth a word.
    pub fn is_broken_pipe(&self) -> bool {
        self.rule == BROKEN_PIPE
    }

    /// Writes it on stderr: `error: vm/web1: it runs [vm-must-be-off]`, then the help.
    pub fn print(&self, io: &mut Io) {
        let colour = io.err_colour();
        let word = if colour { "error:".red().bold().to_string() } else { "error:".to_owned() };
        let mut text = format!("{word} ");
        if !self.subject.is_empty() {
            text.push_str(&self.subject);
            text.push_str(": ");
        }
        text.push_str(&self.detail);
        if !self.rule.is_empty() {
            text.push_str(&format!(" [{}]", self.rule));
        }
        if !self.help.is_empty() {
            let word = if colour { "help:".cyan().to_string() } else { "help:".to_owned() };
            text.push_str(&format!("\n  {word} {}", self.help.replace('\n', "\n        ")));
        }
        let _ = writeln!(io.err, "{text}");
    }
}

const BROKEN_PIPE: &str = "broken-pipe";

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        let broken = error.kind() == std::io::ErrorKind::BrokenPipe;
        let failure = Failure::new(Exit::Other, "output", error.to_string());
        if broken { failure.rule(BROKEN_PIPE) } else { failure }
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Failure {
        Failure::from(CallError::from(status))
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        let exit = Exit::of_code(error.code);
        let detail = if error.detail.is_empty() { error.code.description().to_owned() } else { error.detail };
        let help = if exit == Exit::Unreachable && error.rule.is_empty() && error.help.is_empty() {
            "see the connection: pvc connection detail".to_owned()
        } else {
            error.help
        };
        Failure { exit, subject: error.subject, detail, rule: error.rule, help }
    }
}

impl From<ConnectionsError> for Failure {
    fn from(error: ConnectionsError) -> Failure {
        let detail = error.to_string();
        match error {
            ConnectionsError::Read { .. } | ConnectionsError::Write { .. } | ConnectionsError::Encode(_) => {
                Failure::new(Exit::Other, "connections", detail)
            }
            ConnectionsError::Syntax { .. } => Failure::usage("connections", detail.trim()),
            ConnectionsError::Unknown { name, .. } => {
                Failure::new(Exit::NotFound, format!("connection/{name}"), detail).rule("must-exist")
            }
            ConnectionsError::NoDefault { .. } => {
                Failure::usage("connection", detail).help("pvc connection use NAME")
            }
            ConnectionsError::Empty | ConnectionsError::Closed { .. } => Failure::usage("connection", detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    #[test]
    fn each_code_has_its_exit() {
        for (code, exit) in [
            (Code::NotFound, 3),
            (Code::InvalidArgument, 4),
            (Code::FailedPrecondition, 4),
            (Code::ResourceExhausted, 4),
            (Code::PermissionDenied, 5),
            (Code::Unauthenticated, 5),
            (Code::Unavailable, 6),
            (Code::DeadlineExceeded, 6),
            (Code::Cancelled, 8),
            (Code::AlreadyExists, 9),
            (Code::Aborted, 9),
            (Code::Internal, 1),
        ] {
            assert_eq!(Exit::of_code(code) as u8, exit, "{code:?}");
        }
    }

    #[test]
    fn nobody_answered_or_a_rule_refused() {
        let failure = Failure::from(tonic::Status::unavailable("no coordinator answered"));
        assert_eq!((failure.exit, failure.detail.as_str()), (Exit::Unreachable, "no coordinator answered"));
        assert_eq!(failure.help, "see the connection: pvc connection detail");

        let facts = [("subject", "vm/web1"), ("detail", "it runs"), ("help", "pvc vm stop web1")];
        let facts = facts.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let details = ErrorDetails::with_error_info("vm-must-be-off", "pvc", facts);
        let status = tonic::Status::with_error_details(Code::FailedPrecondition, "refused", details);
        let expected = Failure::new(Exit::Refused, "vm/web1", "it runs").rule("vm-must-be-off");
        assert_eq!(Failure::from(status), expected.help("pvc vm stop web1"));
    }
}
