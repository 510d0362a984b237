//! A small cluster to test decisions on, and the two things that move it: commands and reports.

use crate::change::Object;
use crate::command::{
    Command, MigrationEvent, MigrationReport, NetworkCommand, VmReport, VolumeReport, decide,
};
use crate::context::Context;
use crate::event::happened;
use crate::name::{Name, Uid};
use crate::network::{NetworkKind, NetworkSpec, Vni};
use crate::node::{NodeFacts, NodeRole, Reachability};
use crate::rejection::Rejection;
use crate::task::{Task, TaskState};
use crate::time::Timestamp;
use crate::vm::*;
use crate::volume::VolumePhase;
use crate::world::World;

pub fn name(text: &str) -> Name {
    text.parse().unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

pub fn spec() -> VmSpec {
    VmSpec::new(1, 128)
}

pub fn disk(volume: &str, create_bytes: u64) -> Disk {
    Disk { volume: name(volume), bus: DiskBus::Virtio, read_only: false, create_bytes, pool: name("shared") }
}

/// Makes a bridged network of this number.
pub fn bridged_network(vni: Vni) -> Command {
    let kind = NetworkKind::Bridged { device: None };
    let spec = NetworkSpec { description: name(&format!("net-{vni}")), mtu: None, kind };
    Command::Network(Box::new(NetworkCommand::CreateNetwork { vni, spec: Box::new(spec) }))
}

/// A cluster whose log index is `world.revision`.
pub struct Cluster {
    pub world: World,
    pub now: u64,
    commands: u64,
    events: Vec<(Uid, String)>,
}

impl Cluster {
    /// Reachable nodes of 4 CPUs and 4096 MiB.
    pub fn of(nodes: &[&str]) -> Self {
        let mut cluster =
            Cluster { world: World::default(), now: 1_000_000, commands: 0, events: Vec::new() };
        for (index, node) in nodes.iter().enumerate() {
            let address = format!("192.0.2.{index}:7371");
            if index == 0 {
                cluster.ok(Command::FoundNode { name: name(node), address, member_id: 1 });
            } else {
                cluster.join(node, &address, NodeRole::Hypervisor).expect("joins");
            }
            cluster.ok(Command::SetReachability { node: name(node), reachability: Reachability::Reachable });
            let facts = NodeFacts { cpus: 4, memory_mib: 4096, ..NodeFacts::default() };
            cluster.ok(Command::Report {
                node: name(node),
                session: 1,
                vms: vec![],
                volumes: vec![],
                facts: Some(facts),
            });
        }
        cluster
    }

    /// Reachable coordinators that vote.
    pub fn of_coordinators(nodes: &[&str]) -> Self {
        let mut cluster = Cluster::of(&nodes[..1]);
        for (index, node) in nodes.iter().enumerate().skip(1) {
            cluster.join(node, &format!("192.0.2.{index}:7371"), NodeRole::Coordinator).expect("joins");
            cluster.ok(Command::SetReachability { node: name(node), reachability: Reachability::Reachable });
            let (vms, volumes, facts) = (vec![], vec![], Some(NodeFacts::default()));
            cluster.ok(Command::Report { node: name(node), session: 1, vms, volumes, facts });
        }
        cluster
    }

    pub fn join(&mut self, node: &str, address: &str, role: NodeRole) -> Result<(), Rejection> {
        let token = name(&format!("t-{node}"));
        self.ok(Command::CreateJoinToken {
            name: token.clone(),
            lifetime_seconds: 0,
            node: None,
            secret_hash: "hash".to_string(),
        });
        self.run(self.redeem(&token, node, address, role)).map(drop)
    }

    pub fn redeem(&self, token: &Name, node: &str, address: &str, role: NodeRole) -> Command {
        Command::RedeemJoinToken {
            token: token.clone(),
            secret_hash: "hash".to_string(),
            node: name(node),
            role,
            address: address.to_string(),
            key_hash: format!("key of {node}"),
            standby: false,
        }
    }

    /// Decides and applies; the number of objects changed.
    pub fn run(&mut self, command: Command) -> Result<usize, Rejection> {
        self.commands += 1;
        let mut context = Context::new(Timestamp(self.now), "admin/test", [self.commands, 7]);
        let changes = decide(&self.world, &command, &mut context)?;
        if !changes.is_empty() {
            let before = self.world.clone();
            self.world.apply(&changes, before.revision + 1);
            for told in happened(&before, &self.world, &changes) {
                let said =
                    told.said.into_iter().map(|said| (told.uid, format!("{}: {}", said.topic, said.text)));
                self.events.extend(said);
                if told.gone {
                    self.events.retain(|(uid, _)| *uid != told.uid);
                }
            }
        }
        Ok(changes.puts().len() + changes.deletes().len())
    }

    /// What has happened to it since it was asked last: "power: it is to run".
    pub fn events_of(&mut self, uid: Uid) -> Vec<String> {
        let (of, rest) = std::mem::take(&mut self.events).into_iter().partition(|(of, _)| *of == uid);
        self.events = rest;
        Vec::into_iter(of).map(|(_, text)| text).collect()
    }

    pub fn ok(&mut self, command: Command) -> usize {
        let shown = format!("{command:?}");
        self.run(command).unwrap_or_else(|r| panic!("{shown}: {r}"))
    }

    pub fn rule(&mut self, command: Command) -> &'static str {
        let shown = format!("{command:?}");
        match self.run(command) {
            Ok(_) => panic!("{shown}: was not refused"),
            Err(rejection) => rejection.rule,
        }
    }

    pub fn create(&mut self, vm: &str) {
        self.ok(Command::CreateVm { name: name(vm), spec: spec() });
    }

    pub fn vm(&self, vm: &str) -> Vm {
        Vm::clone(self.world.vm(&name(vm)).expect("the VM exists"))
    }

    /// The newest task about a VM or a volume.
    pub fn last_task(&self) -> Task {
        let newest = self.world.tasks.values().max_by_key(|t| (t.meta.revision, t.started));
        Task::clone(newest.expect("there is a task"))
    }

    pub fn task_of(&self, vm: &str) -> Task {
        let uid = self.vm(vm).uid();
        let about = self.world.tasks.values().filter(|t| t.subject.uid() == uid);
        Task::clone(about.max_by_key(|t| (t.meta.revision, t.started)).expect("there is a task"))
    }

    pub fn assert_task(&self, vm: &str, state: TaskState) {
        let task = self.task_of(vm);
        assert_eq!(task.state, state, "{task:?}");
        assert_eq!(self.vm(vm).task.is_some(), state == TaskState::Running);
    }

    /// The placed node says how it sees the guest, knowing the newest intent.
    pub fn sees(&mut self, vm: &str, phase: ObservedPhase) {
        let vm = self.vm(vm);
        let seen = vm.intent;
        self.sees_at(&vm.meta.name.to_string(), phase, seen);
    }

    pub fn sees_at(&mut self, vm: &str, phase: ObservedPhase, seen_intent: u64) {
        let vm = self.vm(vm);
        let placement = vm.placement.clone().expect("placed");
        let on = phase == ObservedPhase::Running;
        let observed = Observed {
            node: placement.node.clone(),
            epoch: placement.epoch,
            phase,
            reason: if phase == ObservedPhase::Failed { "it crashed 6 times".into() } else { String::new() },
            seen_intent,
            boot_generation: vm.boot_generation,
            spec_generation: if on { vm.spec_generation } else { 0 },
            restarts: 0,
            since: Timestamp(0),
        };
        let report = VmReport { uid: vm.uid(), observed: Some(observed), migration: None };
        self.ok(Command::Report {
            session: self.session(&placement.node),
            node: placement.node,
            vms: vec![report],
            volumes: vec![],
            facts: None,
        });
    }

    /// Of the node's daemon as it runs now.
    fn session(&self, node: &Name) -> u64 {
        self.world.nodes[node].status.session
    }

    pub fn tells(&mut self, node: &str, vm: &str, event: MigrationEvent) {
        let vm = self.vm(vm);
        let task = vm.migration.as_ref().map(|m| m.task.clone()).expect("migrating");
        let word = MigrationReport {
            task,
            event,
            address: "192.0.2.9".into(),
            error: "no memory".into(),
            cost: "paused for 84 ms".into(),
        };
        let report = VmReport { uid: vm.uid(), observed: None, migration: Some(word) };
        self.ok(Command::Report {
            node: name(node),
            session: self.session(&name(node)),
            vms: vec![report],
            volumes: vec![],
            facts: None,
        });
    }

    pub fn running(&mut self, vm: &str, node: &str) {
        self.create(vm);
        self.running_as_made(vm, node);
    }

    /// Starts a VM that is there.
    pub fn running_as_made(&mut self, vm: &str, node: &str) {
        self.ok(Command::StartVm { name: name(vm), node: Some(name(node)) });
        self.sees(vm, ObservedPhase::Running);
        self.assert_task(vm, TaskState::Succeeded);
    }

    /// Every volume with work gets it done by its worker.
    pub fn work_volumes(&mut self) {
        let busy: Vec<_> = self.world.volumes.values().filter(|v| v.has_work()).cloned().collect();
        for volume in busy {
            let worker = volume.status.worker.clone().expect("has a worker");
            let mut status = volume.status.clone();
            let deleted = status.phase == VolumePhase::Deleting;
            status.phase = VolumePhase::Ready;
            status.size_bytes = volume.spec.size_bytes;
            status.snapshots.retain(|s| !s.deleting);
            status.snapshots.iter_mut().for_each(|s| s.ready = true);
            let report =
                VolumeReport { name: volume.meta.name.clone(), uid: volume.meta.uid, status, deleted };
            self.ok(Command::Report {
                node: worker,
                session: 1,
                vms: vec![],
                volumes: vec![report],
                facts: None,
            });
        }
    }

    pub fn unreachable(&mut self, node: &str) {
        self.ok(Command::SetReachability { node: name(node), reachability: Reachability::Unreachable });
    }

    /// "hv1: a b | hv2:": which VMs are placed where.
    pub fn map(&self) -> String {
        let line = |node: &Name| {
            let vms: Vec<_> = self.world.vms_placed_on(node).map(|v| v.meta.name.to_string()).collect();
            format!("{node}: {}", vms.join(" ")).trim_end().to_string()
        };
        self.world.nodes.keys().map(line).collect::<Vec<_>>().join(" | ")
    }

    pub fn put(&mut self, object: Object) {
        self.world.put(object);
    }
}
