//! Runs the parts, each in a task of its own: a part that is slow or blocked holds up no other.
//!
//! What may never happen here: a part that is given an older plan after a newer one; a pass that ends unseen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pvc_model::network::host::{HostPlan, Stance};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::part::{Blocked, Outcome, Part};

/// How often what is as it should be is looked at, where nothing has said that it changed.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// After a pass that changed something.
const AGAIN: Duration = Duration::from_millis(50);
/// After the first failure, doubled with each.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A pass that takes longer is given up, and tried again.
const PASS_WITHIN: Duration = Duration::from_secs(60);
/// Something must have been amiss for so long before people are told: what a start takes is no trouble.
const TOLD_AFTER: Duration = Duration::from_secs(5);
/// Repairs that are told of at once, at most: the newest.
const REPAIR_WORDS_MAX: usize = 8;

/// How this host's part of the client networks is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub parts: BTreeMap<&'static str, PartHealth>,
    /// Passes that put right what somebody else had changed, since the daemon started.
    pub repairs: u64,
    /// The last of them, in words: "links: made vmbr1001".
    pub last_repair: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartHealth {
    /// The stance and epoch of the last plan that the host was found to be as.
    pub settled: Option<(Stance, u64)>,
    /// Why it is not as it should be, once that has lasted; empty: it is, or only just is not.
    pub problem: String,
}

impl Health {
    /// Whether everything stands for a node that is to be the primary at that epoch's end.
    pub fn is_ready(&self, epoch: u64) -> bool {
        self.parts.values().all(|part| part.settled == Some((Stance::Ready, epoch)))
    }

    /// What is not as it should be and has not been for a while: "frr: bgpd does not run"; empty: nothing.
    pub fn problems(&self) -> String {
        let problems = self.parts.iter().filter(|(_, part)| !part.problem.is_empty());
        let words: Vec<String> = problems.map(|(name, part)| format!("{name}: {}", part.problem)).collect();
        words.join("; ")
    }
}

/// The running parts. Dropping it stops them where they are, and leaves the host as it is.
pub struct Drivers {
    tasks: Vec<JoinHandle<()>>,
    health: watch::Sender<Health>,
    plan: watch::Receiver<Option<Arc<HostPlan>>>,
}

impl Drivers {
    /// Nothing is done before there is a first plan.
    pub fn new(plan: watch::Receiver<Option<Arc<HostPlan>>>) -> Self {
        Drivers { tasks: Vec::new(), health: watch::Sender::default(), plan }
    }

    /// Runs one part from now on; `wake` tells that its thing has changed.
    pub fn add(&mut self, part: Box<dyn Part>, wake: Arc<Notify>) {
        let name = part.name();
        self.health.send_modify(|health| drop(health.parts.insert(name, PartHealth::default())));
        let driver = Driver { part, wake, plan: self.plan.clone(), health: self.health.clone() };
        self.tasks.push(tokio::spawn(driver.run()));
    }

    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}

impl Drop for Drivers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

struct Driver {
    part: Box<dyn Part>,
    wake: Arc<Notify>,
    plan: watch::Receiver<Option<Arc<HostPlan>>>,
    health: watch::Sender<Health>,
}

