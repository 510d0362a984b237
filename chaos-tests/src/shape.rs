//! What kind of cluster is simulated.

use raft_store::Checkpoint;

/// What kind of cluster.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Hosts that vote: 1, 3 or 5.
    pub coordinators: u8,
    /// Hosts that stand by, to vote when they are called.
    pub spares: u8,
    /// Hosts that only run guests.
    pub hypervisors: u8,
    pub checkpoint: Checkpoint,
    /// How long a disk's sync takes at most, in milliseconds.
    pub sync_max_ms: u64,
    /// How wrong wall clocks are at most, in milliseconds.
    pub clock_skew_max_ms: u64,
    /// The cluster knows its hosts' BMCs.
    pub bmcs: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            coordinators: 3,
            spares: 0,
            hypervisors: 1,
            checkpoint: Checkpoint::default(),
            sync_max_ms: 4,
            clock_skew_max_ms: 2000,
            bmcs: false,
        }
    }
}
