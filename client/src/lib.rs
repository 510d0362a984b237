//! How to reach it: the Rust client of a cluster. [`Coordinators`] is one transport over several
//! coordinators, on which every generated client works; [`Client`] bundles those clients.
//!
//! No rule of the cluster is known here. Nothing is sent over a connection that is not TLS with a peer
//! whose certificate was checked.

mod client;
mod connection;
mod connections_file;
mod coordinators;
mod dial;
mod error;
mod renew;
mod server;
mod streaming_body;
mod tour;
mod watch;

pub use client::{Client, request_id};
pub use connection::{Connection, ConnectionError};
pub use connections_file::{Connections, ConnectionsError};
pub use coordinators::{Coordinators, LEADER_HINT, NO_COORDINATOR, Options};
pub use dial::{KeepAlive, Trust, channel, channel_with};
pub use error::CallError;
pub use renew::{RenewError, renew, renew_forever};
pub use server::{Caller, ServerConnection, incoming};
pub use watch::{WatchEvent, WatchMessage, watch};
