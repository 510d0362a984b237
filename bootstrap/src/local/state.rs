//! What a local cluster remembers on disk: `STATE/NAME/cluster.toml` and the hosts' disks beside it.
//!
//! Whoever changes a cluster holds its [`Lock`]; the file is replaced whole.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::cut::Cut;
use super::plan::{AddressPlan, ClusterName, HostName, INDEX_COUNT};
use crate::durable_file::{self, FileError};

/// Where local clusters live unless told otherwise.
pub const DEFAULT_ROOT: &str = "/var/lib/pvc-local";
const FORMAT: u32 = 1;
const LOCK_DEADLINE: Duration = Duration::from_secs(120);

/// Why a local cluster's state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(
        "there is no local cluster \"{name}\" under {root}; `pvc-bootstrap local up --name {name}` makes it"
    )]
    NoCluster { name: ClusterName, root: PathBuf },
    #[error(
        "{path} is not a state file of this version of pvc-bootstrap; `pvc-bootstrap local down --name {name}` clears it away"
    )]
    Unreadable {
        path: PathBuf,
        name: ClusterName,
        #[source]
        source: toml::de::Error,
    },
    #[error(
        "{path} has format {found}, this pvc-bootstrap knows {FORMAT}; `pvc-bootstrap local down --name {name}` clears it away"
    )]
    Format { path: PathBuf, name: ClusterName, found: u32 },
    #[error("local cluster \"{name}\" has no host {host}; it has {hosts}")]
    NoHost { name: ClusterName, host: HostName, hosts: String },
    #[error("another pvc-bootstrap is still working on {what} after {} s", LOCK_DEADLINE.as_secs())]
    Busy { what: String },
    #[error("could not lock {path}")]
    Lock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    File(#[from] FileError),
}

/// One host as the state file knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostState {
    pub name: HostName,
    /// Identity of the host's libvirtd. All hosts would share the machine's otherwise, and libvirt refuses to migrate a guest to "the same host".
    pub uuid: String,
}

/// A local cluster as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterState {
    pub format: u32,
    pub name: ClusterName,
    /// Gives the addresses; see [`AddressPlan`].
    pub index: u8,
    /// How many of the first hosts vote.
    pub voters: u8,
    /// Whether guests may use the machine's /dev/kvm.
    pub kvm: bool,
    /// The daemon's binary, or nothing for hosts with libvirt only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvcd: Option<PathBuf>,
    /// This program, which is also the hosts' first process.
    pub bootstrap: PathBuf,
    pub hosts: Vec<HostState>,
    #[serde(default)]
    pub cuts: Vec<Cut>,
}

impl ClusterState {
    /// A new cluster of `hosts` hosts with fresh identities.
    pub fn new(name: ClusterName, index: u8, hosts: u8, voters: u8, bootstrap: PathBuf) -> Self {
        assert!(index < INDEX_COUNT, "index {index} has no addresses");
        Self {
            format: FORMAT,
            name,
            index,
            voters,
            kvm: false,
            pvcd: None,
            bootstrap,
            hosts: HostName::first(hosts)
                .map(|name| HostState { name, uuid: uuid::Uuid::new_v4().to_string() })
                .collect(),
            cuts: Vec::new(),
        }
    }

    /// The cluster's addresses.
    pub fn addresses(&self) -> AddressPlan {
        AddressPlan::new(self.index).expect("the index was checked when the state was read")
    }

    /// The host of this name.
    pub fn host(&self, host: HostName) -> Result<&HostState, StateError> {
        self.hosts.iter().find(|known| known.name == host).ok_or_else(|| StateError::NoHost {
            name: self.name.clone(),
            host,
            hosts: self.hosts.iter().map(|known| known.name.to_string()).collect::<Vec<_>>().join(", "),
        })
    }
}

/// The folder under which local clusters keep their state, and the places of one cluster in it.
#[derive(Debug, Clone)]
pub struct ClusterDir {
    root: PathBuf,
    name: ClusterName,
}

impl ClusterDir {
    /// The places of cluster `name` under `root`, which is made absolute.
    pub fn new(root: &Path, name: ClusterName) -> Result<Self, StateError> {
        let root = std::path::absolute(root).map_err(|source| FileError::new("resolve", root, source))?;
        Ok(Self { root, name })
    }

    /// The cluster's name.
    pub fn name(&self) -> &ClusterName {
        &self.name
    }

    /// The folder of all clusters.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The cluster's own folder.
    pub fn path(&self) -> PathBuf {
        self.root.join(self.name.as_str())
    }

    /// Folder that all hosts see as `/var/lib/pvc/volumes/shared`.
    pub fn shared(&self) -> PathBuf {
        self.path().join("shared")
    }

    /// One host's disk.
    pub fn host(&self, host: HostName) -> HostDir {
        HostDir(self.path().join("hosts").join(host.to_string()))
    }

    fn file(&self) -> PathBuf {
        self.path().join("cluster.toml")
    }

    /// Reads the state; `None` when this cluster was never brought up.
    pub fn load_if_there(&self) -> Result<Option<ClusterState>, StateError> {
        let path = self.file();
        let Some(text) = durable_file::read_text_if_there(&path)? else {
            return Ok(None);
        };
        let state: ClusterState = toml::from_str(&text).map_err(|source| StateError::Unreadable {
            path: path.clone(),
            name: self.name.clone(),
            source,
        })?;
        if state.format != FORMAT || AddressPlan::new(state.index).is_none() {
            return Err(StateError::Format { path, name: self.name.clone(), found: state.format });
        }
        Ok(Some(state))
    }

    /// Reads the state of a cluster that must exist.
    pub fn load(&self) -> Result<ClusterState, StateError> {
        self.load_if_there()?
            .ok_or_else(|| StateError::NoCluster { name: self.name.clone(), root: self.root.clone() })
    }

