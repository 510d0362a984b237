//! ZooKeeper, etcd and our store side by side: three servers each, each with its default durability, the same
//! load from the same generator, in turns.

pub mod ensemble;
pub mod failover;
pub mod figures;
pub mod goals;
pub mod load;
pub mod report;
pub mod run;
pub mod target;
mod target_pvcd;
pub mod watch;
