//! Switching a local host on and off, freezing and thawing it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::host_disk;
use super::init::HOLD_DIR;
use super::plan::HostName;
use super::processes::{self, Process};
use super::state::{ClusterDir, ClusterState, StateError};
use super::wiring;
use crate::durable_file::{self, FileError};
use crate::tool::{self, ToolError};

const START_LIMIT: Duration = Duration::from_secs(20);
const DIE_LIMIT: Duration = Duration::from_secs(20);
const FREEZE_ROUND: Duration = Duration::from_millis(20);
const FREEZE_ROUNDS_MAX: u32 = 200;

/// Why a host's power could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    #[error("host {host} is off; `pvc-bootstrap local power {host} on` starts it")]
    Off { host: HostName },
    #[error("host {host}: {count} processes survived SIGKILL for {} s, the first is {first}", DIE_LIMIT.as_secs())]
    Undead { host: HostName, count: usize, first: String },
    #[error("host {host} starts processes faster than they can be frozen")]
    Restless { host: HostName },
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// The host's first process, or the error that says how to switch it on.
pub fn require_on(state: &ClusterState, host: HostName) -> Result<Process, PowerError> {
    state.host(host)?;
    processes::init(&state.name, host).ok_or(PowerError::Off { host })
}

/// Switches a host on; returns when its first process is in place. Returns false when it was on already.
pub async fn on(dir: &ClusterDir, state: &ClusterState, host: HostName) -> Result<bool, PowerError> {
    if processes::init(&state.name, host).is_some() {
        return Ok(false);
    }
    host_disk::prepare(dir, state, host)?;
    wiring::plug_in(&state.name, state.addresses(), host).await?;
    let program = state.bootstrap.to_string_lossy();
    let root = dir.root().to_string_lossy();
    let host_text = host.to_string();
    let args = [
        processes::INIT_ARGS[0],
        processes::INIT_ARGS[1],
        "--name",
        state.name.as_str(),
        "--host",
        &host_text,
        "--state",
        &root,
    ];
    tool::run(&program, &args, START_LIMIT).await?;
    Ok(true)
}

/// Takes a host's power away: cables first, then every process at once. Returns false when it was off already.
pub async fn off(state: &ClusterState, host: HostName) -> Result<bool, PowerError> {
    state.host(host)?;
    let Some(init) = processes::init(&state.name, host) else {
        return Ok(false);
    };
    wiring::silence(&state.name, host).await?;
    end(host, &init).await?;
    Ok(true)
}

/// Kills all processes of a host and waits until they are gone. The kernel kills the whole namespace with its first process.
pub async fn end(host: HostName, init: &Process) -> Result<(), PowerError> {
    let all = processes::of_host(init);
    init.signal(libc::SIGKILL);
    let left = processes::wait_gone(all, DIE_LIMIT).await;
    match left.first() {
        None => Ok(()),
        Some(first) => Err(PowerError::Undead {
            host,
            count: left.len(),
            first: format!("{} (pid {}, state {})", first.name, first.pid, first.state),
        }),
    }
}

/// Stops every process of a host where it stands, guests included. Returns how many.
pub async fn freeze(host: HostName, init: &Process) -> Result<usize, PowerError> {
    // again and again, first process first: one that was not stopped yet may have forked meanwhile
    for _ in 0..FREEZE_ROUNDS_MAX {
        let all = processes::of_host(init);
        let moving: Vec<&Process> =
            all.iter().filter(|process| !matches!(process.state, 'T' | 't' | 'Z' | 'X')).collect();
        if moving.is_empty() {
            return Ok(all.len());
        }
        for process in moving {
            process.signal(libc::SIGSTOP);
        }
        tokio::time::sleep(FREEZE_ROUND).await;
    }
    Err(PowerError::Restless { host })
}

/// Lets a frozen host go on. Returns how many processes were told so.
pub fn thaw(init: &Process) -> usize {
    let all = processes::of_host(init);
    for process in all.iter().rev() {
        process.signal(libc::SIGCONT);
    }
    all.len()
}

/// Whether the host's first process is stopped.
pub fn is_frozen(init: &Process) -> bool {
    init.state == 'T'
}

fn hold_dir(init: &Process) -> PathBuf {
    // the host's own /run, seen from outside
    PathBuf::from(format!("/proc/{}/root{HOLD_DIR}", init.pid))
}

/// Keeps a service from being started, until [`release`] or the next power-on.
pub fn hold(init: &Process, service: &str) -> Result<(), FileError> {
    durable_file::write(&hold_dir(init).join(format!("hold-{service}")), b"", 0o644)
}

/// Lets all held services be started again. Returns how many there were.
pub fn release(init: &Process) -> Result<usize, FileError> {
    let dir = hold_dir(init);
    let fail = |source| FileError::new("release the services held in", &dir, source);
    let mut released = 0;
    for entry in fs::read_dir(&dir).map_err(fail)? {
        fs::remove_file(entry.map_err(fail)?.path()).map_err(fail)?;
        released += 1;
    }
    Ok(released)
}
