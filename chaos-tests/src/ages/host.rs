//! A host of an ages' cluster and its daemon: the agent whole, over its link, with a hypervisor that is watched. On a
//! coordinator the daemon also votes and may lead; then its end is that reign's end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pvc_coordinator::core::Heartbeats;
use pvc_model::Command;
use pvc_node::agent::heartbeat::{InTask, LoadSource};
use pvc_node::agent::incarnation::Incarnation;
use pvc_node::agent::lease::Lease;
use pvc_node::agent::volumes::Pools;
use pvc_node::agent::{Agent, Parts, Settings};
use tokio_util::task::AbortOnDropHandle;

use super::ground::Ground;
use super::link::link;
use crate::boards::enrol_bmc;
use crate::daemon::migration_address;
use crate::link::LeaseBook;
use crate::net::Place;
use crate::watched::Watched;
use crate::witness::Rule;

struct NoLoad;

impl LoadSource for NoLoad {
    fn load(&self) -> (f64, u64) {
        (0.0, 0)
    }
}

pub struct AgeHost {
    pub place: Place,
    pub powered: bool,
    ground: Ground,
    boots: u64,
    daemon: Option<RunningDaemon>,
}

/// Ends with its drop, at once.
struct RunningDaemon {
    _agent: AbortOnDropHandle<()>,
    /// A coordinator's memory of heartbeats.
    hearts: Arc<Heartbeats>,
}

impl AgeHost {
    pub fn new(ground: &Ground, place: Place) -> AgeHost {
        AgeHost { place, powered: true, ground: ground.clone(), boots: 0, daemon: None }
    }

    pub fn hearts(&self) -> Option<Arc<Heartbeats>> {
        self.daemon.as_ref().map(|daemon| daemon.hearts.clone())
    }

    pub fn boot(&mut self) {
        if self.daemon.is_some() || !self.powered {
            return;
        }
        self.boots += 1;
        let (ground, place, boots) = (self.ground.clone(), self.place, self.boots);
        ground.say(format!("{place} boots its daemon"));
        let pause = ground.pause(place);
        pause.resume();
        let lease = LeaseBook::default();
        ground.leases.lock().insert(place, lease.clone());
        let drawn = AtomicU64::new(0);
        let parts = Parts {
            me: place.node(),
            link: link(&ground, place, &lease),
            hypervisor: Arc::new(Watched {
                inner: ground.guests.hypervisor(&place.node()),
                here: place,
                lease,
                witness: ground.witness.clone(),
                pause,
            }),
            pools: Pools::new(),
            load: Arc::new(NoLoad),
            beat: Arc::new(InTask),
            lease: Lease::default(),
            incarnation: Incarnation::default(),
            settings: Settings::simulated(migration_address(place)),
            network_health: tokio::sync::watch::channel(pvc_model::node::NetworkHealth::default()).1,
            request_id: Arc::new(move || {
                format!("{place}-{boots}-{}", drawn.fetch_add(1, Ordering::Relaxed))
            }),
        };
        let witness = ground.witness.clone();
        let agent = tokio::spawn(async move {
            let error = Agent::new(parts).0.run().await;
            witness.accuse(Rule::NobodyGivesUp, format!("the agent of {place} gave up: {error}"));
        });
        self.daemon = Some(RunningDaemon { _agent: AbortOnDropHandle::new(agent), hearts: Arc::default() });
        ground.set_up(place, true);
    }

    pub fn kill(&mut self) {
        if self.daemon.take().is_none() {
            return;
        }
        self.ground.say(format!("the daemon of {} is killed", self.place));
        self.ground.leases.lock().remove(&self.place);
        for reign in self.ground.reigns().into_iter().filter(|reign| reign.place() == self.place) {
            reign.end();
        }
        self.ground.pause(self.place).resume();
        self.ground.set_up(self.place, false);
    }
}

/// How a cluster's first coordinator, and all others, come to be known.
pub fn founding(ground: &Ground) -> Vec<Command> {
    let mut commands = Vec::new();
    for place in &ground.places {
        let name = place.node();
        if *place == Place(1) {
            commands.push(Command::FoundNode { name, address: crate::daemon::address(*place), member_id: 1 });
        } else {
            commands.extend(crate::founding::joining(*place, ground.voters.contains(place)));
        }
    }
    commands.extend(ground.places.iter().map(|place| enrol_bmc(*place)));
    commands
}
