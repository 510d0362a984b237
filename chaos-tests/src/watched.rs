//! A hypervisor with an onlooker: every start is checked against the onlooker's own book of leases before
//! it is passed on.

use async_trait::async_trait;
use pvc_model::Uid;
use pvc_model::vm::Mac;
use pvc_node::hypervisor::fake::FakeHypervisor;
use pvc_node::hypervisor::{
    Console, Ending, Guest, GuestNic, GuestSpec, HostFacts, Hypervisor, HypervisorError, LiveNic,
    MigrateError, MigrationOrder, MigrationProgress, MigrationReport, NicPort, Stamp,
};
use pvc_node::storage::DiskSource;
use raft_store::Pause;
use tokio::sync::watch;

use crate::link::LeaseBook;
use crate::net::Place;
use crate::witness::{Rule, Witness};

pub struct Watched {
    pub inner: FakeHypervisor,
    pub here: Place,
    pub lease: LeaseBook,
    pub witness: Witness,
    /// By which its daemon is stopped: then nothing it has begun to ask reaches the hypervisor.
    pub pause: Pause,
}

#[async_trait]
impl Hypervisor for Watched {
    async fn guests(&self) -> Result<Vec<Guest>, HypervisorError> {
        self.pause.hold(self.inner.guests()).await
    }

    fn endings(&self) -> Vec<Ending> {
        self.inner.endings()
    }

    async fn start(&self, spec: &GuestSpec) -> Result<(), HypervisorError> {
        if !self.lease.is_valid() {
            let what = format!("{} starts guest {} without a lease", self.here, spec.name);
            self.witness.accuse(Rule::LeaseToStart, what);
        }
        self.pause.hold(self.inner.start(spec)).await
    }

    async fn power_button(&self, uid: Uid) -> Result<(), HypervisorError> {
        self.pause.hold(self.inner.power_button(uid)).await
    }

    async fn power_off(&self, uid: Uid) -> Result<(), HypervisorError> {
        self.pause.hold(self.inner.power_off(uid)).await
    }

    async fn stamp(&self, uid: Uid, stamp: Stamp) -> Result<(), HypervisorError> {
        self.pause.hold(self.inner.stamp(uid, stamp)).await
    }

    async fn disk_grown(&self, uid: Uid, disk: &DiskSource, size_bytes: u64) -> Result<(), HypervisorError> {
        self.pause.hold(self.inner.disk_grown(uid, disk, size_bytes)).await
    }

    fn has_bridge(&self, bridge: &str) -> bool {
        self.inner.has_bridge(bridge)
    }

    async fn nics(&self, uid: Uid) -> Result<Vec<LiveNic>, HypervisorError> {
        self.pause.hold(self.inner.nics(uid)).await
    }

    async fn attach_nic(&self, uid: Uid, nic: &GuestNic) -> Result<(), HypervisorError> {
        self.pause.hold(self.inner.attach_nic(uid, nic)).await
    }

    async fn update_nic(&self, uid: Uid, port: &NicPort) -> Result<(), HypervisorError> {
        self.pause.hold(self.inner.update_nic(uid, port)).await
    }

    async fn detach_nic(&self, uid: Uid, mac: Mac) -> Result<(), HypervisorError> {
        self.pause.hold(self.inner.detach_nic(uid, mac)).await
    }

    async fn migrate(&self, uid: Uid, order: &MigrationOrder) -> Result<MigrationReport, MigrateError> {
        self.pause.hold(self.inner.migrate(uid, order)).await
    }

    async fn migration_progress(&self, uid: Uid) -> Result<Option<MigrationProgress>, HypervisorError> {
        self.pause.hold(self.inner.migration_progress(uid)).await
    }

    async fn cancel_migration(&self, uid: Uid) -> Result<(), HypervisorError> {
        self.pause.hold(self.inner.cancel_migration(uid)).await
    }

    async fn console(&self, uid: Uid, take_over: bool) -> Result<Box<dyn Console>, HypervisorError> {
        self.pause.hold(self.inner.console(uid, take_over)).await
    }

    async fn xml(&self, uid: Uid) -> Result<String, HypervisorError> {
        self.pause.hold(self.inner.xml(uid)).await
    }

    async fn facts(&self) -> Result<HostFacts, HypervisorError> {
        self.pause.hold(self.inner.facts()).await
    }

    fn wakeups(&self) -> watch::Receiver<u64> {
        self.inner.wakeups()
    }
}
