//! How many moves may be under way at once, and how soon a failed one is tried again: for the tasks that move
//! many VMs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::name::Name;
use crate::task::{Subject, Task, TaskKind, TaskState};
use crate::vm::Vm;
use crate::world::World;

/// Seconds before a VM that could not be moved is tried again: twice as long after each failure.
const RETRY_SECONDS_FIRST: u64 = 10;
const RETRY_SECONDS_MAX: u64 = 300;

/// Moves of a VM that have failed since a task began.
pub(super) struct Tries {
    failed: usize,
    last: u64,
    why: String,
}

impl Tries {
    pub fn of(world: &World, vm: &Vm, since: &Task) -> Self {
        let mut tries = Tries { failed: 0, last: 0, why: String::new() };
        let of_vm = |task: &&Arc<Task>| {
            task.subject.uid() == vm.uid() && task.state == TaskState::Failed && task.started >= since.started
        };
        for task in world.tasks.values().filter(of_vm) {
            tries.failed += 1;
            let ended = task.ended.map_or(0, |at| at.0);
            if ended >= tries.last {
                tries.last = ended;
                tries.why.clone_from(&task.message);
            }
        }
        tries
    }

    pub fn failed(&self) -> usize {
        self.failed
    }

    /// What the last one failed of.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Why it is not tried again yet.
    pub fn rest(&self, now_ms: u64) -> Option<String> {
        if self.failed == 0 {
            return None;
        }
        let doubled = RETRY_SECONDS_FIRST.saturating_mul(1 << (self.failed - 1).min(10));
        let pause_ms = doubled.min(RETRY_SECONDS_MAX) * 1000;
        (now_ms < self.last.saturating_add(pause_ms))
            .then(|| format!("could not be moved {} times: {}", self.failed, self.why))
    }
}

/// VMs of which a move has failed since a task began; one pass over the tasks for all of them.
pub(super) fn failed_since(world: &World, since: &Task) -> BTreeSet<Name> {
    let failed = world.tasks.values().filter(|t| t.state == TaskState::Failed && t.started >= since.started);
    failed.filter_map(|task| world.vm_by_uid(task.subject.uid())).map(|vm| vm.meta.name.clone()).collect()
}

/// Moves that are under way, at each node: so many may leave it, and so many come to it.
pub(super) struct Slots {
    most: u32,
    leaving: BTreeMap<Name, u32>,
    coming: BTreeMap<Name, u32>,
}

impl Slots {
    pub fn of(world: &World) -> Self {
        let most = world.settings().migrations_per_node;
        let mut slots = Slots { most, leaving: BTreeMap::new(), coming: BTreeMap::new() };
        let moves = world.running_tasks().filter_map(|task| match (&task.kind, &task.subject) {
            (
                TaskKind::VmMigrate { to, .. }
                | TaskKind::VmUnmigrate { to, .. }
                | TaskKind::VmMove { to, .. }
                | TaskKind::VmRebalance { to, .. },
                Subject::Vm { uid, .. },
            ) => Some((world.vm_by_uid(*uid)?.placement.as_ref()?.node.clone(), to.clone())),
            _ => None,
        });
        for (from, to) in moves {
            slots.take(&from, &to);
        }
        slots
    }

    pub fn from(&self, node: &Name) -> u32 {
        self.leaving.get(node).copied().unwrap_or(0)
    }

    pub fn free(&self, from: &Name, to: &Name) -> bool {
        self.from(from) < self.most && self.coming.get(to).copied().unwrap_or(0) < self.most
    }

    pub fn take(&mut self, from: &Name, to: &Name) {
        *self.leaving.entry(from.clone()).or_default() += 1;
        *self.coming.entry(to.clone()).or_default() += 1;
    }
}
