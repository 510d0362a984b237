//! Ages: clusters that live for years of nodes, so that what is rare comes true. Real here is all that decides about a guest's
//! life: `model::decide`, the leader's controllers that watch over nodes with their own driver, its memory of heartbeats and
//! its answers to them, the agents whole, with their leases and heartbeats, and the BMCs' fakes. Modelled is what lies between:
//! the store is one list of objects that whoever leads with a quorum may change (`ledger`), an election is an event
//! (`throne`), and messages between agents and leaders arrive at once where the network is fair (`link`). That is what takes
//! the time in a simulation with Raft in it, and has a simulator of its own.
//!
//! What may never happen here: deciding anything that the code under test decides.

pub mod ground;
pub mod host;
pub mod ledger;
pub mod life;
mod link;
mod news;
pub mod reign;
pub mod sabotage;
mod stillness;
pub mod tally;
mod throne;
mod troubles;
