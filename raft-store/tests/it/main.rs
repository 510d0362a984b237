//! The store from outside: clusters of members over a network in memory, crashes and power cuts of real
//! processes on real files.

mod audit;
mod cluster;
mod disk;
mod failover;
mod history;
mod members;
mod network;
mod power;
mod recover;
mod vigil;
mod watching;