impl Driver {
    async fn run(mut self) {
        let name = self.part.name();
        let mut settled: Option<Arc<HostPlan>> = None;
        let mut failing: Option<(Instant, Duration, String)> = None;
        loop {
            let plan = self.plan.borrow_and_update().clone();
            let Some(plan) = plan else {
                if self.plan.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let pass = timeout(PASS_WITHIN, self.part.pass(&plan)).await;
            let outcome = pass.unwrap_or_else(|_| {
                Err(Blocked::new(format!("it is not done within {} s", PASS_WITHIN.as_secs())))
            });
            let wait = match outcome {
                Ok(Outcome::Settled) => {
                    if failing.take().is_some() {
                        tracing::info!(part = name, "is as it should be again");
                    }
                    let complaint = self.part.complaint();
                    self.note(|part| {
                        part.settled = Some((plan.stance, plan.epoch));
                        part.problem = complaint;
                    });
                    settled = Some(plan);
                    LOOK_EVERY
                }
                Ok(Outcome::Progressed(done)) => {
                    failing = None;
                    tracing::info!(part = name, done = done.join(", "), "the host's networks were changed");
                    // It was as this plan says, and is not any more: somebody else has changed it.
                    if settled.as_ref().is_some_and(|before| Arc::ptr_eq(before, &plan)) {
                        self.repaired(name, &done);
                    }
                    AGAIN
                }
                Err(Blocked { reason }) => {
                    let (since, wait, said) =
                        failing.take().unwrap_or((Instant::now(), RETRY_FIRST, String::new()));
                    if said != reason {
                        tracing::warn!(part = name, reason, "not as it should be; trying again");
                    }
                    if since.elapsed() >= TOLD_AFTER {
                        self.note(|part| part.problem.clone_from(&reason));
                    }
                    failing = Some((since, (wait * 2).min(RETRY_MAX), reason));
                    wait
                }
            };
            tokio::select! {
                changed = self.plan.changed() => if changed.is_err() { return },
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn note(&self, change: impl FnOnce(&mut PartHealth)) {
        self.health.send_if_modified(|health| {
            let part = health.parts.entry(self.part.name()).or_default();
            let before = part.clone();
            change(part);
            *part != before
        });
    }

    fn repaired(&self, name: &str, done: &[String]) {
        let newest = done.len().saturating_sub(REPAIR_WORDS_MAX);
        let words = format!("{name}: {}", done[newest..].join(", "));
        tracing::warn!(part = name, done = words, "put right what somebody else had changed");
        self.health.send_modify(|health| {
            health.repairs += 1;
            health.last_repair = words;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use parking_lot::Mutex;

    /// What the host is: a stance, or in somebody's way.
    #[derive(Default)]
    struct Host {
        is: Option<Stance>,
        stuck: bool,
        passes: u32,
    }

    struct Toy(Arc<Mutex<Host>>);

    #[async_trait]
    impl Part for Toy {
        fn name(&self) -> &'static str {
            "toy"
        }

        async fn pass(&mut self, plan: &HostPlan) -> Result<Outcome, Blocked> {
            let mut host = self.0.lock();
            host.passes += 1;
            if host.stuck {
                return Err(Blocked::new("it is stuck"));
            }
            if host.is == Some(plan.stance) {
                return Ok(Outcome::Settled);
            }
            host.is = Some(plan.stance);
            Ok(Outcome::Progressed(vec![format!("became {:?}", plan.stance)]))
        }
    }

    struct Lab {
        host: Arc<Mutex<Host>>,
        plan: watch::Sender<Option<Arc<HostPlan>>>,
        wake: Arc<Notify>,
        drivers: Drivers,
    }

    fn lab() -> Lab {
        let host: Arc<Mutex<Host>> = Arc::default();
        let (plan, plans) = watch::channel(None);
        let wake = Arc::new(Notify::new());
        let mut drivers = Drivers::new(plans);
        drivers.add(Box::new(Toy(host.clone())), wake.clone());
        Lab { host, plan, wake, drivers }
    }

    impl Lab {
        fn plan(&self, stance: Stance, epoch: u64) {
            self.plan.send_replace(Some(Arc::new(HostPlan { stance, epoch, ..HostPlan::default() })));
        }

        async fn until(&self, what: impl FnMut(&Health) -> bool) -> Health {
            let mut health = self.drivers.health();
            let reached = timeout(Duration::from_secs(60), health.wait_for(what)).await;
            reached.expect("in time").expect("it runs").clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_done_before_there_is_a_plan() {
        let lab = lab();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(lab.host.lock().passes, 0);
        lab.plan(Stance::Standby, 1);
        let health = lab.until(|health| health.parts["toy"].settled.is_some()).await;
        assert_eq!((health.repairs, health.is_ready(1)), (0, false));
        lab.plan(Stance::Ready, 2);
        lab.until(|health| health.is_ready(2)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_else_changed_is_put_right_and_told() {
        let lab = lab();
        lab.plan(Stance::Primary, 1);
        lab.until(|health| health.parts["toy"].settled.is_some()).await;
        lab.host.lock().is = None;
        lab.wake.notify_one();
        let health = lab.until(|health| health.repairs > 0).await;
        assert_eq!(health.last_repair, "toy: became Primary");
        // A new plan is no repair.
        lab.plan(Stance::Standby, 1);
        lab.until(|health| health.parts["toy"].settled == Some((Stance::Standby, 1))).await;
        assert_eq!(lab.drivers.health().borrow().repairs, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_told_and_tried_again_more_seldom() {
        let lab = lab();
        lab.host.lock().stuck = true;
        lab.plan(Stance::Standby, 1);
        let begun = Instant::now();
        let health = lab.until(|health| !health.parts["toy"].problem.is_empty()).await;
        assert_eq!(health.parts["toy"].problem, "it is stuck");
        assert!(begun.elapsed() >= TOLD_AFTER);
        let before = lab.host.lock().passes;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(lab.host.lock().passes - before <= 13, "each {RETRY_MAX:?} at most");
        lab.host.lock().stuck = false;
        lab.until(|health| health.parts["toy"].problem.is_empty()).await;
    }
}
