//! A refusal is data: it names the rule, the object and a command that helps.

use std::fmt;

/// What sort of refusal it is; `coordinator`'s one mapping file makes gRPC and HTTP codes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionKind {
    /// The object does not exist.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The request can never be right, whatever the cluster's state.
    Invalid,
    /// Not in this state: another command, or time, may change that.
    Precondition,
    /// `expected_revision` is not the object's revision.
    RevisionMismatch,
    /// A limit or a capacity is reached.
    Exhausted,
    /// The caller may not.
    Denied,
}

/// A refused command. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub kind: RejectionKind,
    /// The rule's short name, stable: "name-taken", "vm-must-be-off".
    pub rule: &'static str,
    /// What it is about: "vm/web1".
    pub subject: String,
    /// Why, in a sentence without a full stop.
    pub detail: String,
    /// A command or a step that helps; may be empty.
    pub help: String,
}

impl Rejection {
    pub fn new(
        kind: RejectionKind,
        rule: &'static str,
        subject: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Rejection { kind, rule, subject: subject.into(), detail: detail.into(), help: String::new() }
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// `subject` is like "vm/web1".
    pub fn not_found(subject: impl Into<String>) -> Self {
        let subject = subject.into();
        let (kind, _) = subject.split_once('/').unwrap_or((&subject, ""));
        let list = match kind {
            "volume" => "storage volume",
            "fault" => "cluster fault",
            other => other,
        };
        let help = format!("see `pvc {list} list`");
        let detail = format!("there is no such {kind}");
        Rejection::new(RejectionKind::NotFound, "must-exist", subject, detail).help(help)
    }

    pub fn invalid(rule: &'static str, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Rejection::new(RejectionKind::Invalid, rule, subject, detail)
    }

    pub fn precondition(rule: &'static str, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Rejection::new(RejectionKind::Precondition, rule, subject, detail)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.subject, self.detail, self.rule)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejection {}
