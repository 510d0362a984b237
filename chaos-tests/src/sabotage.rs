//! Breaking rules on purpose in a cluster that is well, to see that the checks notice.

use std::time::Duration;

use pvc_model::Command;
use pvc_model::vm::DiskBus;
use pvc_node::hypervisor::{EndReason, GuestSpec, Hypervisor, ResolvedDisk, Stamp, VirtType};
use pvc_node::storage::StorageDriver;

use crate::cluster::Shape;
use crate::dice::Dice;
use crate::net::{Net, Place};
use crate::script::{Outcome, Stage};
use crate::witness::Rule;
use crate::workload::{self, name};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A guest that runs is started on another host too.
    SecondStart,
    /// A write is acknowledged that nobody has made.
    LostWrite,
    /// A guest ends while the leader changes.
    RestlessElection,
    /// Somebody commits something again and again.
    Chatter,
    /// A host never comes back.
    DeadHost,
    /// The primary's address is put on a second host.
    SecondHolder,
}

impl Sabotage {
    pub const ALL: [Sabotage; 6] = [
        Sabotage::SecondStart,
        Sabotage::LostWrite,
        Sabotage::RestlessElection,
        Sabotage::Chatter,
        Sabotage::DeadHost,
        Sabotage::SecondHolder,
    ];

    /// The rule that it breaks.
    pub fn breaks(self) -> Rule {
        match self {
            Sabotage::SecondStart => Rule::OneWriter,
            Sabotage::LostWrite => Rule::NothingLost,
            Sabotage::RestlessElection => Rule::ElectionsAreQuiet,
            Sabotage::Chatter => Rule::IdleIsQuiet,
            Sabotage::DeadHost => Rule::Heals,
            Sabotage::SecondHolder => Rule::OneHolder,
        }
    }
}

/// A story in which nothing goes wrong but this.
pub async fn sabotaged(seed: u64, how: Option<Sabotage>) -> Outcome {
    let mut stage = Stage::set(&Shape::default(), seed, false).await;
    stage.start_guests(2).await;
    match how {
        None => {}
        Some(Sabotage::SecondStart) => second_start(&stage).await,
        Some(Sabotage::LostWrite) => {
            let write = workload::edit(&stage.cluster.world(), name("a"), stage.people.next());
            let vm = stage.cluster.world().vms[&name("a")].uid();
            stage.people.pretend(&write, vm);
        }
        Some(Sabotage::RestlessElection) => {
            let (guests, vm) =
                (stage.cluster.setting.guests.clone(), stage.cluster.world().vms[&name("a")].uid());
            let ending = async move {
                while guests.boots(vm) == 1 {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    guests.end_guest(vm, EndReason::Crashed);
                }
            };
            tokio::spawn(ending);
            stage.quiet_election(&Dice::new(seed, "sabotage")).await;
        }
        Some(Sabotage::Chatter) => drop(tokio::spawn(chatter(stage.cluster.setting.net.clone()))),
        Some(Sabotage::DeadHost) => stage.cluster.break_down(Place(4)),
        Some(Sabotage::SecondHolder) => second_holder(&stage),
    }
    stage.end().await
}

fn second_holder(stage: &Stage) {
    let world = stage.cluster.world();
    let Some(floating) = world.settings().floating else { return };
    let primary = world.primary().map(|role| role.node.clone());
    for place in stage.cluster.places().into_iter().filter(|place| Some(place.node()) != primary) {
        stage.cluster.setting.segment.leave_over(&place.node(), floating.clone());
    }
}

async fn second_start(stage: &Stage) {
    let world = stage.cluster.world();
    let vm = &world.vms[&name("a")];
    let guests = &stage.cluster.setting.guests;
    let volume = &world.volumes[&vm.spec.disks[0].volume];
    let Ok(source) = stage.cluster.setting.pool.attach(volume.meta.uid).await else { return };
    let disk =
        ResolvedDisk { volume: volume.meta.name.clone(), source, bus: DiskBus::Virtio, read_only: false };
    let idle = stage.cluster.places().into_iter().find(|place| !vm.placed_on(&place.node()));
    let spec = GuestSpec {
        uid: vm.uid(),
        name: name("a"),
        stamp: Stamp::default(),
        spec: vm.spec.clone(),
        disks: vec![disk],
        console_log: "/console/a.log".into(),
        virt_type: VirtType::Qemu,
    };
    if let Some(place) = idle {
        drop(guests.hypervisor(&place.node()).start(&spec).await);
    }
}

/// Changes a node back and forth, at whoever leads.
async fn chatter(net: Net) {
    let mut schedulable = true;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        schedulable = !schedulable;
        let name = Place(1).node();
        let command = Command::UpdateNode {
            name,
            schedulable: Some(schedulable),
            on_return: None,
            expected_revision: 0,
        };
        for (_, there) in net.endpoints() {
            drop(there.coordinator.submit(command.clone(), "admin/chatter", None).await);
        }
    }
}
