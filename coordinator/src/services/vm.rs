//! `VmService`: VMs as people see and ask for them. Consoles, logs and dumps, which a host answers, are in
//! `vm_host`.

use std::collections::BTreeSet;
use std::sync::Arc;

use pvc_model::change::Collection;
use pvc_model::network::HostNetwork;
use pvc_model::node::Reachability;
use pvc_model::phase::{VmPhase, vm_phase};
use pvc_model::{Command, Name, Node, Object, Vm, World};
use pvc_proto::convert::{
    At, explanation, optional_migration_method, spec_patch, vm_phase_filter, vm_spec, vm_view,
};
use pvc_proto::v1;
use pvc_proto::v1::vm_service_server::VmService;
use regex::Regex;
use tonic::{Request, Response, Status, Streaming};

use super::answers::Answers;
use super::caller::Caller;
use super::listing::{Page, name_filter};
use super::shared::{Shared, name, optional_name, refuse, reply_name};
use super::vm_host;
use super::watching::Watch;
use crate::core::Change;

/// Serves VMs.
pub struct Vms(pub Shared);

impl Vms {
    /// Commits a change of one VM and answers with the VM; with `validate_only` decides on it alone, and
    /// answers with the VM as it would be, at the revision that it has now (0: none yet).
    async fn change(
        &self,
        caller: &Caller,
        command: Command,
        request_id: &str,
        validate_only: bool,
    ) -> Result<Response<v1::Vm>, Status> {
        if validate_only {
            let now = self.0.world(v1::Consistency::Linearizable.into()).await?;
            let changes = self.0.core.check(&now, &command, &caller.identity).map_err(refuse)?;
            let mut then = now.clone();
            then.apply(&changes, 0);
            let key = changes.reply.as_ref().filter(|key| key.collection == Collection::Vms);
            let vm = key.ok_or_else(|| crate::status::internal("a decision without an answer"))?;
            let mut vm = Vm::clone(then.vm(&vm.name).map_err(refuse)?);
            vm.meta.revision = now.vm_by_uid(vm.uid()).map_or(0, |old| old.meta.revision);
            return Ok(Response::new(vm_view(&then, &vm)));
        }
        let committed = self.0.submit(caller, command, request_id).await?;
        let vm = committed.world.vm(reply_name(&committed, Collection::Vms)?).map_err(refuse)?;
        Ok(Response::new(vm_view(&committed.world, vm)))
    }

    async fn task(&self, caller: &Caller, command: Command, id: &str) -> Result<Response<v1::Task>, Status> {
        let committed = self.0.submit(caller, command, id).await?;
        Ok(Response::new(self.0.reply_task(&committed)?))
    }
}

fn vm(text: &str) -> Result<Name, Status> {
    name("vm", "name", text)
}

fn node(text: &str) -> Result<Option<Name>, Status> {
    optional_name("node", "node", text)
}

fn method(vm: &Name, number: i32) -> Result<Option<pvc_model::vm::MigrationMethod>, Status> {
    let subject = format!("vm/{vm}");
    optional_migration_method(&At::new(&subject).field("method"), number).map_err(refuse)
}

/// What a list or a watch is narrowed to.
struct Filter {
    name: Option<Regex>,
    node: Option<Name>,
    tags: BTreeSet<Name>,
}

impl Filter {
    fn parse(name: &str, on: &str, tags: &[String]) -> Result<Self, Status> {
        let tags = At::new("request").names("tags", tags).map_err(refuse)?;
        Ok(Filter { name: name_filter(name)?, node: node(on)?, tags })
    }

    fn matches(&self, vm: &Vm) -> bool {
        self.name.as_ref().is_none_or(|filter| filter.is_match(vm.meta.name.as_str()))
            && self.node.as_ref().is_none_or(|node| vm.placed_on(node))
            && self.tags.is_subset(&vm.spec.tags)
    }
}

/// Puts numbers in the place of networks' descriptions. What is neither is refused when it is read.
fn numbered<'a>(world: &World, networks: impl Iterator<Item = &'a mut String>) {
    for network in networks.filter(|text| text.parse::<HostNetwork>().is_err()) {
        if let Some(found) = network.parse().ok().and_then(|name| world.network(&name).ok()) {
            *network = found.vni.to_string();
        }
    }
}

