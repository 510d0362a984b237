//! The coordinator in this daemon: its store, its core, its services; how it founds, joins and hands over.
//!
//! ```text
//! store there ─────────────────────────────▶ take part as before
//! store empty, mark /etc/pvc/found-once ───▶ found, enrol this node, remove the mark
//! store empty, no mark, member id 1 ───────▶ refuse: the founder's disk was wiped
//! store empty, no mark, another id ────────▶ ask to become a voter, or to stand by
//! refused by the others for ever ──────────▶ not opened any more: the host is a hypervisor
//! ```
//! The mark is written once, by `pvc-bootstrap init`, before the cluster's CA is made: a wiped disk finds
//! none. A joiner whose disk was wiped asks again, and the leader sees by its incarnation what happened.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use pvc_client::{Coordinators, KeepAlive};
use pvc_coordinator::core::{Coordinator, CoordinatorOptions, SystemEnvironment};
use pvc_coordinator::door::Door;
use pvc_coordinator::peers::Peers;
use pvc_coordinator::raft_transport::RaftTransport;
use pvc_coordinator::services::Shared;
use pvc_host::daemon_config::{DaemonConfig, FOUND_MARK, store_id};
use pvc_identity::{Ca, TlsStore, Vault};
use pvc_model::node::NodeRole;
use pvc_model::{Command, Name};
use pvc_proto::internal::v1::BecomeMemberRequest;
use pvc_proto::internal::v1::join_service_client::JoinServiceClient;
use raft_store::{Engine, FoundError, Member, OpenError, Options, Store, Timing};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::host_service::HostCalls;
use super::metrics::Gauges;
use super::rule_check::Nft;
use super::serve;
use crate::power::BmcPower;

/// Kept in the data directory: this host's copy of the state was refused for ever.
const EXPELLED_MARK: &str = "expelled";
/// Member id of the node that founds the cluster.
const FOUNDER: u64 = 1;
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long leadership may take to be handed over at a stop.
const HAND_OVER: Duration = Duration::from_secs(3);

pub struct CoordinatorPart {
    shared: Shared,
    peers: Peers,
    ca_dir: PathBuf,
    mark: Option<PathBuf>,
    transport: Arc<RaftTransport>,
    expelled_mark: PathBuf,
}

impl CoordinatorPart {
    /// Opens the store, or refuses to when its disk is not what it must be.
    pub async fn open(
        config: &DaemonConfig,
        tls: &Arc<TlsStore>,
        closing: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let node: Name = config.node.parse().context("node")?;
        let ca_dir = config.ca_dir.clone().context("a coordinator needs ca_dir")?;
        let ca = Ca::load(&ca_dir.join("root.pem"), &ca_dir.join("root.key"))
            .with_context(|| format!("the cluster's CA in {} can't be used", ca_dir.display()))?;
        let mark = found_mark(config)?;
        let dir = config.data_dir.join("store");
        let empty = std::fs::read_dir(&dir).map_or(true, |mut entries| entries.next().is_none());
        if empty && mark.is_none() && config.member_id == FOUNDER {
            bail!(
                "the store in {} is empty, and this coordinator has founded its cluster already: its data was lost. {}",
                dir.display(),
                lost_voter(&node)
            );
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("could not make {}", dir.display()))?;
        let peers = Peers::new(tls.clone(), KeepAlive::NODE);
        let names: HashMap<String, Name> = config
            .coordinators
            .iter()
            .filter_map(|c| Some((c.address.to_string(), c.node.parse().ok()?)))
            .collect();
        let store_id = store_id(&config.cluster_id, config.recoveries);
        let transport = RaftTransport::new(peers.clone(), &store_id, config.member_id, names);
        let me = Member::new(config.member_id, config.listen.to_string());
        let options = store_options(config, Options::new(Engine::Disk { dir }, me, &store_id));
        let store = match Store::open(options, transport.clone()).await {
            Ok(store) => store,
            Err(error @ (OpenError::LogMissing { .. } | OpenError::LogDamaged { .. })) => {
                return Err(error).with_context(|| lost_voter(&node));
            }
            Err(error) => return Err(error).context("the store does not open"),
        };
        let options = CoordinatorOptions {
            recoveries: config.recoveries,
            lease: store_timing(config.store.patience).election_max,
            sync_limit: Duration::from_millis(config.store.fsync_limit_ms.into()),
            power: Arc::new(BmcPower::new(&ca_dir)),
            rules: Arc::new(Nft),
            ..CoordinatorOptions::default()
        };
        let core = match Coordinator::start(store.clone(), Arc::new(SystemEnvironment), options) {
            Ok(core) => core,
            Err(error) => {
                store.shutdown().await;
                return Err(error.into());
            }
        };
        transport.know(core.clone());
        let shared = Shared {
            core,
            node,
            cluster_id: config.cluster_id.clone(),
            vault: Vault::new(&ca_dir),
            hosts: Arc::new(peers.clone()),
            ca_pin: ca.pin(),
            closing: closing.clone(),
        };
        let expelled_mark = config.data_dir.join(EXPELLED_MARK);
        Ok(CoordinatorPart { shared, peers, ca_dir, mark, transport, expelled_mark })
    }

