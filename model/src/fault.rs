//! Faults: problems that a person should know of.

use crate::Meta;
use crate::time::Timestamp;

/// Raised and cleared by the leader's controllers. Its name says what is wrong with what:
/// "node-unreachable.hv2".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub meta: Meta,
    /// "node/hv2".
    pub subject: String,
    pub message: String,
    /// What to do.
    pub help: String,
    pub first: Timestamp,
    pub last: Timestamp,
    /// Who marked it as seen; None: nobody yet.
    pub acknowledged_by: Option<String>,
}
