//! The longer stories, each with a few seeds.

use pvc_chaos_tests::stories::NAMES;

use super::sim::must_pass;

#[tokio::test]
async fn stories() {
    for name in NAMES {
        for seed in ["0", "1", "2"] {
            must_pass(["story", name, "--seed", seed]).await;
        }
    }
}
