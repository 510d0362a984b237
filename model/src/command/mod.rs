//! Commands: everything that can be asked of the cluster, and the decision about each.
//!
//! `decide` reads the world and the command, and answers with changes or a refusal. It runs on the
//! leader, in the decision lane, one command after the other; never inside the store.

mod advance;
mod draft;
mod fault;
mod migration;
mod node;
mod power;
mod relocate;
mod report;
mod task;
#[cfg(test)]
mod tests;
mod token;
mod vm;
mod volume;

pub use report::{MigrationEvent, MigrationReport, VmReport, VolumeReport};
pub use vm::SpecPatch;

use crate::Revision;
use crate::change::Changes;
use crate::context::Context;
use crate::name::Name;
use crate::node::{NodeFacts, NodeRole, Reachability};
use crate::rejection::Rejection;
use crate::role::Role;
use crate::vm::{MigrationMethod, VmSpec};
use crate::volume::VolumeSpec;
use crate::world::World;

/// 0 in `expected_revision` means: not checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    // VMs, asked by people
    CreateVm {
        name: Name,
        spec: VmSpec,
    },
    UpdateVm {
        name: Name,
        patch: Box<SpecPatch>,
        expected_revision: Revision,
    },
    RenameVm {
        name: Name,
        new_name: Name,
        expected_revision: Revision,
    },
    DeleteVm {
        name: Name,
        delete_volumes: bool,
        expected_revision: Revision,
    },
    StartVm {
        name: Name,
        node: Option<Name>,
    },
    ShutdownVm {
        name: Name,
        grace_seconds: u32,
    },
    StopVm {
        name: Name,
    },
    RestartVm {
        name: Name,
        grace_seconds: u32,
    },
    DisableVm {
        name: Name,
        grace_seconds: u32,
        force: bool,
    },
    MigrateVm {
        name: Name,
        node: Option<Name>,
        method: Option<MigrationMethod>,
    },
    UnmigrateVm {
        name: Name,
        method: Option<MigrationMethod>,
    },
    MoveVm {
        name: Name,
        node: Name,
        method: Option<MigrationMethod>,
    },

    // Volumes, asked by people
    CreateVolume {
        name: Name,
        spec: VolumeSpec,
    },
    ResizeVolume {
        name: Name,
        size_bytes: u64,
        expected_revision: Revision,
    },
    DeleteVolume {
        name: Name,
        expected_revision: Revision,
    },
    CreateVolumeSnapshot {
        volume: Name,
        snapshot: Name,
    },
    DeleteVolumeSnapshot {
        volume: Name,
        snapshot: Name,
    },

    // Nodes, tokens, faults, tasks, asked by people
    UpdateNode {
        name: Name,
        schedulable: Option<bool>,
        expected_revision: Revision,
    },
    DeleteNode {
        name: Name,
        expected_revision: Revision,
    },
    CreateApiToken {
        name: Name,
        role: Role,
        lifetime_seconds: u64,
        description: String,
        secret_hash: String,
    },
    CreateJoinToken {
        name: Name,
        lifetime_seconds: u64,
        node: Option<Name>,
        secret_hash: String,
    },
    RevokeToken {
        name: Name,
    },
    AckFault {
        name: Name,
    },
    CancelTask {
        name: Name,
    },

    // Asked by hosts
    /// The first coordinator enrols itself when it founds the cluster.
    FoundNode {
        name: Name,
        address: String,
        member_id: u64,
    },
    /// Spends a join token. `key_hash` is SHA-256 of the joiner's public key, hex; `secret_hash` of the
    /// token's secret, already compared in constant time by the caller against nothing: compared here.
    RedeemJoinToken {
        token: Name,
        secret_hash: String,
        node: Name,
        role: NodeRole,
        address: String,
        key_hash: String,
    },
    Report {
        node: Name,
        session: u64,
        vms: Vec<VmReport>,
        volumes: Vec<VolumeReport>,
        facts: Option<NodeFacts>,
    },

    // Asked by the leader's own controllers
    SetReachability {
        node: Name,
        reachability: Reachability,
    },
    /// A coordinator votes now, or no longer does.
    SetNodeRole {
        node: Name,
        role: NodeRole,
    },
    RaiseFault {
        name: Name,
        subject: String,
        message: String,
        help: String,
    },
    ClearFault {
        name: Name,
    },
    /// Goes on with a task as far as the world lets it; empty changes where there is nothing to do.
    AdvanceTask {
        name: Name,
    },
    /// Gives a volume that has work a living worker.
    AssignVolumeWorker {
        name: Name,
    },
    /// Forgets ended tasks beyond their number and age, and spent or expired join tokens.
    Prune,
}

