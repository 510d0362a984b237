//! Heartbeats from a thread of their own: with its own runtime and its own connections, at real-time priority. Whatever the
//! rest of the daemon computes or waits for, and however busy the host is, they are sent in time: a busy host is no dead one.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::agent::heartbeat::{Beat, Beating, Heartbeats};
use crate::agent::link::CoordinatorLink;
use crate::realtime;

/// `link`: used by nothing else, for connections belong to the runtime that has opened them.
pub struct Pulse {
    pub link: Arc<dyn CoordinatorLink>,
}

impl Beat for Pulse {
    fn begin(&self, heartbeats: Heartbeats) -> Beating {
        let heartbeats = Heartbeats { link: self.link.clone(), ..heartbeats };
        let over = CancellationToken::new();
        let until = over.clone();
        let begun = std::thread::Builder::new().name("heartbeats".to_owned()).spawn(move || {
            if let Err(error) = realtime::prefer_this_thread() {
                tracing::warn!(%error, "heartbeats are no more urgent than anything else on this host");
            }
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    runtime.block_on(until.run_until_cancelled(heartbeats.run()));
                }
                Err(error) => tracing::error!(%error, "no heartbeats are sent"),
            }
        });
        if let Err(error) = begun {
            // The leader will miss them, and the lease lapses: nothing is started here.
            tracing::error!(%error, "no heartbeats are sent");
        }
        Beating::new(over.drop_guard())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::agent::heartbeat::Told;
    use crate::agent::incarnation::Incarnation;
    use crate::agent::lease::Lease;
    use crate::agent::tests::leader::Leader;
    use crate::agent::tests::{NoLoad, name};

    fn heartbeats(leader: &Leader, lease: &Lease) -> Heartbeats {
        Heartbeats {
            node: name("hv1"),
            session: 1,
            link: Arc::new(leader.link(&name("hv1"))),
            lease: lease.clone(),
            told: Arc::new(parking_lot::Mutex::new(Told::default())),
            load: Arc::new(NoLoad),
            incarnation: Incarnation::default(),
        }
    }

    /// The whole runtime of the agent stands still for longer than a lease.
    #[tokio::test(flavor = "current_thread")]
    async fn a_daemon_that_computes_for_long_keeps_its_lease() {
        let (leader, lease) = (Leader::new(), Lease::default());
        leader.enrol(&name("hv1"));
        let link: Arc<dyn CoordinatorLink> = Arc::new(leader.link(&name("hv1")));
        let beating = Pulse { link }.begin(heartbeats(&leader, &lease));
        std::thread::sleep(Duration::from_secs(4));
        assert!(lease.is_valid());
        drop(beating);
        std::thread::sleep(Duration::from_secs(4));
        assert!(!lease.is_valid(), "they end with the agent");
    }
}