    /// Writes the state, durably.
    pub fn save(&self, state: &ClusterState) -> Result<(), StateError> {
        durable_file::make_directory(&self.path(), 0o700)?;
        let text = toml::to_string(state).expect("the state has only tables, texts and numbers");
        Ok(durable_file::write(&self.file(), text.as_bytes(), 0o600)?)
    }

    /// Waits for the right to change this cluster. The cluster's folder is made if need be; it is what is locked.
    pub async fn lock(&self) -> Result<Lock, StateError> {
        let deadline = Instant::now() + LOCK_DEADLINE;
        loop {
            durable_file::make_directory(&self.path(), 0o700)?;
            let lock = Lock::take(&self.path(), &format!("local cluster {:?}", self.name.as_str()), deadline)
                .await?;
            // a `down` that held the lock before us has removed the folder that we have locked now
            if lock.still_in_place() {
                return Ok(lock);
            }
        }
    }
}

/// What one host keeps when its power goes.
#[derive(Debug, Clone)]
pub struct HostDir(PathBuf);

impl HostDir {
    /// Folder that the host sees at `at`, such as `etc-pvc` for `/etc/pvc`.
    pub fn of(&self, at: &str) -> PathBuf {
        self.0.join(at.trim_start_matches('/').replace('/', "-"))
    }

    /// The host's folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The empty file that covers the machine's /dev/kvm.
    pub fn no_kvm(&self) -> PathBuf {
        self.0.join("no-kvm")
    }

    /// What the host's first process and its services say.
    pub fn console_log(&self) -> PathBuf {
        self.0.join("console.log")
    }
}

/// An exclusive lock on a folder, held until dropped; the kernel drops it when the process dies.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// The lock under which names and addresses that all local clusters of the machine share are taken and given back.
    pub async fn machine() -> Result<Lock, StateError> {
        Self::take(Path::new("/run"), "the machine's local clusters", Instant::now() + LOCK_DEADLINE).await
    }

    /// The lock on a folder that is there.
    pub async fn folder(path: &Path, what: &str) -> Result<Lock, StateError> {
        Self::take(path, what, Instant::now() + LOCK_DEADLINE).await
    }

    async fn take(path: &Path, what: &str, deadline: Instant) -> Result<Lock, StateError> {
        let fail = |source| StateError::Lock { path: path.to_owned(), source };
        let file = File::open(path).map_err(fail)?;
        let mut told = false;
        loop {
            // SAFETY: flock only needs a file descriptor, which `file` keeps open
            if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
                return Ok(Lock { file, path: path.to_owned() });
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(fail(error));
            }
            if Instant::now() >= deadline {
                return Err(StateError::Busy { what: what.to_owned() });
            }
            if !told {
                eprintln!("waiting for another pvc-bootstrap that works on {what}");
                told = true;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn still_in_place(&self) -> bool {
        match (self.file.metadata(), fs::metadata(&self.path)) {
            (Ok(mine), Ok(there)) => mine.ino() == there.ino() && mine.dev() == there.dev(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(root: &Path) -> ClusterDir {
        ClusterDir::new(root, "local".parse().unwrap()).unwrap()
    }

    fn state() -> ClusterState {
        let mut state =
            ClusterState::new("local".parse().unwrap(), 3, 2, 1, PathBuf::from("/usr/bin/pvc-bootstrap"));
        state.cuts.push(Cut {
            from: "hv1".parse().unwrap(),
            to: Some("hv2".parse().unwrap()),
            net: None,
            one_way: true,
        });
        state
    }

    #[test]
    fn state_is_read_back_as_it_was_written() {
        let root = tempfile::tempdir().unwrap();
        let (dir, state) = (dir(root.path()), state());
        assert_eq!(dir.load_if_there().unwrap(), None);
        dir.save(&state).unwrap();
        assert_eq!(dir.load().unwrap(), state);
    }

    #[test]
    fn a_foreign_state_file_is_refused_with_a_way_out() {
        let root = tempfile::tempdir().unwrap();
        let dir = dir(root.path());
        dir.save(&state()).unwrap();
        let file = dir.path().join("cluster.toml");
        let text = fs::read_to_string(&file).unwrap();
        for changed in [
            text.replace("format = 1", "format = 2"),
            text.replace("voters", "electors"),
            text.replace("hv2", "hv99"),
            text.replace("index = 3", "index = 200"),
            "garbage".to_owned(),
        ] {
            fs::write(&file, changed).unwrap();
            let error = dir.load().unwrap_err().to_string();
            assert!(error.contains("pvc-bootstrap local down --name local"), "{error}");
        }
    }

    #[test]
    fn an_absent_cluster_or_host_is_named() {
        let root = tempfile::tempdir().unwrap();
        let error = dir(root.path()).load().unwrap_err().to_string();
        assert!(error.contains("local up --name local"), "{error}");
        let error = state().host("hv3".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "local cluster \"local\" has no host hv3; it has hv1, hv2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_holder_waits_and_then_says_so() {
        let root = tempfile::tempdir().unwrap();
        let dir = dir(root.path());
        let held = dir.lock().await.unwrap();
        let error = dir.lock().await.unwrap_err();
        assert!(matches!(error, StateError::Busy { .. }), "{error}");
        drop(held);
        dir.lock().await.unwrap();
    }

    #[tokio::test]
    async fn a_lock_on_a_removed_folder_is_not_a_lock() {
        let root = tempfile::tempdir().unwrap();
        let dir = dir(root.path());
        let held = dir.lock().await.unwrap();
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(!held.still_in_place());
        let next = dir.lock().await.unwrap();
        assert!(next.still_in_place());
    }
}
