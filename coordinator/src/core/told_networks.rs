//! What one node is told of the client networks: a coordinator of all of them, for it announces and forwards them; a
//! hypervisor of those that its guests have NICs in.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use pvc_model::network::fabric::Fabric;
use pvc_model::network::lease::Lease;
use pvc_model::network::{Network, Vni};
use pvc_model::node::NodeRole;
use pvc_model::{Name, Vm, World};

/// Networks, leases and the fabric, or what has changed of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkNews {
    pub networks: Vec<Arc<Network>>,
    pub networks_gone: Vec<Name>,
    /// Of networks that concern the node.
    pub leases: Vec<Arc<Lease>>,
    pub leases_gone: Vec<Name>,
    /// When it has changed.
    pub fabric: Option<Fabric>,
}

impl NetworkNews {
    pub fn is_empty(&self) -> bool {
        *self == NetworkNews::default()
    }
}

/// What the node has been told of them so far.
#[derive(Default)]
pub(super) struct ToldNetworks {
    all: bool,
    /// On a hypervisor, the networks of its VMs, whether they are there or not.
    wanted: BTreeSet<Vni>,
    networks: OrdMap<Name, Arc<Network>>,
    leases: OrdMap<Name, Arc<Lease>>,
    fabric: Fabric,
}

impl ToldNetworks {
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// Goes on from `older` to `world`. `vms` are those that the node is told of; `vms_changed` where they are others than before.
    pub fn step<'a>(
        &mut self,
        node: &Name,
        (older, world): (&World, &World),
        vms: impl Iterator<Item = &'a Arc<Vm>>,
        vms_changed: bool,
    ) -> NetworkNews {
        let all = world.nodes.get(node).is_some_and(|node| node.spec.role == NodeRole::Coordinator);
        let mut anew = std::mem::replace(&mut self.all, all) != all;
        if vms_changed || anew {
            let nics = vms.flat_map(|vm| &vm.spec.nics);
            let wanted = nics.filter_map(|nic| nic.attachment.network()).collect();
            anew |= self.wanted != wanted && !all;
            self.wanted = wanted;
        }
        let (networks, leases) = if all {
            (world.networks.clone(), world.leases.clone())
        } else if anew {
            self.looked_up(world)
        } else {
            self.gone_on(older, world)
        };
        let mut news = NetworkNews::default();
        diff(&self.networks, &networks, &mut news.networks, &mut news.networks_gone);
        diff(&self.leases, &leases, &mut news.leases, &mut news.leases_gone);
        (self.networks, self.leases) = (networks, leases);
        let fabric = || world.settings().fabric;
        if older.cluster != world.cluster && fabric() != self.fabric {
            self.fabric = fabric();
            news.fabric = Some(fabric());
        }
        news
    }

    /// The networks of a hypervisor's VMs, and their leases.
    fn looked_up(&self, world: &World) -> (OrdMap<Name, Arc<Network>>, OrdMap<Name, Arc<Lease>>) {
        let found = self.wanted.iter().filter_map(|vni| world.networks.get(&vni.name()));
        let networks = found.map(|network| (network.meta.name.clone(), Arc::clone(network))).collect();
        let leases = self.wanted.iter().flat_map(|vni| world.leases_of(*vni));
        (networks, leases.map(|lease| (lease.meta.name.clone(), Arc::clone(lease))).collect())
    }

    /// The same from what has changed: others' leases cost a look each, and the node's own nothing while they stay.
    fn gone_on(
        &self,
        older: &World,
        world: &World,
    ) -> (OrdMap<Name, Arc<Network>>, OrdMap<Name, Arc<Lease>>) {
        let (mut networks, mut leases) = (self.networks.clone(), self.leases.clone());
        for (name, network, now) in changes(&older.networks, &world.networks) {
            if self.wanted.contains(&network.vni) {
                put(&mut networks, name, now);
            }
        }
        for (name, lease, now) in changes(&older.leases, &world.leases) {
            if self.wanted.contains(&lease.network) {
                put(&mut leases, name, now);
            }
        }
        (networks, leases)
    }
}

/// Names of what differs, with an object of that name, and the one that there is now.
fn changes<'a, T: PartialEq>(
    older: &'a OrdMap<Name, Arc<T>>,
    newer: &'a OrdMap<Name, Arc<T>>,
) -> impl Iterator<Item = (&'a Name, &'a Arc<T>, Option<&'a Arc<T>>)> {
    older.diff(newer).map(|item| match item {
        DiffItem::Add(name, object) | DiffItem::Update { new: (name, object), .. } => {
            (name, object, Some(object))
        }
        DiffItem::Remove(name, object) => (name, object, None),
    })
}

fn put<T>(map: &mut OrdMap<Name, Arc<T>>, name: &Name, now: Option<&Arc<T>>) {
    match now {
        Some(now) => drop(map.insert(name.clone(), Arc::clone(now))),
        None => drop(map.remove(name)),
    }
}

fn diff<T: PartialEq>(
    told: &OrdMap<Name, Arc<T>>,
    now: &OrdMap<Name, Arc<T>>,
    changed: &mut Vec<Arc<T>>,
    gone: &mut Vec<Name>,
) {
    for (name, _, now) in changes(told, now) {
        match now {
            Some(now) => changed.push(Arc::clone(now)),
            None => gone.push(name.clone()),
        }
    }
}
