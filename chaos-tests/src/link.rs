//! The agent's way to the coordinators over the simulated network: what `pvc-client` is in life.
//!
//! It keeps the witness's own book of leases: when the last heartbeat was sent that was acknowledged.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_coordinator::core::{self, Load, Progress};
use pvc_model::command::PrimaryReport;
use pvc_model::guard::Guard;
use pvc_model::{Name, Revision, Uid};
use pvc_node::agent::lease::LEASE;
use pvc_node::agent::link::{
    AssignmentStream, Assignments, CoordinatorLink, GuestCount, Heartbeat, HeartbeatAck, LeasesReport,
    LinkError, PrimaryRole, Report,
};
use raft_store::Pause;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::asking::{AskError, Asking};
use crate::net::{CallError, Net, Place};

/// Within which a report is answered, or repeated by the agent.
const REPORT_WITHIN: Duration = Duration::from_secs(5);
/// How long a silent coordinator is waited for while others could be asked.
const PATIENCE: Duration = Duration::from_secs(2);
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// A message that was lost is sent again after this long, as TCP does.
const SEND_AGAIN: Duration = Duration::from_millis(300);
/// How a connection finds out that it is dead: `pvc-client` pings every 10 s and waits 5 s.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_WITHIN: Duration = Duration::from_secs(5);

/// The leases of one daemon as an onlooker reckons them, apart from the agent's own: when the latest
/// acknowledged heartbeats were sent, and when their answers came.
#[derive(Clone, Default)]
pub struct LeaseBook(Arc<Mutex<VecDeque<(Instant, Instant)>>>);

/// Heartbeats that are remembered: those of half a minute.
const BEATS_KEPT: usize = 64;

impl LeaseBook {
    pub(crate) fn acknowledged(&self, sent: Instant) {
        let mut beats = self.0.lock();
        if beats.len() == BEATS_KEPT {
            beats.pop_front();
        }
        beats.push_back((sent, Instant::now()));
    }

    pub fn is_valid(&self) -> bool {
        self.was_valid_at(Instant::now())
    }

    /// How long ago the latest acknowledged heartbeats were sent, and answered.
    fn ages(&self) -> Vec<(Duration, Duration)> {
        let beats = self.0.lock();
        beats.iter().rev().take(8).map(|(sent, answered)| (sent.elapsed(), answered.elapsed())).collect()
    }

    pub fn was_valid_at(&self, then: Instant) -> bool {
        self.0.lock().iter().any(|(sent, answered)| *answered <= then && then < *sent + LEASE)
    }
}

impl fmt::Debug for LeaseBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sent and answered {:?} ago", self.ages())
    }
}

pub struct SimLink {
    pub asking: Asking,
    pub here: Place,
    pub lease: LeaseBook,
    /// By which its daemon is made to stand still: nothing is sent meanwhile, and nothing taken.
    pub pause: Pause,
}

impl SimLink {
    /// Waits while the daemon stands still.
    async fn awake(&self) {
        self.pause.hold(std::future::ready(())).await;
    }

    fn net(&self) -> &Net {
        self.asking.net()
    }
}

fn link_error(error: AskError) -> LinkError {
    match error {
        AskError::Rejected { rejection, .. } => LinkError::Rejected(rejection),
        AskError::NotDone(why) | AskError::Unknown(why) => LinkError::Unavailable(why),
    }
}

#[async_trait]
impl CoordinatorLink for SimLink {
    async fn heartbeat(&self, heartbeat: Heartbeat, deadline: Duration) -> Result<HeartbeatAck, LinkError> {
        let sent = Instant::now();
        let Heartbeat { node, session, sequence, load, memory_used_mib, vms_running, progress, store } =
            heartbeat;
        let progress = progress
            .into_iter()
            .map(|p| Progress { task: p.task, percent: u32::from(p.percent), text: p.text })
            .collect();
        let beat = core::Heartbeat {
            session,
            sequence,
            load: Load { load, memory_used_mib, vms_running },
            progress,
            store,
        };
        let asked = self.asking.leader(deadline, deadline, move |there| {
            let (node, beat) = (node.clone(), beat.clone());
            async move { there.coordinator.heartbeat(&node, beat) }
        });
        self.awake().await;
        let ack = asked.await;
        self.awake().await;
        let ack = ack.map_err(link_error)?;
        self.lease.acknowledged(sent);
        Ok(HeartbeatAck {
            sequence: ack.sequence,
            term: ack.term,
            revision: ack.revision,
            incarnation: ack.incarnation,
        })
    }

