//! `/metrics` in Prometheus' text form: read from where the figures are at each scrape, so that nothing is
//! counted twice and nothing counts while nobody looks.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use pvc_coordinator::core::{Coordinator, member_name};
use raft_store::{Role, Status};

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

/// This coordinator's own store; and, where it leads, how the others follow.
fn store(figures: &mut Figures<'_>, core: &Coordinator, status: &Status) {
    let health = core.store_health();
    let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    figures.gauge("store_fsync_p99_us", "p99 of the log's fsyncs in the last 30 s", us(health.sync_p99));
    figures.gauge("store_fsyncs", "Fsyncs of the log in the last 30 s", health.syncs);
    figures.gauge("store_log_bytes", "Bytes of disk that the log takes", health.log_bytes);
    figures.gauge("store_state_bytes", "Bytes of disk that the durable state takes", health.state_bytes);
    figures.gauge("store_disk_bytes", "Size of the store's file system", health.disk_bytes);
    figures.gauge("store_disk_free_bytes", "What of it is free", health.free_bytes);
    if let Some(age) = health.checkpoint_age {
        figures.gauge("store_checkpoint_age_seconds", "Age of the last checkpoint", age.as_secs());
    }
    let held = status.log_held.as_ref().map_or(0, |held| held.entries);
    figures.gauge("store_log_held_entries", "Entries kept for a member that does not take them", held);
    if status.role != Role::Leader {
        return;
    }
    let world = core.world();
    let behind = Family::<Of, Gauge>::default();
    let silent = Family::<Of, Gauge>::default();
    for member in status.members.iter().filter(|member| member.member.id != status.id) {
        let name = member_name(&world, member.member.id);
        let of = Of { node: name.map_or_else(|| member.member.to_string(), |name| name.to_string()) };
        let entries = status.last_log.saturating_sub(member.matched.unwrap_or(0));
        behind.get_or_create(&of).set(i64::try_from(entries).unwrap_or(i64::MAX));
        let ms = member.silent_for.map_or(0, |silent| silent.as_millis());
        silent.get_or_create(&of).set(i64::try_from(ms).unwrap_or(i64::MAX));
    }
    figures.0.register("raft_member_behind_entries", "Entries that a member has not confirmed", behind);
    figures.0.register("raft_member_silent_ms", "How long a member has answered nothing", silent);
}

/// Of which member a figure is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    node: String,
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
    store(figures, core, &status);
    let world = core.world();
    figures.gauge("feature_level", "Feature level of the cluster", world.level());
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