#[tonic::async_trait]
impl VmService for Vms {
    async fn list_vms(
        &self,
        request: Request<v1::ListVmsRequest>,
    ) -> Result<Response<v1::ListVmsResponse>, Status> {
        let request = request.into_inner();
        let page = Page::parse(request.page_size, &request.page_token)?;
        let filter = Filter::parse(&request.name_filter, &request.node, &request.tags)?;
        let phase = vm_phase_filter(&At::new("request").field("phase"), request.phase).map_err(refuse)?;
        let after = page.after_name()?;
        let world = self.0.page_world(request.consistency, page.revision).await?;
        let in_phase = |vm: &Vm, wanted: VmPhase| vm_phase(&world, vm).0 == wanted;
        let matching = world.vms.values().filter(|vm| {
            let fits = || filter.matches(vm) && phase.is_none_or(|phase| in_phase(vm, phase));
            after.as_ref().is_none_or(|after| vm.meta.name > *after) && fits() != request.negate
        });
        let (found, next_page_token) = page.cut(matching, world.revision, |vm| vm.meta.name.to_string());
        let vms = found.into_iter().map(|vm| vm_view(&world, vm)).collect();
        Ok(Response::new(v1::ListVmsResponse { vms, next_page_token, revision: world.revision }))
    }

    async fn get_vm(&self, request: Request<v1::GetVmRequest>) -> Result<Response<v1::Vm>, Status> {
        let request = request.into_inner();
        let vm = vm(&request.name)?;
        let world = self.0.world(request.consistency).await?;
        Ok(Response::new(vm_view(&world, world.vm(&vm).map_err(refuse)?)))
    }

    async fn explain_vm(
        &self,
        request: Request<v1::ExplainVmRequest>,
    ) -> Result<Response<v1::Explanation>, Status> {
        let request = request.into_inner();
        let vm = vm(&request.name)?;
        let world = self.0.world(request.consistency).await?;
        let vm = world.vm(&vm).map_err(refuse)?;
        Ok(Response::new(explanation(pvc_model::why::of_vm(&world, vm), world.revision)))
    }

    type WatchVmsStream = Answers<v1::VmChange>;

    async fn watch_vms(
        &self,
        request: Request<v1::WatchVmsRequest>,
    ) -> Result<Response<Self::WatchVmsStream>, Status> {
        let request = request.into_inner();
        let filter = Filter::parse(&request.name_filter, &request.node, &request.tags)?;
        let watch = Watch { matches: Box::new(move |vm: &Vm| filter.matches(vm)), message, touched };
        Ok(Response::new(watch.run(&self.0, request.start_revision)))
    }

    async fn create_vm(&self, request: Request<v1::CreateVmRequest>) -> Result<Response<v1::Vm>, Status> {
        let caller = Caller::of(&request)?;
        let mut request = request.into_inner();
        numbered(
            &self.0.core.world(),
            request.spec.iter_mut().flat_map(|spec| &mut spec.nics).map(|nic| &mut nic.network),
        );
        let name = vm(&request.name)?;
        let subject = format!("vm/{name}");
        let root = At::new(&subject);
        let at = root.field("spec");
        let wire = at.present(request.spec.as_ref()).map_err(refuse)?;
        let spec = vm_spec(&at, wire).map_err(refuse)?;
        let command = Command::CreateVm { name, spec };
        self.change(&caller, command, &request.request_id, request.validate_only).await
    }

    async fn update_vm(&self, request: Request<v1::UpdateVmRequest>) -> Result<Response<v1::Vm>, Status> {
        let caller = Caller::of(&request)?;
        let mut request = request.into_inner();
        let added = request.add_nics.iter_mut().map(|nic| &mut nic.network);
        numbered(
            &self.0.core.world(),
            added.chain(request.change_nics.iter_mut().map(|nic| &mut nic.network)),
        );
        let name = vm(&request.name)?;
        let patch = spec_patch(&At::new(&format!("vm/{name}")), &request).map_err(refuse)?;
        let expected_revision = request.expected_revision;
        let command = Command::UpdateVm { name, patch: Box::new(patch), expected_revision };
        self.change(&caller, command, &request.request_id, request.validate_only).await
    }

