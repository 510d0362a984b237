//! What a daemon does before it ends with its host: it tells the leader that the host is being shut down, and waits until
//! its guests have left by the node's policy. The agent carries that out meanwhile, as anything else.
//!
//! Never happens here: ending a guest; holding the host up without a limit.

use std::sync::Arc;
use std::time::Duration;

use pvc_model::Name;
use pvc_model::leaving::{Leaving, OnShutdown};
use tokio::time::{Instant, sleep, timeout};

use crate::agent::SharedView;
use crate::agent::lease::Lease;
use crate::agent::link::{CoordinatorLink, LinkError};

/// How long the host is held up, at most. systemd goes on by force half an hour after a reboot was asked for.
pub const HOLD_UP: Duration = Duration::from_secs(900);
/// Without a leader for so long nothing more is waited for.
const LEADERLESS: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(1);

/// What the daemon leaves with.
pub struct Parts {
    pub me: Name,
    pub link: Arc<dyn CoordinatorLink>,
    pub lease: Lease,
    pub view: SharedView,
    pub within: Duration,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// No guest runs here, and none will.
    Empty,
    /// The guests end with the host, as people want it.
    Kept,
    /// There was no time for all: whoever is left ends with the host, and is recovered when the node is fenced.
    NotInTime,
    /// No leader was there to hear of it, or none is any more.
    Unheard(String),
}

/// Leaves. Ends in bounded time by itself.
pub async fn leave(mut parts: Parts) -> Left {
    let until = Instant::now() + parts.within;
    if let Err(why) = announce(&parts).await {
        return Left::Unheard(why);
    }
    let mut heard = Instant::now();
    loop {
        let leaving =
            parts.view.borrow_and_update().node.as_ref().and_then(|node| node.status.leaving.clone());
        if let Some(left) = leaving.as_ref().and_then(over) {
            return left;
        }
        let now = Instant::now();
        if parts.lease.is_valid() {
            heard = now;
        }
        if now - heard >= LEADERLESS {
            return Left::Unheard(format!("no leader has been heard for {} s", LEADERLESS.as_secs()));
        }
        if now >= until {
            return Left::NotInTime;
        }
        if let Ok(Err(_)) = timeout(AGAIN.min(until - now), parts.view.changed()).await {
            // The agent has ended: there is nobody to carry anything out.
            sleep(AGAIN).await;
        }
    }
}

fn over(leaving: &Leaving) -> Option<Left> {
    match (leaving.empty, leaving.policy) {
        (true, _) => Some(Left::Empty),
        (false, OnShutdown::Keep) => Some(Left::Kept),
        (false, OnShutdown::Move | OnShutdown::Stop) => None,
    }
}

async fn announce(parts: &Parts) -> Result<(), String> {
    let since = Instant::now();
    let within_seconds = u32::try_from(parts.within.as_secs()).unwrap_or(u32::MAX);
    loop {
        let session = parts.view.borrow().session;
        let said = match session {
            0 => Err(LinkError::Unavailable("this daemon has not begun to act yet".to_owned())),
            _ => parts.link.leave_node(&parts.me, session, within_seconds).await,
        };
        match said {
            Ok(_) => return Ok(()),
            Err(refused @ LinkError::Rejected(_)) => return Err(refused.to_string()),
            Err(error) if since.elapsed() >= LEADERLESS => return Err(error.to_string()),
            Err(error) => tracing::debug!(%error, "the leader does not know yet that this host goes down"),
        }
        sleep(AGAIN).await;
    }
}
