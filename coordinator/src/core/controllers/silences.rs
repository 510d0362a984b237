//! What the leader has seen of silent nodes in its term: since when, whether their hosts answer otherwise, and how many fell
//! silent together. All on this process's monotonic clock, and nothing of it is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pvc_model::fence::{HostSign, TOGETHER, is_storm};
use pvc_model::node::Reachability;
use pvc_model::{Command, Name, World};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::probe::{self, Signs};
use super::super::seat::Seat;

/// A host is knocked at from this part of the grace on, so that it is known in time.
const ASK_FROM: f64 = 0.6;
/// And again so long after the last answer.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The last of those that fell silent together is heard so long after the others, if its network has come back too.
const LAST_HEARD: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Silences {
    /// Unreachable nodes, and since when in this term.
    since: BTreeMap<Name, Instant>,
    /// Unreachable and fenced already when the term began: no news.
    old: BTreeSet<Name>,
    asked: BTreeMap<Name, Instant>,
    /// Since when the brake holds one node alone.
    left_over: Option<Instant>,
    knocks: JoinSet<()>,
    signs: Arc<Known>,
}

#[derive(Default)]
struct Known {
    known: Mutex<BTreeMap<Name, Signs>>,
    told: Notify,
}

impl Silences {
    pub fn new(world: &World) -> Self {
        let old = world.nodes.values().filter(|node| {
            node.status.fence.is_some() && node.status.reachability == Reachability::Unreachable
        });
        Silences { old: old.map(|node| node.meta.name.clone()).collect(), ..Silences::default() }
    }

    /// Looks at all nodes; knocks at the hosts of those that fall silent.
    pub fn follow<S: Seat>(&mut self, coordinator: &S, world: &World, now: Instant) {
        let grace = coordinator.grace();
        while self.knocks.try_join_next().is_some() {}
        for node in world.nodes.values() {
            let name = &node.meta.name;
            let silent_for = coordinator.heartbeats().silence_of(name);
            // Hosts that are shut down in order are no sign of a broken network.
            let excused = node.is_excused(silent_for);
            let lost = node.status.reachability == Reachability::Unreachable && !excused;
            if lost {
                self.since.entry(name.clone()).or_insert(now);
            } else {
                self.since.remove(name);
                self.old.remove(name);
            }
            let quiet = silent_for > grace.mul_f64(ASK_FROM) && !excused;
            let never = node.status.reachability == Reachability::NeverSeen;
            let settled = node.is_fenced();
            if !quiet || never || settled {
                self.forget(name);
            } else if self.asked.get(name).is_none_or(|at| now.duration_since(*at) >= ASK_EVERY) {
                self.asked.insert(name.clone(), now);
                self.knock(coordinator, name, node.doors());
            }
        }
        let gone = |name: &Name| !world.nodes.contains_key(name);
        self.since.retain(|name, _| !gone(name));
        self.asked.retain(|name, _| !gone(name));
    }

    fn forget(&mut self, node: &Name) {
        if self.asked.remove(node).is_some() {
            self.signs.known.lock().remove(node);
        }
    }

    fn knock<S: Seat>(&mut self, coordinator: &S, node: &Name, doors: Vec<(String, String)>) {
        let (coordinator, signs, node) = (coordinator.clone(), self.signs.clone(), node.clone());
        self.knocks.spawn(async move {
            let told = probe::ask(coordinator.probe(), &doors).await;
            signs.known.lock().insert(node, told);
            signs.told.notify_one();
        });
    }

    pub fn sign(&self, node: &Name) -> HostSign {
        self.signs.known.lock().get(node).map_or(HostSign::Unknown, |signs| signs.sign)
    }

    /// The networks on which its host answers, in words; empty: on none.
    pub fn answers_on(&self, node: &Name) -> String {
        self.signs.known.lock().get(node).map(|signs| signs.on.join(", ")).unwrap_or_default()
    }

    pub fn is_asking(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Resolves when a host has answered, or has not.
    pub async fn told(&self) {
        self.signs.told.notified().await;
    }

    /// Sets the storm brake where too many fall silent together; lets it go when they are heard.
    pub fn brake(&mut self, world: &World, now: Instant) -> Option<Command> {
        let brake = world.cluster.as_ref().and_then(|cluster| cluster.status.brake.as_ref());
        let mut nodes: BTreeSet<Name> = self
            .since
            .iter()
            .filter(|(name, since)| now.duration_since(**since) < TOGETHER && !self.old.contains(*name))
            .map(|(name, _)| name.clone())
            .collect();
        // Nodes beat in turn: those that are quiet by now, though not for the whole grace, fell silent with the first.
        if !nodes.is_empty() {
            nodes.extend(self.asked.keys().filter(|name| !self.old.contains(*name)).cloned());
        }
        if !is_storm(nodes.len(), world.nodes.len()) {
            nodes.clear();
        }
        let held = brake.iter().flat_map(|brake| &brake.nodes);
        nodes.extend(held.filter(|name| self.since.contains_key(*name)).cloned());
        let known = brake.map(|brake| brake.nodes.clone()).unwrap_or_default();
        // One that is left over is no storm: the network has come back for the others. It has a while to be heard too.
        let alone = nodes.len() == 1;
        if alone && !known.is_empty() {
            let since = *self.left_over.get_or_insert(now);
            if now.duration_since(since) >= LAST_HEARD {
                nodes.clear();
            }
        } else {
            self.left_over = None;
            if alone {
                nodes.clear();
            }
        }
        (nodes != known).then_some(Command::SetBrake { nodes })
    }
}