    pub fn core(&self) -> &Coordinator {
        &self.shared.core
    }

    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// All that this daemon serves, behind the coordinator's door.
    pub fn router(&self, host: HostCalls, gauges: Gauges) -> Router {
        let routes = pvc_coordinator::server::routes(serve::common(host), &self.shared, self.ca_dir.clone());
        let router = serve::with_metrics(routes, gauges);
        Door::new(self.shared.clone(), self.peers.clone()).guard(router)
    }

    /// Founds, or asks to become a voter, where that is still to be done. The server must listen already.
    pub async fn begin(
        &self,
        config: &DaemonConfig,
        cluster: &Coordinators,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        if let Some(mark) = &self.mark {
            self.found(config).await?;
            // What the mark allowed is done, and durable: it is not allowed again.
            pvc_host::durable_file::remove(mark)?;
            return Ok(());
        }
        let votes = {
            let status = self.core().store().status();
            let status = status.borrow();
            status.members.iter().any(|m| m.member.id == config.member_id && m.voter)
        };
        if !votes {
            let asking = ask_to_vote(config.node.clone(), config.member_id, cluster.clone());
            tokio::spawn(stop.clone().run_until_cancelled_owned(asking));
        }
        Ok(())
    }

    async fn found(&self, config: &DaemonConfig) -> anyhow::Result<()> {
        let core = self.core();
        match core.store().found().await {
            Ok(()) => tracing::info!(cluster = %config.cluster_id, "founded the cluster"),
            // An earlier start got this far and was cut off.
            Err(FoundError::AlreadyFounded) => {}
            Err(error) => return Err(error.into()),
        }
        core.leadership().wait_for(Option::is_some).await.context("the store has stopped")?;
        let command = Command::FoundNode {
            name: self.shared.node.clone(),
            address: config.listen.to_string(),
            member_id: config.member_id,
        };
        let actor = format!("node/{}", self.shared.node);
        core.submit(command, &actor, None).await.context("could not enrol the first node")?;
        Ok(())
    }

    /// Lets another voter lead before this one goes, so that nobody waits for an election.
    pub async fn hand_over(&self) {
        let store = self.core().store();
        let next = {
            let status = store.status();
            let status = status.borrow();
            let others = status.members.iter().filter(|m| m.voter && m.member.id != status.id);
            others.max_by_key(|m| m.matched).map(|m| m.member.id)
        };
        let (Some(next), true) = (next, self.core().leading().is_some()) else { return };
        let mut leading = self.core().leadership();
        if let Err(error) = store.transfer_leadership(next).await {
            tracing::warn!(%error, "leadership was not handed over");
            return;
        }
        if tokio::time::timeout(HAND_OVER, leading.wait_for(Option::is_none)).await.is_err() {
            tracing::warn!("nobody took leadership over in time");
        }
    }

    /// Keeps the others' refusal, so that the next start opens no store.
    fn keep_expelled(&self, said: &str) -> anyhow::Result<()> {
        let world = self.core().world();
        let others = world
            .nodes
            .values()
            .filter(|node| node.spec.role == NodeRole::Coordinator && node.meta.name != self.shared.node);
        let coordinators = others.filter_map(|node| {
            let address = node.status.address.parse().ok()?;
            Some(pvc_host::daemon_config::Coordinator { node: node.meta.name.to_string(), address })
        });
        let kept = Expelled { said: said.to_owned(), coordinators: coordinators.collect() };
        let text = toml::to_string(&kept).context("texts and tables can be written as TOML")?;
        Ok(pvc_host::durable_file::write(&self.expelled_mark, text.as_bytes(), 0o644)?)
    }

    pub async fn close(self) {
        self.shared.core.stop().await;
        self.shared.core.store().shutdown().await;
    }
}

/// What the configuration says about the store.
fn store_options(config: &DaemonConfig, options: Options) -> Options {
    let checkpoint = raft_store::Checkpoint {
        entries: config.store.checkpoint_entries,
        bytes: config.store.checkpoint_mib << 20,
        ..options.checkpoint
    };
    Options { timing: store_timing(config.store.patience), checkpoint, ..options }
}

