//! The daemon put together: configuration, identity, store, core, server, agent; and taken apart again in
//! the reverse order.
//!
//! What may never happen here: ending a guest because the daemon starts, stops or fails; founding a cluster
//! or voting with a disk that was wiped.

mod config;
mod coordinator;
mod host_door;
mod host_service;
mod link;
pub mod logs;
mod metrics;
mod networks;
mod renewal;
mod rule_check;
mod serial_log;
mod serve;
mod system;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pvc_client::{Coordinators, KeepAlive, Options, Trust};
use pvc_host::daemon_config::{DaemonConfig, Role};
use pvc_identity::{ExpectedPeer, TlsStore};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::agent::incarnation::Incarnation;
use crate::agent::lease::Lease;
use crate::agent::view::NodeView;
use crate::agent::{Agent, AgentError, Parts, Settings};
use crate::guard;
use crate::guard::socket::SocketPort;
use crate::hypervisor::Hypervisor;
use crate::hypervisor::libvirt::{Libvirt, LibvirtConfig};
use crate::leave::{self, Left};
use crate::primary::iproute::IpRoute;
use crate::primary::{self, Keeper, Record, Wish};
use crate::pulse::Pulse;
use crate::realtime;
use coordinator::CoordinatorPart;
use host_door::KnownCoordinators;
use host_service::{AgentView, HostCalls};
use link::ClusterLink;
use logs::LogTail;

/// An agent that has no business here any more is asked again after this long: an administrator may have
/// put it right.
const AGENT_AGAIN: Duration = Duration::from_secs(30);

