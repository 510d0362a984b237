//! A replicated, revisioned, watchable store of small objects: Raft (openraft) over a log that is fsynced
//! before anything is acknowledged (raft-engine), and a state in memory that is checkpointed to a database
//! (sled). It knows keys, values and revisions, and nothing of what they mean.
//!
//! Only this crate names openraft, sled and raft-engine. It needs no network of its own: a [`Transport`]
//! carries its calls. It reads no wall clock.

mod allocator;
mod audit;
mod backup;
mod disk;
mod engine;
mod form;
#[cfg(test)]
mod golden;
mod guard;
mod key;
mod limits;
mod log;
mod machine;
mod member;
mod members;
mod memory;
mod network;
mod open;
mod pause;
mod pull;
mod raft;
mod reads;
mod recover;
mod rpc;
mod serve;
mod snapshot;
mod start;
mod state;
mod status;
mod store;
#[cfg(test)]
mod suite;
mod timing;
mod transaction;
mod view;
mod vigil;
mod watch;

pub use allocator::give_freed_memory_back;
pub use audit::{AUDIT_MEMORY_COUNT, Audited};
pub use backup::Backup;
pub use engine::FsyncFigures;
pub use guard::{abort_on_panic, guarded};
pub use key::{Key, MAX_NAME};
pub use limits::{LimitError, Limits};
pub use member::{Member, MemberId};
pub use members::MembersError;
pub use memory::MemoryDisk;
pub use open::{Checkpoint, Engine, OpenError, Options};
pub use pause::{Held, Pause};
pub use recover::{Recovery, Survivor};
pub use rpc::{MAX_CALL_BYTES, RpcError, RpcKind, Transport, TransportError};
pub use snapshot::SnapshotError;
pub use state::{REQUEST_MEMORY_COUNT, REQUEST_MEMORY_MS};
pub use status::{Alarm, Footprint, Leadership, LogHeld, MemberStatus, Role, Status};
pub use store::{FoundError, ProposeError, ReadError, Store};
pub use timing::{Timing, TimingError};
pub use transaction::{Entry, Expected, Outcome, Precondition, Revision, Transaction};
pub use view::{Difference, View};
pub use watch::{Event, WatchEnd, WatchError, WatchEvent, Watcher};
