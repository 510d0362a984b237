//! Founding a cluster on its first coordinator, and giving a host its identity and configuration.
//!
//! All of it is [`crate::step`]s over a [`HostSetup`]: what the host shall be, and where its files are. The places are given
//! by the caller, so that a local host's disk is set up by the very steps that set up a real host.

mod admin;
mod authority;
mod configuration;
mod daemon;
pub mod devices;
mod join;
mod joined;
mod mark;
mod member;
mod node_certificate;
mod plan;
mod service_certificate;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use pvc_identity::{Ca, CaError};

use crate::daemon_config::{self, Coordinator, Network, Role, Storage, VirtType};
use crate::libvirt_pki::PKI_DIR;
use crate::step::Step;

pub use daemon::{DaemonRuns, answers_as};
pub use join::{JoinError, JoinRequest};
pub use joined::{GivenToken, TokenSource};
pub use member::{MemberError, Seat, wait_until_member};
pub use plan::ClusterPlan;
pub use service_certificate::{Issued, ServiceCertificate};

/// The founder's id among Raft's members; the cluster chooses all others.
pub const FOUNDER: u64 = 1;
/// Where `pvcd` keeps its data unless it is told otherwise.
const DATA_DIR: &str = "/var/lib/pvc";

/// Where a host's files are, as seen by this process.
#[derive(Debug, Clone)]
pub struct Places {
    /// The host's `/etc/pvc`.
    pub etc: PathBuf,
    /// The host's `/etc/pki`.
    pub pki: PathBuf,
    /// The host's `/var/lib/pvc`.
    pub data: PathBuf,
}

impl Default for Places {
    /// This host's own.
    fn default() -> Self {
        Self { etc: PathBuf::from("/etc/pvc"), pki: PathBuf::from(PKI_DIR), data: PathBuf::from(DATA_DIR) }
    }
}

impl Places {
    /// Folder of the CA, on coordinators.
    pub fn authority(&self) -> PathBuf {
        self.etc.join("ca")
    }

    /// Folder of the first administrator's credentials.
    pub fn admin(&self) -> PathBuf {
        self.etc.join("admin")
    }

    /// Named connections for every user of the host's `pvc`.
    pub fn connections(&self) -> PathBuf {
        self.etc.join("connections.toml")
    }

    /// The mark by which `pvcd` may found the cluster, once.
    pub fn found_once(&self) -> PathBuf {
        self.etc.join(daemon_config::FOUND_MARK)
    }

    /// What the cluster told when this host joined it.
    fn joined(&self) -> PathBuf {
        self.etc.join("joined.toml")
    }

    fn configuration(&self) -> PathBuf {
        self.etc.join("pvcd.toml")
    }
}

/// What a host shall be.
#[derive(Debug, Clone)]
pub struct HostSetup {
    pub places: Places,
    /// The cluster's name for people.
    pub cluster: String,
    pub node: String,
    /// Where its `pvcd` and its libvirtd listen; goes into the certificate.
    pub address: IpAddr,
    pub role: Role,
    /// Its id among Raft's members; 0 on a hypervisor.
    pub member_id: u64,
    /// A coordinator that does not vote. Told when it joins; afterwards the cluster knows.
    pub standby: bool,
    /// How often the cluster was recovered from the loss of its quorum.
    pub recoveries: u64,
    pub virt_type: VirtType,
    /// Coordinators that the node is told of.
    pub coordinators: Vec<Coordinator>,
    pub storage: Vec<Storage>,
    /// What of it carries client networks.
    pub network: Network,
    /// What it tells as its board's UUID, where the board is not its own.
    pub system_uuid: Option<String>,
    /// Where the CA is at hand, for signing without asking a coordinator. The founder's own, below `places`.
    pub authority: PathBuf,
    /// The cluster's id, once the first step has found or made it.
    pub cluster_id: Option<String>,
}

impl HostSetup {
    fn cluster_id(&self) -> anyhow::Result<&str> {
        self.cluster_id.as_deref().ok_or_else(|| anyhow::anyhow!("the cluster's id is not known yet"))
    }

    /// What the cluster is to count it as.
    pub fn seat(&self) -> Seat {
        match (self.role, self.standby) {
            (Role::Hypervisor, _) => Seat::None,
            (Role::Coordinator, false) => Seat::Voter,
            (Role::Coordinator, true) => Seat::Standby,
        }
    }

    /// Address and port of its `pvcd`.
    pub fn listen(&self) -> std::net::SocketAddr {
        (self.address, daemon_config::PORT).into()
    }
}

/// The steps that found a cluster on this host, short of starting its daemon.
pub fn founding_steps() -> Vec<Box<dyn Step<HostSetup>>> {
    vec![
        Box::new(plan::Plan),
        Box::new(mark::FoundOnce),
        Box::new(authority::Authority),
        Box::new(node_certificate::NodeCertificate),
        Box::new(admin::AdminCredentials),
        Box::new(admin::AdminConnection),
        Box::new(configuration::Configuration),
        Box::new(configuration::LibvirtCertificates),
    ]
}

/// The steps that make this host a node of a cluster that exists, short of starting its daemon.
pub fn joining_steps(tokens: Box<dyn TokenSource>) -> Vec<Box<dyn Step<HostSetup>>> {
    vec![
        Box::new(joined::Joined::new(tokens)),
        Box::new(plan::Plan),
        // only to replace one that has expired while the host was off, where a CA is at hand
        Box::new(node_certificate::NodeCertificate),
        Box::new(configuration::Configuration),
        Box::new(configuration::LibvirtCertificates),
    ]
}

/// The steps that give a host certificates of a CA at hand and no `pvcd`: libvirt alone, for tests of hosts. `first`
/// makes the CA.
pub fn libvirt_only_steps(first: bool) -> Vec<Box<dyn Step<HostSetup>>> {
    let mut steps: Vec<Box<dyn Step<HostSetup>>> = vec![Box::new(plan::Plan)];
    if first {
        steps.push(Box::new(authority::Authority));
    }
    steps.push(Box::new(node_certificate::NodeCertificate));
    steps.push(Box::new(configuration::LibvirtCertificates));
    steps
}

/// Reads the CA that is in `folder`.
pub fn load_authority(folder: &Path) -> Result<Ca, CaError> {
    Ca::load(&folder.join("root.pem"), &folder.join("root.key"))
}

#[cfg(test)]
mod tests;
