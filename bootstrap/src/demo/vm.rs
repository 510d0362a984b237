//! The demo's VM: what it is, and getting it to run, whatever an earlier demo has left of it.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use pvc_client::{CallError, Client, request_id};
use pvc_proto::v1::{
    CreateVmRequest, DirectBoot, Disk, GetVmRequest, Nic, StartVmRequest, StopVmRequest, Task, TaskState, Vm,
    VmPhase, VmSpec,
};
use tokio::time::Instant;
use tonic::Code;

use super::console;
use super::ping::Pings;
use super::say::{Teller, seconds};
use crate::guest;
use crate::local::enrolment::POOL;
use crate::local::init::SHARED_DIR;
use crate::local::plan::AddressPlan;
use crate::local::wiring::VM_BRIDGE;

/// Its name.
pub const NAME: &str = "demo1";
/// Folder of its kernel, below the folder that all hosts share.
pub const BOOT_DIR: &str = "guest";

const DISK: &str = "demo1-data";
const DISK_BYTES: u64 = 64 << 20;
const MEMORY_MIB: u64 = 128;
/// Under plain emulation, beside everything else on a small machine.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// How long it took from the wish to the guest's first words; nothing when it ran already.
#[derive(Debug, Clone, Copy)]
pub struct Boot {
    pub first_line: Duration,
    pub first_answer: Duration,
}

/// The address that its kernel is told.
pub fn address(addresses: AddressPlan) -> Ipv4Addr {
    addresses.guest(1)
}

fn spec(address: Ipv4Addr) -> VmSpec {
    let at = |name: &str| format!("{SHARED_DIR}/{BOOT_DIR}/{name}");
    VmSpec {
        vcpus: 1,
        memory_mib: MEMORY_MIB,
        disks: vec![Disk {
            volume: DISK.to_owned(),
            create_bytes: DISK_BYTES,
            pool: POOL.to_owned(),
            ..Disk::default()
        }],
        nics: vec![Nic { bridge: VM_BRIDGE.to_owned(), ..Nic::default() }],
        tags: vec!["demo".to_owned()],
        boot: Some(DirectBoot {
            kernel: at(guest::KERNEL),
            initrd: at(guest::INITRAMFS),
            cmdline: format!(
                "console=ttyS0 quiet pvc.name={NAME} pvc.ip={address}/{}",
                AddressPlan::PREFIX_LEN
            ),
        }),
        ..VmSpec::default()
    }
}

/// The VM as the cluster knows it.
pub async fn get(client: &Client) -> Result<Option<Vm>, CallError> {
    let request = GetVmRequest { name: NAME.to_owned(), ..GetVmRequest::default() };
    match client.vms().get_vm(request).await {
        Ok(vm) => Ok(Some(vm.into_inner())),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status.into()),
    }
}

/// The VM, which must exist, and the node where it runs.
pub async fn placed(client: &Client) -> anyhow::Result<(Vm, String)> {
    let vm = get(client).await?.context("the VM is gone: somebody has removed it")?;
    let node =
        vm.status.as_ref().and_then(|status| status.placement.as_ref()).map(|place| place.node.clone());
    Ok((vm, node.context("the VM has no place")?))
}

/// Defines the VM unless it is there.
pub async fn define(client: &Client, tell: &Teller, address: Ipv4Addr) -> anyhow::Result<()> {
    if get(client).await?.is_some() {
        tell.line(&format!("{NAME} is defined already, by an earlier demo"));
        return Ok(());
    }
    let spec = spec(address);
    let boot = spec.boot.as_ref().expect("the demo boots a kernel");
    let memory = format!("{MEMORY_MIB}M");
    let nic = format!("bridge={VM_BRIDGE}");
    let disk = format!("{DISK}:{}M,pool={POOL}", DISK_BYTES >> 20);
    let words = ["vm", "define", NAME, "--vcpus", "1", "--memory", &memory, "--disk", &disk, "--nic", &nic];
    let boot = ["--kernel", &boot.kernel, "--initrd", &boot.initrd, "--cmdline", &boot.cmdline];
    tell.pvc(&[&words[..], &boot, &["--tag", "demo"]].concat());
    let request = CreateVmRequest {
        name: NAME.to_owned(),
        spec: Some(spec.clone()),
        request_id: request_id(),
        ..CreateVmRequest::default()
    };
    client.vms().create_vm(request).await.map_err(CallError::from)?;
    Ok(())
}

