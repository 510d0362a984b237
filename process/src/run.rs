//! Running a program to its end: feed it, listen to it, and never wait for longer than was agreed.

use std::borrow::Cow;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, timeout};

use crate::cmd::Cmd;
use crate::error::{CmdError, Exit, last_words};

/// How long to listen on after the program has ended: somebody it left behind may hold its output open for ever.
const STRAGGLER_GRACE: Duration = Duration::from_millis(500);
/// How long to wait for a killed program; one that hangs in the kernel is left to the runtime to reap.
const REAP_WAIT: Duration = Duration::from_secs(2);

/// What a program said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// One of the accepted exit codes (0 unless `accept_codes` said otherwise).
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    pub fn stdout_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    pub fn stderr_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }
}

impl Cmd {
    /// Runs the program to its end. It is killed, with its whole process group, at the deadline, when it writes too much,
    /// or when this future is dropped. What it left running in the background on purpose, and ended without, stays.
    pub async fn run(self, deadline: Duration) -> Result<Output, CmdError> {
        let started = Instant::now();
        let command = self.to_string();
        let result = execute(self, &command, deadline).await;
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &result {
            Ok(output) => tracing::debug!(%command, took_ms, code = output.code, "ran"),
            Err(error) => tracing::debug!(%command, took_ms, %error, "ran and failed"),
        }
        result
    }

    /// The same for callers without a runtime. May be called from anywhere, but holds up the calling thread.
    pub fn run_blocking(self, deadline: Duration) -> Result<Output, CmdError> {
        // A thread of its own, since a runtime cannot be entered from a thread that is in one already.
        let command = self.to_string();
        let run = move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|source| CmdError::Start { command, source })?
                .block_on(self.run(deadline))
        };
        match std::thread::spawn(run).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Why listening to a program ended early.
enum Broken {
    TooLong(&'static str),
    Pipe(io::Error),
}

async fn execute(cmd: Cmd, command: &str, deadline: Duration) -> Result<Output, CmdError> {
    let mut child = spawn(&cmd, command)?;
    let mut group = Group(child.id().map(|pid| i32::try_from(pid).expect("a pid fits in an i32")));
    let mut heard = Heard::default();
    let ended = timeout(deadline, converse(&cmd, &mut child, &mut group, &mut heard)).await;

    let command = command.to_owned();
    let tail = |heard: &Heard| cmd.redact(last_words(&heard.stdout, &heard.stderr));
    let error = match ended {
        Ok(Ok(status)) => {
            return match Exit::from(status) {
                Exit::Code(code) if cmd.accepted_codes.contains(&code) => {
                    Ok(Output { code, stdout: heard.stdout, stderr: heard.stderr })
                }
                exit => Err(CmdError::Failed { command, exit, tail: tail(&heard) }),
            };
        }
        Ok(Err(Broken::TooLong(stream))) => {
            CmdError::OutputTooLong { command, stream, max: cmd.output_bytes_max }
        }
        Ok(Err(Broken::Pipe(source))) => CmdError::Pipe { command, source },
        Err(_) => CmdError::DeadlineExceeded { command, deadline, tail: tail(&heard) },
    };
    group.kill();
    if matches!(timeout(REAP_WAIT, child.wait()).await, Ok(Ok(_))) {
        group.leave();
    }
    Err(error)
}

/// What a program has said so far; kept outside of the conversation, for what is told when that is broken off.
#[derive(Default)]
struct Heard {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Feeds the program and listens to it until it has ended.
async fn converse(
    cmd: &Cmd,
    child: &mut Child,
    group: &mut Group,
    heard: &mut Heard,
) -> Result<ExitStatus, Broken> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let food: &[u8] = cmd.stdin.as_ref().map_or(&[], |stdin| &stdin.bytes);
    let max = cmd.output_bytes_max;
    let talk = async {
        tokio::try_join!(
            feed(stdin, food),
            listen(stdout, &mut heard.stdout, max, "stdout"),
            listen(stderr, &mut heard.stderr, max, "stderr"),
        )
        .map(drop)
    };
    tokio::pin!(talk);
    let status = tokio::select! {
        talked = &mut talk => {
            talked?;
            let status = child.wait().await;
            group.leave();
            status
        }
        status = child.wait() => {
            group.leave();
            // Usually the pipes are at their end too; a straggler that keeps them open is not waited for.
            if let Ok(talked) = timeout(STRAGGLER_GRACE, &mut talk).await {
                talked?;
            }
            status
        }
    };
    status.map_err(Broken::Pipe)
}

fn spawn(cmd: &Cmd, command: &str) -> Result<Child, CmdError> {
    let argv = cmd.argv();
    let mut real = Command::new(&argv[0]);
    real.args(&argv[1..])
        .env_clear()
        .envs(cmd.environment())
        .stdin(if cmd.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(dir) = &cmd.current_dir {
        real.current_dir(dir);
    }
    real.spawn().map_err(|source| start_error(cmd, command, source))
}

pub(crate) fn start_error(cmd: &Cmd, command: &str, source: io::Error) -> CmdError {
    let command = command.to_owned();
    // "Not found" is also what a missing working directory gives.
    if source.kind() == io::ErrorKind::NotFound && cmd.current_dir.as_ref().is_none_or(|dir| dir.is_dir()) {
        return CmdError::NotInstalled { command, program: cmd.program_name() };
    }
    CmdError::Start { command, source }
}

async fn feed(stdin: Option<ChildStdin>, bytes: &[u8]) -> Result<(), Broken> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    match stdin.write_all(bytes).await {
        // A program need not read all it is given; whether that was an error is for its exit code to say.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Broken::Pipe(error)),
        _ => Ok(()),
    }
}

async fn listen(
    stream: Option<impl AsyncRead + Unpin>,
    heard: &mut Vec<u8>,
    max: usize,
    name: &'static str,
) -> Result<(), Broken> {
    let Some(stream) = stream else { return Ok(()) };
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    stream.take(limit).read_to_end(heard).await.map_err(Broken::Pipe)?;
    if heard.len() > max { Err(Broken::TooLong(name)) } else { Ok(()) }
}

/// The program's process group, killed when dropped unless the program has been waited for: until then its number cannot
/// have passed to anybody else.
struct Group(Option<i32>);

impl Group {
    fn kill(&self) {
        if let Some(leader) = self.0 {
            // SAFETY: `kill` takes two integers and touches no memory of ours.
            unsafe { libc::kill(-leader, libc::SIGKILL) };
        }
    }

    /// The leader has been reaped: its number is no longer ours to signal.
    fn leave(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
