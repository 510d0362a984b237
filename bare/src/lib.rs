//! The store alone in a process of its own, behind a socket: for those who break it (`chaos-tests`) and those
//! who measure it (`benches`). It is shipped to nobody: it has no TLS, no roles and no decisions; `pvcd` is
//! the real thing. Never give it an address that others can reach.
//!
//! Members and clients speak frames over TCP ([`frame`]); what clients say is in [`talk`]. [`hosts`] makes hosts for
//! the members, and for whatever else is measured beside them.

pub mod client;
pub mod frame;
pub mod hosts;
pub mod lane;
mod outbox;
pub mod peers;
pub mod server;
pub mod talk;
