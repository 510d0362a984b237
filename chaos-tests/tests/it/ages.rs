//! Long lives of the deciding parts alone: some hours here, very many in `make chaos`; and each rule that is broken in them on
//! purpose is noticed.

use std::env;
use std::time::Duration;

use pvc_chaos_tests::ages::life::live;
use pvc_chaos_tests::ages::sabotage::Sabotage;
use pvc_chaos_tests::run::run_within;
use pvc_chaos_tests::witness::Rule;

use super::sim::must_pass;

#[tokio::test]
async fn ages() {
    let hours = env::var("PVC_AGE_HOURS").unwrap_or_else(|_| "40".to_owned());
    must_pass(["ages", "--node-hours", &hours]).await;
}

/// Broken in one life or another, sooner or later.
#[test]
fn a_saboteur_of_ages_is_noticed() {
    const LIVES: u64 = 12;
    const HOURS: f64 = 30.0;
    for how in Sabotage::ALL {
        let mut others: Vec<Rule> = Vec::new();
        let noticed = (0..LIVES).any(|seed| {
            let longest = Duration::from_secs(24 * 3600);
            let life = run_within(longest, async { live(seed, HOURS, Some(how), false).await.0 });
            others.extend(life.accusations.iter().map(|accusation| accusation.rule));
            life.accusations.iter().any(|accusation| how.breaks().contains(&accusation.rule))
        });
        assert!(noticed, "{how:?}: only {others:?} in {LIVES} lives");
    }
}
