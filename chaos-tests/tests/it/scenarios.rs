//! The scenarios of `chaos-tests/scenarios`. A failure names each that came out otherwise. `PVC_SCENARIOS_ONE_IN=1` plays all of
//! them, as `make chaos` does; else each sixth one is played.

use std::env;

use super::sim::must_pass;

#[tokio::test]
async fn scenarios() {
    let one_in = env::var("PVC_SCENARIOS_ONE_IN").unwrap_or_else(|_| "6".to_owned());
    must_pass(["scenarios", "--one-in", &one_in]).await;
}
