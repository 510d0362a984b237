//! Feature levels: how members of two versions live together. A build says up to which level it can; the
//! cluster is at one level, which the leader raises when every node has said that it can, and which is never
//! lowered. What a level brings is used only when the cluster is at it.
//!
//! A feature that others must understand (a new command in the log, a new field that must not be lost) comes
//! with a new level. Changes that old builds may ignore need none.

use std::fmt;

use crate::name::Name;
use crate::world::World;

/// The level from which every cluster begins, and that of builds which tell none.
pub const FIRST: u32 = 1;

/// What this build can. `newest` rises with a feature that all must understand; `oldest` one version later.
pub const OURS: Levels = Levels { oldest: FIRST, newest: 1 };

/// The levels of a cluster in which a build can work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    pub oldest: u32,
    pub newest: u32,
}

/// Why a build can't work in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    #[error(
        "the cluster is at feature level {cluster}, and this pvcd can only do up to {newest}: \
         install the version that the other nodes run"
    )]
    TooOld { cluster: u32, newest: u32 },
    #[error(
        "the cluster is at feature level {cluster}, and this pvcd needs {oldest} or more: it is too new. \
         Upgrade all nodes to the version between first"
    )]
    TooNew { cluster: u32, oldest: u32 },
}

impl Levels {
    /// Whether a build that can these may work in a cluster at that level.
    pub fn admit(self, cluster: u32) -> Result<(), LevelError> {
        if cluster > self.newest {
            Err(LevelError::TooOld { cluster, newest: self.newest })
        } else if cluster < self.oldest {
            Err(LevelError::TooNew { cluster, oldest: self.oldest })
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.oldest, self.newest)
    }
}

/// What can be done about the cluster's level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// The highest level that all nodes can.
    pub all_can: u32,
    /// The highest that any node can.
    pub best: u32,
    /// Nodes that can less than the best, or have not said yet: while there are any, the level is theirs.
    pub held_by: Vec<Name>,
}

/// Looks at what the nodes have reported. A node that was never heard can the first level only: it is asked
/// for before anything is switched on that it may not know.
pub fn outlook(world: &World) -> Outlook {
    let can = |level: u32| level.max(FIRST);
    let levels = || world.nodes.values().map(|node| can(node.status.facts.level));
    let best = levels().max().unwrap_or(FIRST);
    let behind = world.nodes.values().filter(|node| can(node.status.facts.level) < best);
    Outlook {
        all_can: levels().min().unwrap_or(FIRST),
        best,
        held_by: behind.map(|node| node.meta.name.clone()).collect(),
    }
}

/// The level to which the cluster is to be raised now. None: it stays. `leader` is what the leader's own build
/// can, which may have changed since its node reported.
pub fn raise_to(world: &World, leader: Levels) -> Option<u32> {
    let level = outlook(world).all_can.min(leader.newest);
    (level > world.level()).then_some(level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, ClusterSpec, ClusterState};
    use crate::testing;

    /// The nodes' levels, in order of their names: 0 is a node that has told none.
    fn world(levels: &[u32], cluster: u32) -> World {
        let names: Vec<String> = (1..=levels.len()).map(|number| format!("hv{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut world = testing::Cluster::of(&names).world;
        for (name, level) in names.iter().zip(levels) {
            let name: Name = name.parse().unwrap();
            let mut node = crate::Node::clone(&world.nodes[&name]);
            node.status.facts.level = *level;
            world.put(crate::Object::Node(node));
        }
        let status = ClusterState { level: cluster, ..ClusterState::default() };
        let meta = crate::Meta {
            name: crate::cluster::NAME.parse().unwrap(),
            uid: crate::Uid::from_random(7),
            revision: 1,
            created: crate::Timestamp(1),
            updated: crate::Timestamp(1),
        };
        world.put(crate::Object::Cluster(Cluster { meta, spec: ClusterSpec::default(), status }));
        world
    }

    #[test]
    fn the_level_is_that_of_the_least_and_never_falls() {
        for (levels, cluster, leader, expected) in [
            (&[1, 1, 1][..], 1, 1, None),
            (&[2, 2, 1], 1, 2, None),
            (&[2, 2, 2], 1, 2, Some(2)),
            // Two steps at once, where nobody is in between.
            (&[3, 3, 3], 1, 3, Some(3)),
            (&[3, 2, 3], 1, 3, Some(2)),
            // One has said nothing yet.
            (&[2, 2, 0], 1, 2, None),
            // The leader was changed back since it reported.
            (&[2, 2, 2], 1, 1, None),
            // It never falls.
            (&[1, 2, 2], 2, 2, None),
            (&[2, 2, 2], 2, 2, None),
            (&[], 1, 2, None),
        ] {
            let said = raise_to(&world(levels, cluster), Levels { oldest: 1, newest: leader });
            assert_eq!(said, expected, "{levels:?}, cluster at {cluster}, leader can {leader}");
        }
    }

    #[test]
    fn who_holds_it_back_is_named() {
        let outlook = outlook(&world(&[3, 2, 0, 3], 1));
        assert_eq!((outlook.all_can, outlook.best), (1, 3));
        let held: Vec<&str> = outlook.held_by.iter().map(Name::as_str).collect();
        assert_eq!(held, ["hv2", "hv3"]);
    }

    #[test]
    fn a_build_is_refused_that_can_less_or_has_forgotten_too_much() {
        let levels = Levels { oldest: 3, newest: 4 };
        assert_eq!(levels.admit(2), Err(LevelError::TooNew { cluster: 2, oldest: 3 }));
        assert_eq!(levels.admit(3), Ok(()));
        assert_eq!(levels.admit(4), Ok(()));
        let error = levels.admit(5).unwrap_err();
        assert_eq!(error, LevelError::TooOld { cluster: 5, newest: 4 });
        assert!(error.to_string().contains("install the version"), "{error}");
        assert!(OURS.admit(FIRST).is_ok(), "a new cluster begins there");
    }
}
