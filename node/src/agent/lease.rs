//! The node's permission to act: from the moment it *sent* the last heartbeat that was acknowledged, for
//! [`LEASE`]. The leader's grace is longer (3 s), and each side measures on its own monotonic clock: when
//! the leader gives the node up, the node has known for a while that it may start nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pvc_model::Revision;
use tokio::sync::Notify;
use tokio::time::Instant;

/// L of ARCHITECTURE.md section 4; shorter than the leader's grace G of 3 s.
pub const LEASE: Duration = pvc_model::primary::LEASE;
/// Acknowledgements that are remembered: those of a lease's length, at two heartbeats a second, and some.
const KEPT: usize = 8;

#[derive(Clone, Debug, Default)]
pub struct Lease {
    /// When acknowledged heartbeats were sent, and the leader's revision when it answered; by the former.
    acknowledged: Arc<Mutex<VecDeque<(Instant, Revision)>>>,
    /// How often it has come alive again after it had lapsed.
    lives: Arc<AtomicU64>,
    came_alive: Arc<Notify>,
    renewed: Arc<Notify>,
    restraint: Arc<Mutex<Restraint>>,
}

/// Whether this host's guard would end what is started now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restraint {
    /// There is no guard, or it is not armed.
    #[default]
    Nobody,
    /// It was not asked yet, or is armed and knows of no lease.
    Strikes,
    /// It lets guests be until then, if it hears nothing more.
    LetsBe(Instant),
}

impl Lease {
    /// A heartbeat that was sent at `sent_at` has been acknowledged by a leader at this revision.
    pub fn renew(&self, sent_at: Instant, revision: Revision) {
        let mut known = self.acknowledged.lock();
        if known.back().is_none_or(|(sent, _)| *sent + LEASE <= Instant::now()) {
            self.lives.fetch_add(1, Ordering::Relaxed);
            self.came_alive.notify_one();
        }
        let place = known.partition_point(|(sent, _)| *sent <= sent_at);
        known.insert(place, (sent_at, revision));
        if known.len() > KEPT {
            known.pop_front();
        }
        self.renewed.notify_one();
    }

    /// Whether the node may act now.
    pub fn is_valid(&self) -> bool {
        self.covers(Revision::MAX)
    }

    /// Whether the node may act now on what a view of this revision shows: the view was the newest there
    /// was when a heartbeat was sent that still counts. What the leader has decided since, it did not
    /// decide because of a silence of this node.
    pub fn covers(&self, view: Revision) -> bool {
        self.covered_until(view).is_some()
    }

    /// Resolves when it has come alive after it had lapsed. For one who waits.
    pub async fn came_alive(&self) {
        self.came_alive.notified().await;
    }

    /// Resolves when a heartbeat has been acknowledged. For one who waits.
    pub async fn renewed(&self) {
        self.renewed.notified().await;
    }

    /// The guard's keeper says what the guard would do.
    pub fn restrain(&self, restraint: Restraint) {
        *self.restraint.lock() = restraint;
    }

    /// Whether a guest that is started now is let be by this host's guard.
    pub fn guard_lets_start(&self) -> bool {
        match *self.restraint.lock() {
            Restraint::Nobody => true,
            Restraint::Strikes => false,
            Restraint::LetsBe(until) => Instant::now() < until,
        }
    }

    /// Which of its lives this is: as long as it is the same, it has not lapsed, and nobody can have taken this node for
    /// stopped meanwhile.
    pub fn life(&self) -> u64 {
        self.lives.load(Ordering::Relaxed)
    }

    /// Until when it covers that view, if nothing renews it; None: it does not now.
    pub fn covered_until(&self, view: Revision) -> Option<Instant> {
        let known = self.acknowledged.lock();
        let newest = known.iter().rev().find(|(_, revision)| *revision <= view);
        newest.map(|(sent, _)| *sent + LEASE).filter(|end| Instant::now() < *end)
    }

    /// Waits until it is not valid.
    pub async fn lapsed(&self) {
        loop {
            let newest = self.acknowledged.lock().back().map(|(sent, _)| *sent + LEASE);
            match newest.filter(|end| *end > Instant::now()) {
                Some(end) => tokio::time::sleep_until(end).await,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_runs_from_the_sending_and_lapses() {
        let lease = Lease::default();
        assert!(!lease.is_valid(), "none before the first heartbeat");
        let sent = Instant::now();
        tokio::time::advance(Duration::from_millis(2000)).await;
        lease.renew(sent, 1);
        assert!(lease.is_valid());
        tokio::time::advance(Duration::from_millis(499)).await;
        assert!(lease.is_valid());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!lease.is_valid(), "2.5 s after it was sent, not after the answer");
        lease.renew(sent, 1);
        assert!(!lease.is_valid(), "an old answer renews nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn it_covers_what_was_the_newest_view_when_the_heartbeat_was_sent() {
        let lease = Lease::default();
        assert!(!lease.covers(9));
        lease.renew(Instant::now(), 7);
        assert!(lease.covers(7) && lease.covers(8) && !lease.covers(6));
        tokio::time::advance(Duration::from_millis(2000)).await;
        lease.renew(Instant::now(), 9);
        assert!(lease.covers(7), "the older heartbeat still counts");
        tokio::time::advance(Duration::from_millis(600)).await;
        assert!(!lease.covers(7) && lease.covers(9));
    }

    #[tokio::test(start_paused = true)]
    async fn it_has_another_life_after_it_has_lapsed() {
        let lease = Lease::default();
        lease.renew(Instant::now(), 1);
        let first = lease.life();
        tokio::time::advance(Duration::from_millis(2400)).await;
        lease.renew(Instant::now(), 1);
        assert_eq!(lease.life(), first);
        tokio::time::advance(Duration::from_millis(2500)).await;
        lease.renew(Instant::now(), 1);
        assert_ne!(lease.life(), first);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guard_that_knows_of_no_lease_is_waited_for() {
        let lease = Lease::default();
        assert!(lease.guard_lets_start(), "there is none");
        lease.restrain(Restraint::Strikes);
        assert!(!lease.guard_lets_start());
        lease.restrain(Restraint::LetsBe(Instant::now() + LEASE));
        assert!(lease.guard_lets_start());
        tokio::time::advance(LEASE).await;
        assert!(!lease.guard_lets_start(), "it was told of nothing newer");
        lease.renew(Instant::now(), 1);
        tokio::time::timeout(Duration::from_secs(1), lease.came_alive()).await.expect("its keeper is woken");
    }

    #[tokio::test(start_paused = true)]
    async fn its_end_is_told() {
        let lease = Lease::default();
        lease.lapsed().await;
        lease.renew(Instant::now(), 1);
        let begun = Instant::now();
        let renewing = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            lease.renew(Instant::now(), 1);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = lease.lapsed() => {}
            () = renewing => {}
        }
        assert_eq!(begun.elapsed().as_millis(), 4500);
    }
}
