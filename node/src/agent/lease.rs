//! The node's permission to act: from the moment it *sent* the last heartbeat that was acknowledged, for
//! [`LEASE`]. The leader's grace is longer (3 s), and each side measures on its own monotonic clock: when
//! the leader gives the node up, the node has known for a while that it may start nothing.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// L of ARCHITECTURE.md section 4; shorter than the leader's grace G of 3 s.
pub const LEASE: Duration = Duration::from_millis(2500);

#[derive(Clone, Debug, Default)]
pub struct Lease {
    sent_at: Arc<Mutex<Option<Instant>>>,
}

impl Lease {
    /// A heartbeat that was sent at `sent_at` has been acknowledged.
    pub fn renew(&self, sent_at: Instant) {
        let mut last = self.sent_at.lock();
        if last.is_none_or(|l| l < sent_at) {
            *last = Some(sent_at);
        }
    }

    /// Whether the node may act now.
    pub fn is_valid(&self) -> bool {
        self.sent_at.lock().is_some_and(|sent| sent.elapsed() < LEASE)
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
        lease.renew(sent);
        assert!(lease.is_valid());
        tokio::time::advance(Duration::from_millis(499)).await;
        assert!(lease.is_valid());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!lease.is_valid(), "2.5 s after it was sent, not after the answer");
        lease.renew(sent);
        assert!(!lease.is_valid(), "an old answer renews nothing");
    }
}
