//! Identities and configurations of a local cluster's hosts: the founding steps of real hosts, run on the hosts' disks.
//!
//! The CA is made on hv1's disk, as on a real founder; the other voters get a copy of it, as coordinators do.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::init::SHARED_DIR;
use super::plan::HostName;
use super::state::{ClusterDir, ClusterState};
use crate::daemon_config::{self, Coordinator, Role, Storage, VirtType};
use crate::found::{self, HostSetup, Places};
use crate::step::{self, StepError};

const LISTEN_LIMIT: Duration = Duration::from_secs(60);
const LIBVIRT_TLS_PORT: u16 = 16514;

/// Why the hosts could not be given their places in the cluster.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error("host {host}")]
    Step {
        host: HostName,
        #[source]
        source: StepError,
    },
    #[error("the CA could not be copied to host {host}")]
    Authority {
        host: HostName,
        #[source]
        source: pvc_identity::CaError,
    },
    #[error(transparent)]
    File(#[from] crate::durable_file::FileError),
    #[error("host {host}: nothing listens at {address} after {} s; its log is {log}", LISTEN_LIMIT.as_secs())]
    Silent { host: HostName, address: std::net::SocketAddr, log: PathBuf },
}

fn setup(dir: &ClusterDir, state: &ClusterState, host: HostName) -> HostSetup {
    let addresses = state.addresses();
    let founder = state.hosts[0].name;
    let places = |host| {
        let disk = dir.host(host);
        Places { etc: disk.of("/etc/pvc"), pki: disk.of("/etc/pki") }
    };
    let voters = HostName::first(state.voters);
    HostSetup {
        cluster: state.name.to_string(),
        node: host.to_string(),
        address: addresses.host(host).into(),
        role: role(state, host),
        member_id: match role(state, host) {
            Role::Coordinator => host.number().into(),
            Role::Hypervisor => 0,
        },
        virt_type: if state.kvm { VirtType::Kvm } else { VirtType::Qemu },
        coordinators: voters
            .map(|voter| Coordinator {
                node: voter.to_string(),
                address: (addresses.host(voter), daemon_config::PORT).into(),
            })
            .collect(),
        storage: vec![Storage { pool: "shared".to_owned(), directory: PathBuf::from(SHARED_DIR) }],
        authority: places(founder).authority(),
        cluster_id: None,
        places: places(host),
    }
}

fn role(state: &ClusterState, host: HostName) -> Role {
    if host.number() <= state.voters { Role::Coordinator } else { Role::Hypervisor }
}

/// Founds the cluster on the first host's disk and enrols the others. What is in place stays. Returns the cluster's id.
pub async fn enrol(
    dir: &ClusterDir,
    state: &ClusterState,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<String, EnrolError> {
    let mut cluster_id = None;
    for host in state.hosts.iter().map(|host| host.name) {
        let mut setup = setup(dir, state, host);
        let steps = if cluster_id.is_none() { found::founding_steps() } else { found::enrolling_steps() };
        setup.cluster_id = cluster_id.clone();
        if host.number() > 1 && role(state, host) == Role::Coordinator {
            copy_authority(&setup, host)?;
        }
        let acted = step::run(&steps, &mut setup, &mut |_| ())
            .await
            .map_err(|source| EnrolError::Step { host, source })?;
        if acted > 0 {
            progress(&format!("host {host} has its identity and configuration"));
        }
        cluster_id = setup.cluster_id;
    }
    Ok(cluster_id.expect("a cluster has at least one host, and the first step sets the id"))
}

fn copy_authority(setup: &HostSetup, host: HostName) -> Result<(), EnrolError> {
    let own = setup.places.authority();
    if found::load_authority(&own).is_ok() {
        return Ok(());
    }
    let wrong = |source| EnrolError::Authority { host, source };
    let ca = found::load_authority(&setup.authority).map_err(wrong)?;
    crate::durable_file::make_directory(&own, 0o700)?;
    ca.save(&own.join("root.pem"), &own.join("root.key")).map_err(wrong)
}

/// Waits until every host's libvirtd listens, as seen from the machine.
pub async fn wait_for_libvirt(dir: &ClusterDir, state: &ClusterState) -> Result<(), EnrolError> {
    let deadline = Instant::now() + LISTEN_LIMIT;
    for host in state.hosts.iter().map(|host| host.name) {
        let address = (state.addresses().host(host), LIBVIRT_TLS_PORT).into();
        while !listens(address).await {
            if Instant::now() >= deadline {
                return Err(EnrolError::Silent { host, address, log: dir.host(host).console_log() });
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// Waits until every host's `pvcd` answers under its node's name, as the administrator sees it.
pub async fn wait_for_daemons(dir: &ClusterDir, state: &ClusterState) -> anyhow::Result<()> {
    let admin = dir.host(state.hosts[0].name).of("/etc/pvc").join("admin");
    let credentials = pvc_identity::Credentials::load(&admin)?;
    let deadline = Instant::now() + LISTEN_LIMIT;
    for host in state.hosts.iter().map(|host| host.name) {
        let address = (state.addresses().host(host), daemon_config::PORT).into();
        while !found::answers_as(address, &host.to_string(), &credentials).await? {
            if Instant::now() >= deadline {
                let log = dir.host(host).of("/var/log/pvc").join("pvcd.log");
                return Err(EnrolError::Silent { host, address, log }.into());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

async fn listens(address: std::net::SocketAddr) -> bool {
    let attempt = tokio::net::TcpStream::connect(address);
    matches!(tokio::time::timeout(Duration::from_secs(1), attempt).await, Ok(Ok(_)))
}
