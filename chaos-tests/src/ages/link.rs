//! The agents' way to whoever leads, and to the coordinators that tell them what to do. A daemon that stands still sends
//! nothing and takes nothing; what had been on its way to it arrives when it goes on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_coordinator::core::{self, Load, Progress, Seat, SubmitError, Told};
use pvc_model::command::PrimaryReport;
use pvc_model::guard::Guard;
use pvc_model::{Command, Name, Revision, Uid, World};
use pvc_node::agent::link::{
    AssignmentStream, Assignments, CoordinatorLink, GuestCount, Heartbeat, HeartbeatAck, LeasesReport,
    LinkError, Report,
};
use raft_store::Pause;
use tokio::sync::watch;
use tokio::time::Instant;

use super::ground::Ground;
use super::reign::Reign;
use super::sabotage::Sabotage;
use crate::link::{LeaseBook, translate};
use crate::net::Place;

/// How long a silent leader is waited for by a report.
const PATIENCE: Duration = Duration::from_secs(2);
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// A stream over which nothing can come is given up after this long: a ping every 10 s, and 5 s for its answer.
const STREAM_PATIENCE: Duration = Duration::from_secs(15);
/// As coordinators do: a revision that brings a node no news is told this much later.
const BOOKMARK_DELAY: Duration = Duration::from_millis(500);

pub struct AgeLink {
    pub ground: Ground,
    pub here: Place,
    pub pause: Pause,
    pub lease: LeaseBook,
    /// The leader as it was last heard of.
    pub known: Mutex<Option<Reign>>,
}

fn away(why: &str) -> LinkError {
    LinkError::Unavailable(why.to_owned())
}

impl AgeLink {
    /// Waits while the daemon stands still: nothing leaves it, and it takes nothing.
    async fn awake(&self) {
        if self.pause.is_stopped() {
            self.pause.hold(std::future::ready(())).await;
        }
    }

    /// The leader, where nothing stands between it and this daemon: then an answer comes at once.
    fn at_hand(&self) -> Option<Reign> {
        let reign = self.known.lock().clone().filter(|reign| !reign.is_over())?;
        let (here, there) = (self.here, reign.place());
        let open = !self.pause.is_stopped() && self.ground.net.is_fair(here, there);
        (open && self.ground.is_awake(there)).then_some(reign)
    }

    /// Asks the leader: the one that is known, or else the newest.
    async fn ask<T, F>(&self, within: Duration, serve: impl FnOnce(Reign) -> F) -> Result<T, LinkError>
    where
        F: Future<Output = Result<T, SubmitError>>,
    {
        self.awake().await;
        let until = Instant::now() + within;
        let known = self.known.lock().clone().filter(|reign| !reign.is_over());
        let Some(reign) = known.or_else(|| self.ground.leader()) else {
            return Err(away("nobody leads"));
        };
        let (here, there) = (self.here, reign.place());
        *self.known.lock() = Some(reign.clone());
        let asked = async {
            if !self.ground.carry(here, there).await {
                return None;
            }
            // What arrives at a process that stands still waits.
            let pause = self.ground.pause(there);
            let answer = pause.hold(serve(reign.clone())).await;
            self.ground.carry(there, here).await.then_some(answer)
        };
        let answer = tokio::time::timeout_at(until, async {
            match asked.await {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        });
        let answer = answer.await;
        self.awake().await;
        match answer {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.refused(error, &reign)),
            Err(_) => Err(self.refused(SubmitError::Busy, &reign)),
        }
    }

    /// Who does not do what it is asked for is not asked again; a rejection is an answer.
    fn refused(&self, error: SubmitError, reign: &Reign) -> LinkError {
        if let SubmitError::Rejected(rejection) = error {
            return rejection.into();
        }
        self.known.lock().take_if(|known| known.term() == reign.term());
        away("the leader does not answer, or leads no more")
    }
}

#[async_trait]
impl CoordinatorLink for AgeLink {
    async fn heartbeat(&self, heartbeat: Heartbeat, deadline: Duration) -> Result<HeartbeatAck, LinkError> {
        let sent = Instant::now();
        let Heartbeat { node, session, sequence, load, memory_used_mib, vms_running, progress, store } =
            heartbeat;
        let told = |p: pvc_node::agent::link::WorkProgress| Progress {
            task: p.task,
            percent: u32::from(p.percent),
            text: p.text,
        };
        let beat = core::Heartbeat {
            session,
            sequence,
            load: Load { load, memory_used_mib, vms_running },
            progress: progress.into_iter().map(told).collect(),
            store,
        };
        let denied_too = self.ground.sabotage == Some(Sabotage::LeaseWhileFenced);
        let hear = |reign: &Reign| match reign.hear(reign.term(), &node, beat) {
            Err(SubmitError::Rejected(_)) if denied_too => {
                let (term, revision) = (reign.term(), reign.world().revision);
                Ok(core::HeartbeatAck { sequence, term, revision, incarnation: 0 })
            }
            answer => answer,
        };
        let ack = match self.at_hand() {
            Some(reign) => hear(&reign).map_err(|error| self.refused(error, &reign))?,
            None => self.ask(deadline, async |reign: Reign| hear(&reign)).await?,
        };
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
        // One that is not enrolled yet is not known to anybody.
        let known = self.ground.ledger.world().nodes.contains_key(node);
        let at = self.ground.dice.pick(&self.ground.voters).copied().ok_or_else(|| away("no coordinator"))?;
        let stream = Stream {
            worlds: self.ground.ledger.worlds(),
            changes: self.ground.changes(),
            ground: self.ground.clone(),
            node: node.clone(),
            here: self.here,
            at,
            pause: self.pause.clone(),
            told: None,
            said: (0, None),
            guests,
            broken_since: None,
        };
        if !known || !stream.is_open() {
            tokio::time::sleep(OPEN_WITHIN).await;
            return Err(away("that coordinator does not answer"));
        }
        Ok(Box::new(stream))
    }

