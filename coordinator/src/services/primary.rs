//! Handing the primary's role over on demand: asked, and waited for until it is done or called off.

use std::time::Duration;

use pvc_model::primary::PrimaryPhase;
use pvc_model::{Command, Name, Rejection};
use tonic::{Code, Status};

use super::caller::Caller;
use super::shared::{Shared, refuse};
use crate::status;

/// The leader calls off what takes longer than its own patience, and both nodes have a lease to lapse.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn hand_over(
    shared: &Shared,
    caller: &Caller,
    from: Option<Name>,
    to: Option<Name>,
    request_id: &str,
) -> Result<(), Status> {
    let mut worlds = shared.core.worlds();
    let before = shared.core.world().primary().map_or(0, |primary| primary.epoch);
    let committed = shared.submit(caller, Command::HandOverPrimary { from, to }, request_id).await?;
    // Another holder, and nobody to wait for; or the holder of before, with the reason.
    let over = worlds.wait_for(|world| {
        let holding = |phase: &PrimaryPhase| matches!(phase, PrimaryPhase::Holding);
        world.revision >= committed.revision && world.primary().is_none_or(|p| holding(&p.phase))
    });
    match tokio::time::timeout(PATIENCE, over).await {
        Ok(Ok(world)) => match world.primary() {
            Some(primary) if primary.epoch <= before => {
                let subject = format!("node/{}", primary.node);
                let detail = format!("it stays the primary: {}", primary.reason);
                let rejection = Rejection::precondition("primary-handed-over", subject, detail);
                Err(refuse(rejection.help("see `pvc node list`, then ask again")))
            }
            _ => Ok(()),
        },
        Ok(Err(_)) => Err(status::stopping()),
        Err(_) => {
            let detail = format!("the hand-over is not done within {PATIENCE:?}");
            let help = "see `pvc cluster status`";
            Err(status::of(Code::DeadlineExceeded, "primary-handed-over", "cluster", &detail, help, None))
        }
    }
}