/// A daemon that can't go on stays for so long: an election, a heartbeat and its answer fit in.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The supervisor is asked for this much more time again and again while guests leave; all that follows fits in.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// Runs the daemon until it is told to stop or can't go on. `tail` is its own log.
pub async fn run(config_path: &Path, tail: LogTail) -> anyhow::Result<()> {
    let mut config = config::read(config_path)?;
    let expelled = match config.role {
        Role::Coordinator => coordinator::expelled_before(&config)?,
        Role::Hypervisor => None,
    };
    if let Some(expelled) = &expelled {
        config.coordinators.retain(|known| known.node != config.node);
        config.coordinators.extend(expelled.coordinators.iter().cloned());
    }
    let tls = config::identity(&config)?;
    tracing::info!(node = %config.node, cluster = %config.cluster_id, version = env!("CARGO_PKG_VERSION"), "starting");
    if let Err(error) = realtime::lock_memory() {
        tracing::warn!(%error, "this daemon may be swapped out, and be late");
    }
    let stop = CancellationToken::new();
    let closing = CancellationToken::new();

    let hypervisor: Arc<dyn Hypervisor> = Arc::new(Libvirt::new(LibvirtConfig {
        uri: config.hypervisor.uri.clone(),
        // libvirt's built-in driver for tests runs no other type.
        domain_type: config.hypervisor.uri.starts_with("test:").then(|| "test".to_owned()),
        ..LibvirtConfig::default()
    }));
    let pools = config::pools(&config)?;
    let settings = host_settings(&config)?;
    let lease = Lease::default();
    let incarnation = Incarnation::load(&config.data_dir.join("incarnation"), &config.cluster_id)?;
    let known = KnownCoordinators::new(config.coordinators.iter().map(|c| c.node.as_str()));
    let cluster = coordinators(&config, &tls, KeepAlive::ASSIGNMENTS);
    // Heartbeats have connections of their own: nothing else is before them in the way.
    let pulse = coordinators(&config, &tls, KeepAlive::NODE);
    let link = Arc::new(ClusterLink::new(cluster.clone(), vec![pulse.clone()], known.clone()));
    let guard_port = Arc::new(SocketPort::of(&config.guard_dir));
    let beat = Arc::new(Pulse {
        link: Arc::new(ClusterLink::new(pulse.clone(), Vec::new(), known.clone())),
        guard: guard_port.clone(),
    });
    let agent_view = AgentView::default();

    let part = match (config.role, &expelled) {
        (Role::Coordinator, None) => Some(CoordinatorPart::open(&config, &tls, &closing).await?),
        (Role::Coordinator, Some(expelled)) => {
            tracing::error!("{}", coordinator::expelled(&config.node, &config.data_dir, &expelled.said));
            None
        }
        (Role::Hypervisor, _) => None,
    };
    let gauges = metrics::Gauges {
        core: part.as_ref().map(|part| part.core().clone()),
        lease: lease.clone(),
        view: agent_view.clone(),
    };
    let (seen, role_view) = watch::channel(Arc::default());
    let (wishes, wish) = watch::channel(Wish::default());
    let networks = networks::start(&config, link.clone(), lease.clone(), role_view.clone()).await?;
    let host = HostCalls::new(host_service::Parts {
        hypervisor: hypervisor.clone(),
        pools: pools.clone(),
        settings: settings.clone(),
        tail,
        looker: networks.looker.clone(),
        closing: closing.clone(),
    });
    let keeping = primary::Parts {
        me: settings.node.clone(),
        link: link.clone(),
        lease: lease.clone(),
        view: role_view.clone(),
        addresses: Arc::new(IpRoute),
        record: Record::at(&config.data_dir.join("floating-address")),
        networks: networks.health(),
    };
    let (keeper, floating) = Keeper::new(keeping, wish);
    let guarding = guard::keeper::Parts {
        me: settings.node.clone(),
        link: link.clone(),
        lease: lease.clone(),
        view: role_view.clone(),
        port: guard_port,
    };
    let (guard_stops, guard_stop) = watch::channel(false);
    let guard_keeper = tokio::spawn(guard::Keeper::new(guarding, guard_stop).run());
    let router = match &part {
        Some(part) => part.router(host, gauges),
        None => serve::host_router(host, gauges, known, tls.cluster_id()),
    };
    let server = serve::start(config.listen, tls.clone(), router.clone(), stop.clone()).await?;
    let floating = serve::floating(floating, config.listen, tls.clone(), router, stop.clone());
    let floating = tokio::spawn(floating);
    let keeper = tokio::spawn(keeper.run());
    if let Some(part) = &part {
        part.begin(&config, &cluster, &stop).await?;
    }
    let renewing = tokio::spawn(renewal::run(
        config.clone(),
        tls.clone(),
        cluster.clone(),
        part.as_ref().map(|part| part.peers().clone()),
        pulse,
    ));
    let me = settings.node.clone();
    let leaving = leave::Parts {
        me: me.clone(),
        link: link.clone(),
        lease: lease.clone(),
        view: role_view.clone(),
        within: leave::HOLD_UP,
    };
    let network_health = networks.told.clone();
    let load = Arc::new(system::HostState { core: part.as_ref().map(|part| part.core().clone()) });
    let agent = tokio::spawn(act(
        move || Parts {
            me: settings.node.clone(),
            link: link.clone(),
            hypervisor: hypervisor.clone(),
            pools: pools.clone(),
            load: load.clone(),
            beat: beat.clone(),
            lease: lease.clone(),
            incarnation: incarnation.clone(),
            settings: settings.agent.clone(),
            network_health: network_health.clone(),
            request_id: Arc::new(pvc_client::request_id),
        },
        agent_view,
        seen,
    ));
    serve::ready();

    let cause = tokio::select! {
        signal = system::asked_to_stop() => Ok(signal),
        failure = coordinator::failed(part.as_ref()) => Err(failure),
    };
    match &cause {
        Ok(signal) => tracing::info!(signal, "stopping; guests go on"),
        Err(failure) => tracing::error!(%failure, "can't go on; guests do"),
    }
    serve::stopping();
    if cause.is_err() {
        // The agent's heartbeats tell the leader why.
        tokio::time::sleep(LAST_WORDS).await;
    }
    let down = cause.is_ok() && system::goes_down().await;
    if down {
        leave_in_order(leaving).await;
    }
    primary::stop(&wishes, &me, role_view, down).await;
    if tokio::time::timeout(LAST_WORDS, keeper).await.is_err() {
        tracing::error!("the floating address could not be let go");
    }
    networks.stop();
    guard::keeper::stop(&guard_stops, guard_keeper).await;
    agent.abort();
    renewing.abort();
    if let Some(part) = &part {
        part.hand_over().await;
    }
    closing.cancel();
    stop.cancel();
    server.finish().await;
    floating.abort();
    if let Some(part) = part {
        part.close().await;
    }
    tracing::info!("stopped");
    cause.map(drop)
}