    async fn rename_vm(&self, request: Request<v1::RenameVmRequest>) -> Result<Response<v1::Vm>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::RenameVm {
            name: vm(&request.name)?,
            new_name: name("vm", "new_name", &request.new_name)?,
            expected_revision: request.expected_revision,
        };
        self.change(&caller, command, &request.request_id, false).await
    }

    async fn delete_vm(&self, request: Request<v1::DeleteVmRequest>) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::DeleteVm {
            name: vm(&request.name)?,
            delete_volumes: request.delete_volumes,
            expected_revision: request.expected_revision,
        };
        self.task(&caller, command, &request.request_id).await
    }

    async fn start_vm(&self, request: Request<v1::StartVmRequest>) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::StartVm { name: vm(&request.name)?, node: node(&request.node)? };
        self.task(&caller, command, &request.request_id).await
    }

    async fn shutdown_vm(
        &self,
        request: Request<v1::ShutdownVmRequest>,
    ) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::ShutdownVm { name: vm(&request.name)?, grace_seconds: request.grace_seconds };
        self.task(&caller, command, &request.request_id).await
    }

    async fn stop_vm(&self, request: Request<v1::StopVmRequest>) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::StopVm { name: vm(&request.name)? };
        self.task(&caller, command, &request.request_id).await
    }

    async fn restart_vm(&self, request: Request<v1::RestartVmRequest>) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::RestartVm { name: vm(&request.name)?, grace_seconds: request.grace_seconds };
        self.task(&caller, command, &request.request_id).await
    }

    async fn disable_vm(&self, request: Request<v1::DisableVmRequest>) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::DisableVm {
            name: vm(&request.name)?,
            grace_seconds: request.grace_seconds,
            force: request.force,
        };
        self.task(&caller, command, &request.request_id).await
    }

    async fn migrate_vm(&self, request: Request<v1::MigrateVmRequest>) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = vm(&request.name)?;
        let method = method(&name, request.method)?;
        let command = Command::MigrateVm { name, node: node(&request.node)?, method };
        self.task(&caller, command, &request.request_id).await
    }

    async fn unmigrate_vm(
        &self,
        request: Request<v1::UnmigrateVmRequest>,
    ) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = vm(&request.name)?;
        let method = method(&name, request.method)?;
        self.task(&caller, Command::UnmigrateVm { name, method }, &request.request_id).await
    }

    async fn move_vm(&self, request: Request<v1::MoveVmRequest>) -> Result<Response<v1::Task>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let vm = vm(&request.name)?;
        let method = method(&vm, request.method)?;
        let node = name("node", "node", &request.node)?;
        self.task(&caller, Command::MoveVm { name: vm, node, method }, &request.request_id).await
    }

    async fn dump_vm(
        &self,
        request: Request<v1::DumpVmRequest>,
    ) -> Result<Response<v1::DumpVmResponse>, Status> {
        let vm = vm(&request.into_inner().name)?;
        Ok(Response::new(vm_host::dump(&self.0, &vm).await?))
    }

    type TailVmLogStream = Answers<v1::LogChunk>;

    async fn tail_vm_log(
        &self,
        request: Request<v1::TailVmLogRequest>,
    ) -> Result<Response<Self::TailVmLogStream>, Status> {
        let request = request.into_inner();
        let vm = vm(&request.name)?;
        Ok(Response::new(vm_host::log(&self.0, &vm, request.lines, request.follow).await?))
    }

    type ConsoleStream = Answers<v1::ConsoleOutput>;

    async fn console(
        &self,
        request: Request<Streaming<v1::ConsoleInput>>,
    ) -> Result<Response<Self::ConsoleStream>, Status> {
        Ok(Response::new(vm_host::console(&self.0, request.into_inner()).await?))
    }
}

fn message(_: &Shared, world: &World, kind: v1::ChangeKind, vm: Option<&Vm>, revision: u64) -> v1::VmChange {
    let vm = vm.map(|vm| vm_view(world, vm));
    v1::VmChange { kind: kind.into(), vm, revision }
}

/// VMs that are shown otherwise because their node fell silent, or is heard again. Those that have changed
/// themselves are told anyway.
fn touched(world: &World, changes: &[Change]) -> Vec<Arc<Vm>> {
    let silent = |object: &Option<Object>| match object {
        Some(Object::Node(node)) => is_silent(node),
        _ => true,
    };
    let nodes: BTreeSet<&Name> = changes
        .iter()
        .filter(|change| {
            change.key.collection == Collection::Nodes && silent(&change.old) != silent(&change.new)
        })
        .map(|change| &change.key.name)
        .collect();
    if nodes.is_empty() {
        return Vec::new();
    }
    let told: BTreeSet<&Name> =
        changes.iter().filter(|c| c.key.collection == Collection::Vms).map(|c| &c.key.name).collect();
    let shown_by_node =
        |vm: &&Arc<Vm>| vm.placement.as_ref().is_some_and(|placement| nodes.contains(&placement.node));
    world.vms.values().filter(shown_by_node).filter(|vm| !told.contains(&vm.meta.name)).cloned().collect()
}

fn is_silent(node: &Node) -> bool {
    node.status.reachability == Reachability::Unreachable
}
