//! The coordinator's core, three of them in one process over an in-memory network and virtual time.

mod cluster;
mod lane;
mod liveness;
mod quiet;
