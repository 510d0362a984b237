//! The rules, each checked by a file of its own. A check reads and accuses; it changes nothing.

pub mod guests;
pub mod healed;
pub mod history;
pub mod replicas;
pub mod roles;
pub mod watching;
