//! Runs one controller: a pass when the world changes, when it asks to be woken, and on its timer.

use std::time::Duration;

use super::super::seat::Seat;
use super::{Controller, Outcome};

/// The first pause after a blocked pass; doubled with each one that follows.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

pub type Drive = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Never returns; dropped when the term ends.
pub(super) async fn drive<S: Seat, C: Controller>(coordinator: S, mut controller: C) {
    let mut worlds = coordinator.worlds();
    let mut blocked = 0u32;
    let mut said = String::new();
    loop {
        worlds.mark_unchanged();
        match controller.reconcile().await {
            Outcome::Settled | Outcome::Progressed => {
                blocked = 0;
                said.clear();
            }
            Outcome::Blocked(reason) => {
                if said != reason {
                    tracing::info!(controller = C::NAME, reason, "blocked");
                    said = reason;
                }
                blocked = blocked.saturating_add(1);
                // Changes don't shorten this: a cluster in motion must not turn a failure into a storm.
                tokio::time::sleep(pause(blocked, coordinator.environment().seed()[0])).await;
                continue;
            }
        }
        let timer = async {
            match controller.timer() {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = worlds.changed() => if changed.is_err() { return },
            () = controller.woken() => {}
            () = timer => {}
        }
    }
}

/// Doubles up to a limit, and is spread by up to half by `random`.
fn pause(attempt: u32, random: u64) -> Duration {
    let full = PAUSE_FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(PAUSE_MAX);
    let spread = (random % 1000) as f64 / 2000.0;
    full.mul_f64(1.0 - spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_spread() {
        assert_eq!(pause(1, 0), PAUSE_FIRST);
        assert_eq!(pause(2, 0), PAUSE_FIRST * 2);
        assert_eq!(pause(u32::MAX, 0), PAUSE_MAX);
        assert!(pause(1, 999) < PAUSE_FIRST && pause(1, 999) >= PAUSE_FIRST / 2);
    }
}
