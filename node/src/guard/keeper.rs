//! The daemon's part: arms the guard where the administrator wants it, tells the leader that it may be relied upon, pets it as
//! long as there is a lease, and disarms it only when the leader relies on it no more.
//!
//! ```text
//! arm the guard ──▶ say so ──▶ (relied upon) ──▶ take the word back ──▶ wait until that is committed ──▶ disarm the guard
//! ```
//! What may never happen: petting for any reason but a heartbeat that was acknowledged; a guard that is disarmed while a word
//! that it is armed may still be believed.

use std::sync::Arc;
use std::time::Duration;

use pvc_model::Name;
use pvc_model::guard::{Guard, Isolation};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Answer, Ask, GuardPort};
use crate::agent::SharedView;
use crate::agent::lease::{Lease, Restraint};
use crate::agent::link::{CoordinatorLink, LinkError};
use crate::agent::view::NodeView;

/// How often it pets, and looks.
const EVERY: Duration = Duration::from_millis(250);
/// And where it can do nothing.
const IDLE: Duration = Duration::from_secs(2);
/// A word that was not taken is said again after so long.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a daemon that stops waits for the leader to take its word.
const STOP_WITHIN: Duration = Duration::from_secs(4);

pub struct Parts {
    pub me: Name,
    pub link: Arc<dyn CoordinatorLink>,
    pub lease: Lease,
    pub view: SharedView,
    pub port: Arc<dyn GuardPort>,
}

/// What came of a word to the leader.
enum Said {
    Taken(Option<Guard>),
    NotTaken,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Soon,
    /// Nothing can be done now.
    Later,
    /// Nothing is to be done before the view changes.
    WhenTold,
}

pub struct Keeper {
    parts: Parts,
    stop: watch::Receiver<bool>,
    /// It may be armed: an earlier daemon of this host may have left it so.
    maybe_armed: bool,
    /// The leader has taken the word back, and none was said since: it may be disarmed.
    released: bool,
    saying: JoinSet<Said>,
    said: Option<(Option<Guard>, Instant)>,
    trouble: String,
}

impl Keeper {
    /// It ends when `stop` becomes true and the guard is disarmed.
    pub fn new(parts: Parts, stop: watch::Receiver<bool>) -> Self {
        parts.lease.restrain(Restraint::Strikes);
        Keeper {
            parts,
            stop,
            maybe_armed: true,
            released: false,
            saying: JoinSet::new(),
            said: None,
            trouble: String::new(),
        }
    }

    /// Runs until the daemon stops, or is dropped.
    pub async fn run(mut self) {
        loop {
            let stopping = *self.stop.borrow_and_update();
            let view = self.parts.view.borrow_and_update().clone();
            let next = self.pass(&view, stopping).await;
            if stopping && next != Next::Soon {
                return;
            }
            let pause = if next == Next::Soon { EVERY } else { IDLE };
            tokio::select! {
                // While there is something to do, a change of the view is seen soon enough.
                () = tokio::time::sleep(pause), if next != Next::WhenTold => {}
                changed = self.parts.view.changed(), if next == Next::WhenTold => if changed.is_err() {
                    // The agent is begun anew; what it saw is as good as before.
                    tokio::time::sleep(IDLE).await;
                },
                // A guard that strikes must hear of it before guests are started.
                () = self.parts.lease.came_alive() => {}
                changed = self.stop.changed() => if changed.is_err() { return },
                Some(said) = self.saying.join_next(), if !self.saying.is_empty() => {
                    self.released |= matches!(said, Ok(Said::Taken(None)));
                }
            }
        }
    }

    /// Does what is to be done now. Returns when to look again.
    async fn pass(&mut self, view: &NodeView, stopping: bool) -> Next {
        let isolation = view.node.as_ref().map(|node| node.spec.isolation);
        let stored = view.node.as_ref().and_then(|node| node.status.guard.clone());
        let wanted = isolation == Some(Isolation::Stop) && !stopping;
        if !wanted && !self.maybe_armed && stored.is_none() {
            return Next::WhenTold;
        }
        let answer = self.ask(wanted).await;
        let relied = answer.as_ref().filter(|answer| wanted && answer.armed && !answer.stopping);
        if let Some(guard) = relied.map(Answer::guard) {
            (self.maybe_armed, self.released) = (true, false);
            if stored.as_ref() != Some(&guard) {
                self.say(view, Some(guard));
            }
            return Next::Soon;
        }
        self.let_go(view, stored.is_some(), answer.as_ref()).await
    }

