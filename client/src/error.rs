//! A failed call, as a person is to read it.

use std::fmt;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The domain of the cluster's own `google.rpc.ErrorInfo`.
const DOMAIN: &str = "pvc";

/// Asking again gets the same answer.
pub(crate) fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented
            | Code::FailedPrecondition
    )
}

/// An error with all that caused it, in one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// What a coordinator answered, or why none did.
#[derive(Clone, Debug)]
pub struct CallError {
    pub code: Code,
    /// The rule that refused: "name-taken". Empty when it was no rule of the cluster.
    pub rule: String,
    /// "vm/web1"; may be empty.
    pub subject: String,
    /// Why, in a sentence.
    pub detail: String,
    /// A command or a step that helps; may be empty.
    pub help: String,
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
        let (rule, mut metadata) = info.map(|info| (info.reason, info.metadata)).unwrap_or_default();
        let mut take = |key: &str| metadata.remove(key);
        CallError {
            code: status.code(),
            rule,
            subject: take("subject").unwrap_or_default(),
            detail: take("detail").unwrap_or_else(|| status.message().to_owned()),
            help: take("help").unwrap_or_default(),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.subject.is_empty() {
            write!(f, "{}: ", self.subject)?;
        }
        f.write_str(if self.detail.is_empty() { self.code.description() } else { &self.detail })?;
        if !self.rule.is_empty() {
            write!(f, " [{}]", self.rule)?;
        }
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for CallError {}
