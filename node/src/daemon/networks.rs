//! The host's part of the client networks put together: which parts there are, what wakes them, and whom they tell.
//!
//! What may never happen here: the daemon not starting because a part can't: it is said, and tried again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pvc_host::daemon_config::DaemonConfig;
use pvc_model::Name;
use pvc_model::node::NetworkHealth;
use pvc_network::dhcp::Dhcp;
use pvc_network::dns::{Dns, Ports};
use pvc_network::drive::{Drivers, Health};
use pvc_network::firewall::{self, Firewall};
use pvc_network::frr::Frr;
use pvc_network::gateway::Gateway;
use pvc_network::links::Links;
use pvc_network::{Part, Site, Wake};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::agent::SharedView;
use crate::agent::lease::Lease;
use crate::agent::link::CoordinatorLink;
use crate::network::{self, Looker, Teller};

/// What is heard from the kernel is opened again after this, when it has failed.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// The program that DHCP servers call; installed beside this one.
const DHCP_EVENT: &str = "pvc-dhcp-event";

/// Runs as long as it is held.
pub(super) struct Networks {
    drivers: Drivers,
    /// What the leader is told.
    pub told: watch::Receiver<NetworkHealth>,
    /// What coordinators ask.
    pub looker: Looker,
    tasks: JoinSet<()>,
}

impl Networks {
    pub fn health(&self) -> watch::Receiver<Health> {
        self.drivers.health()
    }

    /// No pass begins any more; all stays as it is.
    pub fn stop(mut self) {
        self.tasks.abort_all();
    }
}

/// Begins to look after the host's networks, once there is a view.
pub(super) async fn start(
    config: &DaemonConfig,
    link: Arc<dyn CoordinatorLink>,
    lease: Lease,
    view: SharedView,
) -> anyhow::Result<Networks> {
    let site = site(config).await?;
    let cluster = uuid::Uuid::parse_str(&config.cluster_id).map_or(0, |id| id.as_u128());
    let me = site.node.clone();
    let mut tasks = JoinSet::new();
    let parts = network::Parts { me: me.clone(), cluster, lease, view: view.clone() };
    let (plan, planning) = network::planner(parts);
    tasks.spawn(async move { drop(planning.await) });
    let mut drivers = Drivers::new(plan.clone());
    let (links, rules) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (gateway, idle) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (dhcp, events) = Dhcp::new(&site);
    let each: [(Box<dyn Part>, &Arc<Notify>); 6] = [
        (Box::new(Links::new(site.clone())), &links),
        (Box::new(Gateway::new(site.clone())), &gateway),
        (Box::new(Firewall::new(site.clone())), &rules),
        (Box::new(Frr::new(site.clone())), &idle),
        (Box::new(dhcp), &idle),
        (Box::new(Dns::new(&site, Ports::default())), &idle),
    ];
    if config.network.enabled {
        for (part, wake) in each {
            drivers.add(part, Arc::clone(wake));
        }
        tasks.spawn(hear_devices([links, gateway]));
        tasks.spawn(hear_rules(rules));
    } else {
        tracing::warn!("this host has no part in client networks: its configuration says so");
    }
    let looker = Looker { site, plan: plan.clone() };
    tasks.spawn(Teller { me, link, view }.run(events));
    let (tell, told) = watch::channel(NetworkHealth::default());
    tasks.spawn(network::tell(drivers.health(), tell));
    Ok(Networks { drivers, told, looker, tasks })
}

async fn site(config: &DaemonConfig) -> anyhow::Result<Site> {
    let set = &config.network;
    let address = config.listen.ip();
    let cluster_device = match &set.cluster_device {
        Some(device) => device.clone(),
        None => pvc_network::device_of(address)
            .await
            .context("the device of the cluster's network could not be found")?
            .with_context(|| {
                format!("no device of this host has {address}: name it in [network], cluster_device = …")
            })?,
    };
    let node: Name = config.node.parse().context("node: is no name")?;
    let program = std::env::current_exe().context("where pvcd is")?.with_file_name(DHCP_EVENT);
    Ok(Site {
        node,
        address,
        cluster_device,
        upstream_device: set.upstream_device.clone(),
        storage_device: set.storage_device.clone(),
        bridge_device: set.bridge_device.clone(),
        state_dir: config.data_dir.join("network"),
        run_dir: config.guard_dir.join("network"),
        frr_dir: set.frr_dir.clone(),
        frr_run_dir: set.frr_run_dir.clone(),
        frr_snippets_dir: set.frr_snippets.clone(),
        program,
    })
}

async fn hear_devices(parts: [Arc<Notify>; 2]) {
    loop {
        match Wake::open() {
            Ok(mut wake) => {
                while wake.changed().await {
                    parts.iter().for_each(|part| part.notify_one());
                }
            }
            Err(error) => tracing::debug!(%error, "the kernel's devices can't be listened to"),
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

async fn hear_rules(part: Arc<Notify>) {
    loop {
        let error = firewall::watch(Arc::clone(&part)).await;
        tracing::debug!(%error, "the kernel's rules can't be listened to");
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}
