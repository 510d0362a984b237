//! The planner's table: what each node has left, counted once, and what the plan has taken of it since.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{HOST_RESERVE_MIB, NoPlace, Obstacle, VCPUS_PER_CPU_MAX};
use crate::name::{Name, Uid};
use crate::node::Node;
use crate::vm::{Power, Vm};
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
struct Room<'w> {
    name: &'w Name,
    usable_mib: u64,
    vcpus_max: u32,
    usage: Usage,
    /// Why it takes no VM at all.
    closed: Option<Obstacle>,
}

/// What is free where. Made once for a plan, in one pass over the VMs.
pub struct Table<'w> {
    /// In the order of their names.
    rooms: Vec<Room<'w>>,
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
            let closed = if leaving.contains(name) { Some(Obstacle::Leaving) } else { closed(node) };
            let vcpus_max = node.status.facts.cpus.saturating_mul(VCPUS_PER_CPU_MAX);
            Room { name, usable_mib: usable_mib(node), vcpus_max, usage: Usage::default(), closed }
        };
        let mut table = Table { rooms: world.nodes.iter().map(room).collect(), sent: HashMap::new() };
        for vm in world.vms.values() {
            for room in table.seats(vm).into_iter().flatten() {
                table.rooms[room].usage.add(vm);
            }
        }
        table
    }

    /// Why `vm` can't run on `node`. What it takes there now is not counted against it.
    pub fn obstacle(&self, vm: &Vm, node: &Name) -> Option<Obstacle> {
        match self.room(node) {
            Some(room) => self.obstacle_in(vm, room),
            None => Some(Obstacle::Unknown),
        }
    }

    /// The best node for `vm`: its home where that takes it, else the one with the most memory left,
    /// then the fewest VMs, then by name. `except`: a node that is not wanted.
    pub fn choose(&self, vm: &Vm, except: Option<&Name>) -> Result<Name, NoPlace> {
        let mut best: Option<usize> = None;
        for (index, room) in self.rooms.iter().enumerate() {
            let wanted = Some(room.name) != except && self.obstacle_in(vm, index).is_none();
            if wanted && best.is_none_or(|best| self.rank(vm, index) > self.rank(vm, best)) {
                best = Some(index);
            }
        }
        match best {
            Some(room) => Ok(self.rooms[room].name.clone()),
            None => Err(self.no_place(vm, except)),
        }
    }

    /// Counts `vm` on `node`, and no longer where it was.
    pub fn send(&mut self, vm: &Vm, node: &Name) {
        let Some(to) = self.room(node) else { return };
        for from in self.seats(vm).into_iter().flatten() {
            self.rooms[from].usage.take(vm);
        }
        self.rooms[to].usage.add(vm);
        self.sent.insert(vm.meta.uid, to);
    }

    /// What is taken of a node now.
    pub fn usage(&self, node: &Name) -> Usage {
        self.room(node).map_or_else(Usage::default, |room| self.rooms[room].usage)
    }

    /// What is taken and usable of each node, MiB.
    pub fn memory(&self) -> BTreeMap<Name, (u64, u64)> {
        self.rooms.iter().map(|r| (r.name.clone(), (r.usage.memory_mib, r.usable_mib))).collect()
    }

    /// The larger, the better.
    fn rank(&self, vm: &Vm, room: usize) -> (bool, u64, Reverse<u32>, Reverse<usize>) {
        let there = &self.rooms[room];
        let mut usage = there.usage;
        if self.seats(vm).contains(&Some(room)) {
            usage.take(vm);
        }
        let home = vm.spec.home.as_ref() == Some(there.name);
        (home, there.usable_mib.saturating_sub(usage.memory_mib), Reverse(usage.vms), Reverse(room))
    }

    fn obstacle_in(&self, vm: &Vm, room: usize) -> Option<Obstacle> {
        let there = &self.rooms[room];
        if !vm.spec.node_limit.is_empty() && !vm.spec.node_limit.contains(there.name) {
            return Some(Obstacle::NotInLimit);
        }
        if let Some(closed) = &there.closed {
            return Some(closed.clone());
        }
        let mut usage = there.usage;
        if self.seats(vm).contains(&Some(room)) {
            usage.take(vm);
        }
        if usage.memory_mib + vm.spec.memory_mib > there.usable_mib {
            let free_mib = there.usable_mib.saturating_sub(usage.memory_mib);
            return Some(Obstacle::Memory { free_mib, needed_mib: vm.spec.memory_mib });
        }
        if usage.vcpus + vm.spec.vcpus > there.vcpus_max {
            return Some(Obstacle::Vcpus { placed: usage.vcpus, most: there.vcpus_max });
        }
        None
    }

    fn no_place(&self, vm: &Vm, except: Option<&Name>) -> NoPlace {
        let rooms = self.rooms.iter().enumerate().filter(|(_, room)| Some(room.name) != except);
        let why = |(index, room): (usize, &Room<'_>)| {
            self.obstacle_in(vm, index).map(|obstacle| (room.name.clone(), obstacle))
        };
        NoPlace { reasons: rooms.filter_map(why).collect() }
    }

    /// Where it counts: where it was sent, else where it runs or may run, and where it migrates to.
    fn seats(&self, vm: &Vm) -> [Option<usize>; 2] {
        if let Some(room) = self.sent.get(&vm.meta.uid) {
            return [Some(*room), None];
        }
        let placed = vm.placement.as_ref().filter(|_| vm.desired == Power::On || !vm.is_proven_off());
        let here = placed.and_then(|placement| self.room(&placement.node));
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
