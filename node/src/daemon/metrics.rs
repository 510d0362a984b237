//! `/metrics` in Prometheus' text form: read from where the figures are at each scrape, so that nothing is
//! counted twice and nothing counts while nobody looks.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use pvc_coordinator::core::Coordinator;
use raft_store::Role;

use super::host_service::AgentView;
use super::system;
use crate::agent::lease::Lease;

/// Where the figures are.
#[derive(Clone)]
pub struct Gauges {
    /// None on a hypervisor.
    pub core: Option<Coordinator>,
    pub lease: Lease,
    pub view: AgentView,
}

impl Gauges {
    /// All figures, as they are now.
    pub fn text(&self) -> String {
        let mut registry = Registry::with_prefix("pvc");
        let mut figures = Figures(&mut registry);
        figures.gauge("lease_valid", "1 while this node may start guests", self.lease.is_valid());
        figures.gauge("node_vms", "VMs that concern this node", self.view.vms() as u64);
        figures.gauge("resident_bytes", "Resident memory of pvcd", system::resident_bytes());
        if let Some(core) = &self.core {
            coordinator(&mut figures, core);
        }
        let mut text = String::new();
        match encode(&mut text, &registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }
}

struct Figures<'a>(&'a mut Registry);

impl Figures<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: impl Into<u64>) {
        let value = i64::try_from(value.into()).unwrap_or(i64::MAX);
        self.0.register(name, help, ConstGauge::<i64>::new(value));
    }

    fn counter(&mut self, name: &str, help: &str, value: &AtomicU64) {
        let value = value.load(std::sync::atomic::Ordering::Relaxed);
        self.0.register(name, help, ConstCounter::<u64>::new(value));
    }
}

fn coordinator(figures: &mut Figures<'_>, core: &Coordinator) {
    let status = core.store().status().borrow().clone();
    figures.gauge("raft_leader", "1 on the coordinator that leads", status.role == Role::Leader);
    figures.gauge("raft_term", "Raft's term", status.term);
    figures.gauge("raft_last_log", "Index of the last entry of the log", status.last_log);
    figures.gauge("raft_committed", "Index of the last entry known to be committed", status.committed);
    figures.gauge("raft_applied", "Index of the last entry that was applied", status.applied);
    figures.gauge("raft_checkpoint", "Index that the durable state reaches", status.snapshot.unwrap_or(0));
    figures.gauge("raft_members", "Members of Raft", status.members.len() as u64);
    figures.gauge("store_alarms", "Alarms of the store", status.alarms.len() as u64);
    let world = core.world();
    figures.gauge("nodes", "Nodes of the cluster", world.nodes.len() as u64);
    let reachable = world.nodes.values().filter(|node| node.is_reachable()).count();
    figures.gauge("nodes_reachable", "Nodes that the leader hears", reachable as u64);
    figures.gauge("vms", "VMs of the cluster", world.vms.len() as u64);
    figures.gauge("volumes", "Volumes of the cluster", world.volumes.len() as u64);
    figures.gauge("tasks_running", "Tasks that are not over", world.running_tasks().count() as u64);
    figures.gauge("faults", "Faults that stand", world.faults.len() as u64);
    let lane = core.lane_stats();
    figures.counter("lane_rounds", "Entries proposed by the decision lane", &lane.rounds);
    figures.counter("lane_commands", "Commands decided", &lane.commands);
    figures.counter("lane_committed", "Commands committed", &lane.committed);
    figures.counter("lane_rejected", "Commands refused", &lane.rejected);
}
