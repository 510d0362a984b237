//! The planner's table: what each node has left, counted once, and what the plan has taken of it since.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use super::rules::Rules;
use super::{HOST_RESERVE_MIB, NoPlace, Obstacle, VCPUS_PER_CPU_MAX};
use crate::name::{Name, Uid};
use crate::node::Node;
use crate::vm::Vm;
use crate::world::World;

/// What VMs take of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub vms: u32,
    pub vcpus: u32,
    pub memory_mib: u64,
}

impl Usage {
    fn add(&mut self, vm: &Vm) {
        self.vms += 1;
        self.vcpus += vm.spec.vcpus;
        self.memory_mib += vm.spec.memory_mib;
    }

    fn take(&mut self, vm: &Vm) {
        self.vms = self.vms.saturating_sub(1);
        self.vcpus = self.vcpus.saturating_sub(vm.spec.vcpus);
        self.memory_mib = self.memory_mib.saturating_sub(vm.spec.memory_mib);
    }
}

/// One node as the planner sees it.
#[derive(Clone)]
struct Room<'w> {
    name: &'w Name,
    usable_mib: u64,
    vcpus_max: u32,
    usage: Usage,
    /// Why it takes no VM at all.
    closed: Option<Obstacle>,
    /// It is being emptied: who is still here is to leave it.
    leaving: bool,
}

/// What is free where. Made once for a plan, in one pass over the VMs.
#[derive(Clone)]
pub struct Table<'w> {
    /// In the order of their names.
    rooms: Vec<Room<'w>>,
    rules: Rules<'w>,
    /// What the plan has placed, and where: these count there, and no longer where they were.
    sent: HashMap<Uid, usize>,
}

impl<'w> Table<'w> {
    pub fn of(world: &'w World) -> Self {
        Table::without(world, &BTreeSet::new())
    }

    /// A table in which the nodes `leaving` take nothing more.
    pub fn without(world: &'w World, leaving: &BTreeSet<Name>) -> Self {
        let room = |(name, node): (&'w Name, &'w std::sync::Arc<Node>)| {
            let emptied = leaving.contains(name);
            let closed = if emptied { Some(Obstacle::Leaving) } else { closed(node) };
            let leaving =
                emptied || node.spec.maintenance || node.status.leaving.is_some() || node.is_fenced();
            let vcpus_max = node.status.facts.cpus.saturating_mul(VCPUS_PER_CPU_MAX);
            let usage = Usage::default();
            Room { name, usable_mib: usable_mib(node), vcpus_max, usage, closed, leaving }
        };
        let rooms = world.nodes.iter().map(room).collect();
        let mut table = Table { rooms, rules: Rules::of(world), sent: HashMap::new() };
        for vm in world.vms.values() {
            for room in table.seats(vm).into_iter().flatten() {
                table.seat(vm, room);
            }
        }
        table
    }

    /// The same table, in which `leaving` takes nothing more either.
    #[must_use]
    pub fn without_more(&self, leaving: &Name) -> Self {
        let mut table = self.clone();
        if let Some(room) = self.room(leaving) {
            table.rooms[room].closed = Some(Obstacle::Leaving);
            table.rooms[room].leaving = true;
        }
        table
    }

    /// Why `vm` can't run on `node`. What it takes there now is not counted against it.
    pub fn obstacle(&self, vm: &Vm, node: &Name) -> Option<Obstacle> {
        match self.room(node) {
            Some(room) => self.obstacle_in(vm, &self.rules.about(vm), room, Usage::default()),
            None => Some(Obstacle::Unknown),
        }
    }

    /// The best node for `vm`: where it breaks the fewest should rules, then its home, then the one with
    /// the most memory left, then the fewest VMs, then by name. `except`: a node that is not wanted.
    pub fn choose(&self, vm: &Vm, except: Option<&Name>) -> Result<Name, NoPlace> {
        self.choose_for(&[vm], except)
    }

    /// The best node for several VMs that go to one and the same; the first of them says which is best.
    pub fn choose_for(&self, vms: &[&Vm], except: Option<&Name>) -> Result<Name, NoPlace> {
        let abouts: Vec<BTreeSet<usize>> = vms.iter().map(|vm| self.rules.about(vm)).collect();
        let others: Vec<Usage> = vms
            .iter()
            .map(|vm| {
                let mut usage = Usage::default();
                vms.iter().filter(|other| other.meta.uid != vm.meta.uid).for_each(|other| usage.add(other));
                usage
            })
            .collect();
        let mut best = None;
        let mut none = NoPlace::default();
        for (index, room) in self.rooms.iter().enumerate().filter(|(_, room)| Some(room.name) != except) {
            let each = vms.iter().zip(&abouts).zip(&others);
            let mut obstacles =
                each.filter_map(|((vm, about), others)| self.obstacle_in(vm, about, index, *others));
            if let Some(obstacle) = obstacles.next() {
                // Only where there is no place at all are the reasons told.
                if best.is_none() {
                    none.reasons.push((room.name.clone(), obstacle));
                }
                continue;
            }
            let (Some(vm), Some(about)) = (vms.first(), abouts.first()) else { continue };
            let rank = self.rank(vm, about, index);
            if best.as_ref().is_none_or(|(best, _)| rank > *best) {
                best = Some((rank, room.name));
            }
        }
        best.map(|(_, name)| name.clone()).ok_or(none)
    }

    /// Counts `vm` on `node`, and no longer where it was.
    pub fn send(&mut self, vm: &Vm, node: &Name) {
        let Some(to) = self.room(node) else { return };
        for from in self.seats(vm).into_iter().flatten() {
            self.rooms[from].usage.take(vm);
            self.rules.unseat(vm, from);
        }
        self.seat(vm, to);
        self.sent.insert(vm.meta.uid, to);
    }

