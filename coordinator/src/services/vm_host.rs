//! What only the host of a VM can answer: its console, its log, its XML. Bridged to that host's own service;
//! refused here, in words that help, where no host has anything to say.

use std::time::Duration;

use pvc_model::phase::{VmPhase, vm_phase};
use pvc_model::{Name, Rejection, Vm, World};
use pvc_proto::internal::v1::host_service_client::HostServiceClient;
use pvc_proto::internal::v1::{HostDumpVmRequest, HostVmLogRequest};
use pvc_proto::v1;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::answers::Answers;
use super::hosts::{in_time, log_lines, relay};
use super::shared::{Shared, name, refuse};
use crate::status;

/// How long a console's client may take to name its VM.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// Hosts that are asked to describe a VM that is off, before it is given up.
const DUMP_HOSTS_MAX: usize = 3;

/// The XML of the running guest, or what any host would start the VM with.
pub(super) async fn dump(shared: &Shared, vm: &Name) -> Result<v1::DumpVmResponse, Status> {
    let world = fresh(shared).await?;
    let vm = world.vm(vm).map_err(refuse)?;
    let volumes = vm.spec.disks.iter().filter_map(|disk| world.volumes.get(&disk.volume));
    let request = HostDumpVmRequest {
        uid: vm.uid().to_string(),
        vm: Some((&**vm).into()),
        volumes: volumes.map(|volume| (&**volume).into()).collect(),
    };
    let mut failure = None;
    for node in describers(&world, vm) {
        match dump_by(shared, &world, &node, request.clone()).await {
            Err(status) if status.code() == tonic::Code::Unavailable => failure = failure.or(Some(status)),
            answer => return answer,
        }
    }
    let detail = "no host that could describe it is reachable";
    Err(failure.unwrap_or_else(|| status::unreachable(&vm.subject(), detail)))
}

/// Hosts to ask, the best first. A guest that may run is described by its own host and no other.
fn describers(world: &World, vm: &Vm) -> Vec<Name> {
    let placed = vm.placement.as_ref().map(|placement| placement.node.clone());
    if !vm.is_proven_off() {
        return placed.into_iter().collect();
    }
    let heard = |node: &Name| world.nodes.get(node).is_some_and(|node| node.is_reachable());
    let mut hosts = Vec::new();
    for node in placed.iter().chain(&vm.spec.home).chain(world.nodes.keys()) {
        if heard(node) && !hosts.contains(node) {
            hosts.push(node.clone());
        }
    }
    hosts.truncate(DUMP_HOSTS_MAX);
    hosts
}

async fn dump_by(
    shared: &Shared,
    world: &World,
    node: &Name,
    request: HostDumpVmRequest,
) -> Result<v1::DumpVmResponse, Status> {
    let mut host = host(shared, world, node).await?;
    in_time(node, host.dump_vm(request)).await
}

/// The log of the serial console, from the host where the VM was last started.
pub(super) async fn log(
    shared: &Shared,
    vm: &Name,
    lines: u32,
    follow: bool,
) -> Result<Answers<v1::LogChunk>, Status> {
    let lines = log_lines(lines)?;
    let world = fresh(shared).await?;
    let vm = world.vm(vm).map_err(refuse)?;
    let Some(node) = ran_on(vm) else {
        let detail = "it has never been started, so its console has said nothing";
        let help = format!("pvc vm start {}", vm.meta.name);
        return Err(refuse(Rejection::precondition("vm-has-run", vm.subject(), detail).help(help)));
    };
    let mut host = host(shared, &world, node).await?;
    let request = HostVmLogRequest { uid: vm.uid().to_string(), lines, follow };
    let stream = in_time(node, host.tail_vm_log(request)).await?;
    Ok(relay(shared, node, stream))
}

/// Where the VM's console log is: where it runs, or ran last as far as is known. None: it has never run.
fn ran_on(vm: &Vm) -> Option<&Name> {
    let placed = vm.placement.as_ref().filter(|_| vm.boot_generation > 0).map(|p| &p.node)?;
    // Moved while it was off, it has said nothing yet where it is placed now.
    let seen = vm.observed.as_ref().map(|observed| &observed.node);
    Some(seen.filter(|_| !vm.should_run()).unwrap_or(placed))
}

/// The serial console, both ways. The client's first message names the VM.
pub(super) async fn console(
    shared: &Shared,
    mut input: Streaming<v1::ConsoleInput>,
) -> Result<Answers<v1::ConsoleOutput>, Status> {
    let hello = tokio::select! {
        () = shared.closing.cancelled() => return Err(status::stopping()),
        hello = timeout(HELLO_PATIENCE, input.message()) => hello,
    };
    let Some(first) = hello.unwrap_or(Ok(None))? else {
        let detail = "vm: the first message of a console must name the VM";
        return Err(refuse(Rejection::invalid("must-be-set", "request", detail)));
    };
    let world = fresh(shared).await?;
    let vm = world.vm(&name("vm", "vm", &first.vm)?).map_err(refuse)?;
    let node = runs_on(&world, vm)?;
    let mut host = host(shared, &world, node).await?;
    let first = v1::ConsoleInput { vm: vm.uid().to_string(), data: first.data };
    // An error of the client's ends its input; the stream of answers ends with the call.
    let typed = input.map_while(|input| Some(v1::ConsoleInput { vm: String::new(), ..input.ok()? }));
    let typed = tokio_stream::once(first).chain(typed);
    let stream = in_time(node, host.console(typed)).await?;
    Ok(relay(shared, node, stream))
}

/// The host of a guest that runs now.
fn runs_on<'a>(world: &World, vm: &'a Vm) -> Result<&'a Name, Status> {
    let (phase, reason) = vm_phase(world, vm);
    let refused = |detail: String, help: String| {
        Err(refuse(Rejection::precondition("vm-must-run", vm.subject(), detail).help(help)))
    };
    let name = &vm.meta.name;
    let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    match (phase, &vm.placement) {
        (VmPhase::Unknown, Some(placement)) => {
            Err(status::unreachable(&format!("node/{}", placement.node), "it is silent; it runs the VM"))
        }
        (
            VmPhase::Running | VmPhase::Starting | VmPhase::ShuttingDown | VmPhase::Migrating,
            Some(placement),
        ) => Ok(&placement.node),
        (VmPhase::Failed, _) => {
            refused(format!("it has failed{why}, so it has no console"), format!("pvc vm start {name}"))
        }
        (VmPhase::Pending | VmPhase::Backoff, _) => {
            refused(format!("it does not run yet{why}, so it has no console"), format!("pvc vm info {name}"))
        }
        _ => refused("it is off, so it has no console".to_owned(), format!("pvc vm start {name}")),
    }
}

async fn fresh(shared: &Shared) -> Result<World, Status> {
    shared.world(v1::Consistency::Linearizable.into()).await
}

pub(super) async fn host(
    shared: &Shared,
    world: &World,
    node: &Name,
) -> Result<HostServiceClient<Channel>, Status> {
    let address = Shared::node_address(world, node)?;
    shared.hosts.host(node, &address).await
}
