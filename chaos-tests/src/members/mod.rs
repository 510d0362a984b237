//! The store alone: its members over the simulated network, without coordinators and agents, with clients and
//! watchers whose histories are judged by `history`. Small enough that thousands of seeds are quick.

pub mod calm;
pub mod changes;
pub mod clients;
pub mod cluster;
pub mod faults;
pub mod sabotage;
pub mod script;
pub mod watching;
