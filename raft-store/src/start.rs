//! Putting a store together: engine, log, state, Raft. Nothing answers a peer before all of it stands.

use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, Raft, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::audit::Audit;
use crate::engine::Opened;
use crate::form::LogEntryForm;
use crate::log::LogStore;
use crate::machine::{Shown, StateMachine};
use crate::member::Member;
use crate::network::Caller;
use crate::open::{Engine, OpenError, Options};
use crate::pull::Pulls;
use crate::reads::Reads;
use crate::rpc::Transport;
use crate::state::State;
use crate::status::{Alarm, Status};
use crate::store::{Inner, Store};
use crate::watch::Hub;

/// How long a member without a state looks for a peer that gives it one.
const REBUILD_PATIENCE: Duration = Duration::from_secs(60);

impl Store {
    /// Opens the member's data, or makes an empty one, and starts to take part. A new member then either
    /// founds a cluster (`found`) or waits to be added to one (`add_learner` on its leader).
    pub async fn open(options: Options, transport: Arc<dyn Transport>) -> Result<Store, OpenError> {
        options.timing.validate()?;
        if options.me.id == 0 || options.cluster_id.is_empty() {
            return Err(OpenError::NoName);
        }
        let mut opened = match &options.engine {
            Engine::Memory(disk) => disk.open(&options.cluster_id, options.me.id)?,
            Engine::Disk { dir } => crate::disk::open(dir, &options).await?,
        };
        let caller = Caller {
            transport,
            cluster_id: options.cluster_id.as_str().into(),
            me: options.me.id,
            timing: options.timing.clone(),
        };
        let entries = std::mem::take(&mut opened.entries);
        let peers = peers(&options, &entries);
        let mut audit = recall(&entries, opened.checkpoint.as_ref());
        let log = LogStore::new(&opened.head, entries, opened.log.clone());
        let mut alarms = Vec::new();
        if let Some(reason) = opened.set_aside.take() {
            tracing::error!(%reason, "the state database was set aside and is rebuilt");
            alarms.push(Alarm::StateRebuilt { reason });
        }
        let mut checkpoint = opened.checkpoint.take();
        if checkpoint.as_ref().and_then(|state| state.applied) < log.purged() {
            if alarms.is_empty() {
                let reason = "the state database does not reach up to the log".to_owned();
                alarms.push(Alarm::StateRebuilt { reason });
            }
            // What the log holds may be another history's than the peer's.
            audit = Audit::default();
            checkpoint = Some(rebuild(&caller, &peers, &log, &opened).await?);
        }
        let store = start(options, caller, opened, log, checkpoint, audit, alarms).await?;
        Ok(store)
    }
}

async fn start(
    options: Options,
    caller: Caller,
    opened: Opened,
    log: LogStore,
    checkpoint: Option<State>,
    audit: Audit,
    alarms: Vec<Alarm>,
) -> Result<Store, OpenError> {
    let state = checkpoint.clone().unwrap_or_else(|| State::new(&options.cluster_id));
    let hub = Hub::new(options.limits.clone(), state.revision());
    let shown = Arc::new(Shown::new(&state, checkpoint, hub, audit, opened.state.clone()));
    let machine = StateMachine::new(state, shown.clone());
    let config = config(&options)?;
    let seed = options.seed.unwrap_or_else(rand::random);
    let id = options.me.id;
    let new = Raft::new(id, config, caller.clone(), log.clone(), machine);
    let raft = crate::raft::seeded(seed, options.pause.clone(), new).await;
    let raft = raft.map_err(|fatal| OpenError::Raft(fatal.to_string()))?;
    let inner = Arc::new(Inner {
        raft,
        identity: opened.identity,
        opened: Instant::now(),
        caller,
        shown,
        log,
        log_engine: opened.log,
        state_engine: opened.state,
        figures: opened.figures,
        alarms: Mutex::new(alarms),
        leadership: watch::Sender::new(None),
        status: watch::Sender::new(Status { id, ..Status::default() }),
        heard_leader: Mutex::new(None),
        closing: watch::Sender::new(false),
        proposals: Semaphore::new(options.limits.proposals),
        members: tokio::sync::Mutex::new(()),
        pulls: Mutex::new(Pulls::default()),
        reads: Reads::default(),
        options,
    });
    let pause = inner.options.pause.as_ref();
    crate::pause::spawn(pause, crate::status::follow(inner.clone(), inner.closing.subscribe()));
    crate::pause::spawn(pause, crate::status::guard(inner.clone(), inner.closing.subscribe()));
    crate::pause::spawn(pause, crate::vigil::keep(inner.clone(), inner.closing.subscribe()));
    Ok(Store { inner })
}

