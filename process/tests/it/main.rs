//! pvc-process from outside, with the programs that every Debian has.

mod daemons;
mod namespaces;
mod recordings;
mod running;
