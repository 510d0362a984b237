//! `pvc-network`: who wires. Makes one host's part of the client networks be as the cluster wants it: bridges and tunnels, the
//! fabric's routing daemon, the firewall, and on the primary gateways, DHCP and names.
//!
//! ```text
//! HostPlan (model: all of it, each time) ──▶ [Part]s, each one outside thing ──▶ the host
//! ```
//! Each part is level-triggered: it is given the whole plan, looks at what there is, puts right what differs, and says so. First
//! start, repair and take-over run the same code.
//!
//! What may never happen here: deciding what a host is to have; touching what is not ours (all that is ours can be told by its
//! name); a guest's frames stopping because a daemon of ours starts, stops or fails.

pub mod announce;
pub mod dhcp;
pub mod dns;
pub mod drive;
mod files;
pub mod firewall;
pub mod frr;
pub mod gateway;
mod kept;
pub mod links;
pub mod look;
mod netlink;
mod part;
mod site;
mod wake;
mod words;

pub use netlink::NetlinkError;
pub use part::{Blocked, Outcome, Part};
pub use site::{Site, device_of};
pub use wake::Wake;
