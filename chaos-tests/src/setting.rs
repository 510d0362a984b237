//! What all parts of one simulation share.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use pvc_node::hypervisor::fake::{FakeWorld, Timing};
use pvc_node::primary::fake::FakeSegment;
use pvc_node::storage::fake::FakeStorage;
use tokio::time::Instant;

use crate::boards::Boards;
use crate::checks::replicas::{Leases, Replicas};
use crate::net::{Net, Place};
use crate::storage::StorageCuts;
use crate::trace::Trace;
use crate::transport::Directory;
use crate::witness::Witness;

/// The primary's address.
pub const FLOATING: &str = "10.0.0.9/24";
pub const CLUSTER: &str = "simulated";
/// The one pool, which all hosts share.
pub const POOL: &str = "shared";
const POOL_BYTES: u64 = 1 << 40;

#[derive(Clone)]
pub struct Setting {
    pub seed: u64,
    pub begun: Instant,
    pub trace: Trace,
    pub witness: Witness,
    pub net: Net,
    pub directory: Directory,
    pub guests: FakeWorld,
    pub boards: Boards,
    pub pool: FakeStorage,
    pub storage_cuts: StorageCuts,
    /// The network in which hosts have the floating address.
    pub segment: FakeSegment,
    pub leases: Leases,
    /// Hosts whose daemon stands still.
    pub frozen: Arc<Mutex<BTreeSet<Place>>>,
    pub replicas: Replicas,
    /// Places of the coordinators, those to be founded too.
    pub coordinators: Vec<Place>,
}

impl Setting {
    pub fn new(seed: u64, coordinators: u8, aloud: bool) -> Setting {
        let trace = Trace::new(aloud);
        let witness = Witness::new(trace.clone());
        let leases = Leases::default();
        let guests = FakeWorld::new(Timing::default());
        Setting {
            boards: Boards::new(guests.clone(), leases.clone(), witness.clone()),
            seed,
            begun: Instant::now(),
            net: Net::new(seed, trace.clone()),
            directory: Directory::default(),
            guests,
            storage_cuts: StorageCuts::default(),
            frozen: Arc::default(),
            pool: FakeStorage::new(POOL.parse().expect("a name"), POOL_BYTES),
            segment: FakeSegment::default(),
            replicas: Replicas::new(witness.clone(), leases.clone()),
            leases,
            coordinators: (1..=coordinators).map(Place).collect(),
            trace,
            witness,
        }
    }
}
