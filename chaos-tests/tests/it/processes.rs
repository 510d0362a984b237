//! The store in real processes, for a minute; `PVC_PROCESSES_SECONDS` and `PVC_PROCESSES_SEED` say otherwise.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use super::program;
use super::sim::must_pass;

#[tokio::test]
async fn the_store_in_real_processes_is_linearizable() {
    let seconds = env::var("PVC_PROCESSES_SECONDS").unwrap_or_else(|_| "60".to_owned());
    // Real processes repeat nothing to the letter, so each run may as well be another one.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seed = env::var("PVC_PROCESSES_SEED").unwrap_or_else(|_| now.to_string());
    let bare = program("pvc-bare");
    let bare = bare.to_str().expect("a path");
    must_pass(["processes", "--seed", &seed, "--seconds", &seconds, "--bare", bare]).await;
}
