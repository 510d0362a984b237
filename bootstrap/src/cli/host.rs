//! `pvc-bootstrap init` and `join`: a real host's way into a cluster.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use pvc_bootstrap::daemon_config::{Coordinator, Role, Storage, VirtType};
use pvc_bootstrap::found::{self, DaemonRuns, HostSetup, JoinRequest, Places};
use pvc_bootstrap::step::{self, Step};
use pvc_identity::JoinToken;

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
    fn setup(&self, role: Role) -> anyhow::Result<HostSetup> {
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
        let places = Places::default();
        Ok(HostSetup {
            cluster: self.cluster.clone(),
            node,
            address: self.address,
            role,
            member_id: 0,
            virt_type: match self.virt_type {
                Virt::Kvm => VirtType::Kvm,
                Virt::Qemu => VirtType::Qemu,
            },
            coordinators: Vec::new(),
            storage: self.storage.clone(),
            authority: places.authority(),
            cluster_id: None,
            places,
        })
    }

    async fn run(
        &self,
        mut steps: Vec<Box<dyn Step<HostSetup>>>,
        setup: &mut HostSetup,
    ) -> anyhow::Result<()> {
        if !self.no_start {
            steps.push(Box::new(DaemonRuns));
        }
        step::run(&steps, setup, &mut |line| eprintln!("{line}")).await?;
        Ok(())
    }
}

impl InitArgs {
    /// Founds the cluster.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut setup = self.host.setup(Role::Coordinator)?;
        setup.member_id = 1;
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
        let mut setup = self.host.setup(role)?;
        let request = JoinRequest { token: self.token, coordinators: self.coordinator };
        found::redeem(&request, &mut setup).await?;
        eprintln!("node {} has its certificate", setup.node);
        self.host.run(found::enrolling_steps(), &mut setup).await
    }
}
