//! Commands: everything that can be asked of the cluster, and the decision about each.
//!
//! `decide` reads the world and the command, and answers with changes or a refusal. It runs on the
//! leader, in the decision lane, one command after the other; never inside the store.

mod adopt;
mod advance;
mod balance;
mod bmc;
mod cluster;
mod draft;
mod drain;
mod fault;
mod fence;
mod guard;
mod leave;
mod migration;
mod network;
mod nic;
mod node;
mod pacing;
mod power;
mod primary;
mod recovery;
mod relocate;
mod report;
mod rule;
mod task;
#[cfg(test)]
mod tests;
mod token;
mod vm;
mod volume;

pub use adopt::{CountedGuest, comes_back};
pub use bmc::{PowerOrder, bmc_wiring};
pub use cluster::{ClusterPatch, FloatingPatch, replaced_fault};
pub use network::{LEASES_OF_NETWORK_MAX, NetworkCommand};
pub use primary::{Ending, PrimaryReport};
pub use report::{MigrationEvent, MigrationReport, VmReport, VolumeReport};
pub use vm::SpecPatch;

use std::collections::BTreeSet;

use crate::Revision;
use crate::bmc::Bmc;
use crate::change::{Changes, Object};
use crate::context::Context;
use crate::feature::Levels;
use crate::fence::{OnReturn, ProofKind};
use crate::guard::{Guard, Isolation};
use crate::leaving::OnShutdown;
use crate::name::Name;
use crate::node::{NodeFacts, NodeRole, Reachability};
use crate::rejection::Rejection;
use crate::role::Role;
use crate::rule::RuleSpec;
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

    // Maintenance and balancing, asked by people
    /// Empties a node. `stop_unmovable`: VMs that fit nowhere else are shut down until it is ready.
    FlushNode {
        node: Name,
        stop_unmovable: bool,
    },
    /// The node takes VMs again, and those that left it return unless `no_return`.
    ReadyNode {
        node: Name,
        no_return: bool,
    },
    BalanceCluster,

    // Affinity rules, asked by people
    CreateRule {
        name: Name,
        spec: RuleSpec,
    },
    /// The whole spec anew.
    UpdateRule {
        name: Name,
        spec: RuleSpec,
        expected_revision: Revision,
    },
    DeleteRule {
        name: Name,
        expected_revision: Revision,
    },

    // Client networks, asked by people, and by the primary
    Network(Box<NetworkCommand>),

    // Nodes, tokens, faults, tasks, asked by people
    UpdateNode {
        name: Name,
        schedulable: Option<bool>,
        on_return: Option<OnReturn>,
        isolation: Option<Isolation>,
        on_shutdown: Option<OnShutdown>,
        expected_revision: Revision,
    },
    DeleteNode {
        name: Name,
        expected_revision: Revision,
    },
    // The BMC of a node, asked by people
    /// The address in any spelling; the identity as the BMC has told it just now.
    SetNodeBmc {
        name: Name,
        bmc: Box<Bmc>,
        expected_revision: Revision,
    },
    ClearNodeBmc {
        name: Name,
        expected_revision: Revision,
    },
    /// Before the BMC is asked to.
    OrderPower {
        node: Name,
        order: PowerOrder,
        force: bool,
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

    // The cluster, asked by people
    UpdateCluster {
        patch: ClusterPatch,
        expected_revision: Revision,
    },
    /// A person's word that nothing runs on a node whose count of its guests is waited for.
    ConfirmNodeOff {
        node: Name,
    },
    /// The three steps of restoring a backup, each of which may be repeated. `backup` is its checksum.
    BeginRestore {
        backup: String,
        cluster_id: String,
        revision: u64,
        nodes: BTreeSet<Name>,
    },
    RestoreObjects {
        backup: String,
        objects: Vec<Object>,
    },
    EndRestore {
        backup: String,
    },

    // The primary
    /// Asked by people: `from` only if it is the primary, `to` none is any other.
    HandOverPrimary {
        from: Option<Name>,
        to: Option<Name>,
    },
    /// A node's own word about the role at an epoch.
    ReportPrimary {
        node: Name,
        session: u64,
        epoch: u64,
        report: PrimaryReport,
    },
    /// The leader's choice; `epoch` is the one that ends, 0 where there was none.
    ElectPrimary {
        node: Name,
        epoch: u64,
        ending: Ending,
        reason: String,
    },
    /// The leader is certain that the last holder carries nothing any more.
    ReleasePrimary {
        epoch: u64,
    },
    /// A hand-over does not come about.
    CallOffHandOver {
        epoch: u64,
        reason: String,
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
        /// A coordinator that does not vote.
        standby: bool,
    },
    /// All guests that a node has found on itself, none of them in mid-migration.
    CountGuests {
        node: Name,
        session: u64,
        incarnation: u64,
        guests: Vec<CountedGuest>,
    },
    /// The node's own word: its host is being shut down, which it can hold up for so many seconds.
    LeaveNode {
        node: Name,
        session: u64,
        within_seconds: u32,
    },
    Report {
        node: Name,
        session: u64,
        vms: Vec<VmReport>,
        volumes: Vec<VolumeReport>,
        facts: Option<NodeFacts>,
    },

    /// A node's own word about its guard: armed, or (None) to be relied upon no more. `after`: the number of its words before.
    ReportGuard {
        node: Name,
        session: u64,
        after: u64,
        guard: Option<Guard>,
    },

    // Fencing, asked by people
    /// `confirmed_off`: the caller's word that it is off is the proof.
    FenceNode {
        name: Name,
        confirmed_off: bool,
        force: bool,
    },
    ReleaseBrake,
    Disarm {
        reason: String,
    },
    Arm,

    // Fencing and recovery, asked by the leader's own controllers
    BeginFence {
        node: Name,
        reason: String,
    },
    CallOffFence {
        node: Name,
    },
    AcceptProof {
        node: Name,
        epoch: u64,
        kind: ProofKind,
    },
    FenceReturned {
        node: Name,
    },
    /// A node that is back from its fence takes VMs again.
    EndFence {
        name: Name,
    },
    /// Empty: it is over.
    SetBrake {
        nodes: BTreeSet<Name>,
    },
    /// Gives up what is placed on fenced nodes, and places what waits.
    Recover,

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
    /// A coordinator is to vote, or to stand by.
    SetStandby {
        node: Name,
        standby: bool,
    },
    ReplaceVoter {
        dead: Name,
        by: Name,
    },
    /// The store was recovered from the loss of its quorum, so many times.
    BeginRecovery {
        recoveries: u64,
        members: BTreeSet<u64>,
    },
    /// Raises the cluster's feature level as far as all nodes can, and the leader's own build.
    RaiseLevel {
        leader: Levels,
    },
    /// What was found on no node after a restore or a recovery is off.
    SettleUnfound,
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
    if let Some(vm) = command.vm() {
        adopt::refuse_unconfirmed(world, vm)?;
    }
    match command {
        Command::CreateVm { name, .. } | Command::CreateVolume { name, .. } => {
            adopt::refuse_while_restoring(world, name.as_str())?;
        }
        _ => {}
    }
    match command {
        Command::UpdateCluster { patch, expected_revision } => {
            cluster::update(world, patch, *expected_revision, context)
        }
        Command::HandOverPrimary { from, to } => {
            primary::hand_over(world, from.as_ref(), to.as_ref(), context)
        }
        Command::ReportPrimary { node, session, epoch, report } => {
            report::refuse_stale(world.node(node)?, *session)?;
            primary::reported(world, node, *epoch, *report, context)
        }
        Command::ElectPrimary { node, epoch, ending, reason } => {
            primary::elect(world, node, *epoch, *ending, reason, context)
        }
        Command::ReleasePrimary { epoch } => Ok(primary::released(world, *epoch, context)),
        Command::CallOffHandOver { epoch, reason } => Ok(primary::call_off(world, *epoch, reason, context)),
        Command::ConfirmNodeOff { node } => adopt::confirm_off(world, node, context),
        Command::BeginRestore { backup, cluster_id, revision, nodes } => {
            adopt::begin_restore(world, backup, cluster_id, *revision, nodes, context)
        }
        Command::RestoreObjects { backup, objects } => {
            adopt::restore_objects(world, backup, objects, context)
        }
        Command::EndRestore { backup } => adopt::end_restore(world, backup, context),
        Command::CountGuests { node, session, incarnation, guests } => {
            adopt::count_guests(world, node, *session, *incarnation, guests, context)
        }
        Command::SetStandby { node, standby } => cluster::set_standby(world, node, *standby, context),
        Command::ReplaceVoter { dead, by } => cluster::replace_voter(world, dead, by, context),
        Command::BeginRecovery { recoveries, members } => {
            adopt::begin_recovery(world, *recoveries, members, context)
        }
        Command::RaiseLevel { leader } => Ok(cluster::raise_level(world, *leader, context)),
        Command::SettleUnfound => Ok(adopt::settle(world, context)),
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
        Command::FlushNode { node, stop_unmovable } => drain::flush(world, node, *stop_unmovable, context),
        Command::LeaveNode { node, session, within_seconds } => {
            leave::leave(world, node, *session, *within_seconds, context)
        }
        Command::ReadyNode { node, no_return } => drain::ready(world, node, *no_return, context),
        Command::BalanceCluster => balance::balance(world, context),
        Command::CreateRule { name, spec } => rule::create(world, name, spec, context),
        Command::UpdateRule { name, spec, expected_revision } => {
            rule::update(world, name, spec, *expected_revision, context)
        }
        Command::DeleteRule { name, expected_revision } => rule::delete(world, name, *expected_revision),
        Command::Network(command) => network::decide(world, command, context),
        Command::UpdateNode { name, schedulable, on_return, isolation, on_shutdown, expected_revision } => {
            let patch = node::NodePatch {
                schedulable: *schedulable,
                on_return: *on_return,
                isolation: *isolation,
                on_shutdown: *on_shutdown,
            };
            node::update(world, name, &patch, *expected_revision, context)
        }
        Command::DeleteNode { name, expected_revision } => node::delete(world, name, *expected_revision),
        Command::SetNodeBmc { name, bmc, expected_revision } => {
            bmc::set(world, name, bmc, *expected_revision, context)
        }
        Command::OrderPower { node, order, force } => bmc::order(world, node, *order, *force, context),
        Command::ClearNodeBmc { name, expected_revision } => {
            bmc::clear(world, name, *expected_revision, context)
        }
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
        Command::RedeemJoinToken { token, secret_hash, node, role, address, key_hash, standby } => {
            let joiner = token::Joiner { node, role: *role, address, key_hash, standby: *standby };
            token::redeem(world, token, secret_hash, &joiner, context)
        }
        Command::Report { node, session, vms, volumes, facts } => {
            report::report(world, node, *session, vms, volumes, facts.as_ref(), context)
        }
        Command::ReportGuard { node, session, after, guard } => {
            guard::reported(world, node, *session, *after, guard.as_ref(), context)
        }
        Command::SetReachability { node, reachability } => {
            node::set_reachability(world, node, *reachability, context)
        }
        Command::SetNodeRole { node, role } => node::set_role(world, node, *role, context),
        Command::FenceNode { name, confirmed_off, force } => {
            fence::by_person(world, name, *confirmed_off, *force, context)
        }
        Command::EndFence { name } => fence::end(world, name, context),
        Command::ReleaseBrake => fence::release_brake(world, context),
        Command::Disarm { reason } => fence::disarm(world, reason, context),
        Command::Arm => fence::arm(world, context),
        Command::BeginFence { node, reason } => fence::begin(world, node, reason, context),
        Command::CallOffFence { node } => fence::call_off(world, node, context),
        Command::AcceptProof { node, epoch, kind } => fence::accept(world, node, *epoch, *kind, context),
        Command::FenceReturned { node } => fence::returned(world, node, context),
        Command::SetBrake { nodes } => fence::set_brake(world, nodes, context),
        Command::Recover => Ok(recovery::recover(world, context)),
        Command::RaiseFault { name, subject, message, help } => {
            Ok(fault::raise(world, name, subject, message, help, context))
        }
        Command::ClearFault { name } => Ok(fault::clear(world, name)),
        Command::AdvanceTask { name } => task::advance(world, name, context),
        Command::AssignVolumeWorker { name } => volume::assign_worker(world, name, context),
        Command::Prune => Ok(task::prune(world, context)),
    }
}

impl Command {
    /// The VM of which a person asks this, where it is one that exists.
    pub fn vm(&self) -> Option<&Name> {
        match self {
            Command::UpdateVm { name, .. }
            | Command::RenameVm { name, .. }
            | Command::DeleteVm { name, .. }
            | Command::StartVm { name, .. }
            | Command::ShutdownVm { name, .. }
            | Command::StopVm { name }
            | Command::RestartVm { name, .. }
            | Command::DisableVm { name, .. }
            | Command::MigrateVm { name, .. }
            | Command::UnmigrateVm { name, .. }
            | Command::MoveVm { name, .. } => Some(name),
            _ => None,
        }
    }
}
