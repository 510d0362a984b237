//! Simulated clusters: a thousand seeds, longer stories, and the checks themselves.

mod checks;
mod repeats;
mod seeds;
mod sim;
mod stories;
