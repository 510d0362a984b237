//! What has happened to guests in a fake world, for those who check it afterwards: nothing in the model
//! reads it.

use pvc_model::{Name, Uid};
use tokio::time::Instant;

use crate::hypervisor::EndReason;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    Booted {
        host: Name,
        uid: Uid,
    },
    /// For whatever reason; a host's loss of power counts as the emulator's death.
    Ended {
        host: Name,
        uid: Uid,
        reason: EndReason,
    },
    Moved {
        from: Name,
        to: Name,
        uid: Uid,
    },
    /// From this instant on somebody may write what another one writes: the disaster.
    WrittenTwice {
        uid: Uid,
        what: String,
    },
}

/// Everything since the world began, in order.
pub(super) type Journal = Vec<(Instant, Happening)>;