    async fn assignments(
        &self,
        node: &Name,
        guests: Vec<Uid>,
    ) -> Result<Box<dyn AssignmentStream>, LinkError> {
        self.awake().await;
        let at = self.asking.anyone();
        let name = node.clone();
        let guests = guests.into_iter().collect();
        let opened = self.net().call(self.here, at, OPEN_WITHIN, move |there| async move {
            let stream = there.coordinator.assignments(&name, guests).await;
            stream.map(|stream| (stream, there.gone))
        });
        let (stream, gone) = match opened.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(core::AssignmentsError::Rejected(rejection))) => return Err(rejection.into()),
            Ok(Err(error)) => return Err(LinkError::Unavailable(error.to_string())),
            Err(error) => return Err(LinkError::Unavailable(error.to_string())),
        };
        let (net, here) = (self.net().clone(), self.here);
        let (sender, messages) = mpsc::channel(256);
        let serving = Serving { net: net.clone(), at, here, stream };
        tokio::spawn(serving.run(gone.clone(), sender));
        let broken = CancellationToken::new();
        let pinging = tokio::spawn(ping(net, here, at, gone, broken.clone()));
        let pause = self.pause.clone();
        Ok(Box::new(SimStream { messages, broken, pause, _pinging: AbortOnDropHandle::new(pinging) }))
    }

    async fn report_primary(
        &self,
        node: &Name,
        session: u64,
        epoch: u64,
        report: PrimaryReport,
    ) -> Result<Revision, LinkError> {
        let node = node.clone();
        let asked = self.asking.leader(PATIENCE, PATIENCE, move |there| {
            let node = node.clone();
            async move { there.coordinator.report_primary(&node, session, epoch, report).await }
        });
        self.awake().await;
        Ok(asked.await.map_err(link_error)?.revision)
    }

    async fn report_guard(
        &self,
        node: &Name,
        session: u64,
        after: u64,
        guard: Option<Guard>,
    ) -> Result<Revision, LinkError> {
        let node = node.clone();
        let asked = self.asking.leader(PATIENCE, PATIENCE, move |there| {
            let (node, guard) = (node.clone(), guard.clone());
            async move { there.coordinator.report_guard(&node, session, after, guard).await }
        });
        Ok(asked.await.map_err(link_error)?.revision)
    }

    async fn report_leases(&self, report: LeasesReport) -> Result<Revision, LinkError> {
        let asked = self.asking.leader(PATIENCE, PATIENCE, move |there| {
            let LeasesReport { node, session, epoch, put, gone } = report.clone();
            async move { there.coordinator.report_leases(&node, (session, epoch), put, gone).await }
        });
        self.awake().await;
        Ok(asked.await.map_err(link_error)?.revision)
    }

    async fn leave_node(
        &self,
        node: &Name,
        session: u64,
        within_seconds: u32,
    ) -> Result<Revision, LinkError> {
        let node = node.clone();
        let asked = self.asking.leader(PATIENCE, PATIENCE, move |there| {
            let node = node.clone();
            async move { there.coordinator.leave_node(&node, session, within_seconds).await }
        });
        let told = asked.await;
        self.awake().await;
        Ok(told.map_err(link_error)?.revision)
    }

    async fn report(&self, report: Report) -> Result<Revision, LinkError> {
        let asked = self.asking.leader(REPORT_WITHIN, PATIENCE, move |there| {
            let Report { node, session, vms, volumes, facts, count, request_id } = report.clone();
            async move {
                if let Some(GuestCount { incarnation, guests }) = count {
                    there.coordinator.count_guests(&node, session, incarnation, guests).await?;
                }
                there.coordinator.report(&node, session, vms, volumes, facts, Some(request_id)).await
            }
        });
        self.awake().await;
        Ok(asked.await.map_err(link_error)?.revision)
    }
}

/// The coordinator's end of a stream.
struct Serving {
    net: Net,
    at: Place,
    here: Place,
    stream: core::AssignmentStream,
}

impl Serving {
    /// Ends, and with it the stream, when the far end has hung up, when there is nothing more to tell, or
    /// when nothing gets through for too long.
    async fn run(mut self, gone: CancellationToken, sender: mpsc::Sender<Assignments>) {
        loop {
            let next = tokio::select! {
                biased;
                () = gone.cancelled() => None,
                () = sender.closed() => return,
                next = self.stream.next() => next.ok(),
            };
            let since = Instant::now();
            while !self.net.carry(self.at, self.here).await {
                if since.elapsed() > PING_EVERY + PING_WITHIN {
                    return;
                }
                tokio::time::sleep(SEND_AGAIN).await;
            }
            let Some(next) = next else { return };
            if sender.send(translate(next)).await.is_err() {
                return;
            }
        }
    }
}

pub(crate) fn translate(told: core::Assignments) -> Assignments {
    Assignments {
        revision: told.revision,
        full: told.full,
        vms: told.vms.iter().map(|vm| (**vm).clone()).collect(),
        vms_gone: told.vms_gone,
        volumes: told.volumes.iter().map(|volume| (**volume).clone()).collect(),
        volumes_gone: told.volumes_gone,
        node: told.node.map(|node| (*node).clone()),
        coordinators: told.coordinators,
        hypervisors: told.hypervisors,
        incarnation: told.incarnation,
        count_guests: told.count_guests,
        primary: told.primary.map(|role| PrimaryRole { primary: role.primary, floating: role.floating }),
        networks: told.network.networks.iter().map(|network| (**network).clone()).collect(),
        networks_gone: told.network.networks_gone,
        leases: told.network.leases.iter().map(|lease| (**lease).clone()).collect(),
        leases_gone: told.network.leases_gone,
        fabric: told.network.fabric,
    }
}

async fn ping(net: Net, here: Place, at: Place, gone: CancellationToken, broken: CancellationToken) {
    loop {
        tokio::time::sleep(PING_EVERY).await;
        let answer = net.call(here, at, PING_WITHIN, |_| async {}).await;
        if gone.is_cancelled() || answer == Err(CallError::Silent) {
            return broken.cancel();
        }
    }
}

struct SimStream {
    messages: mpsc::Receiver<Assignments>,
    pause: Pause,
    broken: CancellationToken,
    _pinging: AbortOnDropHandle<()>,
}

#[async_trait]
impl AssignmentStream for SimStream {
    async fn next(&mut self) -> Result<Assignments, LinkError> {
        let ended = || LinkError::Unavailable("the stream of assignments has ended".to_owned());
        tokio::select! {
            biased;
            told = self.pause.hold(self.messages.recv()) => told.ok_or_else(ended),
            () = self.broken.cancelled() => Err(ended()),
        }
    }
}