fn config(options: &Options) -> Result<Arc<Config>, OpenError> {
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let (timing, checkpoint) = (&options.timing, &options.checkpoint);
    let config = Config {
        cluster_name: options.cluster_id.clone(),
        heartbeat_interval: ms(timing.heartbeat),
        election_timeout_min: ms(timing.election_min),
        election_timeout_max: ms(timing.election_max),
        install_snapshot_timeout: ms(timing.snapshot),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(checkpoint.entries.max(1)),
        max_in_snapshot_log_to_keep: checkpoint.keep,
        purge_batch_size: (checkpoint.entries / 10).max(1),
        // Must exceed what lies between two checkpoints, or a snapshot would not end the lag.
        replication_lag_threshold: checkpoint.entries * 2 + checkpoint.keep + 1,
        max_payload_entries: 300,
        enable_pre_vote: Some(true),
        // The state may be older than what this member once acknowledged as leader: it asks again.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    let config = config.validate().map_err(|error| OpenError::Raft(error.to_string()))?;
    Ok(Arc::new(config))
}

/// What the log tells of changes that are in the checkpoint; the later ones are applied anew.
fn recall(entries: &[(u64, bytes::Bytes)], checkpoint: Option<&State>) -> Audit {
    Audit::recall(entries, checkpoint.map_or(0, State::revision)).unwrap_or_else(|error| {
        tracing::warn!(%error, "the audit begins anew: the log's older entries can't be read");
        Audit::default()
    })
}

/// Whom to ask for a state: the configured peers and those that the log still names.
fn peers(options: &Options, entries: &[(u64, bytes::Bytes)]) -> Vec<Member> {
    let mut peers = options.peers.clone();
    for (_, entry) in entries {
        let form = crate::form::decode::<LogEntryForm>("log entry", entry.clone());
        let Ok(LogEntryForm { payload: Some(crate::form::Payload::Membership(m)), .. }) = form else {
            continue;
        };
        peers.extend(m.nodes.into_iter().map(|node| Member { id: node.id, address: node.address }));
    }
    peers.retain(|peer| peer.id != options.me.id);
    peers.sort();
    peers.dedup();
    peers
}

/// Gets a state from a peer that is at least as far as the log was purged, and makes it durable.
async fn rebuild(
    caller: &Caller,
    peers: &[Member],
    log: &LogStore,
    opened: &Opened,
) -> Result<State, OpenError> {
    if peers.is_empty() {
        let detail = "the log does not reach back far enough and there is no peer to ask: restore a backup";
        return Err(OpenError::Rebuild(detail.into()));
    }
    let until = Instant::now() + REBUILD_PATIENCE;
    let mut reasons = String::new();
    while Instant::now() < until {
        reasons.clear();
        for peer in peers {
            match crate::pull::pull(caller, peer).await {
                Ok(state) if state.applied >= log.purged() => {
                    tracing::info!(%peer, revision = state.revision(), "state rebuilt from a peer");
                    keep(&state, log, opened).await.map_err(|e| OpenError::Rebuild(e.to_string()))?;
                    return Ok(state);
                }
                Ok(_) => reasons += &format!("member {peer}: its state is too old; "),
                Err(reason) => reasons += &format!("member {peer}: {reason}; "),
            }
        }
        tokio::time::sleep(caller.timing.election_min).await;
    }
    Err(OpenError::Rebuild(format!("no peer gave a state: {}", reasons.trim_end_matches("; "))))
}

/// Makes a peer's state this member's checkpoint. What the log holds beyond it must be of the same
/// history; a tail of another one was never committed and goes.
async fn keep(state: &State, log: &LogStore, opened: &Opened) -> std::io::Result<()> {
    use openraft::storage::RaftLogStorage;
    let applied = state.applied.ok_or_else(|| std::io::Error::other("the peer's state is empty"))?;
    let conflicts = match log.last() {
        Some(last) if last.index() >= applied.index() => log.id_at(applied.index())? != Some(applied),
        _ => false,
    };
    let mut log = log.clone();
    if conflicts && log.purged() < Some(applied) {
        log.truncate_after(log.purged()).await?;
        log.purge(applied).await?;
        log.flush().await?;
    }
    let done = opened.state.checkpoint(Arc::new(state.clone()), true);
    done.await.unwrap_or_else(|_| Err(std::io::Error::other("the state's writer has stopped")))
}
