//! Many seeds of the store alone. `PVC_STORE_SEEDS` says how many; `PVC_STORE_SEED` plays one, and tells what
//! happens.

use std::env;

use super::sim::{must_pass, sim};

#[tokio::test]
async fn store_seeds() {
    if let Ok(seed) = env::var("PVC_STORE_SEED") {
        return must_pass(["store-seed", &seed, "--aloud"]).await;
    }
    let count = env::var("PVC_STORE_SEEDS").unwrap_or_else(|_| "500".to_owned());
    must_pass(["store-seeds", "--count", &count]).await;
}

#[tokio::test]
async fn a_store_seed_does_the_same_again() {
    for seed in ["1", "3", "7"] {
        let (first, second) = (sim(["store-seed", seed]).await, sim(["store-seed", seed]).await);
        assert_eq!(first.stdout_text(), second.stdout_text());
    }
}

/// A quarter of an hour of virtual time, with writes going on; `make chaos` lets an hour pass.
#[tokio::test]
async fn nobody_is_elected_on_busy_machines() {
    must_pass(["store-calm", "--seconds", "900"]).await;
    // The check itself: who stands still for three seconds is replaced, and that is noticed.
    let deaf = sim(["store-calm", "--seconds", "600", "--stall-ms", "3000"]).await;
    assert!(deaf.stdout_text().contains("NoFalseElection"), "{}", deaf.stdout_text());
}
