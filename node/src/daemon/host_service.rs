//! `HostService`: what only this host can tell: its log, its guests' consoles, serial logs and XML, its networks. Callers
//! are coordinators; the door has made sure. Nothing here starts, ends or changes a guest.

use std::sync::Arc;

use parking_lot::Mutex;
use pvc_model::{Uid, Vm, Volume};
use pvc_proto::convert::{At, vni};
use pvc_proto::internal::v1::host_service_server::HostService;
use pvc_proto::internal::v1::{HostDumpVmRequest, HostNetworkRequest, HostVmLogRequest};
use pvc_proto::v1::{
    ConsoleInput, ConsoleOutput, DumpVmResponse, HostNetworkState, LogChunk, TailNodeLogRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use super::HostSettings;
use super::logs::LogTail;
use super::serial_log::SerialLog;
use crate::agent::SharedView;
use crate::agent::volumes::Pools;
use crate::hypervisor::{GuestNic, GuestSpec, Hypervisor, HypervisorError, ResolvedDisk, Stamp};
use crate::network::Looker;
use pvc_coordinator::services::{Answers, answers};
use pvc_coordinator::status;

/// Bytes of a console's output in one message.
const CONSOLE_BYTES: usize = 4096;
/// Lines of a log to begin with.
const LINES_MAX: u32 = 10_000;

/// What the agent that runs now shows; None before the first.
#[derive(Clone, Default)]
pub struct AgentView(Arc<Mutex<Option<SharedView>>>);

impl AgentView {
    pub fn show(&self, view: SharedView) {
        *self.0.lock() = Some(view);
    }

    /// VMs that concern this node now.
    pub fn vms(&self) -> usize {
        self.0.lock().as_ref().map_or(0, |view| view.borrow().vms.len())
    }
}

/// Serves coordinators. Clones are cheap.
#[derive(Clone)]
pub struct HostCalls(Arc<Parts>);

/// What is asked.
pub struct Parts {
    pub hypervisor: Arc<dyn Hypervisor>,
    pub pools: Pools,
    pub settings: HostSettings,
    pub tail: LogTail,
    pub looker: Looker,
    pub closing: CancellationToken,
}

impl HostCalls {
    pub fn new(parts: Parts) -> Self {
        HostCalls(Arc::new(parts))
    }

    /// The XML with which this host would start the VM.
    async fn would_be(&self, request: &HostDumpVmRequest) -> Result<String, Status> {
        let refuse = |rejection| status::rejected(&rejection);
        let wire = request.vm.as_ref().ok_or_else(|| no_guest(&request.uid))?;
        let vm = Vm::try_from(wire).map_err(refuse)?;
        let volumes = request.volumes.iter().map(Volume::try_from).collect::<Result<Vec<_>, _>>();
        let volumes = volumes.map_err(refuse)?;
        let mut disks = Vec::new();
        for disk in &vm.spec.disks {
            let missing = |detail: String| {
                let help = format!("see `pvc storage volume info {}`", disk.volume);
                status::of(Code::FailedPrecondition, "volume-there", &vm.subject(), &detail, &help, None)
            };
            let volume = volumes.iter().find(|volume| volume.meta.name == disk.volume);
            let volume = volume.ok_or_else(|| missing(format!("volume {} does not exist", disk.volume)))?;
            let pool = self.0.pools.get(&volume.spec.pool);
            let pool = pool.ok_or_else(|| {
                missing(format!("node {} has no pool {}", self.0.settings.node, volume.spec.pool))
            })?;
            let source = pool.attach(volume.meta.uid).await.map_err(|error| missing(error.to_string()))?;
            disks.push(ResolvedDisk {
                volume: disk.volume.clone(),
                source,
                bus: disk.bus,
                read_only: disk.read_only,
            });
        }
        let settings = &self.0.settings.agent;
        let spec = GuestSpec {
            uid: vm.uid(),
            name: vm.meta.name.clone(),
            stamp: Stamp {
                epoch: vm.placement.as_ref().map_or(0, |placement| placement.epoch),
                boot_generation: vm.boot_generation,
                spec_generation: vm.spec_generation,
            },
            spec: vm.spec.clone(),
            disks,
            nics: vm.spec.nics.iter().filter_map(|nic| GuestNic::of(nic, None)).collect(),
            console_log: settings.console_log(vm.uid()),
            virt_type: settings.virt_type,
        };
        self.0.hypervisor.render(&spec).map_err(|error| failed(&error))
    }
}

fn uid(text: &str) -> Result<Uid, Status> {
    At::new("vm").field("uid").uid(text).map_err(|rejection| status::rejected(&rejection))
}

fn no_guest(uid: &str) -> Status {
    status::of(Code::NotFound, "guest-here", &format!("guest/{uid}"), "it is not on this host", "", None)
}

fn failed(error: &HypervisorError) -> Status {
    let (code, rule) = match error {
        HypervisorError::NoSuchGuest { .. } => (Code::NotFound, "guest-here"),
        HypervisorError::ConsoleBusy { .. } | HypervisorError::AlreadyHere { .. } => {
            (Code::FailedPrecondition, "console-free")
        }
        HypervisorError::Render { .. } => (Code::FailedPrecondition, "vm-describable"),
        HypervisorError::Refused { .. } => (Code::FailedPrecondition, "hypervisor-willing"),
        HypervisorError::Unreachable { .. } | HypervisorError::Deadline { .. } => {
            (Code::Unavailable, "hypervisor-answers")
        }
    };
    status::of(code, rule, "hypervisor", &error.to_string(), "see `pvc node info`", None)
}

fn unreadable(error: &std::io::Error) -> Status {
    status::unreachable("log", &format!("it can't be read: {error}"))
}

#[tonic::async_trait]
impl HostService for HostCalls {
    type TailVmLogStream = Answers<LogChunk>;

    async fn tail_vm_log(
        &self,
        request: Request<HostVmLogRequest>,
    ) -> Result<Response<Self::TailVmLogStream>, Status> {
        let request = request.into_inner();
        let path = self.0.settings.agent.console_log(uid(&request.uid)?);
        let lines = request.lines.min(LINES_MAX) as usize;
        let mut log = SerialLog::open(path, lines).await.map_err(|error| unreadable(&error))?;
        Ok(Response::new(answers(&self.0.closing, move |sink| async move {
            loop {
                let data = if request.follow { log.follow().await } else { log.read().await };
                let data = data.map_err(|error| unreadable(&error))?;
                if data.is_empty() {
                    return Ok(());
                }
                sink.send(LogChunk { data }).await?;
            }
        })))
    }

    type TailNodeLogStream = Answers<LogChunk>;

    async fn tail_node_log(
        &self,
        request: Request<TailNodeLogRequest>,
    ) -> Result<Response<Self::TailNodeLogStream>, Status> {
        let request = request.into_inner();
        let tail = self.0.tail.clone();
        Ok(Response::new(answers(&self.0.closing, move |sink| async move {
            let (mut data, mut after) = tail.last(request.lines.min(LINES_MAX) as usize);
            loop {
                if !data.is_empty() {
                    sink.send(LogChunk { data }).await?;
                }
                if !request.follow {
                    return Ok(());
                }
                (data, after) = tail.next(after).await;
            }
        })))
    }

    type ConsoleStream = Answers<ConsoleOutput>;

    async fn console(
        &self,
        request: Request<Streaming<ConsoleInput>>,
    ) -> Result<Response<Self::ConsoleStream>, Status> {
        let mut typed = request.into_inner();
        let first = typed.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("the first message names the guest"))?;
        let guest = uid(&first.vm)?;
        // Whoever asks last has it: a session that was left open somewhere must not lock the console.
        let console = self.0.hypervisor.console(guest, true).await.map_err(|error| failed(&error))?;
        Ok(Response::new(answers(&self.0.closing, move |sink| async move {
            let (mut output, mut input) = tokio::io::split(console);
            let typing = async move {
                let mut data = first.data;
                loop {
                    if !data.is_empty() && input.write_all(&data).await.is_err() {
                        break;
                    }
                    match typed.message().await {
                        Ok(Some(next)) => data = next.data,
                        Ok(None) | Err(_) => break,
                    }
                }
                // Nothing more is typed; what the guest says is still shown until the caller goes.
                std::future::pending::<()>().await;
            };
            let showing = async {
                let mut data = vec![0; CONSOLE_BYTES];
                loop {
                    match output.read(&mut data).await {
                        // The guest has ended or left, or another has taken the console.
                        Ok(0) | Err(_) => return Ok(()),
                        Ok(length) => {
                            let piece = ConsoleOutput { data: data[..length].to_vec() };
                            sink.send(piece).await?;
                        }
                    }
                }
            };
            tokio::select! {
                result = showing => result,
                () = typing => Ok(()),
            }
        })))
    }

    async fn dump_vm(&self, request: Request<HostDumpVmRequest>) -> Result<Response<DumpVmResponse>, Status> {
        let request = request.into_inner();
        match self.0.hypervisor.xml(uid(&request.uid)?).await {
            Ok(xml) => Ok(Response::new(DumpVmResponse { xml, live: true })),
            Err(HypervisorError::NoSuchGuest { .. }) => {
                let xml = self.would_be(&request).await?;
                Ok(Response::new(DumpVmResponse { xml, live: false }))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    async fn look_at_network(
        &self,
        request: Request<HostNetworkRequest>,
    ) -> Result<Response<HostNetworkState>, Status> {
        let number = vni(&At::new("network").field("vni"), request.into_inner().vni);
        let number = number.map_err(|rejection| status::rejected(&rejection))?;
        Ok(Response::new(self.0.looker.look(number).await))
    }
}
