//! Who breaks: the simulator of whole clusters. The coordinators' and the agents' own code runs over a
//! simulated network, on virtual time, with fake disks, hypervisors and pools, while seeded trouble befalls
//! it; checks look on.
//!
//! What may never happen here: a wall clock, a thread, or chance that does not come from the seed. The same
//! seed must do the same again, or a failure could not be looked at. `processes` alone is another world: real
//! processes, real time, and the same checks.

pub mod ages;
pub mod asking;
pub mod boards;
pub mod checks;
pub mod cluster;
pub mod command;
pub mod daemon;
pub mod dice;
pub mod faults;
mod founding;
pub mod history;
pub mod link;
mod many;
pub mod members;
pub mod net;
pub mod people;
pub mod processes;
pub mod run;
pub mod sabotage;
pub mod scenario;
pub mod script;
pub mod setting;
pub mod shape;
pub mod storage;
pub mod stories;
pub mod trace;
pub mod transport;
pub mod voters;
pub mod watched;
pub mod witness;
pub mod workload;
pub mod years;
