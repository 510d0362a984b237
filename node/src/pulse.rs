//! Heartbeats from a thread of their own: with its own runtime and its own connections, at real-time priority. Whatever the
//! rest of the daemon computes or waits for, and however busy the host is, they are sent in time: a busy host is no dead one.
//! The host's guard is petted from here too, with each one that is acknowledged.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::agent::heartbeat::{Beat, Beating, Heartbeats};
use crate::agent::link::CoordinatorLink;
use crate::guard::GuardPort;
use crate::guard::petting::pet;
use crate::realtime;

/// `link`: used by nothing else, for connections belong to the runtime that has opened them.
pub struct Pulse {
    pub link: Arc<dyn CoordinatorLink>,
    /// Whose calls bind it to no runtime.
    pub guard: Arc<dyn GuardPort>,
}

impl Beat for Pulse {
    fn begin(&self, heartbeats: Heartbeats) -> Beating {
        let heartbeats = Heartbeats { link: self.link.clone(), ..heartbeats };
        let over = CancellationToken::new();
        let until = over.clone();
        let petting = pet(self.guard.clone(), heartbeats.lease.clone());
        let beating = async {
            tokio::join!(heartbeats.run(), petting);
        };
        let begun = std::thread::Builder::new().name("heartbeats".to_owned()).spawn(move || {
            if let Err(error) = realtime::prefer_this_thread() {
                tracing::warn!(%error, "heartbeats are no more urgent than anything else on this host");
            }
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    runtime.block_on(until.run_until_cancelled(beating));
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

    use async_trait::async_trait;
    use parking_lot::Mutex;

    use super::*;
    use crate::agent::heartbeat::Told;
    use crate::agent::incarnation::Incarnation;
    use crate::agent::lease::{LEASE, Lease};
    use crate::agent::tests::leader::Leader;
    use crate::agent::tests::{NoLoad, name};
    use crate::guard::{Answer, Ask, GuardError, SinceBoot, Terms, Watch, since_boot};

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

    /// A guard that judges as the real one does.
    #[derive(Clone)]
    struct Port(Arc<Mutex<Watch>>);

    impl Port {
        fn new() -> Self {
            Port(Arc::new(Mutex::new(Watch::new(Terms::process()))))
        }

        fn armed(self) -> Self {
            let now = since_boot();
            self.0.lock().take(Ask::Arm { until: now + LEASE }, now);
            self
        }

        fn armed_until(&self) -> Option<SinceBoot> {
            self.0.lock().armed_until()
        }
    }

    #[async_trait]
    impl GuardPort for Port {
        async fn ask(&self, ask: Ask) -> Result<Answer, GuardError> {
            let mut watch = self.0.lock();
            watch.take(ask, since_boot());
            Ok(watch.answer(since_boot()))
        }

        fn now(&self) -> SinceBoot {
            since_boot()
        }
    }

    /// The whole runtime of the agent stands still for longer than a lease.
    #[tokio::test(flavor = "current_thread")]
    async fn a_daemon_that_computes_for_long_keeps_its_lease() {
        let (leader, lease) = (Leader::new(), Lease::default());
        leader.enrol(&name("hv1"));
        let link: Arc<dyn CoordinatorLink> = Arc::new(leader.link(&name("hv1")));
        let beating = Pulse { link, guard: Arc::new(Port::new()) }.begin(heartbeats(&leader, &lease));
        std::thread::sleep(Duration::from_secs(4));
        assert!(lease.is_valid());
        drop(beating);
        std::thread::sleep(Duration::from_secs(4));
        assert!(!lease.is_valid(), "they end with the agent");
    }

    /// Nothing runs meanwhile that would pet the guard from the agent's runtime.
    #[tokio::test(flavor = "current_thread")]
    async fn a_daemon_that_computes_for_long_keeps_its_guard_content() {
        let (leader, lease, port) = (Leader::new(), Lease::default(), Port::new().armed());
        leader.enrol(&name("hv1"));
        let link: Arc<dyn CoordinatorLink> = Arc::new(leader.link(&name("hv1")));
        let _beating = Pulse { link, guard: Arc::new(port.clone()) }.begin(heartbeats(&leader, &lease));
        std::thread::sleep(Duration::from_secs(4));
        assert!(port.armed_until() > Some(since_boot()), "it knows of the lease");
        leader.cut("hv1");
        std::thread::sleep(Duration::from_secs(4));
        assert!(port.armed_until() < Some(since_boot()), "nobody pets it without an acknowledgement");
        leader.heal("hv1");
        std::thread::sleep(Duration::from_secs(2));
        assert!(port.armed_until() > Some(since_boot()));
        port.0.lock().take(Ask::Disarm, since_boot());
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(port.armed_until(), None, "and nobody arms it by petting it");
    }
}
