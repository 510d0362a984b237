//! What concerns one node: first everything, then what has changed of it. Level-triggered: a node that
//! is slow gets the sum of what it missed, never a queue of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use imbl::ordmap::DiffItem;
use pvc_model::node::NodeRole;
use pvc_model::primary::{Floating, Primary};
use pvc_model::{Name, Node, Uid, Vm, Volume, World};
use tokio::time::Instant;

use super::error::WatchStop;
use super::told_networks::{NetworkNews, ToldNetworks};
use super::watch::ObjectWatch;

/// Where other nodes' changes only move the revision on, the node learns of it this much later.
const BOOKMARK_DELAY: Duration = Duration::from_millis(500);

/// The primary's role, as nodes are told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrimaryRole {
    pub primary: Option<Primary>,
    pub floating: Option<Floating>,
}

/// Everything that concerns a node, or what has changed of it since the last message.
#[derive(Clone, Debug)]
pub struct Assignments {
    pub revision: u64,
    /// Everything: what is not in here no longer concerns the node.
    pub full: bool,
    /// VMs placed here, migrating hither or thither, or observed here, and those whose guests the node
    /// has said are on it.
    pub vms: Vec<Arc<Vm>>,
    pub vms_gone: Vec<Uid>,
    /// Volumes of those VMs, those that the node works on, and those that it copies from.
    pub volumes: Vec<Arc<Volume>>,
    /// By uid: a name may have passed to another volume.
    pub volumes_gone: Vec<Uid>,
    /// The node itself, when it has changed.
    pub node: Option<Arc<Node>>,
    /// All coordinators with their addresses, when they have changed.
    pub coordinators: Option<Vec<(Name, String)>>,
    /// All hypervisors with theirs, when they have changed. For coordinators alone.
    pub hypervisors: Option<Vec<(Name, String)>>,
    /// Of the cluster, at this revision.
    pub incarnation: u64,
    /// The node is to count its guests. Told with each message.
    pub count_guests: bool,
    /// The world that this is taken from.
    pub world: World,
    /// Who is the primary and at which address, when that has changed.
    pub primary: Option<PrimaryRole>,
    /// Client networks; of the fabric, all where all is told.
    pub network: NetworkNews,
    /// Whether `count_guests` is new.
    news: bool,
}

impl Assignments {
    pub fn is_empty(&self) -> bool {
        !self.full
            && self.vms.is_empty()
            && self.vms_gone.is_empty()
            && self.volumes.is_empty()
            && self.volumes_gone.is_empty()
            && self.node.is_none()
            && self.coordinators.is_none()
            && self.hypervisors.is_none()
            && self.primary.is_none()
            && self.network.is_empty()
            && !self.news
    }
}

/// One node's stream. Dropping it ends it.
pub struct AssignmentStream {
    node: Name,
    watch: ObjectWatch,
    told: Told,
    bookmark: Option<(Instant, u64)>,
    first: Option<Assignments>,
}

impl AssignmentStream {
    /// `guests` are on the host now: their VMs are told wherever they are placed.
    pub(super) fn new(node: Name, guests: BTreeSet<Uid>, world: World, watch: ObjectWatch) -> Self {
        let (told, first) = Told::begin(&node, guests, &world);
        AssignmentStream { node, watch, told, bookmark: None, first: Some(first) }
    }

    /// The next message. An error ends the stream: the node asks again, here or elsewhere.
    pub async fn next(&mut self) -> Result<Assignments, WatchStop> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        loop {
            let due = self.bookmark.map(|(due, _)| due);
            let bookmark = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let revision = tokio::select! {
                biased;
                woken = self.watch.wake() => match woken {
                    // What was missed is in the world; only the wake-ups were too many.
                    Err(WatchStop::TooSlow | WatchStop::Compacted) => return Err(WatchStop::TooSlow),
                    woken => woken?,
                },
                () = bookmark => {
                    let (_, revision) = self.bookmark.take().unwrap_or((Instant::now(), self.told.world.revision));
                    return Ok(self.told.nothing(revision));
                }
            };
            if revision <= self.told.world.revision {
                continue;
            }
            let world = self.watch.world_at(revision).await?;
            let message = self.told.step(&self.node, &world);
            if !message.is_empty() {
                self.bookmark = None;
                return Ok(message);
            }
            let due = self.bookmark.map_or_else(|| Instant::now() + BOOKMARK_DELAY, |(due, _)| due);
            self.bookmark = Some((due, message.revision));
        }
    }
}

