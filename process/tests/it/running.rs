//! What a caller sees of a program: its answer, its failure, and that it never waits longer than agreed.

use std::fs;
use std::time::Duration;

use pvc_process::{Cmd, CmdError, DaemonId, Exit};
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(10);

fn sh(script: &str) -> Cmd {
    Cmd::new("sh").args(["-c", script])
}

/// Waits for a condition that must come true within ten seconds.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < until, "{what}: not within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_answer_comes_back_whole() {
    let output = sh("echo out; echo err >&2").run(SOON).await.unwrap();
    assert_eq!(
        (output.stdout_text(), output.stderr_text(), output.code),
        ("out\n".into(), "err\n".into(), 0)
    );
    let big = Cmd::new("cat").stdin(vec![b'x'; 3 << 20]).run(SOON).await.unwrap();
    assert_eq!(big.stdout.len(), 3 << 20, "reading and writing go on at the same time");
}

#[tokio::test]
async fn arguments_are_not_interpreted() {
    let nasty = "$(id); `id` 'x' \"y\" * \n > /tmp/x";
    let output = Cmd::new("printf").args(["%s", nasty]).run(SOON).await.unwrap();
    assert_eq!(output.stdout_text(), nasty);
}

#[tokio::test]
async fn the_environment_is_path_and_what_was_set() {
    let output = Cmd::new("env").env("ONE", "1").run(SOON).await.unwrap();
    let text = output.stdout_text();
    let mut names: Vec<&str> = text.lines().map(|line| line.split_once('=').unwrap().0).collect();
    names.sort_unstable();
    assert_eq!(names, ["ONE", "PATH"]);
}

#[tokio::test]
async fn stdin_is_what_was_given_or_nothing() {
    assert_eq!(Cmd::new("cat").stdin("hello").run(SOON).await.unwrap().stdout, b"hello");
    assert_eq!(Cmd::new("cat").run(SOON).await.unwrap().stdout, b"");
    // A program that does not read what it is given is not an error.
    let output = Cmd::new("true").stdin(vec![0; 1 << 20]).run(SOON).await.unwrap();
    assert_eq!(output.code, 0);
}

#[tokio::test]
async fn the_working_directory_is_where_it_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let output = Cmd::new("pwd").current_dir(&dir).run(SOON).await.unwrap();
    assert_eq!(output.stdout_text().trim(), dir.to_str().unwrap());
    let error = Cmd::new("pwd").current_dir("/no/such/place").run(SOON).await.unwrap_err();
    assert!(matches!(error, CmdError::Start { .. }), "{error:?}");
}

#[tokio::test]
async fn a_failure_names_command_exit_and_last_words() {
    let error = sh("echo first; echo it is broken >&2; exit 3").run(SOON).await.unwrap_err();
    assert_eq!(error.exit(), Some(Exit::Code(3)));
    assert_eq!(error.tail(), "it is broken");
    let text = error.to_string();
    for part in ["sh -c", "exit code 3", "it is broken"] {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
    let error = sh("kill -9 $$").run(SOON).await.unwrap_err();
    assert_eq!(error.exit(), Some(Exit::Signal(9)));
}

#[tokio::test]
async fn a_program_that_answers_by_its_exit_code_is_no_failure() {
    let cmd = || sh("exit 3").accept_codes([0, 3]);
    assert_eq!(cmd().run(SOON).await.unwrap().code, 3);
    assert!(sh("exit 4").accept_codes([0, 3]).run(SOON).await.is_err());
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let error = Cmd::new("pvc-no-such-program").arg("x").run(SOON).await.unwrap_err();
    assert!(matches!(&error, CmdError::NotInstalled { program, .. } if program == "pvc-no-such-program"));
    assert!(error.to_string().contains("not installed"), "{error}");
}

#[tokio::test]
async fn secrets_are_in_no_error() {
    let cmd = sh("echo refused $0 and $(cat) >&2; exit 1").secret_arg("hunter2").secret_stdin("swordfish");
    let error = cmd.run(SOON).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("swordfish"), "{shown}");
    assert!(error.tail().contains("refused … and …"), "{error}");
}

#[tokio::test]
async fn the_deadline_kills_the_whole_group_and_keeps_the_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; echo waiting >&2; wait", pid_file.display());
    let started = Instant::now();
    let error = sh(&script).run(Duration::from_millis(500)).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(matches!(error, CmdError::DeadlineExceeded { .. }), "{error:?}");
    assert_eq!(error.tail(), "waiting");
    let grandchild: u32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    eventually("the grandchild is dead", || DaemonId::of_running(grandchild).is_none()).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_the_group_along() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let script = format!("sleep 1000 & echo $! $$ > {}; wait", pid_file.display());
    let task = tokio::spawn(sh(&script).run(Duration::from_secs(60)));
    let pids = || -> Option<Vec<u32>> {
        let text = fs::read_to_string(&pid_file).ok()?;
        let pids: Vec<u32> = text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        (pids.len() == 2 && text.ends_with('\n')).then_some(pids)
    };
    eventually("the program runs", || pids().is_some()).await;
    task.abort();
    for pid in pids().unwrap() {
        eventually("it is dead", || DaemonId::of_running(pid).is_none()).await;
    }
}

#[tokio::test]
async fn a_program_that_talks_too_much_is_cut_off() {
    for (script, name) in [("yes", "stdout"), ("yes >&2", "stderr")] {
        let error = sh(script).output_bytes_max(10_000).run(SOON).await.unwrap_err();
        assert!(
            matches!(&error, CmdError::OutputTooLong { stream, max: 10_000, .. } if *stream == name),
            "{error:?}"
        );
    }
    let exact = sh("printf 1234567890").output_bytes_max(10).run(SOON).await.unwrap();
    assert_eq!(exact.stdout.len(), 10);
}

#[tokio::test]
async fn what_a_program_leaves_in_the_background_is_not_waited_for() {
    let started = Instant::now();
    let output = sh("sleep 20 & echo $!").run(Duration::from_secs(15)).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let left: u32 = output.stdout_text().trim().parse().unwrap();
    assert!(DaemonId::of_running(left).is_some(), "it was left running on purpose");
    Cmd::new("kill").arg(left.to_string()).run(SOON).await.unwrap();
}

#[tokio::test]
async fn blocking_works_inside_a_runtime_and_outside() {
    assert_eq!(sh("echo hi").run_blocking(SOON).unwrap().stdout, b"hi\n");
    let outside = std::thread::spawn(|| sh("sleep 1000").run_blocking(Duration::from_millis(100)));
    assert!(matches!(outside.join().unwrap(), Err(CmdError::DeadlineExceeded { .. })));
}

#[tokio::test]
async fn many_at_once() {
    let mut all = tokio::task::JoinSet::new();
    for n in 0..50 {
        all.spawn(async move { (n, Cmd::new("echo").arg(n.to_string()).run(SOON).await.unwrap()) });
    }
    let mut answered = 0;
    while let Some(result) = all.join_next().await {
        let (n, output) = result.unwrap();
        assert_eq!(output.stdout_text(), format!("{n}\n"));
        answered += 1;
    }
    assert_eq!(answered, 50);
}
