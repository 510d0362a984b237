//! `pvc-bootstrap init` and `join`: a real host's way into a cluster.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::daemon_config::{Coordinator, Role, Storage, VirtType};
use crate::found::devices::{self, GivenDevices};
use crate::found::{self, DaemonRuns, FOUNDER, GivenToken, HostSetup, JoinRequest, Places};
use crate::step::{self, Step};
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use pvc_identity::JoinToken;

/// A new coordinator copies the whole state before it votes.
const MEMBER_LIMIT: Duration = Duration::from_secs(180);

#[derive(Debug, Args)]
struct HostArgs {
    /// Name of the cluster, for people
    #[arg(long, default_value = "pvc")]
    cluster: String,
    /// Name of this node [default: the host's name]
    #[arg(long)]
    node: Option<String>,
    /// This host's address in the cluster network
    #[arg(long)]
    address: IpAddr,
    /// How guests are run; KVM is never guessed
    #[arg(long, value_enum, default_value_t = Virt::Kvm)]
    virt_type: Virt,
    /// A directory for volumes that all hosts see, as POOL=DIRECTORY
    #[arg(long, value_parser = parse_storage, value_name = "POOL=DIRECTORY")]
    storage: Vec<Storage>,
    /// The device that carries the cluster network [default: the one that has the address]
    #[arg(long, value_name = "DEVICE")]
    cluster_device: Option<String>,
    /// The device towards the site's routers
    #[arg(long, value_name = "DEVICE")]
    upstream_device: Option<String>,
    /// The device that carries the storage network
    #[arg(long, value_name = "DEVICE")]
    storage_device: Option<String>,
    /// The device that the VLANs of bridged networks are on
    #[arg(long, value_name = "DEVICE")]
    bridge_device: Option<String>,
    /// Do all but start pvcd
    #[arg(long)]
    no_start: bool,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Args)]
pub struct JoinArgs {
    #[command(flatten)]
    host: HostArgs,
    /// The token; it names the cluster's CA, so nothing is sent to anyone else
    #[arg(long, env = "PVC_JOIN_TOKEN", hide_env_values = true)]
    token: JoinToken,
    /// A coordinator to ask, HOST:PORT; may be given several times
    #[arg(long, required = true, value_name = "HOST:PORT")]
    coordinator: Vec<String>,
    /// What this node shall be
    #[arg(long, value_enum, default_value_t = NodeKind::Hypervisor)]
    role: NodeKind,
    /// A coordinator that does not vote, and takes the place of a voter that dies
    #[arg(long)]
    standby: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Virt {
    Kvm,
    Qemu,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NodeKind {
    Coordinator,
    Hypervisor,
}

fn parse_storage(text: &str) -> Result<Storage, String> {
    match text.split_once('=') {
        Some((pool, directory)) if !pool.is_empty() && directory.starts_with('/') => {
            Ok(Storage { pool: pool.to_owned(), directory: PathBuf::from(directory) })
        }
        _ => Err("it must be POOL=DIRECTORY, the directory from / on".to_owned()),
    }
}

impl HostArgs {
    async fn setup(&self, role: Role) -> anyhow::Result<HostSetup> {
        // SAFETY: geteuid cannot fail and takes nothing
        if unsafe { libc::geteuid() } != 0 {
            bail!("setting up a host needs root: run it by sudo");
        }
        let node = match &self.node {
            Some(node) => node.clone(),
            None => {
                let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
                name.context("could not read the host's name; use --node")?.trim().to_owned()
            }
        };
        let given = GivenDevices {
            cluster: self.cluster_device.clone(),
            upstream: self.upstream_device.clone(),
            storage: self.storage_device.clone(),
            bridge: self.bridge_device.clone(),
        };
        let network = devices::settle(self.address, &given).await?;
        let places = Places::default();
        Ok(HostSetup {
            cluster: self.cluster.clone(),
            node,
            address: self.address,
            role,
            member_id: 0,
            standby: false,
            recoveries: 0,
            virt_type: match self.virt_type {
                Virt::Kvm => VirtType::Kvm,
                Virt::Qemu => VirtType::Qemu,
            },
            coordinators: Vec::new(),
            storage: self.storage.clone(),
            network,
            system_uuid: None,
            authority: places.authority(),
            cluster_id: None,
            places,
        })
    }

    /// Runs the steps, starts `pvcd`, and waits until the cluster counts on the node.
    async fn run(
        &self,
        mut steps: Vec<Box<dyn Step<HostSetup>>>,
        setup: &mut HostSetup,
    ) -> anyhow::Result<()> {
        if self.no_start {
            step::run(&steps, setup, &mut tell).await?;
            tell("pvcd is not started; `systemctl enable --now pvcd` starts it");
            return Ok(());
        }
        steps.push(Box::new(DaemonRuns));
        step::run(&steps, setup, &mut tell).await?;
        let client = setup.client()?;
        found::wait_until_member(&client, &setup.node, setup.seat(), MEMBER_LIMIT, &mut tell)
            .await
            .context("this host is set up and its pvcd runs; `journalctl -u pvcd` tells more, and running the same command again goes on waiting")?;
        tell(&format!("node {} is a {} of the cluster", setup.node, setup.role.text()));
        Ok(())
    }
}

fn tell(line: &str) {
    eprintln!("{line}");
}

impl InitArgs {
    /// Founds the cluster.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut setup = self.host.setup(Role::Coordinator).await?;
        setup.member_id = FOUNDER;
        setup.coordinators = vec![Coordinator { node: setup.node.clone(), address: setup.listen() }];
        self.host.run(found::founding_steps(), &mut setup).await
    }
}

impl JoinArgs {
    /// Joins the cluster.
    pub async fn run(self) -> anyhow::Result<()> {
        let role = match self.role {
            NodeKind::Coordinator => Role::Coordinator,
            NodeKind::Hypervisor => Role::Hypervisor,
        };
        if self.standby && role != Role::Coordinator {
            bail!("only a coordinator can stand by: --role coordinator --standby");
        }
        let mut setup = self.host.setup(role).await?;
        setup.standby = self.standby;
        let token = GivenToken(JoinRequest { token: self.token, coordinators: self.coordinator });
        self.host.run(found::joining_steps(Box::new(token)), &mut setup).await
    }
}
