//! The cluster as a value: every object, by name, at one revision. Clones in O(1).

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::Revision;
use crate::change::{Changes, Collection, Object, ObjectKey};
use crate::cluster::{Cluster, ClusterSpec};
use crate::fault::Fault;
use crate::fence::Brake;
use crate::mac::Mac;
use crate::name::{Name, Uid};
use crate::network::lease::Lease;
use crate::network::{Network, Vni};
use crate::node::Node;
use crate::primary::Primary;
use crate::rejection::Rejection;
use crate::rule::Rule;
use crate::task::Task;
use crate::token::Token;
use crate::vm::Vm;
use crate::volume::Volume;

#[derive(Clone, Debug, Default)]
pub struct World {
    pub revision: Revision,
    pub nodes: OrdMap<Name, Arc<Node>>,
    pub vms: OrdMap<Name, Arc<Vm>>,
    pub volumes: OrdMap<Name, Arc<Volume>>,
    pub tasks: OrdMap<Name, Arc<Task>>,
    pub tokens: OrdMap<Name, Arc<Token>>,
    pub faults: OrdMap<Name, Arc<Fault>>,
    pub rules: OrdMap<Name, Arc<Rule>>,
    /// Client networks, by their numbers in decimal.
    pub networks: OrdMap<Name, Arc<Network>>,
    /// Those of one network stand together: see [`World::leases_of`].
    pub leases: OrdMap<Name, Arc<Lease>>,
    /// None: all as it is from the beginning.
    pub cluster: Option<Arc<Cluster>>,
    vm_names: OrdMap<Uid, Name>,
    /// Volume → the VM that has it as a disk.
    volume_users: OrdMap<Name, Name>,
    /// Address → the VM that has a NIC with it.
    mac_users: OrdMap<Mac, Name>,
    /// Network → the VMs that have a NIC on it.
    network_users: OrdMap<Vni, OrdSet<Name>>,
    /// Tasks that are not over: few, while ended ones are thousands.
    running_tasks: OrdMap<Name, ()>,
    /// VMs that lost their node and wait for another.
    waiting_vms: OrdMap<Name, ()>,
}

impl World {
    pub fn put(&mut self, object: Object) {
        match object {
            Object::Node(o) => drop(self.nodes.insert(o.meta.name.clone(), Arc::new(o))),
            Object::Vm(o) => self.put_vm(o),
            Object::Volume(o) => drop(self.volumes.insert(o.meta.name.clone(), Arc::new(o))),
            Object::Task(o) => {
                if o.is_over() {
                    self.running_tasks.remove(&o.meta.name);
                } else {
                    self.running_tasks.insert(o.meta.name.clone(), ());
                }
                self.tasks.insert(o.meta.name.clone(), Arc::new(o));
            }
            Object::Token(o) => drop(self.tokens.insert(o.meta.name.clone(), Arc::new(o))),
            Object::Fault(o) => drop(self.faults.insert(o.meta.name.clone(), Arc::new(o))),
            Object::Cluster(o) => self.cluster = Some(Arc::new(o)),
            Object::Rule(o) => drop(self.rules.insert(o.meta.name.clone(), Arc::new(o))),
            Object::Network(o) => drop(self.networks.insert(o.meta.name.clone(), Arc::new(o))),
            Object::Lease(o) => drop(self.leases.insert(o.meta.name.clone(), Arc::new(o))),
        }
    }

    fn put_vm(&mut self, vm: Vm) {
        self.forget_vm(&vm.meta.name.clone());
        let name = vm.meta.name.clone();
        self.vm_names.insert(vm.meta.uid, name.clone());
        for disk in &vm.spec.disks {
            self.volume_users.insert(disk.volume.clone(), name.clone());
        }
        for nic in &vm.spec.nics {
            if let Some(mac) = nic.mac {
                self.mac_users.insert(mac, name.clone());
            }
            if let Some(vni) = nic.attachment.network() {
                self.network_users.entry(vni).or_default().insert(name.clone());
            }
        }
        if vm.waits.is_some() {
            self.waiting_vms.insert(name.clone(), ());
        }
        self.vms.insert(name, Arc::new(vm));
    }

    fn forget_vm(&mut self, name: &Name) {
        let Some(old) = self.vms.remove(name) else { return };
        self.waiting_vms.remove(name);
        // A rename puts the new name first or last; only what still points to the old name goes.
        if self.vm_names.get(&old.meta.uid) == Some(name) {
            self.vm_names.remove(&old.meta.uid);
        }
        for disk in &old.spec.disks {
            if self.volume_users.get(&disk.volume) == Some(name) {
                self.volume_users.remove(&disk.volume);
            }
        }
        for nic in &old.spec.nics {
            if let Some(mac) = nic.mac.filter(|mac| self.mac_users.get(mac) == Some(name)) {
                self.mac_users.remove(&mac);
            }
            if let Some(vni) = nic.attachment.network() {
                let users = self.network_users.entry(vni).or_default();
                users.remove(name);
                if users.is_empty() {
                    self.network_users.remove(&vni);
                }
            }
        }
    }

    pub fn delete(&mut self, key: &ObjectKey) {
        match key.collection {
            Collection::Nodes => drop(self.nodes.remove(&key.name)),
            Collection::Vms => self.forget_vm(&key.name),
            Collection::Volumes => drop(self.volumes.remove(&key.name)),
            Collection::Tasks => {
                self.running_tasks.remove(&key.name);
                self.tasks.remove(&key.name);
            }
            Collection::Tokens => drop(self.tokens.remove(&key.name)),
            Collection::Faults => drop(self.faults.remove(&key.name)),
            Collection::Cluster => self.cluster = None,
            Collection::Rules => drop(self.rules.remove(&key.name)),
            Collection::Networks => drop(self.networks.remove(&key.name)),
            Collection::Leases => drop(self.leases.remove(&key.name)),
        }
    }

