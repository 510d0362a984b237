//! Running `pvc-sim`.

use std::time::Duration;

use pvc_process::{Cmd, Output};

const WITHIN: Duration = Duration::from_secs(3600);

pub async fn sim<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    let cmd = Cmd::new(env!("CARGO_BIN_EXE_pvc-sim")).args(args).accept_codes([0, 1]);
    cmd.run(WITHIN).await.expect("pvc-sim runs")
}

/// Shows what a run said, and fails if it failed.
pub async fn must_pass<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) {
    let output = sim(args).await;
    println!("{}", output.stdout_text());
    assert_eq!(output.code, 0, "{}", output.stderr_text());
}
