//! A local cluster for one test: commands as a user types them, and removal whatever happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvc_process::{Cmd, CmdError};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pvc-bootstrap");
const COMMAND_LIMIT: Duration = Duration::from_secs(240);

/// A local cluster with a name of its own; taken down when dropped.
pub struct Bench {
    pub name: String,
    state: TempDir,
    /// Of the user who types the commands.
    home: TempDir,
}

impl Bench {
    /// `letter` tells the tests of one run apart.
    pub fn new(letter: &str) -> Self {
        // several test runs on one machine must not meet
        let name = format!("i{letter}{}", std::process::id() % 1_000_000);
        Self { name, state: tempfile::tempdir().unwrap(), home: tempfile::tempdir().unwrap() }
    }

    /// The daemon lies beside this program, when the whole workspace is tested.
    pub fn require_pvcd(&self) {
        let pvcd = Path::new(PROGRAM).with_file_name("pvcd");
        assert!(pvcd.exists(), "there is no {}: build it by `cargo build -p pvc-node`", pvcd.display());
    }

    fn command(&self, args: &[&str]) -> Cmd {
        let state = self.state.path().to_str().unwrap();
        Cmd::new(PROGRAM)
            .args(["local", "--name", &self.name, "--state", state])
            .args(args)
            .env("HOME", self.home.path())
    }

    /// Runs `pvc-bootstrap local …` and gives its stdout; it is killed after `limit`.
    pub async fn local_within(&self, args: &[&str], limit: Duration) -> Result<String, CmdError> {
        let out = self.command(args).run(limit).await?;
        Ok(out.stdout_text().into_owned())
    }

    /// The same with all the time that it may take.
    pub async fn try_local(&self, args: &[&str]) -> Result<String, CmdError> {
        self.local_within(args, COMMAND_LIMIT).await
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

    /// How many hosts the cluster hears.
    pub async fn reachable(&self) -> usize {
        let status = self.status().await;
        let hosts = status["hosts"].as_array().unwrap();
        hosts.iter().filter(|host| host["reachability"] == "reachable").count()
    }

    /// The user's connections.
    pub fn connections(&self) -> PathBuf {
        self.home.path().join(".config/pvc/connections.toml")
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

/// Nothing of the cluster is on the machine any more.
pub fn nothing_is_left(bench: &Bench) {
    let prefix = format!("pvc-{}-", bench.name);
    for folder in ["/run/netns", "/sys/class/net"] {
        let left: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with(&prefix))
            .collect();
        assert!(left.is_empty(), "{folder} still has {left:?}");
    }
    assert!(!Path::new(&format!("/run/{prefix}router")).exists(), "the router's folder is left");
    let state = bench.state().to_str().unwrap();
    let bmcs = fs::read_dir("/proc").unwrap().filter(|entry| {
        let words = fs::read(entry.as_ref().unwrap().path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).starts_with("ipmi_sim")
            && String::from_utf8_lossy(&words).contains(state)
    });
    assert_eq!(bmcs.count(), 0, "BMCs are left");
    assert!(!fs::read_to_string("/proc/mounts").unwrap().contains(state));
    assert_eq!(fs::read_dir(bench.state()).unwrap().count(), 0, "the state's folder is empty");
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let cmdline = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let cmdline = String::from_utf8_lossy(&cmdline).replace('\0', " ");
        let ours = cmdline.contains(&format!("__init --name {} ", bench.name));
        assert!(!ours, "{:?} still runs: {cmdline}", entry.file_name());
    }
}