/// What the node has been told so far, and so what is news to it.
#[derive(Default)]
pub struct Told {
    world: World,
    /// Guests that the node has named.
    guests: BTreeSet<Uid>,
    node: Option<Arc<Node>>,
    coordinators: Vec<(Name, String)>,
    hypervisors: Vec<(Name, String)>,
    vms: BTreeMap<Uid, Arc<Vm>>,
    volumes: BTreeMap<Uid, Arc<Volume>>,
    /// Volumes that the node works on.
    works_on: BTreeSet<Name>,
    /// Names of all volumes that concern it, whether they are there or not.
    wanted: BTreeSet<Name>,
    /// It was asked to count its guests.
    counts: bool,
    primary: PrimaryRole,
    networks: ToldNetworks,
}

impl Told {
    /// Tells everything. `guests` are on the host now: their VMs are told wherever they are placed.
    pub fn begin(node: &Name, guests: BTreeSet<Uid>, world: &World) -> (Told, Assignments) {
        let mut told = Told { guests, ..Told::default() };
        let mut first = told.step(node, world);
        first.full = true;
        first.primary = Some(told.primary.clone());
        first.network.fabric = Some(told.networks.fabric().clone());
        first.hypervisors = told.is_coordinator().then(|| told.hypervisors.clone());
        (told, first)
    }

