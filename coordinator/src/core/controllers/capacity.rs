//! Says when the death of some one node could not be borne: the fault `capacity-short`. Off or refused at
//! the start of VMs instead by the cluster's setting `admission`; `pvc_model::plan::shortage` judges.

use std::time::Duration;

use async_trait::async_trait;
use pvc_model::cluster::Admission;
use pvc_model::{Command, Name, plan};
use tokio::time::Instant;

use super::super::coordinator::Coordinator;
use super::{ACTOR, Controller, Outcome, outcome_of};

/// How often it is judged at most: a plan for each node costs some milliseconds in a large cluster.
const TICK: Duration = Duration::from_secs(5);

pub(super) struct Capacity {
    coordinator: Coordinator,
    next: Instant,
    /// Revision of the world that was judged last.
    judged: Option<u64>,
}

impl Capacity {
    pub fn new(coordinator: Coordinator) -> Self {
        Capacity { coordinator, next: Instant::now(), judged: None }
    }
}

fn fault() -> Name {
    "capacity-short".parse().expect("a label is a name")
}

#[async_trait]
impl Controller for Capacity {
    const NAME: &'static str = "capacity";

    async fn reconcile(&mut self) -> Outcome {
        let world = self.coordinator.world();
        if Instant::now() < self.next || self.judged == Some(world.revision) {
            return Outcome::Settled;
        }
        self.next = Instant::now() + TICK;
        let wanted = world.settings().admission != Admission::Off;
        let short = wanted.then(|| plan::shortage(&world)).flatten();
        let command = match short {
            Some(short) => Some(Command::RaiseFault {
                name: fault(),
                subject: format!("node/{}", short.node),
                message: short.to_string(),
                help: "add memory or a node, stop VMs, or let some wait: pvc vm meta VM --recover false; \
                       `pvc cluster set --admission off` ends the warning"
                    .to_owned(),
            }),
            None => world.faults.contains_key(&fault()).then(|| Command::ClearFault { name: fault() }),
        };
        let command = command
            .filter(|command| self.coordinator.check(&world, command, ACTOR).is_ok_and(|c| !c.is_empty()));
        let Some(command) = command else {
            self.judged = Some(world.revision);
            return Outcome::Settled;
        };
        outcome_of([self.coordinator.submit(command, ACTOR, None).await])
    }

    fn timer(&self) -> Option<Duration> {
        let stale = self.judged != Some(self.coordinator.world().revision);
        stale.then(|| self.next.saturating_duration_since(Instant::now()))
    }
}
