//! `local down`: everything of a cluster goes, whatever state it is in, with or without its state file.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::bmc::{self, BmcError};
use super::connection::{self, LocalConnectionError};
use super::mountpoints;
use super::plan::{ClusterName, HostName};
use super::power::{self, PowerError};
use super::processes::{self, Process};
use super::state::{ClusterDir, DEFAULT_ROOT, Lock, StateError};
use super::{router, wiring};
use crate::durable_file::FileError;
use crate::tool::{self, ToolError};

const DIE_LIMIT: Duration = Duration::from_secs(20);

/// Why a cluster could not be cleared away.
#[derive(Debug, thiserror::Error)]
pub enum DownError {
    #[error(transparent)]
    Power(#[from] PowerError),
    #[error("{count} processes in the cluster's namespaces survived SIGKILL, the first is {first}")]
    Undead { count: usize, first: String },
    #[error(transparent)]
    Bmc(#[from] BmcError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("everything is gone but its connection; run the same command again when the cause is gone")]
    Connection(#[from] LocalConnectionError),
}

/// What `down` found and removed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Removed {
    pub hosts: usize,
    pub namespaces: usize,
    /// Files in which `pvc` had a connection to it.
    pub connections: Vec<PathBuf>,
}

/// Clears the cluster away. All is found by the cluster's name; may be called again at any time.
pub async fn down(dir: &ClusterDir) -> Result<Removed, DownError> {
    let lock = dir.lock().await?;
    let cluster = dir.name();
    let mut removed = Removed::default();
    // before the hosts: nobody is to switch one on again
    bmc::kill_all(dir).await?;
    for (host, init) in processes::inits(cluster) {
        wiring::silence(cluster, host).await?;
        power::end(host, &init).await?;
        removed.hosts += 1;
    }
    let machine = Lock::machine().await?;
    for namespace in own_namespaces(cluster) {
        end_guests_of(&namespace).await?;
        removed.namespaces += 1;
        if let Some(host) = host_of(cluster, &namespace) {
            wiring::unplug(cluster, host).await?;
        }
    }
    wiring::unplug_router(cluster).await?;
    router::remove_folder(cluster)?;
    wiring::remove_hub(cluster).await?;
    mountpoints::release()?;
    drop(machine);
    removed.connections = connection::remove(dir)?;
    remove_state(dir)?;
    drop(lock);
    Ok(removed)
}

fn own_namespaces(cluster: &ClusterName) -> Vec<String> {
    let mut own: Vec<String> = wiring::namespaces()
        .into_iter()
        .filter(|namespace| namespace.starts_with(&cluster.prefix()))
        .collect();
    own.sort();
    own
}

fn host_of(cluster: &ClusterName, namespace: &str) -> Option<HostName> {
    namespace.strip_prefix(&cluster.prefix())?.parse().ok()
}

/// Ends what somebody has started in a namespace from outside, such as a ping in the hub.
async fn end_guests_of(namespace: &str) -> Result<(), DownError> {
    // a namespace whose making was cut off is only an empty file, which `ip` refuses
    let Ok(text) = tool::ip(&["netns", "pids", namespace]).await else {
        return Ok(());
    };
    let guests: Vec<Process> = text
        .split_ascii_whitespace()
        .filter_map(|pid| Process::read(pid.parse().ok()?))
        .filter(|guest| u32::try_from(guest.pid) != Ok(std::process::id()))
        .collect();
    for guest in &guests {
        guest.signal(libc::SIGKILL);
    }
    let left = processes::wait_gone(guests, DIE_LIMIT).await;
    match left.first() {
        None => Ok(()),
        Some(first) => {
            Err(DownError::Undead { count: left.len(), first: format!("{} (pid {})", first.name, first.pid) })
        }
    }
}

fn remove_state(dir: &ClusterDir) -> Result<(), FileError> {
    let path = dir.path();
    fs::remove_dir_all(&path).map_err(|source| FileError::new("remove", &path, source))?;
    // other clusters may live there; a folder that the user named is the user's
    if dir.root() == std::path::Path::new(DEFAULT_ROOT) {
        let _ = fs::remove_dir(dir.root());
    }
    Ok(())
}
