//! The store from outside: clusters of members over a network in memory, crashes and power cuts of real
//! processes on real files.

mod audit;
mod bad_disks;
mod cluster;
mod damage;
mod disk;
mod failover;
mod history;
mod members;
mod network;
mod power;
mod recover;
mod supervised;
mod vigil;
mod watching;
