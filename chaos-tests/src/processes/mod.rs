//! The store alone in real processes: members of `pvc-bare`, each in a network namespace of its own and on a real
//! disk, while links are cut and slow, processes are killed and stopped, leaders hand over and members change.
//! Clients and watchers in this one process write down what they are told; `history` judges it.
//!
//! What may never happen here: something left behind. The namespaces are known to this process alone and go with
//! it; the members are killed when it ends, however it ends.

pub mod clients;
pub mod ground;
pub mod members;
pub mod run;
pub mod troubles;
pub mod watching;
