//! The one place where refusals and failures become gRPC statuses. Each carries a `google.rpc.ErrorInfo`
//! (domain "pvc", reason = the rule, metadata: subject, detail, help), so that a client can show it well;
//! the message says it all by itself.

use std::collections::HashMap;
use std::time::Duration;

use pvc_model::{Name, Rejection, RejectionKind};
use raft_store::MembersError;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::core::{AssignmentsError, ReadError, SubmitError, WatchStop};

/// The domain of every `ErrorInfo` of ours.
pub const DOMAIN: &str = "pvc";
/// Metadata of an answer: the address (host:port) of the leader, for clients that go there themselves.
pub const LEADER_HINT: &str = "pvc-leader";
/// What a client should wait before it asks again, where asking again helps.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// A refusal by a rule.
pub fn rejected(rejection: &Rejection) -> Status {
    let code = match rejection.kind {
        RejectionKind::NotFound => Code::NotFound,
        RejectionKind::AlreadyExists => Code::AlreadyExists,
        RejectionKind::Invalid => Code::InvalidArgument,
        RejectionKind::Precondition => Code::FailedPrecondition,
        RejectionKind::RevisionMismatch => Code::Aborted,
        RejectionKind::Exhausted => Code::ResourceExhausted,
        RejectionKind::Denied => Code::PermissionDenied,
    };
    of(code, rejection.rule, &rejection.subject, &rejection.detail, &rejection.help, None)
}

/// A command that was not committed, or not known to be. `leader` is the leader's name and address.
pub fn submit(error: &SubmitError, leader: Option<&(Name, String)>) -> Status {
    match error {
        SubmitError::Rejected(rejection) => rejected(rejection),
        SubmitError::NotLeader { .. } => not_leader(leader),
        SubmitError::Unknown(why) => {
            let detail = format!("the outcome is not known ({why})");
            let help = "ask again with the same request id";
            of(Code::Unavailable, "outcome-unknown", "cluster", &detail, help, Some(RETRY_DELAY))
        }
        SubmitError::Busy => {
            let detail = "too many commands are waiting";
            of(Code::ResourceExhausted, "busy", "cluster", detail, "try again", Some(RETRY_DELAY))
        }
        SubmitError::Stopped => stopping(),
    }
}

/// This coordinator does not lead, and could or may not forward.
pub fn not_leader(leader: Option<&(Name, String)>) -> Status {
    let detail = match leader {
        Some((name, _)) => format!("the leader is node {name}"),
        None => "no leader is known now; an election takes a few seconds".to_owned(),
    };
    let help = "try again; without a quorum of coordinators nothing can be changed";
    let mut status = of(Code::Unavailable, "not-leader", "cluster", &detail, help, Some(RETRY_DELAY));
    if let Some((_, address)) = leader
        && let Ok(value) = MetadataValue::try_from(address.as_str())
    {
        status.metadata_mut().insert(LEADER_HINT, value);
    }
    status
}

/// A change of members that did not come about. `leader` is the leader's name and address.
pub fn members(error: &MembersError, leader: Option<&(Name, String)>) -> Status {
    let (code, rule) = match error {
        MembersError::NotLeader { .. } => return not_leader(leader),
        MembersError::Stopped => return stopping(),
        MembersError::Busy => (Code::Unavailable, "one-change-at-a-time"),
        MembersError::KnownId { .. } => (Code::FailedPrecondition, "member-id-fresh"),
        MembersError::NoSuchMember { .. } => (Code::NotFound, "member-known"),
        MembersError::AlreadyVoter { .. } | MembersError::NotVoter { .. } => {
            (Code::FailedPrecondition, "voter")
        }
        MembersError::Unreachable { .. } => (Code::Unavailable, "member-reachable"),
        MembersError::LostData { .. } => (Code::FailedPrecondition, "member-data-kept"),
        MembersError::NotPristine { .. } => (Code::FailedPrecondition, "member-pristine"),
        MembersError::Lagging { .. } => (Code::Unavailable, "member-caught-up"),
        MembersError::LastVoter { .. } | MembersError::WouldLoseQuorum { .. } => {
            (Code::FailedPrecondition, "quorum-kept")
        }
        MembersError::Unknown(_) => (Code::Unavailable, "outcome-unknown"),
    };
    let retry = (code == Code::Unavailable).then_some(RETRY_DELAY);
    of(code, rule, "cluster", &error.to_string(), "see `pvc cluster status`", retry)
}

