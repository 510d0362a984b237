//! Simulated clusters: many short stories, each from a seed, and the longer ones by name. What a seed tells
//! is in `pvc_chaos_tests::script`.

use std::time::Duration;

use pvc_chaos_tests::stories;
use pvc_process::Cmd;

/// Seeds played here; PVC_SIM_SEEDS says otherwise. `make chaos` plays many more.
const SEEDS_DEFAULT: u64 = 1000;
/// A machine that is this slow has another trouble.
const DEADLINE: Duration = Duration::from_secs(3000);
const OUTPUT_BYTES_MAX: usize = 16 << 20;

async fn play(args: &[&str]) {
    let cmd = Cmd::new(env!("CARGO_BIN_EXE_pvc-sim")).args(args).output_bytes_max(OUTPUT_BYTES_MAX);
    let output = cmd.accept_codes([0, 1, 101]).run(DEADLINE).await.expect("the simulator ran");
    println!("{}", output.stdout_text());
    assert_eq!(output.code, 0, "{}", output.stderr_text());
}

/// PVC_SEED plays that one alone, aloud.
#[tokio::test]
async fn a_thousand_seeds() {
    if let Ok(seed) = std::env::var("PVC_SEED") {
        return play(&["seed", &seed, "--aloud"]).await;
    }
    let count = std::env::var("PVC_SIM_SEEDS").unwrap_or_else(|_| SEEDS_DEFAULT.to_string());
    play(&["seeds", "--count", &count, "--jobs", "2"]).await;
}

#[tokio::test]
async fn longer_stories() {
    for name in stories::NAMES {
        play(&["story", name]).await;
    }
}
