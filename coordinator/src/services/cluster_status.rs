//! What the cluster is and how it is, in figures and in plain words. Needs no quorum: it is asked most when
//! there is none.

use std::collections::BTreeMap;
use std::time::Duration;

use pvc_model::feature::{FIRST, outlook};
use pvc_model::health::{StoreHealth, StoreTiming};
use pvc_model::node::NodeRole;
use pvc_model::phase::{VmPhase, vm_phase};
use pvc_model::volume::VolumePhase;
use pvc_model::{Node, World};
use pvc_proto::convert::awaited_nodes;
use pvc_proto::v1;
use raft_store::{MemberId, Status as StoreStatus};

use super::shared::Shared;
use crate::core::member_name;

/// A voter that has answered nothing for longer is worth a word.
const SILENT_MAX: Duration = Duration::from_secs(3);
/// The leader hears a quorum if it did within this.
const QUORUM_HEARD: Duration = Duration::from_secs(3);
/// Problems of one kind that are told one by one.
const TOLD_MAX: usize = 10;

pub(super) fn cluster_status(shared: &Shared) -> v1::ClusterStatus {
    let world = shared.core.world();
    let store = shared.core.store().status().borrow().clone();
    let phases: Vec<VmPhase> = world.vms.values().map(|vm| vm_phase(&world, vm).0).collect();
    let in_phase = |wanted: &[VmPhase]| count(phases.iter().filter(|phase| wanted.contains(phase)));
    let outlook = outlook(&world);
    let mut problems = Problems::default();
    problems.of_raft(shared, &world, &store);
    problems.of_timing(shared, &world, &store);
    problems.of_objects(&world);
    v1::ClusterStatus {
        cluster_id: shared.cluster_id.clone(),
        // Clusters have no other name yet.
        name: shared.cluster_id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        leader: shared.core.leader().map(|name| name.to_string()).unwrap_or_default(),
        members: members(shared, &world, &store),
        nodes: count(world.nodes.values()),
        nodes_reachable: count(world.nodes.values().filter(|node| node.is_reachable())),
        vms: count(world.vms.values()),
        vms_running: in_phase(&[VmPhase::Running, VmPhase::Migrating]),
        vms_failed: in_phase(&[VmPhase::Failed]),
        volumes: count(world.volumes.values()),
        faults: count(world.faults.values()),
        healthy: !problems.needs_a_person,
        problems: problems.told,
        revision: world.revision,
        store: Some(figures(shared, &world, store)),
        settings: Some((&world.settings()).into()),
        incarnation: world.incarnation(),
        awaited_nodes: awaited_nodes(&world),
        level: world.level(),
        level_best: outlook.best,
        level_held_by: outlook.held_by.iter().map(ToString::to_string).collect(),
        versions: versions(&world),
        brake: world.brake().map(Into::into),
        disarmed: world.cluster.as_ref().and_then(|c| c.status.disarmed.as_ref()).map(Into::into),
        primary: world.primary().map(Into::into),
    }
}

fn count(items: impl Iterator) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// What a coordinator last told of its store in this term; this one's own as it is now.
fn health(shared: &Shared, world: &World, store: &StoreStatus, id: MemberId) -> Option<StoreHealth> {
    if id == store.id {
        return Some(shared.core.store_health());
    }
    shared.core.leading()?;
    let name = member_name(world, id)?;
    shared.core.heartbeats().store(&name).map(|(health, _)| health)
}

/// The versions that run, with the nodes that run them.
fn versions(world: &World) -> Vec<v1::RunningVersion> {
    let mut versions: BTreeMap<(&str, u32), Vec<String>> = BTreeMap::new();
    for node in world.nodes.values() {
        let facts = &node.status.facts;
        versions.entry((&facts.version, facts.level)).or_default().push(node.meta.name.to_string());
    }
    let running = versions.into_iter().map(|((version, level), nodes)| {
        let level = if version.is_empty() { level } else { level.max(FIRST) };
        v1::RunningVersion { version: version.to_owned(), level, nodes }
    });
    running.collect()
}

fn members(shared: &Shared, world: &World, store: &StoreStatus) -> Vec<v1::RaftMember> {
    let leader = store.leader.as_ref().map(|leader| leader.id);
    let stands_by = |id| {
        let node = member_name(world, id).and_then(|name| world.nodes.get(&name));
        node.is_some_and(|node| node.spec.standby)
    };
    let shown = store.members.iter().map(|known| {
        let id = known.member.id;
        // The leader's own log is what the others are measured by.
        let own = if id == store.id { store.last_log } else { 0 };
        v1::RaftMember {
            id,
            node: member_name(world, id).map(|name| name.to_string()).unwrap_or_default(),
            address: known.member.address.clone(),
            voter: known.voter,
            leader: leader == Some(id),
            matched: known.matched.unwrap_or(own),
            standby: stands_by(id),
            behind: known.matched.map_or(0, |matched| store.last_log.saturating_sub(matched)),
            silent_seconds: known.silent_for.map_or(0.0, |silent| silent.as_secs_f64()),
            health: health(shared, world, store, id).as_ref().map(Into::into),
        }
    });
    shown.collect()
}

