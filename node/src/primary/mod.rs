//! This node's part of the primary's role: it holds the floating address while it is the primary at the newest epoch
//! that it knows, and its lease covers what it knows.
//!
//! Level-triggered like the agent, and apart from it: nothing that a hypervisor does delays the moment at which
//! the address must go. The address goes at once when the lease lapses or a newer epoch is known, and comes
//! again when the lease does, at the same epoch.
//!
//! Never happens here: adding the address on a view that the lease does not cover; telling the leader that it is
//! let go while it may be on the host.

pub mod addresses;
pub mod fake;
pub mod iproute;
mod record;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pvc_model::Name;
use pvc_model::command::PrimaryReport;
use pvc_model::primary::{Floating, Primary, PrimaryPhase};
use pvc_network::drive::Health;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::agent::SharedView;
use crate::agent::lease::Lease;
use crate::agent::link::{CoordinatorLink, LinkError};
use crate::agent::view::NodeView;
use addresses::{AddressError, Addresses, Link};
pub use record::Record;

/// What the kernel can't do within this is tried again.
const STEP_WITHIN: Duration = Duration::from_secs(3);
/// After a failure, and while a lease is waited for.
const AGAIN: Duration = Duration::from_millis(100);
/// The address is looked for, and announced again, this often: a host that can't drop it any more answers for it
/// too, and the neighbours must be told again.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// When it is announced after it was added: frames get lost, and switches learn late.
const ANNOUNCE_AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1)];
/// A report that has no effect by then is sent again.
const REPORT_AGAIN: Duration = Duration::from_secs(1);
/// How long a stopping host waits for somebody to take the role.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// What the reconciler works with.
pub struct Parts {
    pub me: Name,
    pub link: Arc<dyn CoordinatorLink>,
    pub lease: Lease,
    pub view: SharedView,
    pub addresses: Arc<dyn Addresses>,
    pub record: Record,
    /// How this host's part of the client networks is: it takes the role over only when it can serve them.
    pub networks: watch::Receiver<Health>,
}

/// What the rest of the daemon may ask of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    #[default]
    Serve,
    /// The host goes down: give the role to somebody else first.
    Leave,
    /// The daemon stops: let go of the address, and end.
    End,
}

pub struct Keeper {
    parts: Parts,
    wish: watch::Receiver<Wish>,
    /// What may be on the host.
    held: Option<Floating>,
    /// The address, while it is certainly there.
    shown: watch::Sender<Option<IpAddr>>,
    link: Option<Link>,
    /// When it was added, and how often it was announced since.
    added: (Instant, usize),
    looked: Instant,
    announced: Instant,
    said: Option<(u64, PrimaryReport, Instant)>,
    saying: JoinSet<()>,
    trouble: String,
    /// Why it could not take the role over, as it was told last.
    unready: String,
}

impl Keeper {
    /// The receiver shows the address while this host has it.
    pub fn new(parts: Parts, wish: watch::Receiver<Wish>) -> (Self, watch::Receiver<Option<IpAddr>>) {
        let (shown, show) = watch::channel(None);
        let held = parts.record.read().unwrap_or_else(|error| {
            tracing::error!(%error, "whether the floating address was left over is not known");
            None
        });
        let now = Instant::now();
        let keeper = Keeper {
            parts,
            wish,
            held,
            shown,
            link: None,
            added: (now, 0),
            looked: now,
            announced: now,
            said: None,
            saying: JoinSet::new(),
            trouble: String::new(),
            unready: String::new(),
        };
        (keeper, show)
    }