pub fn read(error: &ReadError) -> Status {
    match error {
        ReadError::NotConfirmed(_) => {
            let help = "try again, or read with consistency `cached`";
            of(Code::Unavailable, "no-quorum", "cluster", &error.to_string(), help, Some(RETRY_DELAY))
        }
        ReadError::Stopped => stopping(),
    }
}

pub fn watch(stop: WatchStop) -> Status {
    let (code, rule) = match stop {
        WatchStop::Compacted => (Code::OutOfRange, "compacted"),
        WatchStop::TooSlow => (Code::ResourceExhausted, "watcher-too-slow"),
        WatchStop::LostLeader => (Code::Unavailable, "no-leader"),
        WatchStop::TooMany(_) => (Code::ResourceExhausted, "too-many-watchers"),
        WatchStop::Stopped => return stopping(),
    };
    of(code, rule, "watch", &stop.to_string(), "list again, then watch from the list's revision", None)
}

pub fn assignments(error: &AssignmentsError) -> Status {
    match error {
        AssignmentsError::Rejected(rejection) => rejected(rejection),
        AssignmentsError::Read(error) => read(error),
        AssignmentsError::Watch(stop) => watch(*stop),
    }
}

/// This process ends.
pub fn stopping() -> Status {
    of(Code::Unavailable, "stopping", "coordinator", "it is stopping", "ask another one", Some(RETRY_DELAY))
}

/// A caller that could not be identified.
pub fn unauthenticated(rule: &'static str, subject: &str, detail: &str, help: &str) -> Status {
    of(Code::Unauthenticated, rule, subject, detail, help, None)
}

/// A caller that may not.
pub fn denied(rule: &'static str, subject: &str, detail: &str, help: &str) -> Status {
    of(Code::PermissionDenied, rule, subject, detail, help, None)
}

/// Something that should be reachable is not.
pub fn unreachable(subject: &str, detail: &str) -> Status {
    of(Code::Unavailable, "unreachable", subject, detail, "see `pvc node list`", Some(RETRY_DELAY))
}

/// An object as it should be is not there: a defect, not a refusal.
pub fn internal(detail: &str) -> Status {
    of(Code::Internal, "defect", "coordinator", detail, "report this with the coordinator's log", None)
}

/// Builds a status with its details.
pub fn of(
    code: Code,
    rule: &str,
    subject: &str,
    detail: &str,
    help: &str,
    retry: Option<Duration>,
) -> Status {
    let metadata = [("subject", subject), ("detail", detail), ("help", help)];
    let metadata: HashMap<String, String> = metadata
        .into_iter()
        .filter(|(_, v)| !v.is_empty())
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    let mut details = ErrorDetails::with_error_info(rule, DOMAIN, metadata);
    if let Some(delay) = retry {
        details.set_retry_info(Some(delay));
    }
    let message = if subject.is_empty() { detail.to_owned() } else { format!("{subject}: {detail}") };
    Status::with_error_details_and_metadata(code, message, details, MetadataMap::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_rule_subject_and_help() {
        let rejection =
            Rejection::precondition("vm-must-be-off", "vm/web1", "it runs").help("pvc vm stop web1");
        let status = rejected(&rejection);
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.message(), "vm/web1: it runs");
        let details = status.get_error_details();
        let info = details.error_info().expect("error info");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("vm-must-be-off", "pvc"));
        assert_eq!(info.metadata["help"], "pvc vm stop web1");
        assert_eq!(info.metadata["subject"], "vm/web1");
    }

    #[test]
    fn each_kind_has_its_code() {
        let code = |kind| rejected(&Rejection::new(kind, "rule", "vm/a", "detail")).code();
        assert_eq!(code(RejectionKind::NotFound), Code::NotFound);
        assert_eq!(code(RejectionKind::AlreadyExists), Code::AlreadyExists);
        assert_eq!(code(RejectionKind::Invalid), Code::InvalidArgument);
        assert_eq!(code(RejectionKind::Precondition), Code::FailedPrecondition);
        assert_eq!(code(RejectionKind::RevisionMismatch), Code::Aborted);
        assert_eq!(code(RejectionKind::Exhausted), Code::ResourceExhausted);
        assert_eq!(code(RejectionKind::Denied), Code::PermissionDenied);
    }

    #[test]
    fn the_leader_is_hinted_at() {
        let leader = ("hv2".parse().expect("a name"), "10.0.0.2:7443".to_owned());
        let status = not_leader(Some(&leader));
        assert_eq!(status.metadata().get(LEADER_HINT).map(|v| v.as_bytes()), Some(&b"10.0.0.2:7443"[..]));
        assert!(status.get_error_details().retry_info().is_some());
    }
}