    /// Pets it where there is a lease. None: it does not answer.
    async fn ask(&mut self, wanted: bool) -> Option<Answer> {
        let end = self.parts.lease.covered_until(pvc_model::Revision::MAX);
        let ask = match end.map(|end| self.parts.port.by_its_clock(end)) {
            Some(until) if wanted => Ask::Arm { until },
            Some(until) => Ask::Pet { until },
            None => Ask::Look,
        };
        let trouble = match self.parts.port.ask(ask).await {
            Ok(answer) => {
                self.trouble.clear();
                self.parts.lease.restrain(match end {
                    _ if !answer.armed => Restraint::Nobody,
                    Some(end) => Restraint::LetsBe(end),
                    None => Restraint::Strikes,
                });
                return Some(answer);
            }
            Err(error) => error.to_string(),
        };
        // Guests that are to run are not kept off for want of somebody who would stop them.
        self.parts.lease.restrain(Restraint::Nobody);
        if wanted && self.trouble != trouble {
            tracing::error!(
                trouble,
                "this host's guests are to stop when it is cut off, and nobody would stop them"
            );
        }
        self.trouble = trouble;
        None
    }

    /// It can't be relied upon, or is not to be: takes the word back, and disarms it when that is committed.
    async fn let_go(&mut self, view: &NodeView, stored: bool, answer: Option<&Answer>) -> Next {
        match answer {
            // Nobody relies on it, and nothing that was said is under way.
            Some(answer) if !answer.armed && !stored && self.saying.is_empty() => {
                self.maybe_armed = false;
                return Next::Later;
            }
            // The same of one that does not answer; but it may be armed, and come back.
            None if !stored && self.saying.is_empty() => return Next::Later,
            _ => {}
        }
        if !self.released {
            self.say(view, None);
        } else if self.saying.is_empty() && answer.is_some_and(|answer| answer.armed) {
            match self.parts.port.ask(Ask::Disarm).await {
                Ok(_) => self.maybe_armed = false,
                Err(error) => tracing::error!(%error, "the guard is not disarmed yet"),
            }
        }
        Next::Soon
    }

    /// Says it to the leader, one word at a time. Another task does: an answer may be long in coming.
    fn say(&mut self, view: &NodeView, guard: Option<Guard>) {
        let Some(node) = &view.node else { return };
        let said = self.said.as_ref().is_some_and(|(word, at)| *word == guard && at.elapsed() < AGAIN);
        if !self.saying.is_empty() || said || view.session == 0 {
            return;
        }
        self.said = Some((guard.clone(), Instant::now()));
        let (link, me) = (self.parts.link.clone(), self.parts.me.clone());
        let (session, after) = (view.session, node.status.guard_words);
        self.saying.spawn(async move {
            match link.report_guard(&me, session, after, guard.clone()).await {
                Ok(_) => {
                    match &guard {
                        Some(guard) => tracing::info!(%guard, "the cluster relies on this host's guard"),
                        None => tracing::info!("the cluster relies on this host's guard no more"),
                    }
                    Said::Taken(guard)
                }
                Err(LinkError::Rejected(refusal)) => {
                    tracing::debug!(%refusal, "the word about the guard was not taken");
                    Said::NotTaken
                }
                Err(error) => {
                    tracing::debug!(%error, "the word about the guard may not have been taken");
                    Said::NotTaken
                }
            }
        });
    }
}

/// Has the guard disarmed, for a daemon that stops in order: its guests run on. Where no leader can be told, the guard stays
/// armed, and will strike.
pub async fn stop(stops: &watch::Sender<bool>, keeper: tokio::task::JoinHandle<()>) {
    stops.send_replace(true);
    let aborted = keeper.abort_handle();
    if tokio::time::timeout(STOP_WITHIN, keeper).await.is_err() {
        aborted.abort();
        tracing::error!(
            "no leader was there to be told: the guard of this host stays armed, and stops its guests soon"
        );
    }
}
