//! Why a command or a read was not answered as asked.

use pvc_model::{Name, Rejection};

/// What became of a command that was not committed, or not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Decided, and refused. Nothing was changed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Nothing was changed; ask the leader. None: there is none that this coordinator knows of.
    #[error("this coordinator does not lead; the leader is {}", leader.as_ref().map_or("not known", Name::as_str))]
    NotLeader { leader: Option<Name> },
    /// It may have been committed or not: ask again with the same request id.
    #[error("the outcome is not known ({0}); ask again with the same request id")]
    Unknown(String),
    /// More commands wait than are taken in. Nothing was changed.
    #[error("too many commands are waiting; try again")]
    Busy,
    /// This coordinator stops.
    #[error("this coordinator is stopping")]
    Stopped,
}

/// Why a linearizable read could not be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader confirmed within the deadline that this replica is up to date.
    #[error("no leader confirmed that this replica is up to date ({0})")]
    NotConfirmed(String),
    #[error("this coordinator is stopping")]
    Stopped,
}

/// Why a watch could not begin, or ended. After each: list again, here or elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchStop {
    #[error("changes since that revision are no longer kept; list again")]
    Compacted,
    #[error("the watcher did not keep up; list again")]
    TooSlow,
    #[error("this coordinator has no contact with a leader")]
    LostLeader,
    #[error("{0} watchers are already served")]
    TooMany(usize),
    #[error("this coordinator is stopping")]
    Stopped,
}
