//! Who measures. `compare` puts the store beside ZooKeeper and etcd, on one disk, in one run; `benches/` holds
//! the criterion benches of its parts. What is measured is never asserted here but against goals that are
//! ratios: these are not the only programs on the machine.

pub mod compare;