    /// Runs until the daemon stops, or is dropped.
    pub async fn run(mut self) {
        loop {
            let wish = *self.wish.borrow_and_update();
            let view = self.parts.view.borrow_and_update().clone();
            let next = self.pass(&view, wish).await;
            if wish == Wish::End && self.held.is_none() {
                return;
            }
            tokio::select! {
                changed = self.parts.view.changed() => {
                    if changed.is_err() {
                        // The agent is begun anew; what it saw is as good as before.
                        tokio::time::sleep(AGAIN).await;
                    }
                }
                // The daemon is gone, and this with it.
                wished = self.wish.changed() => if wished.is_err() { return },
                Some(_) = self.saying.join_next(), if !self.saying.is_empty() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Until when this node may hold the address by what it knows; None: not now.
    fn entitled(&self, view: &NodeView) -> Option<Instant> {
        let carries = view.primary.as_ref().and_then(|primary| primary.carrier()) == Some(&self.parts.me);
        carries.then(|| self.parts.lease.covered_until(view.revision)).flatten()
    }

    /// It has the role and no lease, or is to have it and is not ready.
    fn waits_for(&self, primary: &Primary) -> bool {
        let to = matches!(&primary.phase, PrimaryPhase::HandingOver { to } if *to == self.parts.me);
        primary.node == self.parts.me || (to && self.said.is_none())
    }

    /// Makes the host be as it should, once. Returns when to look again.
    async fn pass(&mut self, view: &NodeView, wish: Wish) -> Instant {
        let soon = Instant::now() + AGAIN;
        let until = self.entitled(view).filter(|_| wish != Wish::End);
        let wanted = view.floating.clone().filter(|_| until.is_some());
        let mut next = match until {
            // It ends exactly then, if nothing renews it.
            Some(until) => until.min(Instant::now() + LOOK_EVERY),
            None if view.primary.as_ref().is_some_and(|primary| self.waits_for(primary)) => soon,
            None => Instant::now() + LOOK_EVERY,
        };
        if self.held.is_some() && self.held != wanted {
            self.shown.send_replace(None);
        }
        match self.converge(wanted.as_ref()).await {
            Ok(()) => self.trouble.clear(),
            Err(trouble) => {
                if self.trouble != trouble {
                    tracing::error!(trouble, "the floating address is not as it should be; trying again");
                }
                self.trouble = trouble;
                next = next.min(soon);
            }
        }
        next = next.min(self.announce().await);
        self.report(view, wish).await;
        if self.said.is_some() { next.min(Instant::now() + REPORT_AGAIN) } else { next }
    }

    /// Removes what should not be there, and adds what should.
    async fn converge(&mut self, wanted: Option<&Floating>) -> Result<(), String> {
        if let Some(held) = self.held.clone().filter(|held| Some(held) != wanted) {
            within(self.parts.addresses.remove(&held)).await?;
            self.parts.record.clear().map_err(|error| error.to_string())?;
            tracing::info!(address = %held, "the floating address is let go");
            self.held = None;
            self.link = None;
        }
        let Some(wanted) = wanted else { return Ok(()) };
        let new = self.held.is_none();
        if !new && self.link.is_some() && self.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        let link = within(self.parts.addresses.look(&wanted.device)).await?;
        self.looked = Instant::now();
        if new || !link.addresses.contains(&wanted.address.address) {
            if new {
                self.parts.record.write(wanted).map_err(|error| error.to_string())?;
                self.held = Some(wanted.clone());
            } else {
                tracing::warn!(address = %wanted, "somebody has taken the floating address away");
            }
            // The look took time: a lease that has lapsed meanwhile has the next pass at once, but not this.
            let view = self.parts.view.borrow().clone();
            if self.entitled(&view).is_none() || view.floating.as_ref() != Some(wanted) {
                return Err("the role has gone meanwhile".to_owned());
            }
            within(self.parts.addresses.add(wanted)).await?;
            tracing::info!(address = %wanted, "the floating address is here");
            self.added = (Instant::now(), 0);
        }
        self.link = Some(link);
        self.shown.send_if_modified(|shown| {
            let now = Some(wanted.address.address);
            std::mem::replace(shown, now) != now
        });
        Ok(())
    }

    /// Announces the address if it is due. Returns when it is due next.
    async fn announce(&mut self) -> Instant {
        let never = Instant::now() + LOOK_EVERY;
        let (Some(held), Some(link)) = (&self.held, &self.link) else { return never };
        let (added, times) = self.added;
        let due = match ANNOUNCE_AFTER.get(times) {
            Some(after) => added + *after,
            None => self.announced + LOOK_EVERY,
        };
        if Instant::now() < due {
            return due;
        }
        if let Err(error) = within(self.parts.addresses.announce(held, link)).await {
            tracing::warn!(error, "the floating address was not announced");
        }
        self.announced = Instant::now();
        self.added.1 = times.saturating_add(1);
        ANNOUNCE_AFTER.get(times + 1).map_or(never, |after| added + *after)
    }

    /// What is to be said of the role now, if anything.
    async fn word(&mut self, view: &NodeView, wish: Wish) -> Option<(u64, PrimaryReport)> {
        let primary = view.primary.as_ref()?;
        let me = &self.parts.me;
        let report = match &primary.phase {
            PrimaryPhase::HandingOver { to } if to == me => {
                if !self.parts.lease.is_valid() {
                    return None;
                }
                if let Some(floating) = &view.floating {
                    match within(self.parts.addresses.look(&floating.device)).await {
                        Ok(link) if link.up => {}
                        Ok(_) => {
                            return self.not_ready(format!("network device {} is down", floating.device));
                        }
                        Err(trouble) => return self.not_ready(trouble),
                    }
                }
                let networks = self.parts.networks.borrow().clone();
                if !networks.is_ready(primary.epoch) {
                    let problems = networks.problems();
                    // Without one they are only not ready yet.
                    return if problems.is_empty() { None } else { self.not_ready(problems) };
                }
                PrimaryReport::Ready
            }
            PrimaryPhase::TakingOver { from } if from == me && self.held.is_none() => PrimaryReport::Released,
            PrimaryPhase::Holding if primary.node == *me && wish == Wish::Leave => PrimaryReport::Leaving,
            _ => return None,
        };
        Some((primary.epoch, report))
    }

    fn not_ready(&mut self, trouble: String) -> Option<(u64, PrimaryReport)> {
        if self.unready != trouble {
            tracing::error!(trouble, "this node is to be the primary, and can't carry its services");
        }
        self.unready = trouble;
        None
    }

    /// Says it, unless that was done a moment ago. Another task does: an answer may be long in coming.
    async fn report(&mut self, view: &NodeView, wish: Wish) {
        while self.saying.try_join_next().is_some() {}
        let word = self.word(view, wish).await;
        let Some((epoch, report)) = word else {
            self.said = None;
            return;
        };
        let said = self
            .said
            .as_ref()
            .filter(|(e, r, at)| (*e, *r) == (epoch, report) && at.elapsed() < REPORT_AGAIN);
        if said.is_some() || self.saying.len() > 2 {
            return;
        }
        self.said = Some((epoch, report, Instant::now()));
        let (link, me, session) = (self.parts.link.clone(), self.parts.me.clone(), view.session);
        self.saying.spawn(async move {
            match link.report_primary(&me, session, epoch, report).await {
                Ok(_) => tracing::debug!(epoch, ?report, "told of the primary's role"),
                Err(LinkError::Rejected(refusal)) => tracing::warn!(%refusal, epoch, ?report, "not believed"),
                Err(error) => tracing::debug!(%error, epoch, ?report, "not told yet"),
            }
        });
    }
}

async fn within<T>(step: impl Future<Output = Result<T, AddressError>>) -> Result<T, String> {
    match timeout(STEP_WITHIN, step).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the host's network does not answer within {STEP_WITHIN:?}")),
    }
}

/// Gives the role away, if this node has it and anybody takes it, and lets go of the address. For a daemon that
/// stops: `down` says whether its host goes down with it.
pub async fn stop(wishes: &watch::Sender<Wish>, me: &Name, mut view: SharedView, down: bool) {
    if down {
        wishes.send_replace(Wish::Leave);
        let gone = view.wait_for(|view| {
            let concerned = |primary: &pvc_model::primary::Primary| match &primary.phase {
                PrimaryPhase::TakingOver { from } => from == me,
                _ => primary.node == *me,
            };
            !view.primary.as_ref().is_some_and(concerned)
        });
        if !matches!(timeout(LEAVE_WITHIN, gone).await, Ok(Ok(_))) {
            tracing::warn!("nobody has taken the primary's role over in time");
        }
    }
    wishes.send_replace(Wish::End);
}
