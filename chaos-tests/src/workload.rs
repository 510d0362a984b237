//! What people do with a cluster all day, drawn by chance from what they see of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use pvc_model::command::SpecPatch;
use pvc_model::vm::{Disk, DiskBus, MigrationMethod, Power, VmSpec};
use pvc_model::volume::{CloneSource, VolumeSpec};
use pvc_model::{Command, Name, Vm, Volume, World};

use crate::dice::Dice;
use crate::people::mark;
use crate::setting::POOL;

/// Names of VMs: few, so that names are taken, freed and taken again.
pub const VMS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Marks in one VM's notes: the model takes 64.
const MARKS_MAX: usize = 60;

pub fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// A VM with one disk of its own. It is restarted for as long as it takes.
pub fn spec(vm: &Name) -> VmSpec {
    let disk = Disk {
        volume: name(&format!("{vm}-disk")),
        bus: DiskBus::Virtio,
        read_only: false,
        create_bytes: 1 << 20,
        pool: name(POOL),
    };
    VmSpec { max_restarts: 100, shutdown_grace_seconds: 5, disks: vec![disk], ..VmSpec::new(1, 64) }
}

/// The next command; `number` is the deed's. None: this time people only look.
pub fn next(dice: &Dice, world: &World, number: usize) -> Option<Command> {
    if dice.per_mille(120) {
        return None;
    }
    let vm = name(VMS[dice.roll(VMS.len() as u64) as usize]);
    let Some(known) = world.vms.get(&vm) else {
        return Some(Command::CreateVm { spec: spec(&vm), name: vm });
    };
    // What makes sense, mostly; people err.
    let on = (known.desired == Power::On) != dice.per_mille(100);
    match dice.roll(100) {
        0..15 => Some(edit(world, vm, number)),
        15..27 => volume_work(dice, world),
        27..33 => cancel(dice, world),
        33..35 => node_work(dice, world),
        _ if on => while_on(dice, world, vm),
        _ => while_off(dice, world, vm),
    }
}

fn any_node(dice: &Dice, world: &World) -> Option<Name> {
    let nodes: Vec<&Name> = world.nodes.keys().collect();
    dice.pick(&nodes).map(|node| Name::clone(node))
}

fn while_on(dice: &Dice, world: &World, vm: Name) -> Option<Command> {
    let method = match dice.roll(6) {
        0 => Some(MigrationMethod::Shutdown),
        1 => None,
        _ => Some(MigrationMethod::Live),
    };
    let away = world.vms.get(&vm).is_some_and(|vm| vm.migrated_from.is_some());
    let node = any_node(dice, world)?;
    Some(match dice.roll(100) {
        0..35 if away && dice.per_mille(400) => Command::UnmigrateVm { name: vm, method },
        0..35 => Command::MigrateVm { name: vm, node: dice.per_mille(700).then_some(node), method },
        35..55 => Command::MoveVm { name: vm, node, method },
        55..68 => Command::RestartVm { name: vm, grace_seconds: 1 + dice.roll(5) as u32 },
        68..84 => Command::ShutdownVm { name: vm, grace_seconds: 1 + dice.roll(5) as u32 },
        84..95 => Command::StopVm { name: vm },
        _ => Command::DisableVm { name: vm, grace_seconds: 2, force: dice.per_mille(500) },
    })
}

fn while_off(dice: &Dice, world: &World, vm: Name) -> Option<Command> {
    let node = any_node(dice, world)?;
    Some(match dice.roll(100) {
        0..62 => Command::StartVm { name: vm, node: dice.per_mille(400).then_some(node) },
        62..74 => Command::MoveVm { name: vm, node, method: None },
        74..92 => Command::DeleteVm { name: vm, delete_volumes: dice.per_mille(800), expected_revision: 0 },
        _ => {
            let new_name = name(VMS[dice.roll(VMS.len() as u64) as usize]);
            if new_name == vm {
                return None;
            }
            Command::RenameVm { name: vm, new_name, expected_revision: 0 }
        }
    })
}

fn cancel(dice: &Dice, world: &World) -> Option<Command> {
    let running: Vec<Name> = world.running_tasks().map(|task| task.meta.name.clone()).collect();
    Some(Command::CancelTask { name: dice.pick(&running).cloned()? })
}

/// Leaves the deed's mark among the VM's notes.
pub fn edit(world: &World, vm: Name, number: usize) -> Command {
    let full = world.vms.get(&vm).is_some_and(|vm| vm.spec.notes.len() >= MARKS_MAX);
    let mut patch = SpecPatch::default();
    if full {
        patch.add_tags = BTreeSet::from([name("full")]);
    } else {
        patch.set_notes.insert(mark(number), "done".to_owned());
    }
    Command::UpdateVm { name: vm, patch: Box::new(patch), expected_revision: 0 }
}

/// Volumes that belong to no VM from the start: to be made, copied, attached and detached.
const VOLUMES: [&str; 2] = ["v1", "v2"];

fn volume_work(dice: &Dice, world: &World) -> Option<Command> {
    let volumes: Vec<&Arc<Volume>> = world.volumes.values().collect();
    let volume = dice.pick(&volumes)?;
    let (name, snapshot) = (volume.meta.name.clone(), name("snap"));
    let size_bytes = volume.spec.size_bytes;
    Some(match dice.roll(8) {
        0 => Command::ResizeVolume { name, size_bytes: size_bytes + (1 << 20), expected_revision: 0 },
        1 => Command::CreateVolumeSnapshot { volume: name, snapshot },
        2 => Command::DeleteVolumeSnapshot { volume: name, snapshot },
        3 => Command::DeleteVolume { name, expected_revision: 0 },
        4 => attach(dice, world)?,
        _ => {
            let source = CloneSource { volume: name, snapshot: dice.per_mille(500).then_some(snapshot) };
            let clone_of = dice.per_mille(700).then_some(source);
            let spec = VolumeSpec { pool: self::name(POOL), size_bytes: 1 << 20, clone_of };
            Command::CreateVolume { name: self::name(dice.pick(&VOLUMES)?), spec }
        }
    })
}

/// Gives a VM the first of the free volumes as a second disk, or takes it away.
fn attach(dice: &Dice, world: &World) -> Option<Command> {
    let vms: Vec<&Arc<Vm>> = world.vms.values().collect();
    let vm = dice.pick(&vms)?;
    let mut spec = vm.spec.clone();
    let volume = name(dice.pick(&VOLUMES)?);
    match spec.disks.iter().position(|disk| disk.volume == volume) {
        Some(there) => drop(spec.disks.remove(there)),
        None => {
            let (bus, pool) = (DiskBus::Virtio, name(POOL));
            spec.disks.push(Disk { volume, bus, read_only: false, create_bytes: 0, pool });
        }
    }
    let patch = Box::new(SpecPatch { spec: Some(spec), ..SpecPatch::default() });
    Some(Command::UpdateVm { name: vm.meta.name.clone(), patch, expected_revision: vm.meta.revision })
}

fn node_work(dice: &Dice, world: &World) -> Option<Command> {
    let (name, schedulable) = (any_node(dice, world)?, Some(dice.per_mille(700)));
    let (on_return, isolation, on_shutdown) = (None, None, None);
    Some(Command::UpdateNode { name, schedulable, on_return, isolation, on_shutdown, expected_revision: 0 })
}
