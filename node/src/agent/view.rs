//! The part of the world that concerns this node, as the assignments told it.

use std::collections::BTreeMap;
use std::sync::Arc;

use pvc_model::network::Network;
use pvc_model::network::fabric::Fabric;
use pvc_model::network::lease::Lease;
use pvc_model::nic::Nic;
use pvc_model::primary::{Floating, Primary};
use pvc_model::volume::VolumePhase;
use pvc_model::{Name, Node, Revision, Uid, Vm, Volume};

use super::link::Assignments;
use crate::hypervisor::GuestNic;

#[derive(Clone, Debug, Default)]
pub struct NodeView {
    pub revision: Revision,
    pub vms: BTreeMap<Uid, Vm>,
    volumes: BTreeMap<Uid, Volume>,
    pub node: Option<Node>,
    /// Of the cluster.
    pub incarnation: u64,
    /// The node is to count its guests.
    pub count_guests: bool,
    pub primary: Option<Primary>,
    pub floating: Option<Floating>,
    /// All coordinators with the addresses of their daemons.
    pub coordinators: Vec<(Name, String)>,
    /// All hypervisors with theirs; none on a hypervisor.
    pub hypervisors: Vec<(Name, String)>,
    /// Client networks: on a coordinator all, on a hypervisor those of its guests.
    pub networks: BTreeMap<Name, Arc<Network>>,
    /// What was lent in them.
    pub leases: BTreeMap<Name, Arc<Lease>>,
    pub fabric: Fabric,
    /// This daemon's own; 0: it has none yet.
    pub session: u64,
}

impl NodeView {
    pub fn take(&mut self, told: Assignments) {
        if told.full {
            let (node, session) = (self.node.take(), self.session);
            *self = NodeView { node, session, ..NodeView::default() };
        }
        for uid in &told.vms_gone {
            self.vms.remove(uid);
        }
        for uid in &told.volumes_gone {
            self.volumes.remove(uid);
        }
        self.vms.extend(told.vms.into_iter().map(|vm| (vm.uid(), vm)));
        self.volumes.extend(told.volumes.into_iter().map(|v| (v.meta.uid, v)));
        if told.node.is_some() {
            self.node = told.node;
        }
        if let Some(role) = told.primary {
            (self.primary, self.floating) = (role.primary, role.floating);
        }
        if let Some(coordinators) = told.coordinators {
            self.coordinators = coordinators;
        }
        if let Some(hypervisors) = told.hypervisors {
            self.hypervisors = hypervisors;
        }
        for name in &told.networks_gone {
            self.networks.remove(name);
        }
        for name in &told.leases_gone {
            self.leases.remove(name);
        }
        let by_name = told.networks.into_iter().map(|network| (network.meta.name.clone(), Arc::new(network)));
        self.networks.extend(by_name);
        self.leases.extend(told.leases.into_iter().map(|lease| (lease.meta.name.clone(), Arc::new(lease))));
        if let Some(fabric) = told.fabric {
            self.fabric = fabric;
        }
        self.revision = told.revision;
        self.incarnation = told.incarnation;
        self.count_guests = told.count_guests;
    }

    pub fn volume(&self, name: &Name) -> Option<&Volume> {
        self.volumes.values().find(|v| v.meta.name == *name)
    }

    pub fn volumes(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.values()
    }

    /// The VM's NICs as its guest is to have them.
    pub fn guest_nics(&self, vm: &Vm) -> Vec<GuestNic> {
        let mtu = |nic: &Nic| self.networks.get(&nic.attachment.network()?.name())?.spec.mtu;
        vm.spec.nics.iter().filter_map(|nic| GuestNic::of(nic, mtu(nic))).collect()
    }

    /// Why the VM's volumes can't be used yet; empty when they can.
    pub fn volumes_wait(&self, vm: &Vm) -> String {
        for disk in &vm.spec.disks {
            let name = &disk.volume;
            match self.volume(name).map(|v| (v.status.phase, &v.status.reason)) {
                Some((VolumePhase::Ready, _)) => {}
                Some((VolumePhase::Creating, _)) => return format!("volume {name} is being made"),
                Some((VolumePhase::Deleting, _)) => return format!("volume {name} is being deleted"),
                Some((VolumePhase::Failed, why)) => return format!("volume {name} could not be made: {why}"),
                None => return format!("volume {name} is not known here yet"),
            }
        }
        String::new()
    }
}
