//! How the hosts become a cluster: hv1 is founded on its disk by the steps of `init`, and each other host joins by the
//! steps of `join`, with a token that the administrator makes for it. The steps are those of real hosts; only the places of
//! the files and who starts `pvcd` (the host's first process) differ.
//!
//! What never happens here: writing a host's identity by any other way. Hosts without `pvcd` are the exception: they have
//! no cluster, so they get libvirt's certificates from a CA on hv1's disk.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use pvc_client::{CallError, Client, ConnectionError, request_id};
use pvc_identity::{JoinToken, TokenError};
use pvc_proto::v1::{CreateJoinTokenRequest, GetNodeRequest, SetNodeBmcRequest};
use tokio::time::{Instant, sleep};

use super::init::SHARED_DIR;
use super::plan::{HostName, Net};
use super::state::{ClusterDir, ClusterState};
use super::{bmc, cluster};
use crate::daemon_config::{self, Network, Role, Storage, VirtType};
use crate::durable_file::{self, FileError};
use crate::found::{self, FOUNDER, HostSetup, JoinRequest, MemberError, Places, TokenSource};
use crate::step::{self, Step, StepError};

const LISTEN_LIMIT: Duration = Duration::from_secs(60);
/// A founder starts alone and a coordinator copies the state first; on a busy machine either takes its time.
const MEMBER_LIMIT: Duration = Duration::from_secs(120);
const LIBVIRT_TLS_PORT: u16 = 16514;
/// Pool of the directory that all hosts share.
pub const POOL: &str = "shared";

/// Why the hosts could not be given their places in the cluster.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error("host {host}")]
    Step {
        host: HostName,
        #[source]
        source: StepError,
    },
    #[error("host {host}; its pvcd's log is {log}")]
    Member {
        host: HostName,
        log: PathBuf,
        #[source]
        source: MemberError,
    },
    #[error("host {host}: the cluster does not take its BMC")]
    Bmc {
        host: HostName,
        #[source]
        source: CallError,
    },
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the cluster cannot be reached as its administrator")]
    Administrator(#[from] ConnectionError),
    #[error("host {host}: nothing listens at {address} after {} s; its log is {log}", LISTEN_LIMIT.as_secs())]
    Silent { host: HostName, address: std::net::SocketAddr, log: PathBuf },
}

