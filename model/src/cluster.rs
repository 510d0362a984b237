//! The cluster's own object: what people set for all of it, and what it has been through. There is one, made
//! with its first change; until then the defaults hold.

use std::collections::BTreeSet;

use crate::Meta;
use crate::fence::{Brake, Disarmed};
use crate::name::Name;
use crate::network::fabric::Fabric;
use crate::primary::{Floating, Primary};

/// The name of the one object.
pub const NAME: &str = "cluster";

/// Seconds after which a dead voter is replaced, unless people say otherwise.
pub const REPLACE_VOTER_AFTER_DEFAULT: u32 = 15;
/// The least and the most that people may say.
pub const REPLACE_VOTER_AFTER_RANGE: std::ops::RangeInclusive<u32> = 5..=86_400;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub meta: Meta,
    pub spec: ClusterSpec,
    pub status: ClusterState,
}

/// Live migrations that leave a node, and that come to it, at once, unless people say otherwise.
pub const MIGRATIONS_PER_NODE_DEFAULT: u32 = 2;
pub const MIGRATIONS_PER_NODE_RANGE: std::ops::RangeInclusive<u32> = 1..=16;

/// What is done about a VM after whose start the death of some one node could not be borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Nothing.
    Off,
    /// A fault says so.
    Warn,
    /// It is not started.
    Refuse,
}

/// Whether VMs are moved to better places by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    Manual,
    Automatic,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSpec {
    /// A voter that was silent for so many seconds is replaced by a standby. None: by people only.
    pub replace_voter_after_seconds: Option<u32>,
    pub admission: Admission,
    /// 1 to 16.
    pub migrations_per_node: u32,
    pub balance: Balance,
    /// Where the primary is reached. None: it has no address of its own.
    pub floating: Option<Floating>,
    /// What carries the client networks.
    pub fabric: Fabric,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        ClusterSpec {
            replace_voter_after_seconds: Some(REPLACE_VOTER_AFTER_DEFAULT),
            admission: Admission::Warn,
            migrations_per_node: MIGRATIONS_PER_NODE_DEFAULT,
            balance: Balance::Manual,
            floating: None,
            fabric: Fabric::default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterState {
    /// Rises with each restore of a backup and each recovery from a lost quorum: what was said before may
    /// be of a past that this cluster does not know.
    pub incarnation: u64,
    /// Recoveries from a lost quorum that the objects know of.
    pub recoveries: u64,
    /// Nodes that are still to say which guests they have. While there is any, a VM whose guest was not
    /// found may run on one of them.
    pub awaited: BTreeSet<Name>,
    pub restored: Option<Restored>,
    /// The feature level at which the cluster is; 0: never raised. See [`World::level`].
    ///
    /// [`World::level`]: crate::World::level
    pub level: u32,
    /// More nodes fell silent together than can have died.
    pub brake: Option<Brake>,
    /// Nobody is fenced and nothing is recovered by itself.
    pub disarmed: Option<Disarmed>,
    /// None: there was never one.
    pub primary: Option<Primary>,
}

/// The backup that this cluster was restored from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The backup's own checksum, hexadecimal.
    pub backup: String,
    pub cluster_id: String,
    pub revision: u64,
    /// All of it is here.
    pub complete: bool,
}

impl Cluster {
    /// A restore that has begun and is not complete.
    pub fn restoring(&self) -> Option<&Restored> {
        self.status.restored.as_ref().filter(|restored| !restored.complete)
    }
}
