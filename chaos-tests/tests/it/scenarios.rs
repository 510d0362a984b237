//! The scenarios of `chaos-tests/scenarios`, each played once. A failure names each that came out otherwise.

use super::sim::must_pass;

#[tokio::test]
async fn scenarios() {
    must_pass(["scenarios"]).await;
}
