//! Fencing: making certain that a silent node can no longer write guest disks, before its VMs run elsewhere.
//!
//! ```text
//! silent ──▶ Fencing ──proof──▶ Fenced ──heard, and empty──▶ Returned ──▶ no fence
//!               │ heard again, and no proof yet
//!               └──▶ no fence
//! ```
//! From the first step on the node gets no lease: whatever it does, it starts nothing. What may never happen: a VM that
//! leaves a node of which no proof was accepted.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::name::Name;
use crate::time::Timestamp;

/// So long after the first silence others that fall silent count as fallen silent together.
pub const TOGETHER: Duration = Duration::from_secs(60);
/// A host that still answers, though its daemon does not, has so long: its supervisor starts the daemon again.
pub const DAEMON_PATIENCE: Duration = Duration::from_secs(30);
/// A node that has returned from a fence must have been well for so long before it takes VMs again by itself.
pub const HEALTHY_FOR: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FencePhase {
    /// Decided; a proof is being looked for. No lease is given from here on.
    Fencing,
    /// A proof was accepted: nothing of it can write any more.
    Fenced,
    /// It is back and has no guest. It takes no VM before it is made ready.
    Returned,
}

/// The evidence that a fence has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProofKind {
    /// Its BMC was read back as off.
    Power,
    /// Its clients are on the storage's blocklist.
    Storage,
    /// Its armed watchdog has certainly struck since its lease lapsed.
    Lease,
    /// A named person said so.
    Operator,
}

impl ProofKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ProofKind::Power => "power",
            ProofKind::Storage => "storage",
            ProofKind::Lease => "lease",
            ProofKind::Operator => "operator",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub kind: ProofKind,
    /// Who brought it: "pvc" for the cluster itself, or "admin/root".
    pub by: String,
    pub at: Timestamp,
}

/// A node's present fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Number of the node's fences; a proof names the one that it is for.
    pub epoch: u64,
    pub phase: FencePhase,
    /// When `phase` last changed; for people.
    pub since: Timestamp,
    /// Why it was begun.
    pub reason: String,
    /// A person wants it: it is not called off because the node is heard.
    pub by_person: bool,
    pub proof: Option<Proof>,
}

impl Fence {
    /// The node may not act: its heartbeats are not acknowledged.
    pub fn denies_lease(&self) -> bool {
        self.phase != FencePhase::Returned
    }
}

/// What a node does when it is back from a fence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnReturn {
    /// It takes VMs again when it has been well for [`HEALTHY_FOR`].
    #[default]
    Automatic,
    /// The same, and the VMs that left it return to it.
    Home,
    /// A person makes it ready.
    Manual,
}

/// Too many nodes fell silent together: it is taken for our network until it is proven otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brake {
    pub since: Timestamp,
    pub nodes: BTreeSet<Name>,
    /// Who said that these nodes are to be fenced all the same; None: nobody.
    pub released_by: Option<String>,
}

impl Brake {
    pub fn holds(&self) -> bool {
        self.released_by.is_none()
    }
}

/// Automatic fencing and recovery is switched off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disarmed {
    pub by: String,
    pub since: Timestamp,
    pub reason: String,
}

/// Whether so many nodes that fell silent together are more likely our own network: two or more, and a third or more.
pub fn is_storm(silent_together: usize, nodes: usize) -> bool {
    silent_together >= 2 && silent_together * 3 >= nodes
}

/// What another way to a silent node's host shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostSign {
    /// It was not asked yet.
    Unknown,
    /// It answers, though its daemon is silent.
    Answers,
    /// Nothing answers.
    Silent,
}

/// What is to be done about a node that is unreachable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing, for this reason.
    Leave(&'static str),
    /// Nothing before it is known whether its host answers.
    Ask,
    /// Its host answers: its daemon has until then.
    Patience,
    Fence(String),
}

/// Judges a node that the leader has called unreachable. `silent_for`: since its last heartbeat in this term, or since
/// the term began.
pub fn verdict(in_maintenance: bool, disarmed: bool, sign: HostSign, silent_for: Duration) -> Verdict {
    if in_maintenance {
        return Verdict::Leave("it is in maintenance");
    }
    if disarmed {
        return Verdict::Leave("automatic recovery is disarmed");
    }
    match sign {
        HostSign::Silent => Verdict::Fence("it is silent, and its host answers nowhere".to_owned()),
        HostSign::Answers | HostSign::Unknown if silent_for >= DAEMON_PATIENCE => {
            let seconds = DAEMON_PATIENCE.as_secs();
            Verdict::Fence(format!("its daemon has been silent for {seconds} s, though its host answers"))
        }
        HostSign::Answers => Verdict::Patience,
        HostSign::Unknown => Verdict::Ask,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_two_or_more_that_make_up_a_third() {
        for (silent, nodes, storm) in [
            (1, 1, false),
            (1, 3, false),
            (2, 3, true),
            (2, 6, true),
            (2, 7, false),
            (3, 9, true),
            (0, 0, false),
        ] {
            assert_eq!(is_storm(silent, nodes), storm, "{silent} of {nodes}");
        }
    }

    #[test]
    fn a_host_that_answers_is_given_time() {
        let s = Duration::from_secs;
        assert!(matches!(verdict(false, false, HostSign::Silent, s(3)), Verdict::Fence(_)));
        assert_eq!(verdict(false, false, HostSign::Unknown, s(3)), Verdict::Ask);
        assert_eq!(verdict(false, false, HostSign::Answers, s(29)), Verdict::Patience);
        assert!(matches!(verdict(false, false, HostSign::Answers, s(30)), Verdict::Fence(_)));
        assert!(matches!(verdict(true, false, HostSign::Silent, s(99)), Verdict::Leave(_)));
        assert!(matches!(verdict(false, true, HostSign::Silent, s(99)), Verdict::Leave(_)));
    }
}