    async fn report_primary(
        &self,
        _: &Name,
        _: u64,
        _: u64,
        _: PrimaryReport,
    ) -> Result<Revision, LinkError> {
        Err(away("no primary in these clusters"))
    }

    async fn report_guard(&self, _: &Name, _: u64, _: u64, _: Option<Guard>) -> Result<Revision, LinkError> {
        Err(away("no guard in these clusters"))
    }

    async fn report_leases(&self, _: LeasesReport) -> Result<Revision, LinkError> {
        Err(away("no primary in these clusters"))
    }

    async fn leave_node(
        &self,
        node: &Name,
        session: u64,
        within_seconds: u32,
    ) -> Result<Revision, LinkError> {
        let asked = self.ask(PATIENCE, async |reign: Reign| {
            let command = Command::LeaveNode { node: node.clone(), session, within_seconds };
            Ok(reign.submit(command, &format!("node/{node}"), None).await?.revision)
        });
        asked.await
    }

    async fn report(&self, report: Report) -> Result<Revision, LinkError> {
        let Report { node, session, vms, volumes, facts, count, .. } = report;
        let asked = self.ask(PATIENCE, async |reign: Reign| {
            let actor = format!("node/{node}");
            if let Some(GuestCount { incarnation, guests }) = count {
                let count = Command::CountGuests { node: node.clone(), session, incarnation, guests };
                reign.submit(count, &actor, None).await?;
            }
            let command = Command::Report { node, session, vms, volumes, facts };
            Ok(reign.submit(command, &actor, None).await?.revision)
        });
        asked.await
    }
}

/// From one coordinator, which knows what the newest leader commits while it is joined with it.
struct Stream {
    ground: Ground,
    node: Name,
    here: Place,
    at: Place,
    pause: Pause,
    worlds: watch::Receiver<World>,
    changes: watch::Receiver<u64>,
    guests: Vec<Uid>,
    told: Option<Told>,
    /// The revision that was last told, and when a newer one without any news is due.
    said: (Revision, Option<Instant>),
    broken_since: Option<Instant>,
}

impl Stream {
    fn is_open(&self) -> bool {
        let ground = &self.ground;
        let knows = ground.leader().is_some_and(|leader| ground.net.joined(self.at, leader.place()));
        knows && ground.is_awake(self.at) && ground.net.joined(self.here, self.at)
    }
}

#[async_trait]
impl AssignmentStream for Stream {
    async fn next(&mut self) -> Result<Assignments, LinkError> {
        loop {
            self.changes.mark_unchanged();
            if !self.ground.is_up(self.at) {
                return Err(away("the coordinator has ended"));
            }
            if !self.is_open() {
                let since = *self.broken_since.get_or_insert_with(Instant::now);
                let patience = tokio::time::sleep_until(since + STREAM_PATIENCE);
                tokio::select! {
                    biased;
                    changed = self.changes.changed() => changed.map_err(|_| away("it is over"))?,
                    () = patience => return Err(away("nothing comes over the stream")),
                }
                continue;
            }
            self.broken_since = None;
            self.pause.hold(std::future::ready(())).await;
            let world = self.worlds.borrow_and_update().clone();
            let Some(told) = &mut self.told else {
                let guests = self.guests.iter().copied().collect();
                let (told, first) = Told::begin(&self.node, guests, &world);
                self.told = Some(told);
                self.said = (first.revision, None);
                return Ok(translate(first));
            };
            let message = told.step(&self.node, &world);
            let due = match self.said {
                (said, _) if message.revision <= said => None,
                (_, due) => Some(due.unwrap_or_else(|| Instant::now() + BOOKMARK_DELAY)),
            };
            if !message.is_empty() || due.is_some_and(|due| due <= Instant::now()) {
                self.said = (message.revision, None);
                return Ok(translate(message));
            }
            self.said.1 = due;
            let bookmark = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = bookmark => {}
                changed = self.worlds.changed() => changed.map_err(|_| away("it is over"))?,
                changed = self.changes.changed() => changed.map_err(|_| away("it is over"))?,
            }
        }
    }
}

/// One link for each daemon.
pub fn link(ground: &Ground, here: Place, lease: &LeaseBook) -> Arc<AgeLink> {
    Arc::new(AgeLink {
        ground: ground.clone(),
        here,
        pause: ground.pause(here),
        lease: lease.clone(),
        known: Mutex::default(),
    })
}
