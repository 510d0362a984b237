//! Breaking rules on purpose in a cluster that is well, to see that the checks notice.

use std::time::Duration;

use pvc_model::Command;
use pvc_model::fence::ProofKind;
use pvc_model::node::Reachability;
use pvc_model::vm::DiskBus;
use pvc_node::hypervisor::{EndReason, GuestSpec, Hypervisor, ResolvedDisk, Stamp, VirtType};
use pvc_node::storage::StorageDriver;

use crate::boards::bmc_address;
use crate::dice::Dice;
use crate::guard::Manner;
use crate::net::{Net, Place};
use crate::script::{Outcome, Stage};
use crate::shape::Shape;
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
    /// A proof is accepted for a host that has its power, and runs its guests.
    EarlyProof,
    /// An administrator says of such a host that it is off.
    FalseWord,
    /// A heartbeat is acknowledged while its node is being fenced.
    LeaseWhileFenced,
    /// A host's guard is relied upon, and does not strike.
    DeafGuard,
    /// The leader waits for less than the guard takes.
    HastyWait,
    /// The leader does not wait for the guard at all.
    NoWait,
    /// A node that is heard, and has its lease, is given up.
    GivenUp,
    /// Somebody who watches all changes is not told of one.
    DeafWatch,
    /// A task panics.
    Panic,
}

impl Sabotage {
    pub const ALL: [Sabotage; 15] = [
        Sabotage::SecondStart,
        Sabotage::LostWrite,
        Sabotage::RestlessElection,
        Sabotage::Chatter,
        Sabotage::DeadHost,
        Sabotage::SecondHolder,
        Sabotage::EarlyProof,
        Sabotage::FalseWord,
        Sabotage::LeaseWhileFenced,
        Sabotage::DeafGuard,
        Sabotage::HastyWait,
        Sabotage::NoWait,
        Sabotage::GivenUp,
        Sabotage::DeafWatch,
        Sabotage::Panic,
    ];

    /// The rule that it breaks.
    pub fn breaks(self) -> Rule {
        match self {
            Sabotage::SecondStart | Sabotage::EarlyProof | Sabotage::FalseWord => Rule::OneWriter,
            Sabotage::DeafGuard | Sabotage::HastyWait | Sabotage::NoWait => Rule::OneWriter,
            Sabotage::LeaseWhileFenced => Rule::NoFalseFence,
            Sabotage::GivenUp => Rule::GraceOutlastsLease,
            Sabotage::DeafWatch => Rule::SameHistory,
            Sabotage::Panic => Rule::NobodyGivesUp,
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
    let guards = matches!(how, Some(Sabotage::DeafGuard | Sabotage::HastyWait | Sabotage::NoWait));
    let shape = Shape { bmcs: how == Some(Sabotage::LeaseWhileFenced), guards, ..Shape::default() };
    let mut stage = Stage::set(&shape, seed, false).await;
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
        Some(Sabotage::GivenUp) => {
            let (node, reachability) = (Place(4).node(), Reachability::Unreachable);
            stage.cluster.decree(Command::SetReachability { node, reachability }).await;
        }
        Some(Sabotage::DeafWatch) => {
            stage.onlook(true);
            // Of two changes the first is missed: the second shows it.
            for place in [Place(4), Place(3)] {
                stage.cluster.pass(Duration::from_secs(1)).await;
                let (name, schedulable) = (place.node(), Some(false));
                let (on_return, on_shutdown, isolation) = (None, None, None);
                let change = Command::UpdateNode {
                    name,
                    schedulable,
                    on_return,
                    on_shutdown,
                    isolation,
                    expected_revision: 0,
                };
                stage.cluster.decree(change).await;
            }
            stage.cluster.pass(Duration::from_secs(1)).await;
        }
        Some(Sabotage::Panic) => {
            drop(tokio::spawn(async { fall() }).await);
        }
        Some(how) => while_fenced(&mut stage, how).await,
    }
    stage.end().await
}

fn fall() {
    panic!("on purpose");
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
        nics: vec![],
        console_log: "/console/a.log".into(),
        virt_type: VirtType::Qemu,
    };
    if let Some(place) = idle {
        drop(guests.hypervisor(&place.node()).start(&spec).await);
    }
}

/// The host of a guest is cut off, and the rule is broken as soon as it is being fenced.
async fn while_fenced(stage: &mut Stage, how: Sabotage) {
    let cluster = &mut stage.cluster;
    let placed = cluster.world().vms[&name("a")].placement.clone();
    let Some(place) = placed.and_then(|placement| Place::of_node(&placement.node)) else { return };
    match how {
        Sabotage::DeafGuard => cluster.set_guard(place, Manner::Deaf),
        Sabotage::HastyWait => cluster.set_guard(place, Manner::Hasty),
        _ => {}
    }
    // A guard that tells something else than before is believed anew.
    cluster.pass(Duration::from_secs(3)).await;
    cluster.setting.boards.bmcs.slow(&bmc_address(place), Duration::from_secs(3));
    cluster.setting.net.part(&[place], &cluster.places());
    let node = place.node();
    let epoch = loop {
        cluster.pass(Duration::from_millis(100)).await;
        let leader = cluster.leader().filter(|(leading, _)| *leading != place);
        let Some((_, leader)) = leader else { continue };
        if let Some(fence) = leader.world().nodes[&node].status.fence.clone() {
            break fence.epoch;
        }
    };
    match how {
        Sabotage::EarlyProof => {
            cluster.decree(Command::AcceptProof { node, epoch, kind: ProofKind::Power }).await;
        }
        Sabotage::NoWait => {
            cluster.decree(Command::AcceptProof { node, epoch, kind: ProofKind::Lease }).await;
        }
        Sabotage::DeafGuard | Sabotage::HastyWait => {}
        Sabotage::FalseWord => {
            cluster.decree(Command::FenceNode { name: node, confirmed_off: true, force: false }).await;
        }
        _ => {
            let lease = cluster.setting.leases.lock().get(&place).cloned();
            let acknowledged = async move {
                while let Some(lease) = &lease {
                    lease.acknowledged(tokio::time::Instant::now());
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            };
            tokio::spawn(acknowledged);
        }
    }
    cluster.pass(Duration::from_secs(20)).await;
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
            on_shutdown: None,
            isolation: None,
            expected_revision: 0,
        };
        for (_, there) in net.endpoints() {
            drop(there.coordinator.submit(command.clone(), "admin/chatter", None).await);
        }
    }
}