/// The host goes down with this daemon: its guests go first. Asked to stop once more, it waits no longer.
async fn leave_in_order(parts: leave::Parts) {
    tracing::info!("the host is being shut down; its VMs leave it first");
    let holding_up = async {
        loop {
            serve::not_yet(STOP_WITHIN);
            tokio::time::sleep(STOP_WITHIN / 4).await;
        }
    };
    let asked_again = system::asked_to_stop();
    let left = tokio::select! {
        left = leave::leave(parts) => left,
        signal = asked_again => {
            return tracing::warn!(signal, "asked to stop once more; guests that are left end with the host");
        }
        () = holding_up => unreachable!("it holds up for ever"),
    };
    match left {
        Left::Empty => tracing::info!("no guest runs here any more"),
        Left::Kept => tracing::info!("guests end with the host, and start when it is back"),
        Left::NotInTime => tracing::error!("some guests could not leave in time; they end with the host"),
        Left::Unheard(why) => tracing::error!(why, "guests end with the host: nobody leads them away"),
    }
    serve::not_yet(STOP_WITHIN);
}

/// What the host calls and the agent both need to know.
#[derive(Clone)]
struct HostSettings {
    node: pvc_model::Name,
    agent: Settings,
}

fn host_settings(config: &DaemonConfig) -> anyhow::Result<HostSettings> {
    let named = |(network, address): (&String, &IpAddr)| -> anyhow::Result<(pvc_model::Name, IpAddr)> {
        Ok((network.parse().with_context(|| format!("networks: {network:?} is no name"))?, *address))
    };
    let networks = config.networks.iter().map(named).collect::<anyhow::Result<_>>()?;
    let console_dir = config.console_dir.clone();
    std::fs::create_dir_all(&console_dir)
        .with_context(|| format!("could not make {}", console_dir.display()))?;
    Ok(HostSettings {
        node: config.node.parse().context("node: is no name")?,
        agent: Settings {
            virt_type: config::virt_type(config),
            console_dir,
            migration_address: config.listen.ip().to_string(),
            starts_at_once: config.hypervisor.starts_at_once.max(1),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: system::kernel(),
            system_uuid: config.system_uuid.clone().unwrap_or_else(system::board_uuid),
            networks,
        },
    })
}

/// The way to the coordinators, over which the agent and the renewal of certificates call.
fn coordinators(config: &DaemonConfig, tls: &Arc<TlsStore>, keep_alive: KeepAlive) -> Coordinators {
    let mut addresses: Vec<String> = config.coordinators.iter().map(|c| c.address.to_string()).collect();
    if config.role == Role::Coordinator && !addresses.contains(&config.listen.to_string()) {
        addresses.push(config.listen.to_string());
    }
    let trust = Trust::Mutual(tls.clone(), ExpectedPeer::AnyNode);
    let options = Options { keep_alive, ..Options::default() };
    Coordinators::new(&addresses, trust, options)
}

/// Runs the agent. One that was refused is begun again after a while: guests are left as they are meanwhile.
async fn act(parts: impl Fn() -> Parts, view: AgentView, all: watch::Sender<Arc<NodeView>>) {
    loop {
        let (agent, mut seen) = Agent::new(parts());
        view.show(seen.clone());
        let passing_on = async {
            while seen.changed().await.is_ok() {
                all.send_replace(seen.borrow_and_update().clone());
            }
            std::future::pending().await
        };
        let error = tokio::select! {
            error = agent.run() => error,
            error = passing_on => error,
        };
        match &error {
            AgentError::Superseded { .. } => tracing::error!(%error, "acting for this node has ended"),
            AgentError::Refused { .. } => tracing::error!(%error, "the node can't act"),
        }
        tokio::time::sleep(AGENT_AGAIN).await;
    }
}
