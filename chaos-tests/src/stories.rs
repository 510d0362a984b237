//! Longer stories, each of one kind of trouble.

use std::pin::Pin;

use crate::script::Outcome;

type Story = fn(u64, bool) -> Pin<Box<dyn Future<Output = Outcome>>>;

pub const NAMES: &[&str] = &[];

pub fn find(name: &str) -> Option<Story> {
    match name {
        _ => None,
    }
}
