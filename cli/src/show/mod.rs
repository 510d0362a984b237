//! How the objects of the API look to people: a row in a list, a page of their own.
//! Pure: an object in, text out.

pub mod affinity;
pub mod bmc;
pub mod cluster;
pub mod event;
pub mod network;
pub mod network_parts;
pub mod network_state;
pub mod nic;
pub mod node;
pub mod task;
pub mod token;
pub mod topology;
pub mod vm;
pub mod volume;
pub mod why;
pub mod words;
