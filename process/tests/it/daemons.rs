//! Daemons live on by themselves, are recognised later, and are stopped with all they started.

use std::fs;
use std::time::Duration;

use pvc_process::{Cmd, CmdError, DaemonId, DaemonLogs, Exit};
use tokio::time::Instant;

const GRACE: Duration = Duration::from_secs(5);

fn sh(script: &str) -> Cmd {
    Cmd::new("sh").args(["-c", script])
}

async fn wait_for_line(path: &std::path::Path, line: &str) {
    let until = Instant::now() + Duration::from_secs(10);
    while !fs::read_to_string(path).unwrap_or_default().lines().any(|found| found == line) {
        assert!(Instant::now() < until, "{} never said {line:?}", path.display());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_daemon_outlives_its_handle_and_is_stopped_by_its_written_name() {
    let dir = tempfile::tempdir().unwrap();
    let logs = DaemonLogs { stdout: dir.path().join("out"), stderr: dir.path().join("err") };
    let daemon = sh("echo up; echo oops >&2; exec sleep 1000").spawn_daemon(&logs).unwrap();
    wait_for_line(&logs.stdout, "up").await;
    wait_for_line(&logs.stderr, "oops").await;
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    let session = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned();
    assert_eq!(session, daemon.pid().to_string(), "it leads a session of its own");
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", daemon.pid())).unwrap().to_str(), Some("/"));

    let written = daemon.id().to_string();
    drop(daemon);
    let id: DaemonId = written.parse().unwrap();
    assert!(id.is_running());
    id.stop(GRACE).await.unwrap();
    assert!(!id.is_running());
    id.stop(GRACE).await.unwrap();
}

#[tokio::test]
async fn one_that_does_not_listen_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let logs = DaemonLogs::joined(dir.path().join("log"));
    let script = "trap '' TERM; sleep 1000 & echo $!; echo ready; while :; do wait; done";
    let mut daemon = sh(script).spawn_daemon(&logs).unwrap();
    wait_for_line(&logs.stdout, "ready").await;
    let text = fs::read_to_string(&logs.stdout).unwrap();
    let child = DaemonId::of_running(text.lines().next().unwrap().parse().unwrap()).unwrap();
    let started = Instant::now();
    daemon.id().stop(Duration::from_millis(300)).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(300), "it had its grace");
    assert!(!daemon.id().is_running() && !child.is_running());
    assert_eq!(daemon.exited().unwrap(), Some(Exit::Signal(9)));
}

#[tokio::test]
async fn an_end_is_seen_and_the_log_is_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let logs = DaemonLogs::joined(dir.path().join("log"));
    for round in 1..=2 {
        let mut daemon = sh("echo a line; exit 7").spawn_daemon(&logs).unwrap();
        let exit = loop {
            if let Some(exit) = daemon.exited().unwrap() {
                break exit;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(exit, Exit::Code(7));
        assert!(!daemon.id().is_running());
        assert_eq!(fs::read_to_string(&logs.stdout).unwrap().lines().count(), round);
    }
}

/// The pid in an old file may be somebody else's by now.
#[tokio::test]
async fn another_process_with_the_same_pid_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let daemon =
        Cmd::new("sleep").arg("1000").spawn_daemon(&DaemonLogs::joined(dir.path().join("log"))).unwrap();
    let before_the_reboot: DaemonId = format!("{}:1", daemon.pid()).parse().unwrap();
    assert!(!before_the_reboot.is_running());
    before_the_reboot.signal(9).unwrap();
    before_the_reboot.stop(GRACE).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(daemon.id().is_running());
    daemon.id().stop(GRACE).await.unwrap();
}

#[tokio::test]
async fn what_cannot_start_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let logs = DaemonLogs::joined(dir.path().join("log"));
    let error = Cmd::new("pvc-no-such-daemon").spawn_daemon(&logs).unwrap_err();
    assert!(matches!(error, CmdError::NotInstalled { .. }), "{error:?}");
    let nowhere = DaemonLogs::joined(dir.path().join("no/such/log"));
    let error = Cmd::new("true").spawn_daemon(&nowhere).unwrap_err();
    assert!(error.to_string().contains("no/such/log"), "{error}");
}
