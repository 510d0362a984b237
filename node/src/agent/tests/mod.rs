//! The agent against fake hypervisors and a leader that is nothing but `pvc_model::decide`.

mod adopting;
mod deciding;
mod guests;
pub mod leader;
mod leaving;
mod moving;
mod nics;
mod random;
mod starts;
mod volumes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pvc_model::command::Command;
use pvc_model::node::NetworkHealth;
use pvc_model::phase::{VmPhase, vm_phase};
use pvc_model::task::{Task, TaskState};
use pvc_model::vm::VmSpec;
use pvc_model::{Name, Rejection, Vm};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::heartbeat::{InTask, LoadSource};
use super::incarnation::Incarnation;
use super::lease::Lease;
use super::volumes::Pools;
use super::{Agent, AgentError, Parts, Settings};
use crate::hypervisor::fake::{FakeWorld, Timing};
use crate::leave;
use crate::storage::fake::FakeStorage;
use leader::Leader;

pub fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

pub fn spec() -> VmSpec {
    VmSpec { max_restarts: 2, shutdown_grace_seconds: 30, ..VmSpec::new(1, 128) }
}

pub struct NoLoad;

impl LoadSource for NoLoad {
    fn load(&self) -> (f64, u64) {
        (0.0, 0)
    }
}

/// An agent's, on a host without pools.
pub fn parts(leader: &Leader, hosts: &FakeWorld, me: &Name, lease: Lease) -> Parts {
    Parts {
        me: me.clone(),
        link: Arc::new(leader.link(me)),
        hypervisor: Arc::new(hosts.hypervisor(me)),
        pools: Pools::new(),
        load: Arc::new(NoLoad),
        beat: Arc::new(InTask),
        lease,
        incarnation: Incarnation::default(),
        settings: Settings::simulated("address"),
        network_health: watch::channel(NetworkHealth::default()).1,
        request_id: Arc::new(String::new),
    }
}

/// Hosts with their agents, below one leader.
pub struct Lab {
    pub leader: Leader,
    pub hosts: FakeWorld,
    pub pool: Arc<FakeStorage>,
    nodes: Vec<Name>,
    agents: Vec<Option<JoinHandle<AgentError>>>,
    /// With which each daemon leaves when its host is shut down.
    ways: Vec<Option<leave::Parts>>,
}

impl Lab {
    pub async fn of(nodes: &[&str]) -> Lab {
        let hosts = FakeWorld::new(Timing::default());
        let leader = Leader::new();
        let nodes: Vec<Name> = nodes.iter().map(|n| name(n)).collect();
        for node in &nodes {
            hosts.add_host(node, &format!("address-of-{node}"));
            leader.enrol(node);
        }
        let pool = Arc::new(FakeStorage::new(name("shared"), 10 << 30));
        let agents = nodes.iter().map(|_| None).collect();
        let ways = nodes.iter().map(|_| None).collect();
        let mut lab = Lab { leader, hosts, pool, nodes, agents, ways };
        for index in 0..lab.nodes.len() {
            lab.boot_agent(index);
        }
        lab.pass(2.0).await;
        lab
    }

    pub fn boot_agent(&mut self, index: usize) {
        static DRAWN: AtomicU64 = AtomicU64::new(0);
        let me = self.nodes[index].clone();
        let mut pools = Pools::new();
        pools.insert(name("shared"), self.pool.clone());
        let parts = Parts {
            pools,
            settings: Settings::simulated(format!("address-of-{me}")),
            network_health: watch::channel(NetworkHealth::default()).1,
            request_id: Arc::new(|| DRAWN.fetch_add(1, Ordering::Relaxed).to_string()),
            ..parts(&self.leader, &self.hosts, &me, Lease::default())
        };
        let (me, link, lease) = (parts.me.clone(), parts.link.clone(), parts.lease.clone());
        let (agent, view) = Agent::new(parts);
        self.ways[index] = Some(leave::Parts { me, link, lease, view, within: leave::HOLD_UP });
        self.agents[index] = Some(tokio::spawn(agent.run()));
    }

    /// What the daemon does first when its host is shut down.
    pub fn leave(&mut self, index: usize) -> JoinHandle<leave::Left> {
        tokio::spawn(leave::leave(self.ways[index].take().expect("it runs")))
    }

    /// As kill -9 does: everything that the daemon had in its hands is dropped.
    pub fn kill_agent(&mut self, index: usize) {
        if let Some(agent) = self.agents[index].take() {
            agent.abort();
        }
    }

    /// Lets virtual time pass, and looks at every instant of it that the disks have one writer.
    pub async fn pass(&self, seconds: f64) {
        let end = tokio::time::Instant::now() + Duration::from_secs_f64(seconds);
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.assert_one_writer();
        }
    }

    pub fn assert_one_writer(&self) {
        for (uid, writers) in self.hosts.all_writers() {
            assert!(writers.len() <= 1, "guest {uid} is written by {writers:?}");
        }
    }

    pub fn ask(&self, command: Command) -> Result<(), Rejection> {
        self.leader.submit(command).map(drop)
    }

    pub fn ok(&self, command: Command) {
        let shown = format!("{command:?}");
        self.ask(command).unwrap_or_else(|r| panic!("{shown}: {r}"));
    }

    pub fn create(&self, vm: &str) {
        self.ok(Command::CreateVm { name: name(vm), spec: spec() });
    }

    pub async fn running(&self, vm: &str, node: &str) {
        self.create(vm);
        self.ok(Command::StartVm { name: name(vm), node: Some(name(node)) });
        self.pass(2.0).await;
        assert_eq!(self.phase(vm), VmPhase::Running);
    }

    pub fn vm(&self, vm: &str) -> Vm {
        Vm::clone(self.leader.world().vm(&name(vm)).expect("the VM exists"))
    }

    pub fn phase(&self, vm: &str) -> VmPhase {
        let world = self.leader.world();
        vm_phase(&world, world.vm(&name(vm)).expect("the VM exists")).0
    }

    pub fn reason(&self, vm: &str) -> String {
        let world = self.leader.world();
        vm_phase(&world, world.vm(&name(vm)).expect("the VM exists")).1
    }

    /// The newest task.
    pub fn task(&self) -> Task {
        let world = self.leader.world();
        let newest = world.tasks.values().max_by_key(|t| (t.started, t.meta.revision));
        Task::clone(newest.expect("there is a task"))
    }

    pub fn assert_task(&self, state: TaskState) {
        let task = self.task();
        assert_eq!(task.state, state, "{task:?}");
    }

    /// "hv1", where the guest writes now.
    pub fn writer(&self, vm: &str) -> String {
        let writers = self.hosts.writers(self.vm(vm).uid());
        writers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    pub fn boots(&self, vm: &str) -> u64 {
        self.hosts.boots(self.vm(vm).uid())
    }
}