/// Starts the VM unless it runs, and waits for its first words and its first answer.
pub async fn start(client: &Client, tell: &Teller, address: Ipv4Addr) -> anyhow::Result<Option<Boot>> {
    let vm = get(client).await?.context("the VM is gone: somebody has removed it")?;
    // an interrupted demo may have left something under way
    if !vm.task.is_empty() {
        tell.line(&format!("waiting for task {}, which is under way", vm.task));
        follow(client, tell, &vm.task).await?;
    }
    let (running, started) = (is_running(client).await?, Instant::now());
    let mut first_line = Duration::ZERO;
    let boots = console::boots(client, NAME).await.unwrap_or(0);
    if !running {
        tell.pvc(&["vm", "start", NAME]);
        let request =
            StartVmRequest { name: NAME.to_owned(), request_id: request_id(), ..StartVmRequest::default() };
        let task = client.vms().start_vm(request).await.map_err(CallError::from)?.into_inner();
        let task = name_of(&task);
        // its first words may come before the task's end
        let ended = async { succeed(follow(client, tell, &task).await?).map(drop) };
        let spoken = async {
            console::wait_for_boot(client, NAME, boots, started + BOOT_LIMIT).await?;
            Ok(started.elapsed())
        };
        (_, first_line) = tokio::try_join!(ended, spoken)?;
    }
    let pings = Pings::start(address).context("could not open a socket for pings")?;
    if !pings.answered_within(BOOT_LIMIT).await {
        bail!("the guest does not answer pings at {address}; `pvc vm log {NAME}` shows what it says");
    }
    let (_, node) = placed(client).await?;
    if running {
        tell.line(&format!("it runs already, on {node}, and answers at {address}"));
        return Ok(None);
    }
    let first_answer = started.elapsed();
    tell.line(&format!(
        "it runs on {node}: first words on its console after {}, first answer to a ping after {}",
        seconds(first_line),
        seconds(first_answer)
    ));
    Ok(Some(Boot { first_line, first_answer }))
}

/// Switches the VM off at once.
pub async fn stop(client: &Client, tell: &Teller) -> anyhow::Result<()> {
    tell.pvc(&["vm", "stop", NAME]);
    let request = StopVmRequest { name: NAME.to_owned(), request_id: request_id() };
    let task = client.vms().stop_vm(request).await.map_err(CallError::from)?.into_inner();
    succeed(follow(client, tell, &name_of(&task)).await?).map(drop)
}

async fn is_running(client: &Client) -> anyhow::Result<bool> {
    let vm = get(client).await?.context("the VM is gone: somebody has removed it")?;
    Ok(vm.status.is_some_and(|status| status.phase() == VmPhase::Running))
}

/// A task's name.
pub fn name_of(task: &Task) -> String {
    task.meta.as_ref().map(|meta| meta.name.clone()).unwrap_or_default()
}

/// Follows a task to its end, telling each stage once.
pub async fn follow(client: &Client, tell: &Teller, task: &str) -> Result<Task, CallError> {
    let mut told = String::new();
    client
        .follow_task(task, |task| {
            if task.state() != TaskState::Running {
                return;
            }
            let extra = [task.progress.as_str(), task.message.as_str()];
            let extra = extra.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
            let line = [task.stage.as_str(), &extra].join(if extra.is_empty() { "" } else { ": " });
            if line != told {
                tell.line(&format!("… {line}"));
                told = line;
            }
        })
        .await
}

/// Refuses a task that did not end well.
pub fn succeed(task: Task) -> anyhow::Result<Task> {
    match task.state() {
        TaskState::Succeeded => Ok(task),
        _ => {
            bail!("task {} ({} of {}) ended badly: {}", name_of(&task), task.kind, task.subject, task.message)
        }
    }
}
