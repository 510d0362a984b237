//! `pvc vm`: seeing VMs, and changing their power and place.

use futures::stream::BoxStream;
use pvc_proto::v1::{
    DeleteVmRequest, DisableVmRequest, DumpVmRequest, GetVmRequest, ListVmsRequest, ListVmsResponse, Meta,
    MigrateVmRequest, MoveVmRequest, RenameVmRequest, RestartVmRequest, ShutdownVmRequest, StartVmRequest,
    StopVmRequest, TailVmLogRequest, Task, UnmigrateVmRequest, Vm, VmPhase, WatchVmsRequest,
};

use super::{history, logs, vm_edit, vm_network};
use crate::args::Wait;
use crate::args::vm::{Grace, PhaseWord, VmCommand, VmList};
use crate::call::{Session, request_id};
use crate::console;
use crate::context::Context;
use crate::failure::Failure;
use crate::follow;
use crate::listing::{self, Listing};
use crate::output;
use crate::show;
use crate::spec::flags::method_of;

pub async fn run(cx: &mut Context<'_>, command: VmCommand) -> Result<(), Failure> {
    match command {
        VmCommand::Define(define) => vm_edit::define(cx, define).await,
        VmCommand::Modify(modify) => vm_edit::modify(cx, modify).await,
        VmCommand::Meta(meta) => vm_edit::meta(cx, meta).await,
        VmCommand::Tag(command) => vm_edit::tag(cx, command).await,
        VmCommand::Vcpu(command) => vm_edit::vcpu(cx, command).await,
        VmCommand::Memory(command) => vm_edit::memory(cx, command).await,
        VmCommand::Network(command) => vm_network::run(cx, command).await,
        VmCommand::List(list) => {
            let watch = list.watch;
            listing::run(cx, &list, watch).await
        }
        VmCommand::Info { vm } => {
            let reply = get(cx, &vm).await?;
            cx.reply(&reply, |colour| show::vm::page(&reply, colour), || vec![vm])
        }
        VmCommand::Dump { vm, spec: true } => {
            let reply = get(cx, &vm).await?.spec.unwrap_or_default();
            let yaml = output::yaml(&reply)?;
            cx.reply(&reply, |_| yaml, || vec![vm])
        }
        VmCommand::Dump { vm, spec: false } => {
            let session = cx.session()?;
            let request = session.ask(DumpVmRequest { name: vm.clone() });
            let reply = session.vms().dump_vm(request).await?.into_inner();
            cx.reply(&reply, |_| format!("{}\n", reply.xml.trim_end()), || vec![vm])
        }
        VmCommand::History { vm, newest } => history::run(cx, format!("vm/{vm}"), newest).await,
        VmCommand::Rename { vm, new_name, expected } => {
            let session = cx.session()?;
            let request = session.ask(RenameVmRequest {
                name: vm.clone(),
                new_name: new_name.clone(),
                expected_revision: expected.expected_revision,
                request_id: request_id(),
            });
            let reply = session.vms().rename_vm(request).await?.into_inner();
            cx.done(&reply, &new_name, format!("vm/{vm} is now vm/{new_name}"))
        }
        VmCommand::Console { vm, linger } => console::attach(cx, &vm, linger).await,
        VmCommand::Log { vm, lines, follow } => {
            let session = cx.session()?;
            let request = TailVmLogRequest { name: vm, lines, follow };
            let stream = session.vms().tail_vm_log(request).await?.into_inner();
            logs::print(cx, stream).await
        }
        command => {
            let (task, wait) = begin(cx, command).await?;
            follow::finish(cx, task, wait).await
        }
    }
}