/// Why there is no token for a host.
#[derive(Debug, thiserror::Error)]
enum TokenSourceError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the cluster gave something that is no join token")]
    Form(#[from] TokenError),
    #[error(transparent)]
    File(#[from] FileError),
}

fn setup(dir: &ClusterDir, state: &ClusterState, host: HostName) -> HostSetup {
    let founder = state.hosts[0].name;
    let places = |host| {
        let disk = dir.host(host);
        Places { etc: disk.of("/etc/pvc"), pki: disk.of("/etc/pki"), data: disk.of("/var/lib/pvc") }
    };
    HostSetup {
        cluster: state.name.to_string(),
        node: host.to_string(),
        address: state.addresses().host(host).into(),
        role: role(state, host),
        member_id: if host == founder { FOUNDER } else { 0 },
        standby: false,
        recoveries: 0,
        virt_type: if state.kvm { VirtType::Kvm } else { VirtType::Qemu },
        coordinators: Vec::new(),
        // all hosts would tell the machine's otherwise
        system_uuid: state.host(host).ok().map(|host| host.uuid.clone()),
        storage: vec![Storage { pool: POOL.to_owned(), directory: PathBuf::from(SHARED_DIR) }],
        network: network(),
        authority: places(founder).authority(),
        cluster_id: None,
        places: places(host),
    }
}

/// All local hosts have the same cards. The bridge for guests has `eth1` as a port; VLANs may be on it all the same.
fn network() -> Network {
    let card = |net: Net| Some(net.card().to_owned());
    Network {
        cluster_device: card(Net::Cluster),
        upstream_device: card(Net::Upstream),
        bridge_device: card(Net::Vm),
        ..Network::default()
    }
}

fn role(state: &ClusterState, host: HostName) -> Role {
    if host.number() <= state.voters { Role::Coordinator } else { Role::Hypervisor }
}

async fn run(
    steps: &[Box<dyn Step<HostSetup>>],
    setup: &mut HostSetup,
    host: HostName,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<(), EnrolError> {
    let mut tell = |line: &str| {
        if !line.ends_with(": in place") {
            progress(&format!("host {host}: {line}"));
        }
    };
    step::run(steps, setup, &mut tell).await.map(drop).map_err(|source| EnrolError::Step { host, source })
}

async fn wait_until_member(
    dir: &ClusterDir,
    state: &ClusterState,
    client: &Client,
    host: HostName,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<(), EnrolError> {
    let seat = setup(dir, state, host).seat();
    found::wait_until_member(client, &host.to_string(), seat, MEMBER_LIMIT, progress).await.map_err(
        |source| {
            let log = dir.host(host).of("/var/log/pvc").join("pvcd.log");
            EnrolError::Member { host, log, source }
        },
    )
}

/// Founds the cluster on the first host. What is in place stays.
pub async fn found_first(
    dir: &ClusterDir,
    state: &ClusterState,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<(), EnrolError> {
    let host = state.hosts[0].name;
    run(&found::founding_steps(), &mut setup(dir, state, host), host, progress).await
}

/// Lets the other hosts join, coordinators first and one after the other, and waits until the cluster counts on them all.
pub async fn join_others(
    dir: &ClusterDir,
    state: &ClusterState,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<(), EnrolError> {
    let client = cluster::client(dir, state)?;
    let hosts: Vec<HostName> = state.hosts.iter().map(|host| host.name).collect();
    for (place, host) in hosts.iter().copied().enumerate() {
        if place > 0 {
            let tokens = Tokens {
                client: client.clone(),
                host,
                file: token_file(dir, host),
                coordinators: coordinators(state, &hosts[..place]),
            };
            let steps = found::joining_steps(Box::new(tokens));
            run(&steps, &mut setup(dir, state, host), host, progress).await?;
            // a leftover is a token that is spent or too old
            let _ = std::fs::remove_file(token_file(dir, host));
        }
        // hypervisors need not wait for each other
        if role(state, host) == Role::Coordinator {
            wait_until_member(dir, state, &client, host, progress).await?;
        }
    }
    for host in hosts.into_iter().filter(|host| role(state, *host) == Role::Hypervisor) {
        wait_until_member(dir, state, &client, host, progress).await?;
    }
    Ok(())
}

fn coordinators(state: &ClusterState, hosts: &[HostName]) -> Vec<String> {
    hosts
        .iter()
        .filter(|host| role(state, **host) == Role::Coordinator)
        .map(|host| format!("{}:{}", state.addresses().host(*host), daemon_config::PORT))
        .collect()
}

fn token_file(dir: &ClusterDir, host: HostName) -> PathBuf {
    dir.host(host).path().join("join-token")
}

/// Join tokens made with the administrator's credentials. One is kept beside the host's disk until the host has joined: an
/// answer that was lost is given again only to the token that asked for it.
struct Tokens {
    client: Client,
    host: HostName,
    file: PathBuf,
    coordinators: Vec<String>,
}

impl Tokens {
    fn request(&self, token: JoinToken) -> JoinRequest {
        JoinRequest { token, coordinators: self.coordinators.clone() }
    }

    async fn create(&self) -> Result<JoinRequest, TokenSourceError> {
        let request = CreateJoinTokenRequest {
            node: self.host.to_string(),
            request_id: request_id(),
            ..CreateJoinTokenRequest::default()
        };
        let answer = self.client.tokens().create_join_token(request).await.map_err(CallError::from)?;
        let secret = answer.into_inner().secret;
        durable_file::write(&self.file, secret.as_bytes(), 0o600)?;
        Ok(self.request(secret.parse()?))
    }
}

#[async_trait]
impl TokenSource for Tokens {
    async fn token(&self) -> anyhow::Result<JoinRequest> {
        if let Some(kept) = durable_file::read_text_if_there(&self.file)?
            && let Ok(token) = kept.parse()
        {
            return Ok(self.request(token));
        }
        Ok(self.create().await?)
    }

    async fn another(&self) -> anyhow::Result<Option<JoinRequest>> {
        Ok(Some(self.create().await?))
    }
}

/// Gives hosts that have no `pvcd` their certificates for libvirt, from a CA on the first host's disk.
pub async fn libvirt_only(
    dir: &ClusterDir,
    state: &ClusterState,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<(), EnrolError> {
    let mut cluster_id = None;
    for host in state.hosts.iter().map(|host| host.name) {
        let mut setup = setup(dir, state, host);
        setup.cluster_id = cluster_id.clone();
        run(&found::libvirt_only_steps(cluster_id.is_none()), &mut setup, host, progress).await?;
        cluster_id = setup.cluster_id;
    }
    Ok(())
}

/// Tells the cluster of the hosts' BMCs. Those that it knows stay.
pub async fn set_bmcs(
    dir: &ClusterDir,
    state: &ClusterState,
    client: &Client,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<(), EnrolError> {
    for host in state.hosts.iter().map(|host| host.name) {
        let failed = |status: tonic::Status| EnrolError::Bmc { host, source: status.into() };
        let address = format!("{}:{}", state.addresses().bmc(host), bmc::PORT);
        let get = GetNodeRequest { name: host.to_string(), ..GetNodeRequest::default() };
        let node = client.nodes().get_node(get).await.map_err(failed)?.into_inner();
        let known = node.spec.and_then(|spec| spec.bmc);
        if known.is_some_and(|known| known.address == address) {
            continue;
        }
        let password = durable_file::read_text_if_there(&bmc::password_file(dir, host))?;
        let request = SetNodeBmcRequest {
            name: host.to_string(),
            address: address.clone(),
            user: bmc::USER.to_owned(),
            password: password.unwrap_or_default().trim().to_owned(),
            request_id: request_id(),
            ..SetNodeBmcRequest::default()
        };
        client.nodes().set_node_bmc(request).await.map_err(failed)?;
        progress(&format!("host {host}: its BMC at {address} is known to the cluster"));
    }
    Ok(())
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

async fn listens(address: std::net::SocketAddr) -> bool {
    let attempt = tokio::net::TcpStream::connect(address);
    matches!(tokio::time::timeout(Duration::from_secs(1), attempt).await, Ok(Ok(_)))
}