    /// The world as it will be once `changes` are committed at `revision`.
    pub fn apply(&mut self, changes: &Changes, revision: Revision) {
        for key in changes.deletes() {
            self.delete(key);
        }
        for object in changes.puts() {
            let mut object = object.clone();
            match &mut object {
                Object::Node(o) => o.meta.revision = revision,
                Object::Vm(o) => o.meta.revision = revision,
                Object::Volume(o) => o.meta.revision = revision,
                Object::Task(o) => o.meta.revision = revision,
                Object::Token(o) => o.meta.revision = revision,
                Object::Fault(o) => o.meta.revision = revision,
                Object::Cluster(o) => o.meta.revision = revision,
                Object::Rule(o) => o.meta.revision = revision,
                Object::Network(o) => o.meta.revision = revision,
                Object::Lease(o) => o.meta.revision = revision,
            }
            self.put(object);
        }
        self.revision = revision;
    }

    pub fn node(&self, name: &Name) -> Result<&Arc<Node>, Rejection> {
        self.nodes.get(name).ok_or_else(|| Rejection::not_found(format!("node/{name}")))
    }

    pub fn vm(&self, name: &Name) -> Result<&Arc<Vm>, Rejection> {
        self.vms.get(name).ok_or_else(|| Rejection::not_found(format!("vm/{name}")))
    }

    pub fn vm_by_uid(&self, uid: Uid) -> Option<&Arc<Vm>> {
        self.vm_names.get(&uid).and_then(|name| self.vms.get(name))
    }

    pub fn volume(&self, name: &Name) -> Result<&Arc<Volume>, Rejection> {
        self.volumes.get(name).ok_or_else(|| Rejection::not_found(format!("volume/{name}")))
    }

    pub fn rule(&self, name: &Name) -> Result<&Arc<Rule>, Rejection> {
        self.rules.get(name).ok_or_else(|| Rejection::not_found(format!("affinity/{name}")))
    }

    /// A network by its number, or by what people call it: that is never a number.
    pub fn network(&self, name: &Name) -> Result<&Arc<Network>, Rejection> {
        let called = || self.networks.values().find(|network| network.spec.description == *name);
        let found = self.networks.get(name).or_else(called);
        found.ok_or_else(|| Rejection::not_found(format!("network/{name}")))
    }

    /// What was lent in a network.
    pub fn leases_of(&self, vni: Vni) -> impl Iterator<Item = &Arc<Lease>> {
        // Each hexadecimal address begins with 0 or what comes after it.
        let first = Lease::name(vni, std::net::Ipv4Addr::UNSPECIFIED.into());
        let of_it = move |lease: &&Arc<Lease>| lease.network == vni;
        self.leases.range(first..).map(|(_, lease)| lease).take_while(of_it)
    }

    pub fn task(&self, name: &Name) -> Result<&Arc<Task>, Rejection> {
        self.tasks.get(name).ok_or_else(|| Rejection::not_found(format!("task/{name}")))
    }

    /// The cluster's settings.
    pub fn settings(&self) -> ClusterSpec {
        self.cluster.as_ref().map(|cluster| cluster.spec.clone()).unwrap_or_default()
    }

    /// Rises with each restore of a backup and each recovery from a lost quorum.
    pub fn incarnation(&self) -> u64 {
        self.cluster.as_ref().map_or(0, |cluster| cluster.status.incarnation)
    }

    /// The feature level at which the cluster is.
    pub fn level(&self) -> u32 {
        self.cluster.as_ref().map_or(0, |cluster| cluster.status.level).max(crate::feature::FIRST)
    }

    /// Whether nodes are fenced and VMs recovered without a person.
    pub fn is_armed(&self) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| cluster.status.disarmed.is_none())
    }

    /// The storm brake, while it holds.
    pub fn brake(&self) -> Option<&Brake> {
        self.cluster.as_ref()?.status.brake.as_ref().filter(|brake| brake.holds())
    }

    /// Who carries the single-holder services.
    pub fn primary(&self) -> Option<&Primary> {
        self.cluster.as_ref().and_then(|cluster| cluster.status.primary.as_ref())
    }

    /// Whether it is known where the VM's guest is. After a restore or a recovery it is not, until the
    /// nodes have counted their guests: no node is told of the VM before.
    pub fn is_confirmed(&self, vm: &Vm) -> bool {
        vm.confirmed >= self.incarnation()
    }

    /// Nodes whose count of their guests is waited for.
    pub fn awaits(&self, node: &Name) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster.status.awaited.contains(node))
    }

    /// The VM that has this volume as a disk.
    pub fn volume_user(&self, volume: &Name) -> Option<&Name> {
        self.volume_users.get(volume)
    }

    /// The VM that has a NIC with this address.
    pub fn mac_user(&self, mac: Mac) -> Option<&Name> {
        self.mac_users.get(&mac)
    }

    /// VMs that have a NIC on this network, in order of their names.
    pub fn network_users(&self, network: Vni) -> Vec<Name> {
        self.network_users.get(&network).map(|users| users.iter().cloned().collect()).unwrap_or_default()
    }

    pub fn running_tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.running_tasks.keys().filter_map(|name| self.tasks.get(name))
    }

    /// VMs that lost their node and wait for another.
    pub fn waiting_vms(&self) -> impl Iterator<Item = &Arc<Vm>> {
        self.waiting_vms.keys().filter_map(|name| self.vms.get(name))
    }

    pub fn vms_placed_on<'a>(&'a self, node: &'a Name) -> impl Iterator<Item = &'a Arc<Vm>> {
        self.vms.values().filter(move |vm| vm.placed_on(node))
    }
}
