//! A local cluster for one test: commands as a user types them, and removal whatever happens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pvc_process::{Cmd, CmdError};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pvc-bootstrap");
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// A local cluster with a name of its own; taken down when dropped.
pub struct Bench {
    pub name: String,
    state: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        // several test runs on one machine must not meet
        let name = format!("it{}", std::process::id() % 1_000_000);
        Self { name, state: tempfile::tempdir().unwrap() }
    }

    fn command(&self, args: &[&str]) -> Cmd {
        let state = self.state.path().to_str().unwrap();
        Cmd::new(PROGRAM).args(["local", "--name", &self.name, "--state", state]).args(args)
    }

    /// Runs `pvc-bootstrap local …` and gives its stdout.
    pub async fn try_local(&self, args: &[&str]) -> Result<String, CmdError> {
        let out = self.command(args).run(COMMAND_LIMIT).await?;
        Ok(out.stdout_text().into_owned())
    }

    /// The same for what must succeed.
    pub async fn local(&self, args: &[&str]) -> String {
        self.try_local(args).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// `local status -o json`.
    pub async fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.local(&["status", "-o", "json"]).await).unwrap()
    }

    /// A field of one host's status, by its number from 0.
    pub async fn host(&self, index: usize, field: &str) -> serde_json::Value {
        self.status().await["hosts"][index][field].clone()
    }

    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// A file of a host's disk, as the machine sees it.
    pub fn disk(&self, host: &str, path: &str) -> PathBuf {
        self.state.path().join(&self.name).join("hosts").join(host).join(path)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // a failed test must not leave hosts behind; a passed one has taken them down itself
        let _ = self.command(&["down"]).run_blocking(COMMAND_LIMIT);
    }
}

/// The little guest, built once for all test runs.
pub async fn guest() -> (PathBuf, PathBuf) {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
    let cmd = Cmd::new(PROGRAM).args(["guest", "build", out.to_str().unwrap()]);
    let out = cmd.run(COMMAND_LIMIT).await.unwrap_or_else(|error| panic!("{error}"));
    let paths = out.stdout_text().into_owned();
    let mut lines = paths.lines().map(PathBuf::from);
    (lines.next().unwrap(), lines.next().unwrap())
}

/// Waits until `probe` gives something, and gives it; fails with `what` after the limit.
pub async fn eventually<T>(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// One ping from the machine.
pub async fn answers_ping(address: &str) -> bool {
    let ping = Cmd::new("ping").args(["-c1", "-W1", "-q", address]);
    ping.run(Duration::from_secs(5)).await.is_ok()
}
