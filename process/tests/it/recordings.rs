//! What real programs answered can be given again, and only that.

use std::sync::Arc;
use std::time::Duration;

use pvc_process::{Cmd, CmdError, Exit, RealRunner, Recording, RecordingRunner, ReplayingRunner, Runner};

const SOON: Duration = Duration::from_secs(10);

async fn three_commands(runner: &dyn Runner) -> Vec<String> {
    let mut answers = Vec::new();
    for cmd in [
        Cmd::new("cat").stdin("one\n\ntwo"),
        Cmd::new("sh").args(["-c", "echo out; echo bad luck >&2; exit 4"]),
        Cmd::new("cat").secret_stdin("swordfish\n").arg("/dev/null"),
    ] {
        answers.push(match runner.run(cmd, SOON).await {
            Ok(output) => format!("ok {} {}", output.code, output.stdout_text()),
            Err(error) => format!("error {:?} {}", error.exit(), error.tail()),
        });
    }
    answers
}

#[tokio::test]
async fn a_replay_answers_as_the_programs_did() {
    let recorder = RecordingRunner::new(RealRunner);
    let real = three_commands(&recorder).await;
    assert_eq!(real[0], "ok 0 one\n\ntwo");
    assert_eq!(real[1], format!("error {:?} bad luck", Some(Exit::Code(4))));

    let text = recorder.recording().to_string();
    assert!(!text.contains("swordfish"), "{text}");
    let read_back: Recording = text.parse().unwrap();
    assert_eq!(read_back, recorder.recording());

    let replayer = ReplayingRunner::new(read_back);
    assert_eq!(three_commands(&replayer).await, real);
    assert!(replayer.left().is_empty());
    let error = replayer.run(Cmd::new("cat").stdin("one\n\ntwo"), SOON).await.unwrap_err();
    assert!(matches!(error, CmdError::NotRecorded { .. }), "each answer is given once");
}

#[tokio::test]
async fn a_recording_can_be_written_by_hand() {
    let text = "\
$ ip -j link show
> [{\"ifname\":\"lo\"}]
= 0

$ nft -f -
< table inet pvc
<
! line 1: syntax error
= 1
";
    let runner: Arc<dyn Runner> = Arc::new(ReplayingRunner::new(text.parse().unwrap()));
    // In any order: reconcilers do not promise one.
    let error =
        runner.run(Cmd::new("nft").args(["-f", "-"]).stdin("table inet pvc\n\n"), SOON).await.unwrap_err();
    assert_eq!(error.tail(), "line 1: syntax error");
    let links = runner.run(Cmd::new("ip").args(["-j", "link", "show"]), SOON).await.unwrap();
    assert_eq!(links.stdout_text(), "[{\"ifname\":\"lo\"}]\n");
    let error = runner.run(Cmd::new("nft").args(["-f", "-"]).stdin("something else"), SOON).await;
    assert!(matches!(error, Err(CmdError::NotRecorded { .. })));
}

#[test]
fn a_damaged_recording_tells_the_line() {
    let check = |text: &str, says: &str| {
        let error = text.parse::<Recording>().unwrap_err().to_string();
        assert!(error.contains(says), "{text:?}: {error}");
    };
    check("> x\n", "line 1");
    check("$ a\n> x\n", "no exit code");
    check("$ a\n$ b\n", "line 2");
    check("$ a\n= x\n", "not a number");
    check("$ a\n> x\nhello\n= 0\n", "line 3");
    check("$ a\n\n= 0\n", "line 2");
}
