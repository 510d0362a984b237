//! Petting from the thread that sends heartbeats: with each one that is acknowledged, whatever the rest of the daemon computes
//! or waits for. The [`keeper`](super::keeper) arms the guard, disarms it and speaks of it; this never does: petting arms nobody.

use std::sync::Arc;
use std::time::Duration;

use pvc_model::Revision;

use super::{Ask, GuardPort};
use crate::agent::lease::Lease;

/// Where there is nobody to be petted it is tried again after so long.
const IDLE: Duration = Duration::from_secs(1);

/// Pets it as long as it is polled.
pub async fn pet(port: Arc<dyn GuardPort>, lease: Lease) {
    loop {
        lease.renewed().await;
        let Some(end) = lease.covered_until(Revision::MAX) else { continue };
        let answer = port.ask(Ask::Pet { until: port.by_its_clock(end) }).await;
        if !answer.is_ok_and(|answer| answer.armed) {
            tokio::time::sleep(IDLE).await;
        }
    }
}