    /// What is taken of a node now.
    pub fn usage(&self, node: &Name) -> Usage {
        self.room(node).map_or_else(Usage::default, |room| self.rooms[room].usage)
    }

    /// All nodes, in the order of their names.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &'w Name> + use<'_, 'w> {
        self.rooms.iter().map(|room| room.name)
    }

    /// What is taken of a node and what VMs may take of it, MiB.
    pub(super) fn memory_of(&self, node: &Name) -> (u64, u64) {
        self.room(node)
            .map_or((0, 0), |room| (self.rooms[room].usage.memory_mib, self.rooms[room].usable_mib))
    }

    /// What is left of a node, MiB.
    pub(super) fn free_mib(&self, node: &Name) -> u64 {
        let (used, usable) = self.memory_of(node);
        usable.saturating_sub(used)
    }

    /// Whether a node takes VMs at all.
    pub(super) fn is_open(&self, node: &Name) -> bool {
        self.room(node).is_some_and(|room| self.rooms[room].closed.is_none())
    }

    /// How many must and should rules `vm` breaks, or would, on `node`.
    pub(super) fn broken(&self, vm: &Vm, node: &Name) -> (usize, usize) {
        let Some(room) = self.room(node) else { return (0, 0) };
        let left = |room: usize| self.rooms[room].leaving;
        self.rules.broken(&self.rules.about(vm), vm, (room, node), left)
    }

    /// The must rules that keep `vm` together with others, by their place in the world.
    pub(super) fn bonds(&self, vm: &Vm) -> BTreeSet<usize> {
        self.rules.bonds(vm).collect()
    }

    fn seat(&mut self, vm: &Vm, room: usize) {
        self.rooms[room].usage.add(vm);
        self.rules.seat(vm, room);
    }

    /// The larger, the better.
    fn rank(
        &self,
        vm: &Vm,
        about: &BTreeSet<usize>,
        room: usize,
    ) -> (Reverse<usize>, bool, u64, Reverse<u32>, Reverse<usize>) {
        let there = &self.rooms[room];
        let usage = self.usage_without(vm, room);
        let left = |room: usize| self.rooms[room].leaving;
        let (_, broken) = self.rules.broken(about, vm, (room, there.name), left);
        let home = vm.spec.home.as_ref() == Some(there.name);
        let free = there.usable_mib.saturating_sub(usage.memory_mib);
        (Reverse(broken), home, free, Reverse(usage.vms), Reverse(room))
    }

    /// `more`: what comes with it.
    fn obstacle_in(&self, vm: &Vm, about: &BTreeSet<usize>, room: usize, more: Usage) -> Option<Obstacle> {
        let there = &self.rooms[room];
        if !vm.spec.node_limit.is_empty() && !vm.spec.node_limit.contains(there.name) {
            return Some(Obstacle::NotInLimit);
        }
        if let Some(closed) = &there.closed {
            return Some(closed.clone());
        }
        let left = |room: usize| self.rooms[room].leaving;
        if let Some(broken) = self.rules.obstacle(about, vm, (room, there.name), left) {
            return Some(broken);
        }
        let usage = self.usage_without(vm, room);
        let needed_mib = vm.spec.memory_mib + more.memory_mib;
        if usage.memory_mib + needed_mib > there.usable_mib {
            let free_mib = there.usable_mib.saturating_sub(usage.memory_mib);
            return Some(Obstacle::Memory { free_mib, needed_mib });
        }
        if usage.vcpus + vm.spec.vcpus + more.vcpus > there.vcpus_max {
            return Some(Obstacle::Vcpus { placed: usage.vcpus, most: there.vcpus_max });
        }
        None
    }

    fn usage_without(&self, vm: &Vm, room: usize) -> Usage {
        let mut usage = self.rooms[room].usage;
        if self.seats(vm).contains(&Some(room)) {
            usage.take(vm);
        }
        usage
    }

    /// Where it counts: where it was sent, else where it runs or may run, and where it migrates to.
    fn seats(&self, vm: &Vm) -> [Option<usize>; 2] {
        if let Some(room) = self.sent.get(&vm.meta.uid) {
            return [Some(*room), None];
        }
        let here = vm.runs_on().and_then(|node| self.room(node));
        let coming = vm.migration.as_ref().and_then(|migration| self.room(&migration.to));
        [here, coming.filter(|_| coming != here)]
    }

    fn room(&self, node: &Name) -> Option<usize> {
        self.rooms.binary_search_by(|room| room.name.cmp(node)).ok()
    }
}

/// Why the node takes no VM at all.
fn closed(node: &Node) -> Option<Obstacle> {
    if let Some(fence) = &node.status.fence {
        return Some(Obstacle::Fence(fence.phase));
    }
    if node.status.leaving.is_some() {
        return Some(Obstacle::ShutDown);
    }
    if !node.is_reachable() {
        return Some(Obstacle::Unreachable);
    }
    if node.spec.maintenance {
        return Some(Obstacle::Maintenance);
    }
    if !node.spec.schedulable {
        return Some(Obstacle::NotSchedulable);
    }
    let problem = &node.status.facts.problem;
    if problem.is_empty() { None } else { Some(Obstacle::Problem(problem.clone())) }
}

/// Memory that VMs may take of a node, MiB.
pub fn usable_mib(node: &Node) -> u64 {
    node.status.facts.memory_mib.saturating_sub(HOST_RESERVE_MIB)
}
