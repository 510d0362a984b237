//! The hosts' boards: their power, and the BMCs that can take it away. What a BMC does to a host happens at once to its
//! guests; its daemon follows with the next tick.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_coordinator::core::Probe;
use pvc_coordinator::core::power::{FakeBmcs, PowerState};
use pvc_model::bmc::{Bmc, BmcAdapter, Sealed};
use pvc_model::fence::HostSign;
use pvc_model::{Command, Name};
use pvc_node::hypervisor::fake::FakeWorld;

use crate::checks::replicas::Leases;
use crate::net::{Net, Place};
use crate::witness::{Rule, Witness};

/// All boards of one simulation. Clones share them.
#[derive(Clone)]
pub struct Boards {
    pub bmcs: FakeBmcs,
    /// Hosts that a BMC has switched, and that the cluster is to hear of.
    switched: Arc<Mutex<Vec<(Place, PowerState)>>>,
}

impl Boards {
    pub fn new(guests: FakeWorld, leases: Leases, witness: Witness) -> Boards {
        let boards = Boards { bmcs: FakeBmcs::default(), switched: Arc::default() };
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

/// A coordinator's look at other hosts: one with power answers where the network lets it.
#[derive(Clone)]
pub struct Look {
    pub here: Place,
    pub net: Net,
    pub boards: Boards,
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the look from {}", self.here)
    }
}

#[async_trait]
impl Probe for Look {
    async fn sign(&self, address: &str) -> HostSign {
        let there = address.split(':').next().and_then(|host| host.parse::<Name>().ok());
        let Some(there) = there.and_then(|host| Place::of_node(&host)) else { return HostSign::Silent };
        let there_and_back = self.net.carry(self.here, there).await
            && self.boards.has_power(there)
            && self.net.carry(there, self.here).await;
        if !there_and_back {
            tokio::time::sleep(std::time::Duration::from_millis(400)).await;
            return HostSign::Silent;
        }
        HostSign::Answers
    }
}