/// The commands that begin a task.
async fn begin(cx: &mut Context<'_>, command: VmCommand) -> Result<(Task, Wait), Failure> {
    let request_id = request_id();
    match command {
        VmCommand::Start { vm, node, wait } => {
            let session = cx.session()?;
            let request = StartVmRequest { name: vm, node: node.unwrap_or_default(), request_id };
            Ok((session.vms().start_vm(session.ask(request)).await?.into_inner(), wait))
        }
        VmCommand::Shutdown { vm, grace, wait } => {
            let session = cx.session()?;
            let request = ShutdownVmRequest { name: vm, grace_seconds: seconds(grace), request_id };
            Ok((session.vms().shutdown_vm(session.ask(request)).await?.into_inner(), wait))
        }
        VmCommand::Stop { vm, wait } => {
            confirm_power_off(cx, &vm)?;
            let session = cx.session()?;
            let request = StopVmRequest { name: vm, request_id };
            Ok((session.vms().stop_vm(session.ask(request)).await?.into_inner(), wait))
        }
        VmCommand::Restart { vm, grace, wait } => {
            let session = cx.session()?;
            let request = RestartVmRequest { name: vm, grace_seconds: seconds(grace), request_id };
            Ok((session.vms().restart_vm(session.ask(request)).await?.into_inner(), wait))
        }
        VmCommand::Disable { vm, force, grace, wait } => {
            if force {
                confirm_power_off(cx, &vm)?;
            }
            let session = cx.session()?;
            let request = DisableVmRequest { name: vm, grace_seconds: seconds(grace), force, request_id };
            Ok((session.vms().disable_vm(session.ask(request)).await?.into_inner(), wait))
        }
        VmCommand::Migrate { vm, node, method, wait } => {
            let session = cx.session()?;
            let request = MigrateVmRequest {
                name: vm,
                node: node.unwrap_or_default(),
                method: method_of(method.method) as i32,
                request_id,
            };
            Ok((session.vms().migrate_vm(session.ask(request)).await?.into_inner(), wait))
        }
        VmCommand::Unmigrate { vm, method, wait } => {
            let session = cx.session()?;
            let method = method_of(method.method) as i32;
            let request = UnmigrateVmRequest { name: vm, method, request_id };
            Ok((session.vms().unmigrate_vm(session.ask(request)).await?.into_inner(), wait))
        }
        VmCommand::Move { vm, node, method, wait } => {
            let session = cx.session()?;
            let request = MoveVmRequest {
                name: vm,
                node: node.unwrap_or_default(),
                method: method_of(method.method) as i32,
                request_id,
            };
            Ok((session.vms().move_vm(session.ask(request)).await?.into_inner(), wait))
        }
        VmCommand::Undefine { vm, expected, wait } => {
            let subject = format!("vm/{vm}");
            cx.confirm(&subject, &format!("{subject} is removed; its volumes stay"))?;
            Ok((delete(cx, vm, false, expected.expected_revision, request_id).await?, wait))
        }
        VmCommand::Remove { vm, expected, wait } => {
            let subject = format!("vm/{vm}");
            cx.confirm(&subject, &format!("{subject} is removed, and its volumes with all their data"))?;
            Ok((delete(cx, vm, true, expected.expected_revision, request_id).await?, wait))
        }
        other => unreachable!("{other:?} begins no task"),
    }
}

async fn delete(
    cx: &mut Context<'_>,
    name: String,
    delete_volumes: bool,
    expected_revision: u64,
    request_id: String,
) -> Result<Task, Failure> {
    let session = cx.session()?;
    let request = session.ask(DeleteVmRequest { name, delete_volumes, expected_revision, request_id });
    Ok(session.vms().delete_vm(request).await?.into_inner())
}

fn confirm_power_off(cx: &mut Context<'_>, vm: &str) -> Result<(), Failure> {
    let subject = format!("vm/{vm}");
    cx.confirm(&subject, &format!("{subject} is switched off at once; its guest may lose data"))
}

/// Zero is the VM's own.
fn seconds(grace: Grace) -> u32 {
    grace.grace.map_or(0, |grace| u32::try_from(grace.as_secs()).unwrap_or(u32::MAX))
}

/// One VM.
pub(super) async fn get(cx: &mut Context<'_>, name: &str) -> Result<Vm, Failure> {
    let session = cx.session()?;
    let request = session.ask(GetVmRequest { name: name.to_owned(), consistency: 0 });
    Ok(session.vms().get_vm(request).await?.into_inner())
}

impl Listing for VmList {
    type Reply = ListVmsResponse;

    async fn page(&self, session: &Session, token: String) -> Result<ListVmsResponse, Failure> {
        let request = ListVmsRequest {
            name_filter: self.limit.clone().unwrap_or_default(),
            node: self.node.clone().unwrap_or_default(),
            phase: phase_of(self.state) as i32,
            tags: self.tags.clone(),
            negate: self.negate,
            page_token: token,
            ..ListVmsRequest::default()
        };
        Ok(session.vms().list_vms(session.ask(request)).await?.into_inner())
    }

    async fn wakes(
        &self,
        session: &Session,
        revision: u64,
    ) -> Result<Option<BoxStream<'static, ()>>, Failure> {
        // No filter: a VM that leaves the list matters as much as one that enters it.
        let request = WatchVmsRequest { start_revision: revision, ..WatchVmsRequest::default() };
        let changes = session.vms().watch_vms(request).await?.into_inner();
        Ok(Some(listing::wakes_of(changes)))
    }

    fn meta(vm: &Vm) -> Option<&Meta> {
        vm.meta.as_ref()
    }

    fn table(vms: &[&Vm], colour: bool) -> String {
        show::vm::table(vms, colour)
    }
}

fn phase_of(word: Option<PhaseWord>) -> VmPhase {
    match word {
        None => VmPhase::Unspecified,
        Some(PhaseWord::Stopped) => VmPhase::Stopped,
        Some(PhaseWord::Pending) => VmPhase::Pending,
        Some(PhaseWord::Starting) => VmPhase::Starting,
        Some(PhaseWord::Running) => VmPhase::Running,
        Some(PhaseWord::ShuttingDown) => VmPhase::ShuttingDown,
        Some(PhaseWord::Migrating) => VmPhase::Migrating,
        Some(PhaseWord::Backoff) => VmPhase::Backoff,
        Some(PhaseWord::Failed) => VmPhase::Failed,
        Some(PhaseWord::Unknown) => VmPhase::Unknown,
        Some(PhaseWord::Deleting) => VmPhase::Deleting,
    }
}
