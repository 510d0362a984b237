//! A seed does the same again, to the last message: else a failure could not be looked at.

use super::sim::sim;

#[tokio::test]
async fn a_seed_does_the_same_again() {
    for seed in ["1", "2", "5", "8"] {
        let (first, second) = (sim(["seed", seed]).await, sim(["seed", seed]).await);
        assert_eq!(first.stdout_text(), second.stdout_text());
    }
    let (one, other) = (sim(["seed", "1"]).await, sim(["seed", "2"]).await);
    let hash = |output: &pvc_process::Output| output.stdout_text().split(' ').nth(2).map(str::to_owned);
    assert!(hash(&one).is_some() && hash(&one) != hash(&other), "the hash tells runs apart");
}
