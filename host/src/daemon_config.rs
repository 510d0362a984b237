//! The daemon's configuration file as bootstrap writes it. `pvcd` reads it with unknown keys refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::network_config::Network;
use crate::store_config::StoreConfig;

/// Where `pvcd` looks for its configuration.
pub const PATH: &str = "/etc/pvc/pvcd.toml";
/// The one-time permission to found the cluster, a file in the identity's directory: written by
/// `pvc-bootstrap init`, holds the cluster's id, removed by `pvcd` when the cluster stands.
pub const FOUND_MARK: &str = "found-once";
/// Port on which every `pvcd` listens.
pub const PORT: u16 = 7741;

/// `/etc/pvc/pvcd.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DaemonConfig {
    /// Name of this node; the certificate must carry it.
    pub node: String,
    /// The cluster's id; a data directory or a peer of another cluster is refused.
    pub cluster_id: String,
    /// Whether this node votes and answers clients, or only runs guests.
    pub role: Role,
    /// Its id among Raft's members, for life; 0 on a hypervisor. The founder's is 1.
    pub member_id: u64,
    /// How often the cluster was recovered from the loss of its quorum: data and coordinators of before are
    /// refused. Coordinators only.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recoveries: u64,
    /// Where the daemon keeps the replicated log and its own notes.
    pub data_dir: PathBuf,
    /// Directory with `ca.pem`, `node.pem` and `node.key`.
    pub identity_dir: PathBuf,
    /// Directory with the CA's `root.pem` and `root.key`: coordinators only, for they sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_dir: Option<PathBuf>,
    /// Address and port on which it listens, which are also those that others are told.
    pub listen: SocketAddr,
    /// This host's addresses on other networks than the cluster's, by the name of the network: where its daemon is silent, the
    /// leader asks there too whether the host is dead.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, IpAddr>,
    /// Coordinators to begin with; the store knows better once it is reached.
    #[serde(default)]
    pub coordinators: Vec<Coordinator>,
    pub hypervisor: Hypervisor,
    /// Where guests' serial logs are kept.
    #[serde(default = "console_dir")]
    pub console_dir: PathBuf,
    /// Where libvirt and qemu look for the node's certificate.
    #[serde(default = "pki_dir")]
    pub pki_dir: PathBuf,
    /// Where the guard of this host is met (`pvcd guard`).
    #[serde(default = "guard_dir", skip_serializing_if = "is_usual_guard_dir")]
    pub guard_dir: PathBuf,
    /// The system UUID that this node tells, where its board's is not its own, as on the hosts of a local cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_uuid: Option<String>,
    /// The store's knobs.
    #[serde(default, skip_serializing_if = "StoreConfig::is_usual")]
    pub store: StoreConfig,
    /// What of this host carries client networks.
    #[serde(default, skip_serializing_if = "Network::is_usual")]
    pub network: Network,
    /// Directories for volumes, by the name of their pool.
    #[serde(default)]
    pub storage: Vec<Storage>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The store's own name: data and members of a store of another name are refused. Each recovery from the
/// loss of the quorum gives it a new one.
pub fn store_id(cluster_id: &str, recoveries: u64) -> String {
    if recoveries == 0 { cluster_id.to_owned() } else { format!("{cluster_id}.{recoveries}") }
}

/// What a host bears of starts at once without its guests being slowed down for long.
pub const STARTS_AT_ONCE: usize = 8;

fn starts_at_once() -> usize {
    STARTS_AT_ONCE
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_usual_starts(starts: &usize) -> bool {
    *starts == STARTS_AT_ONCE
}

fn console_dir() -> PathBuf {
    PathBuf::from("/var/log/pvc/guests")
}

/// On a file system that ends with the host's power.
pub fn guard_dir() -> PathBuf {
    PathBuf::from("/run/pvc")
}

fn is_usual_guard_dir(dir: &PathBuf) -> bool {
    *dir == guard_dir()
}

fn pki_dir() -> PathBuf {
    PathBuf::from(crate::libvirt_pki::PKI_DIR)
}

/// What a node is in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Coordinator,
    Hypervisor,
}

impl Role {
    /// The role's name.
    pub fn text(self) -> &'static str {
        match self {
            Role::Coordinator => "coordinator",
            Role::Hypervisor => "hypervisor",
        }
    }
}

/// A coordinator's name and where it listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coordinator {
    pub node: String,
    pub address: SocketAddr,
}

/// How guests are run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hypervisor {
    /// How the node's own libvirtd is reached.
    pub uri: String,
    /// Emulation, or the processor's help; never guessed, for libvirt offers the latter where it does not work.
    pub virt_type: VirtType,
    /// Guests that are started at once, at most: after the death of another host many may come.
    #[serde(default = "starts_at_once", skip_serializing_if = "is_usual_starts")]
    pub starts_at_once: usize,
}

/// Kind of libvirt domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VirtType {
    Qemu,
    Kvm,
}

/// A pool of the directory storage driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    pub pool: String,
    /// The same files must be seen here by all nodes.
    pub directory: PathBuf,
}