/// Decides. Pure: the same world, command and context give the same answer.
pub fn decide(world: &World, command: &Command, context: &mut Context) -> Result<Changes, Rejection> {
    match command {
        Command::CreateVm { name, spec } => vm::create(world, name, spec, context),
        Command::UpdateVm { name, patch, expected_revision } => {
            vm::update(world, name, patch, *expected_revision, context)
        }
        Command::RenameVm { name, new_name, expected_revision } => {
            vm::rename(world, name, new_name, *expected_revision, context)
        }
        Command::DeleteVm { name, delete_volumes, expected_revision } => {
            vm::delete(world, name, *delete_volumes, *expected_revision, context)
        }
        Command::StartVm { name, node } => power::start(world, name, node.as_ref(), context),
        Command::ShutdownVm { name, grace_seconds } => power::shutdown(world, name, *grace_seconds, context),
        Command::StopVm { name } => power::stop(world, name, context),
        Command::RestartVm { name, grace_seconds } => power::restart(world, name, *grace_seconds, context),
        Command::DisableVm { name, grace_seconds, force } => {
            power::disable(world, name, *grace_seconds, *force, context)
        }
        Command::MigrateVm { name, node, method } => {
            relocate::migrate(world, name, node.as_ref(), *method, context)
        }
        Command::UnmigrateVm { name, method } => relocate::unmigrate(world, name, *method, context),
        Command::MoveVm { name, node, method } => relocate::move_vm(world, name, node, *method, context),
        Command::CreateVolume { name, spec } => volume::create(world, name, spec, context),
        Command::ResizeVolume { name, size_bytes, expected_revision } => {
            volume::resize(world, name, *size_bytes, *expected_revision, context)
        }
        Command::DeleteVolume { name, expected_revision } => {
            volume::delete(world, name, *expected_revision, context)
        }
        Command::CreateVolumeSnapshot { volume, snapshot } => {
            volume::create_snapshot(world, volume, snapshot, context)
        }
        Command::DeleteVolumeSnapshot { volume, snapshot } => {
            volume::delete_snapshot(world, volume, snapshot, context)
        }
        Command::UpdateNode { name, schedulable, expected_revision } => {
            node::update(world, name, *schedulable, *expected_revision, context)
        }
        Command::DeleteNode { name, expected_revision } => node::delete(world, name, *expected_revision),
        Command::CreateApiToken { name, role, lifetime_seconds, description, secret_hash } => {
            token::create_api(world, name, *role, *lifetime_seconds, description, secret_hash, context)
        }
        Command::CreateJoinToken { name, lifetime_seconds, node, secret_hash } => {
            token::create_join(world, name, *lifetime_seconds, node.as_ref(), secret_hash, context)
        }
        Command::RevokeToken { name } => token::revoke(world, name),
        Command::AckFault { name } => fault::ack(world, name, context),
        Command::CancelTask { name } => task::cancel(world, name, context),
        Command::FoundNode { name, address, member_id } => {
            node::found(world, name, address, *member_id, context)
        }
        Command::RedeemJoinToken { token, secret_hash, node, role, address, key_hash } => {
            token::redeem(world, token, secret_hash, node, *role, address, key_hash, context)
        }
        Command::Report { node, session, vms, volumes, facts } => {
            report::report(world, node, *session, vms, volumes, facts.as_ref(), context)
        }
        Command::SetReachability { node, reachability } => {
            node::set_reachability(world, node, *reachability, context)
        }
        Command::SetNodeRole { node, role } => node::set_role(world, node, *role, context),
        Command::RaiseFault { name, subject, message, help } => {
            Ok(fault::raise(world, name, subject, message, help, context))
        }
        Command::ClearFault { name } => Ok(fault::clear(world, name)),
        Command::AdvanceTask { name } => task::advance(world, name, context),
        Command::AssignVolumeWorker { name } => volume::assign_worker(world, name, context),
        Command::Prune => Ok(task::prune(world, context)),
    }
}
