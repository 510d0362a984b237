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
mod network_faults;
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
use super::seat::Seat;
pub use driver::Drive;

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
            let drive = |future: Drive| {
                running.spawn(over.clone().run_until_cancelled_owned(coordinator.held(future)))
            };
            for future in watch_over_nodes(&coordinator) {
                drive(future);
            }
            drive(Box::pin(driver::drive(coordinator.clone(), guards::Guards::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), primary::Primary::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), volumes::Volumes::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), prune::Prune::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), alarms::Alarms::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(coordinator.clone(), voters::Voters::new(coordinator.clone()))));
            drive(Box::pin(driver::drive(
                coordinator.clone(),
                network_faults::NetworkFaults::new(coordinator.clone()),
            )));
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

/// The controllers on which guests' safety rests, each driven: who is heard, who is fenced, what is started elsewhere, and how
/// tasks go on. Whoever begins to lead arms the heartbeats first.
pub fn watch_over_nodes<S: Seat>(seat: &S) -> [Drive; 4] {
    [
        Box::pin(driver::drive(seat.clone(), liveness::Liveness::new(seat.clone()))),
        Box::pin(driver::drive(seat.clone(), fencing::Fencing::new(seat.clone()))),
        Box::pin(driver::drive(seat.clone(), recovery::Recovery::new(seat.clone()))),
        Box::pin(driver::drive(seat.clone(), tasks::Tasks::new(seat.clone()))),
    ]
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