    fn is_coordinator(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.spec.role == NodeRole::Coordinator)
    }

    fn nothing(&self, revision: u64) -> Assignments {
        Assignments {
            revision,
            full: false,
            vms: Vec::new(),
            vms_gone: Vec::new(),
            volumes: Vec::new(),
            volumes_gone: Vec::new(),
            node: None,
            coordinators: None,
            hypervisors: None,
            incarnation: self.world.incarnation(),
            count_guests: self.counts,
            primary: None,
            network: NetworkNews::default(),
            news: false,
            world: self.world.clone(),
        }
    }

    /// Goes on to `world`; the cost is that of what has changed, and of the node's own VMs when any of them has.
    pub fn step(&mut self, node: &Name, world: &World) -> Assignments {
        let older = std::mem::replace(&mut self.world, world.clone());
        let restoring = world.cluster.as_ref().is_some_and(|cluster| cluster.restoring().is_some());
        let counts = world.awaits(node) && !restoring;
        let news = std::mem::replace(&mut self.counts, counts) != counts;
        let mut message = Assignments { news, ..self.nothing(world.revision) };
        let own = world.nodes.get(node);
        if own != self.node.as_ref() {
            self.node = own.cloned();
            message.node = own.cloned();
        }
        let primary = PrimaryRole { primary: world.primary().cloned(), floating: world.settings().floating };
        if primary != self.primary {
            self.primary.clone_from(&primary);
            message.primary = Some(primary);
        }
        if !older.nodes.ptr_eq(&world.nodes) {
            let coordinators = addresses(world, NodeRole::Coordinator);
            if coordinators != self.coordinators {
                self.coordinators.clone_from(&coordinators);
                message.coordinators = Some(coordinators);
            }
            let whole = self.is_coordinator();
            let hypervisors = if whole { addresses(world, NodeRole::Hypervisor) } else { Vec::new() };
            if hypervisors != self.hypervisors {
                self.hypervisors.clone_from(&hypervisors);
                message.hypervisors = Some(hypervisors);
            }
        }
        let mut vms_changed = self.forget_unconfirmed(&older, world, &mut message);
        let mut seen = BTreeSet::new();
        for item in older.vms.diff(&world.vms) {
            let (DiffItem::Add(_, vm) | DiffItem::Update { old: (_, vm), .. } | DiffItem::Remove(_, vm)) =
                item;
            // By uid: a renamed VM is one that goes and one that comes.
            if !seen.insert(vm.uid()) {
                continue;
            }
            let named = self.guests.contains(&vm.uid());
            let now = world.vm_by_uid(vm.uid());
            let now = now.filter(|vm| world.is_confirmed(vm) && (named || concerns(vm, node)));
            vms_changed |= self.tell_vm(vm.uid(), now, &mut message);
        }
        message.network = self.networks.step(node, (&older, world), self.vms.values(), vms_changed);
        let mut look_at_volumes = vms_changed;
        for item in older.volumes.diff(&world.volumes) {
            let (DiffItem::Add(name, _)
            | DiffItem::Update { old: (name, _), .. }
            | DiffItem::Remove(name, _)) = item;
            let works = world.volumes.get(name).is_some_and(|v| v.status.worker.as_ref() == Some(node));
            let worked = if works { self.works_on.insert(name.clone()) } else { self.works_on.remove(name) };
            look_at_volumes |= worked || self.wanted.contains(name);
        }
        if look_at_volumes {
            self.tell_volumes(world, &mut message);
        }
        message
    }

    /// With a new incarnation nobody knows where guests run: what was said of them is taken back.
    fn forget_unconfirmed(&mut self, older: &World, world: &World, message: &mut Assignments) -> bool {
        if older.incarnation() == world.incarnation() {
            return false;
        }
        let lost: Vec<Uid> =
            self.vms.values().filter(|vm| !world.is_confirmed(vm)).map(|vm| vm.uid()).collect();
        for uid in &lost {
            self.vms.remove(uid);
        }
        message.vms_gone.extend(&lost);
        !lost.is_empty()
    }

    fn tell_vm(&mut self, uid: Uid, now: Option<&Arc<Vm>>, message: &mut Assignments) -> bool {
        match now {
            Some(vm) if self.vms.get(&uid) == Some(vm) => false,
            Some(vm) => {
                self.vms.insert(uid, Arc::clone(vm));
                message.vms.push(Arc::clone(vm));
                true
            }
            None => {
                let known = self.vms.remove(&uid).is_some();
                if known {
                    message.vms_gone.push(uid);
                }
                known
            }
        }
    }

    fn tell_volumes(&mut self, world: &World, message: &mut Assignments) {
        let of_vms = self.vms.values().flat_map(|vm| vm.spec.disks.iter().map(|disk| &disk.volume));
        let copied_from =
            self.works_on.iter().filter_map(|name| world.volumes.get(name)?.spec.clone_of.as_ref());
        self.wanted =
            of_vms.chain(&self.works_on).chain(copied_from.map(|source| &source.volume)).cloned().collect();
        let found = self.wanted.iter().filter_map(|name| world.volumes.get(name));
        let now: BTreeMap<Uid, Arc<Volume>> =
            found.map(|volume| (volume.meta.uid, Arc::clone(volume))).collect();
        message.volumes_gone.extend(self.volumes.keys().filter(|uid| !now.contains_key(uid)).copied());
        let changed = now.iter().filter(|(uid, volume)| self.volumes.get(uid) != Some(volume));
        message.volumes.extend(changed.map(|(_, volume)| Arc::clone(volume)));
        self.volumes = now;
    }
}

fn addresses(world: &World, role: NodeRole) -> Vec<(Name, String)> {
    let nodes = world.nodes.values().filter(|node| node.spec.role == role);
    nodes.map(|node| (node.meta.name.clone(), node.status.address.clone())).collect()
}

/// Placed on `node`, migrating hither or thither, or seen there.
fn concerns(vm: &Vm, node: &Name) -> bool {
    vm.placed_on(node)
        || vm.migration.as_ref().is_some_and(|m| m.from == *node || m.to == *node)
        || vm.observed.as_ref().is_some_and(|o| o.node == *node)
}
