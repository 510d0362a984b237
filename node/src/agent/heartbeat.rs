//! Signs of life, every half second, from a task or a thread that does nothing else; each acknowledged one renews the
//! lease from the moment that it was sent.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pvc_model::Name;
use pvc_model::health::StoreHealth;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::incarnation::Incarnation;
use super::lease::Lease;
use super::link::{CoordinatorLink, Heartbeat, WorkProgress};

/// h of ARCHITECTURE.md section 4.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// An answer that comes later than this renews too little to wait for.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);

/// What the host's load is, and how its store is; reading them must not block.
pub trait LoadSource: Send + Sync + 'static {
    /// 1-minute load average and used memory in MiB.
    fn load(&self) -> (f64, u64);

    /// On a coordinator: the health of its store.
    fn store(&self) -> Option<StoreHealth> {
        None
    }
}

/// Progress of the works under way, and the number of guests: told with each heartbeat.
#[derive(Debug, Default)]
pub struct Told {
    pub vms_running: u32,
    pub progress: BTreeMap<Name, WorkProgress>,
}

pub struct Heartbeats {
    pub node: Name,
    pub session: u64,
    pub link: Arc<dyn CoordinatorLink>,
    pub lease: Lease,
    pub told: Arc<Mutex<Told>>,
    pub load: Arc<dyn LoadSource>,
    pub incarnation: Incarnation,
}

/// Where heartbeats come from.
pub trait Beat: Send + Sync + 'static {
    /// Begins to send them.
    fn begin(&self, heartbeats: Heartbeats) -> Beating;
}

/// They are sent as long as this is there.
pub struct Beating {
    _until: Box<dyn Any + Send>,
}

impl Beating {
    pub fn new(until: impl Any + Send) -> Self {
        Beating { _until: Box::new(until) }
    }
}

/// From a task of the agent's runtime: on virtual time there is no other way.
pub struct InTask;

impl Beat for InTask {
    fn begin(&self, heartbeats: Heartbeats) -> Beating {
        Beating::new(AbortOnDropHandle::new(tokio::spawn(heartbeats.run())))
    }
}

impl Heartbeats {
    /// Runs until it is dropped. Heartbeats overlap: a slow answer delays no later heartbeat.
    pub async fn run(self) {
        let mut ticker = tokio::time::interval(HEARTBEAT_INTERVAL);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut under_way = tokio::task::JoinSet::new();
        let mut sequence = 0;
        loop {
            ticker.tick().await;
            while under_way.try_join_next().is_some() {}
            // Three unanswered ones are enough to have on the way.
            if under_way.len() >= 3 {
                continue;
            }
            sequence += 1;
            let heartbeat = self.heartbeat(sequence);
            let (link, lease) = (self.link.clone(), self.lease.clone());
            let incarnation = self.incarnation.clone();
            under_way.spawn(async move {
                let sent_at = Instant::now();
                match link.heartbeat(heartbeat, ANSWER_WITHIN).await {
                    Ok(ack) if incarnation.admits(ack.incarnation) => lease.renew(sent_at, ack.revision),
                    Ok(_) => tracing::warn!("a heartbeat was acknowledged by a leader of the past"),
                    Err(error) => tracing::debug!(%error, "heartbeat not acknowledged"),
                }
            });
        }
    }

    fn heartbeat(&self, sequence: u64) -> Heartbeat {
        let told = self.told.lock();
        let (load, memory_used_mib) = self.load.load();
        Heartbeat {
            node: self.node.clone(),
            session: self.session,
            sequence,
            load,
            memory_used_mib,
            vms_running: told.vms_running,
            progress: told.progress.values().cloned().collect(),
            store: self.load.store(),
        }
    }
}
