//! The parts on a real kernel, and with the real routing daemon, in network namespaces of their own: nothing of the machine's
//! is touched. They need root; without it each says that it was skipped.

mod fabric;
mod frr;
mod gateway;
mod lab;
mod links;
mod moves;
