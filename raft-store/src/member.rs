//! Who takes part: members as callers see them, and the form in which Raft's membership keeps them.

use std::fmt;

/// A member's number, for life. Never given to a second member, not even after a removal.
pub type MemberId = u64;

/// A member and where its peers reach it. The address is opaque to the store; only the transport reads it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    pub id: MemberId,
    pub address: String,
}

impl Member {
    pub fn new(id: MemberId, address: impl Into<String>) -> Member {
        Member { id, address: address.into() }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id, self.address)
    }
}

/// What the membership records of a member. `incarnation` is drawn once when its data directory is
/// made: a member whose disk was wiped has another one, and no peer's call reaches it any more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberNode {
    pub address: String,
    pub incarnation: u64,
}

impl MemberNode {
    pub(crate) fn member(&self, id: MemberId) -> Member {
        Member { id, address: self.address.clone() }
    }
}
