//! Many seeds. `PVC_SIM_SEEDS` says how many; `PVC_SEED` plays one, and tells what happens.

use std::env;

use super::sim::must_pass;

#[tokio::test]
async fn seeds() {
    if let Ok(seed) = env::var("PVC_SEED") {
        return must_pass(["seed", &seed]).await;
    }
    let count = env::var("PVC_SIM_SEEDS").unwrap_or_else(|_| "1000".to_owned());
    must_pass(["seeds", "--count", &count]).await;
}
