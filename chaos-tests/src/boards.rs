//! The hosts' boards: their power, and the BMCs that can take it away. What a BMC does to a host happens at once to its
//! guests; its daemon follows with the next tick.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_coordinator::core::Probe;
use pvc_coordinator::core::power::{BmcAccess, FakeBmcs, Power, PowerError, PowerState};
use pvc_model::bmc::{Bmc, BmcAdapter, Sealed};
use pvc_model::fence::HostSign;
use pvc_model::{Command, Name};
use pvc_node::hypervisor::fake::FakeWorld;
use raft_store::Pause;

use crate::checks::replicas::Leases;
use crate::net::{Endpoint, Net, Place};
use crate::witness::{Rule, Witness};

/// All boards of one simulation. Clones share them.
#[derive(Clone)]
pub struct Boards {
    pub bmcs: FakeBmcs,
    /// Hosts that a BMC has switched, and that the cluster is to hear of.
    switched: Arc<Mutex<Vec<(Place, PowerState)>>>,
    /// Hosts from which no BMC is reached.
    cut: Arc<Mutex<BTreeSet<Place>>>,
}

impl Boards {
    pub fn new(guests: FakeWorld, leases: Leases, witness: Witness) -> Boards {
        let boards = Boards { bmcs: FakeBmcs::default(), switched: Arc::default(), cut: Arc::default() };
        let switched = boards.switched.clone();
        boards.bmcs.tell(move |host, power| {
            let Some(place) = host.parse::<Name>().ok().and_then(|host| Place::of_node(&host)) else {
                return;
            };
            if power == PowerState::Off {
                if leases.lock().get(&place).is_some_and(|lease| lease.is_valid()) {
                    let detail = format!("{place} loses its power by its BMC, and has a lease");
                    witness.accuse(Rule::NoFalseFence, detail);
                }
                guests.power_off(&place.node());
            }
            switched.lock().push((place, power));
        });
        boards
    }

    pub fn add(&self, place: Place) {
        self.bmcs.add(&place.to_string(), &bmc_address(place), &bmc_identity(place));
    }

    /// The right BMC is in its place, and all is well with it.
    pub fn repair(&self, place: Place) {
        self.bmcs.repair(&bmc_address(place));
        self.bmcs.identify(&bmc_address(place), &bmc_identity(place));
    }

    /// Cuts a host's own way to the network of the BMCs, or joins it again.
    pub fn cut_from_bmcs(&self, place: Place, cut: bool) {
        let mut all = self.cut.lock();
        if cut {
            all.insert(place)
        } else {
            all.remove(&place)
        };
    }

    /// What BMCs have switched since the last call.
    pub fn switched(&self) -> Vec<(Place, PowerState)> {
        std::mem::take(&mut *self.switched.lock())
    }

    /// Somebody pulls the plug, or puts it in again.
    pub fn plug(&self, place: Place, power: PowerState) {
        self.bmcs.set_power(&place.to_string(), power);
    }

    pub fn has_power(&self, place: Place) -> bool {
        self.bmcs.power(&place.to_string()) == PowerState::On
    }
}

pub fn bmc_address(place: Place) -> String {
    format!("bmc-of-{place}:623")
}

/// What it tells of itself.
fn bmc_identity(place: Place) -> String {
    pvc_model::bmc::identity([place.0; 16])
}

/// How a node's BMC is made known.
pub fn enrol_bmc(place: Place) -> Command {
    let bmc = Bmc {
        address: bmc_address(place),
        user: "ADMIN".to_owned(),
        password: Sealed(vec![1]),
        adapter: BmcAdapter::Auto,
        identity: bmc_identity(place),
        trusted: false,
    };
    Command::SetNodeBmc { name: place.node(), bmc: Box::new(bmc), expected_revision: 0 }
}

/// A coordinator's way to the BMCs: their network is not the cluster's, and may be cut for itself. Nothing goes over it while
/// the coordinator's process stands still.
#[derive(Clone, Debug)]
pub struct Wires {
    pub here: Place,
    pub boards: Boards,
    pub pause: Pause,
}

/// How long a caller waits for a BMC to which no way leads.
const NO_WAY: Duration = Duration::from_secs(5);

impl Wires {
    async fn ask<T>(
        &self,
        access: &BmcAccess,
        asking: impl Future<Output = Result<T, PowerError>> + Send,
    ) -> Result<T, PowerError> {
        if self.boards.cut.lock().contains(&self.here) {
            tokio::time::sleep(NO_WAY).await;
            return Err(PowerError::Unreachable { address: access.bmc.address.clone() });
        }
        self.pause.hold(asking).await
    }
}

#[async_trait]
impl Power for Wires {
    async fn status(&self, access: &BmcAccess) -> Result<PowerState, PowerError> {
        self.ask(access, self.boards.bmcs.status(access)).await
    }

    async fn off(&self, access: &BmcAccess) -> Result<(), PowerError> {
        self.ask(access, self.boards.bmcs.off(access)).await
    }

    async fn on(&self, access: &BmcAccess) -> Result<(), PowerError> {
        self.ask(access, self.boards.bmcs.on(access)).await
    }

    async fn identity(&self, access: &BmcAccess) -> Result<String, PowerError> {
        self.ask(access, self.boards.bmcs.identity(access)).await
    }
}

impl std::fmt::Debug for Boards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Boards")
    }
}

/// A coordinator's look at other hosts: one with power answers where the network lets it.
#[derive(Clone)]
pub struct Look<E = Endpoint> {
    pub here: Place,
    pub net: Net<E>,
    pub boards: Boards,
}

impl<E> std::fmt::Debug for Look<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the look from {}", self.here)
    }
}

#[async_trait]
impl<E: Clone + Send + Sync + 'static> Probe for Look<E> {
    async fn sign(&self, address: &str) -> HostSign {
        let there = address.split(':').next().and_then(|host| host.parse::<Name>().ok());
        let Some(there) = there.and_then(|host| Place::of_node(&host)) else { return HostSign::Silent };
        let there_and_back = self.net.carry(self.here, there).await
            && self.boards.has_power(there)
            && self.net.carry(there, self.here).await;
        if !there_and_back {
            tokio::time::sleep(Duration::from_millis(400)).await;
            return HostSign::Silent;
        }
        HostSign::Answers
    }
}
