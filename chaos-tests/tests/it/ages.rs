//! Long lives of the deciding parts alone: some hours here, very many in `make chaos`; and each rule that is broken in them on
//! purpose is noticed.

use std::env;
use std::time::Duration;

use pvc_chaos_tests::ages::life::{Order, UNPLAYED, live};
use pvc_chaos_tests::ages::sabotage::Sabotage;
use pvc_chaos_tests::ages::tally::Tally;
use pvc_chaos_tests::run::run_within;
use pvc_chaos_tests::script::Outcome;
use pvc_chaos_tests::witness::Rule;

use super::sim::must_pass;

const LONGEST: Duration = Duration::from_secs(24 * 3600);

fn order(node_hours: f64) -> Order {
    Order { node_hours, sabotage: None, whole: false, aloud: false }
}

fn life(seed: u64, order: Order) -> (Outcome, Tally) {
    let mut tally = None;
    let outcome = run_within(LONGEST, async {
        let (outcome, lived) = live(seed, order).await;
        tally = Some(lived);
        outcome
    });
    (outcome, tally.expect("it has lived"))
}

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
            let (life, _) = life(seed, Order { sabotage: Some(how), ..order(HOURS) });
            others.extend(life.accusations.iter().map(|accusation| accusation.rule));
            life.accusations.iter().any(|accusation| how.breaks().contains(&accusation.rule))
        });
        assert!(noticed, "{how:?}: only {others:?} in {LIVES} lives");
    }
}

/// The same is lived through, and as often, whether the spans in which nothing can change are played or not. Most seeds are the same
/// to the millisecond; in some the leader's lane takes other few milliseconds for the same commands.
#[test]
fn what_is_passed_over_changes_nothing() {
    let mut same = 0;
    for seed in 0..4 {
        let (played, whole) = life(seed, Order { whole: true, ..order(30.0) });
        let (passed, tally) = life(seed, order(30.0));
        assert_eq!(whole.counts(), tally.counts(), "seed {seed}");
        assert_eq!((played.seconds, passed.accusations.len()), (passed.seconds, 0), "seed {seed}");
        same += u32::from(played.hash == passed.hash);
        assert!(tally.of(UNPLAYED) > 10.0, "{tally}");
    }
    assert!(same >= 2, "only {same} of 4 lives are the same to the millisecond");
}
