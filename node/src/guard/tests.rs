//! Keepers with their agents and the guard's own judgement, below a leader that is nothing but `pvc_model::decide`. An onlooker
//! sees at each moment that the leader relies on no guard that is not armed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pvc_model::Command;
use pvc_model::guard::{Guard, Isolation};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::keeper::{Keeper, Parts, stop};
use super::{Answer, Ask, Deed, GuardError, GuardPort, STRIKE_AFTER, SinceBoot, Terms, Watch};
use crate::agent::Agent;
use crate::agent::lease::{LEASE, Lease};
use crate::agent::tests::leader::Leader;
use crate::agent::tests::{name, parts};
use crate::hypervisor::fake::{FakeWorld, Timing};

/// The guard's process, as far as the daemon sees it.
#[derive(Clone)]
struct Port {
    begun: Instant,
    watch: Arc<Mutex<Watch>>,
    dead: Arc<Mutex<bool>>,
}

impl Port {
    fn deed(&self) -> Deed {
        self.watch.lock().deed(self.now())
    }

    fn is_armed(&self) -> bool {
        self.watch.lock().armed_until().is_some()
    }
}

#[async_trait]
impl GuardPort for Port {
    async fn ask(&self, ask: Ask) -> Result<Answer, GuardError> {
        if *self.dead.lock() {
            return Err(GuardError("nobody listens".to_owned()));
        }
        let mut watch = self.watch.lock();
        watch.take(ask, self.begun.elapsed());
        Ok(watch.answer(self.begun.elapsed()))
    }

    fn now(&self) -> SinceBoot {
        self.begun.elapsed()
    }
}

struct Daemon {
    agent: JoinHandle<()>,
    keeper: JoinHandle<()>,
    stops: watch::Sender<bool>,
}

struct House {
    leader: Leader,
    hosts: FakeWorld,
    port: Port,
    daemon: Option<Daemon>,
}

impl House {
    async fn new() -> House {
        let (leader, hosts) = (Leader::new(), FakeWorld::new(Timing::default()));
        hosts.add_host(&name("hv1"), "address");
        leader.enrol(&name("hv1"));
        let watch = Arc::new(Mutex::new(Watch::new(Terms::process())));
        let port = Port { begun: Instant::now(), watch, dead: Arc::default() };
        let mut house = House { leader, hosts, port, daemon: None };
        house.boot();
        house.pass(3.0).await;
        house
    }

    async fn armed() -> House {
        let house = House::new().await;
        house.isolation(Isolation::Stop);
        house.pass(3.0).await;
        assert!(house.port.is_armed() && house.relied().is_some());
        house
    }

    fn boot(&mut self) {
        let me = name("hv1");
        let lease = Lease::default();
        let (agent, view) = Agent::new(parts(&self.leader, &self.hosts, &me, lease.clone()));
        let (stops, stopped) = watch::channel(false);
        let link = Arc::new(self.leader.link(&me));
        let keeper = Keeper::new(Parts { me, link, lease, view, port: Arc::new(self.port.clone()) }, stopped);
        let agent = tokio::spawn(async move { drop(agent.run().await) });
        self.daemon = Some(Daemon { agent, keeper: tokio::spawn(keeper.run()), stops });
    }