/// The default timing, so many times as patient.
fn store_timing(patience: u32) -> Timing {
    let Timing { heartbeat, election_min, election_max, snapshot } = Timing::default();
    Timing {
        heartbeat: heartbeat * patience,
        election_min: election_min * patience,
        election_max: election_max * patience,
        snapshot,
    }
}

/// What to do about a coordinator whose data can't be used.
fn lost_voter(node: &Name) -> String {
    format!(
        "a coordinator without its data must not vote again. If the others are well: \
         `pvc cluster voter remove {node}`, `pvc node remove {node}`, then join this host anew; else restore a backup"
    )
}

/// The mark that allows to found, if it is there and of this cluster.
fn found_mark(config: &DaemonConfig) -> anyhow::Result<Option<PathBuf>> {
    let path = config.identity_dir.join(FOUND_MARK);
    match pvc_host::durable_file::read_text_if_there(&path)? {
        None => Ok(None),
        Some(_) if config.member_id != FOUNDER => {
            bail!("{} is there, and this node is not the founder: remove the file", path.display())
        }
        Some(text) if text.trim() == config.cluster_id => Ok(Some(path)),
        Some(text) => {
            bail!("{} is for cluster {}, this is {}", path.display(), text.trim(), config.cluster_id)
        }
    }
}

/// Asks the leader until this member votes, or is told that it never will.
async fn ask_to_vote(node: String, member_id: u64, cluster: Coordinators) {
    let mut told = String::new();
    loop {
        let request = BecomeMemberRequest { node: node.clone(), member_id };
        let status = match JoinServiceClient::new(cluster.clone()).become_member(request).await {
            Ok(answer) if answer.get_ref().voter => return tracing::info!("this coordinator votes"),
            Ok(_) => return tracing::info!("this coordinator stands by"),
            Err(status) => status,
        };
        // Nothing that time would change.
        let refused =
            matches!(status.code(), Code::FailedPrecondition | Code::PermissionDenied | Code::NotFound);
        if refused {
            tracing::error!(reason = status.message(), "this coordinator does not become a voter");
            return;
        }
        if told != status.message() {
            tracing::info!(reason = status.message(), "not a voter yet; asking again");
            told = status.message().to_owned();
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// What is kept of the others' refusal of this host's copy of the state, and where they are: this host's
/// configuration may name none but itself.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Expelled {
    pub said: String,
    #[serde(default)]
    pub coordinators: Vec<pvc_host::daemon_config::Coordinator>,
}

/// Whether this host's copy of the state was refused for ever.
pub fn expelled_before(config: &DaemonConfig) -> anyhow::Result<Option<Expelled>> {
    let path = config.data_dir.join(EXPELLED_MARK);
    let text = pvc_host::durable_file::read_text_if_there(&path)?;
    text.map(|text| toml::from_str(&text).with_context(|| format!("{} can't be read", path.display())))
        .transpose()
}

/// What to do about it.
pub fn expelled(node: &str, data_dir: &std::path::Path, said: &str) -> String {
    format!(
        "the other coordinators refuse this host's copy of the cluster's state for ever ({}). Its guests go on, \
         and it serves them as a hypervisor. To make it a coordinator again: move its VMs away, `pvc node remove \
         {node}`, stop pvcd, empty {} and /etc/pvc, and join anew: `pvc-bootstrap join --role coordinator`",
        said.trim(),
        data_dir.display()
    )
}

/// Resolves when the store can't go on: the process must be started again.
pub async fn failed(part: Option<&CoordinatorPart>) -> anyhow::Error {
    let Some(part) = part else { return std::future::pending().await };
    let mut expelled = part.transport.expelled();
    tokio::select! {
        said = expelled.wait_for(Option::is_some) => {
            let said = said.ok().and_then(|said| said.clone()).unwrap_or_default();
            if let Err(error) = part.keep_expelled(&said) {
                tracing::error!(%error, "what the others said could not be kept");
            }
            anyhow::anyhow!("the other coordinators refuse this host's copy of the state for ever: {said}")
        }
        error = stopped(part) => error,
        error = part.core().outdated() => error.into(),
    }
}

async fn stopped(part: &CoordinatorPart) -> anyhow::Error {
    let mut status = part.core().store().status();
    let failed = status.wait_for(|status| status.is_fatal()).await;
    match failed {
        Ok(status) => {
            let alarms: Vec<String> = status.alarms.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("the store has stopped: {}", alarms.join("; "))
        }
        Err(_) => anyhow::anyhow!("the store has stopped"),
    }
}
