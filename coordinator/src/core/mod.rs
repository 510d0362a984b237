//! The coordinator without its network: the decision lane, the typed world, heartbeats, watches and the
//! leader's controllers. The simulator runs exactly this on virtual time.
//!
//! No gRPC, no TLS and no file ever comes in here; time is tokio's, the wall clock and randomness come in by
//! [`Environment`], and the power of hosts by [`power::Power`].

mod assignments;
pub mod controllers;
mod coordinator;
mod environment;
mod error;
mod events;
mod health;
mod heartbeats;
mod lane;
mod leader;
pub mod power;
mod probe;
mod round;
mod rule_check;
mod seat;
mod told_networks;
mod watch;
mod world;

pub use assignments::{AssignmentStream, Assignments, PrimaryRole, Told};
pub use coordinator::{AssignmentsError, Coordinator, CoordinatorOptions};
pub use environment::{Environment, SystemEnvironment};
pub use error::{ReadError, SubmitError, WatchStop};
pub use events::{events_of, is_event};
pub use heartbeats::{Heartbeat, HeartbeatAck, Heartbeats, Load, Progress};
pub use lane::{Committed, LaneStats, QUEUE_COMMANDS_MAX};
pub use leader::{leader_name, member_name};
pub use probe::{Knock, Probe};
pub use rule_check::{RuleCheck, TakesAll};
pub use seat::Seat;
pub use told_networks::NetworkNews;
pub use watch::{Change, Changed, ObjectWatch};
pub use world::{DecodeError, decode};
