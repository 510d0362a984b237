//! Three coordinators in one process over an in-memory network and virtual time: the core, and the services
//! over it.

mod adoption;
mod authz;
mod backup;
mod bmc;
mod cluster;
mod cluster_info;
mod desk;
mod door;
mod guard;
mod health;
mod history;
mod hosts;
mod lane;
mod liveness;
mod members;
mod networks;
mod placing;
mod primary;
mod quiet;
mod silences;
mod standby;
mod tokens;
mod told_networks;
mod upgrade;
mod vm_hosts;
mod vms;
