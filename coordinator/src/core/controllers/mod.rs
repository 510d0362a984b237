//! The leader's controllers: no inputs, level-triggered, one at a time. Each reads the world, acts by
//! commands like everybody else, and reports. A change of the world only wakes them; they never call
//! each other and never loop over failures: the driver does, with a jittered back-off.
//!
//! They run while this coordinator leads and decides, and are gone before it is told otherwise.

mod adoption;
mod alarms;
mod balance;
mod bmc_checks;
mod capacity;
mod driver;
mod fault_name;
mod fencing;
mod guards;
mod levels;
mod liveness;
mod primary;
mod prune;
mod recovery;
mod silences;
mod tasks;
mod volumes;
mod voters;

use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::coordinator::Coordinator;
use super::error::SubmitError;

/// The actor in whose name controllers act.
pub const ACTOR: &str = "pvc";

/// How a pass ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is as it should be.
    Settled,
    /// Something was changed.
    Progressed,
    /// Something should be changed, and could not be, for this reason.
    Blocked(String),
}

#[async_trait]
pub trait Controller: Send + Sync {
    const NAME: &'static str;

    /// Reads, acts, reports. Dropped half-way when leadership goes.
    async fn reconcile(&mut self) -> Outcome;

    /// When to look again although nothing has changed; asked after each pass.
    fn timer(&self) -> Option<Duration>;

    /// Resolves when there is something to look at besides the world.
    async fn woken(&self) {
        std::future::pending().await
    }
}

/// Starts the controllers with each term, and ends them with it.
pub(super) async fn supervise(coordinator: Coordinator, stop: CancellationToken) {
    let mut leading = coordinator.leadership();
    loop {
        let term = *leading.borrow_and_update();
        let running = TaskTracker::new();
        let over = stop.child_token();
        if term.is_some() {
            coordinator.heartbeats().arm();
            let drive = |future: driver::Drive| running.spawn(over.clone().run_until_cancelled_owned(future));
            drive(Box::pin(driver::drive(coordinator.clone(), liveness::Liveness::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), fencing::Fencing::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), guards::Guards::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), recovery::Recovery::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), primary::Primary::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), tasks::Tasks::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), volumes::Volumes::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), prune::Prune::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), alarms::Alarms::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), voters::Voters::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), levels::Levels::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(
                coordinator.clone(),
                bmc_checks::BmcChecks::new(coordinator.clone()),
            )));
            drive(Box::pin(driver::drive(coordinator.clone(), capacity::Capacity::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), balance::Balance::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), adoption::Adoption::new(coordinator.clone()))));
        }
        running.close();
        let ended = tokio::select! {
            () = stop.cancelled() => true,
            changed = leading.changed() => changed.is_err(),
        };
        over.cancel();
        running.wait().await;
        if ended {
            return;
        }
    }
}

/// What a controller makes of its submits' results: the first failure blocks.
fn outcome_of(results: impl IntoIterator<Item = Result<super::lane::Committed, SubmitError>>) -> Outcome {
    let mut outcome = Outcome::Settled;
    for result in results {
        match result {
            Ok(_) if outcome == Outcome::Settled => outcome = Outcome::Progressed,
            Ok(_) => {}
            Err(error) => return Outcome::Blocked(error.to_string()),
        }
    }
    outcome
}