fn figures(shared: &Shared, world: &World, store: StoreStatus) -> v1::StoreStatus {
    let sync = shared.core.store().log_sync_p99().unwrap_or_default();
    let held = store.log_held.as_ref();
    let held_for = held.map(|held| {
        member_name(world, held.member.id).map_or_else(|| held.member.to_string(), |name| name.to_string())
    });
    v1::StoreStatus {
        term: store.term,
        last_log: store.last_log,
        committed: store.committed,
        applied: store.applied,
        snapshot: store.snapshot.unwrap_or(0),
        purged: store.purged.unwrap_or(0),
        commits: shared.core.lane_stats().committed.load(std::sync::atomic::Ordering::Relaxed),
        fsync_p99_ms: sync.as_secs_f64() * 1000.0,
        alarms: store.alarms.iter().map(ToString::to_string).collect(),
        held_entries: held.map_or(0, |held| held.entries),
        held_for: held_for.unwrap_or_default(),
    }
}

/// What is not well.
#[derive(Default)]
struct Problems {
    told: Vec<String>,
    needs_a_person: bool,
}

impl Problems {
    fn tell(&mut self, problem: String) {
        self.told.push(problem);
        self.needs_a_person = true;
    }

    /// The first few of a kind, then how many more there are ("VMs have failed").
    fn tell_some(&mut self, problems: impl Iterator<Item = String>, more: &str) {
        let mut problems = problems;
        for problem in problems.by_ref().take(TOLD_MAX) {
            self.tell(problem);
        }
        let rest = problems.count();
        if rest > 0 {
            self.tell(format!("{rest} more {more}"));
        }
    }

    fn of_raft(&mut self, shared: &Shared, world: &World, store: &StoreStatus) {
        if store.leader.is_none() {
            self.tell("no coordinator leads: nothing can be changed until a quorum of them is up".to_owned());
        } else if shared.core.leading().is_some() && !shared.core.store().quorum_acked_within(QUORUM_HEARD) {
            self.tell("the leader does not hear a quorum of the voters: nothing can be changed".to_owned());
        }
        let has_fault = |node: &str| {
            let of_node = |fault: &pvc_model::Fault| fault.subject.strip_prefix("node/") == Some(node);
            world.faults.values().any(|fault| of_node(fault))
        };
        for known in store.members.iter().filter(|m| m.voter && m.silent_for.is_some_and(|s| s > SILENT_MAX))
        {
            let name = member_name(world, known.member.id);
            let name = name.map_or_else(|| known.member.to_string(), |name| name.to_string());
            if !has_fault(&name) {
                self.tell(format!("coordinator {name} does not answer the leader"));
            }
        }
        let voters = store.members.iter().filter(|m| m.voter).count();
        if voters > 0 && voters % 2 == 0 {
            self.tell(format!(
                "{voters} coordinators vote, which bears no more failures than {}: \
                 see `pvc cluster voter add` and `pvc cluster voter remove`",
                voters - 1
            ));
        }
        let is_member =
            |node: &Node| store.members.iter().any(|m| m.voter && m.member.id == node.status.member_id);
        let waiting = world
            .nodes
            .values()
            .filter(|n| n.spec.role == NodeRole::Coordinator && !n.spec.standby && !is_member(n));
        let waiting = waiting.map(|node| {
            let name = &node.meta.name;
            format!("node {name} joined as a coordinator and does not vote yet: pvc cluster voter add {name}")
        });
        self.tell_some(waiting, "coordinators do not vote yet");
        if let Some(held) = &store.log_held {
            let name = member_name(world, held.member.id);
            let name = name.map_or_else(|| held.member.to_string(), |name| name.to_string());
            self.tell(format!("{} log entries are kept for coordinator {name}, which lags", held.entries));
        }
        if !has_fault(shared.node.as_str()) {
            for alarm in &store.alarms {
                self.tell(format!("on node {}, {alarm}", shared.node));
            }
        }
    }

    /// Coordinators whose stores run with different timings: it works, and it is nobody's wish.
    fn of_timing(&mut self, shared: &Shared, world: &World, store: &StoreStatus) {
        let mut timings: BTreeMap<StoreTiming, Vec<String>> = BTreeMap::new();
        for id in store.members.iter().map(|known| known.member.id) {
            let (Some(name), Some(health)) = (member_name(world, id), health(shared, world, store, id))
            else {
                continue;
            };
            timings.entry(health.timing).or_default().push(name.to_string());
        }
        if timings.len() > 1 {
            let told = timings.iter().map(|(timing, nodes)| {
                format!("elections after {} ms on {}", timing.election_max_ms, nodes.join(", "))
            });
            let told: Vec<String> = told.collect();
            self.tell(format!(
                "coordinators run with different timings ({}): set the same store.patience in each pvcd.toml",
                told.join("; ")
            ));
        }
    }

    fn of_objects(&mut self, world: &World) {
        for fault in world.faults.values() {
            match &fault.acknowledged_by {
                Some(who) => self.told.push(format!("{} (acknowledged by {who})", fault.message)),
                None => self.tell(fault.message.clone()),
            }
        }
        let unable = world.nodes.values().filter(|node| !node.status.facts.problem.is_empty());
        let unable =
            unable.map(|n| format!("node {} can't run VMs: {}", n.meta.name, n.status.facts.problem));
        self.tell_some(unable, "nodes can't run VMs");
        let failed = world.vms.values().filter_map(|vm| match vm_phase(world, vm) {
            (VmPhase::Failed, reason) => Some(format!("{} has failed: {reason}", vm.subject())),
            _ => None,
        });
        self.tell_some(failed, "VMs have failed");
        let broken = world.volumes.values().filter(|v| v.status.phase == VolumePhase::Failed);
        let broken = broken.map(|v| format!("volume/{} has failed: {}", v.meta.name, v.status.reason));
        self.tell_some(broken, "volumes have failed");
    }
}