    /// As kill -9 does.
    fn kill(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.agent.abort();
            daemon.keeper.abort();
        }
    }

    fn isolation(&self, isolation: Isolation) {
        let update = Command::UpdateNode {
            name: name("hv1"),
            schedulable: None,
            on_return: None,
            on_shutdown: None,
            isolation: Some(isolation),
            expected_revision: 0,
        };
        self.leader.submit(update).expect("a setting");
    }

    /// What the leader relies on.
    fn relied(&self) -> Option<Guard> {
        self.leader.world().nodes[&name("hv1")].relied_guard().cloned()
    }

    fn stored(&self) -> Option<Guard> {
        self.leader.world().nodes[&name("hv1")].status.guard.clone()
    }

    async fn pass(&self, seconds: f64) {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        while Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
            let dead = *self.port.dead.lock();
            assert!(dead || self.stored().is_none() || self.port.is_armed(), "relied upon, and not armed");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_armed_unless_the_administrator_wants_it() {
    let house = House::new().await;
    house.pass(60.0).await;
    assert!(!house.port.is_armed() && house.stored().is_none());
    let revision = house.leader.world().revision;
    house.isolation(Isolation::Stop);
    house.pass(3.0).await;
    assert_eq!(house.relied().map(|guard| guard.strike_after), Some(STRIKE_AFTER));
    house.pass(60.0).await;
    assert_eq!(house.leader.world().revision, revision + 2, "the setting, and one word");
    assert_eq!(house.port.deed(), Deed::Watch, "it is petted");
}

#[tokio::test(start_paused = true)]
async fn without_a_lease_nobody_pets_it_and_it_strikes_in_time() {
    let house = House::armed().await;
    let cut = Instant::now();
    house.leader.cut("hv1");
    while house.port.deed() == Deed::Watch {
        house.pass(0.01).await;
    }
    let struck = cut.elapsed();
    assert!(struck <= LEASE + STRIKE_AFTER, "{struck:?}");
    assert!(struck >= STRIKE_AFTER, "{struck:?}: a daemon that is back by then loses nothing");
    house.leader.heal("hv1");
    house.pass(2.0).await;
    assert_eq!(house.port.deed(), Deed::Watch, "a lease is a lease");
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_is_killed_and_back_in_time_loses_nothing() {
    let mut house = House::armed().await;
    house.kill();
    house.pass(9.0).await;
    assert_eq!(house.port.deed(), Deed::Watch);
    house.boot();
    house.pass(30.0).await;
    assert_eq!(house.port.deed(), Deed::Watch);
    assert!(house.relied().is_some(), "and it says so anew");
    house.kill();
    house.pass(13.0).await;
    assert_eq!(house.port.deed(), Deed::Strike, "nobody else pets it");
}

#[tokio::test(start_paused = true)]
async fn it_is_disarmed_only_when_nobody_relies_on_it() {
    let house = House::armed().await;
    // The leader is gone before it has heard that the guard is to be relied upon no more.
    house.isolation(Isolation::Keep);
    sleep(Duration::from_millis(20)).await;
    house.leader.cut("hv1");
    house.pass(5.0).await;
    assert_eq!(house.port.is_armed(), house.stored().is_some());
    house.leader.heal("hv1");
    house.pass(5.0).await;
    assert!(!house.port.is_armed() && house.stored().is_none());
    house.pass(60.0).await;
    assert_eq!(house.port.deed(), Deed::Rest);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_disarms_nobody_too_early() {
    for lost in 1..4 {
        let house = House::armed().await;
        house.leader.lose_answers(lost);
        house.isolation(Isolation::Keep);
        house.pass(20.0).await;
        assert!(!house.port.is_armed() && house.stored().is_none());
        house.leader.lose_answers(lost);
        house.isolation(Isolation::Stop);
        house.pass(20.0).await;
        assert!(house.port.is_armed() && house.relied().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_changes_back_and_forth_ends_as_it_was_last() {
    let house = House::armed().await;
    for round in 0..40_u32 {
        house.isolation(if round % 2 == 0 { Isolation::Keep } else { Isolation::Stop });
        house.leader.leave_untold("hv1", round % 7 == 3);
        house.pass(0.1 + 0.13 * f64::from(round % 9)).await;
    }
    house.leader.leave_untold("hv1", false);
    house.isolation(Isolation::Keep);
    house.pass(5.0).await;
    assert!(!house.port.is_armed() && house.stored().is_none());
    house.isolation(Isolation::Stop);
    house.pass(5.0).await;
    assert!(house.port.is_armed() && house.relied().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_stops_in_order_leaves_its_guests_alone() {
    let mut house = House::armed().await;
    let daemon = house.daemon.take().expect("it runs");
    stop(&daemon.stops, daemon.keeper).await;
    daemon.agent.abort();
    assert!(!house.port.is_armed() && house.stored().is_none());
    house.pass(60.0).await;
    assert_eq!(house.port.deed(), Deed::Rest);

    // Where no leader can be told, what it has promised is kept.
    let mut house = House::armed().await;
    house.leader.cut("hv1");
    let daemon = house.daemon.take().expect("it runs");
    stop(&daemon.stops, daemon.keeper).await;
    daemon.agent.abort();
    assert!(house.port.is_armed() && house.stored().is_some());
    house.pass(13.0).await;
    assert_eq!(house.port.deed(), Deed::Strike);
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_does_not_answer_is_relied_upon_no_more_until_it_does() {
    let house = House::armed().await;
    *house.port.dead.lock() = true;
    house.pass(3.0).await;
    assert_eq!(house.stored(), None);
    *house.port.dead.lock() = false;
    house.pass(5.0).await;
    assert!(house.relied().is_some());
    // Told to end, it is let go, and not armed again.
    house.port.watch.lock().stop();
    house.pass(5.0).await;
    assert!(!house.port.is_armed() && house.stored().is_none());
}
