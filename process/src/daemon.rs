//! Programs that outlive us: started in a session of their own, known by pid *and* start time, stopped with all they
//! started. A pid alone may be somebody else's tomorrow; with the start time it cannot.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cmd::Cmd;
use crate::error::{CmdError, Exit};
use crate::run::start_error;

const STOP_POLL: Duration = Duration::from_millis(20);
/// How long killed processes may take to be gone.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// Where a daemon's words go; both are appended to, and may be the same file.
#[derive(Debug, Clone)]
pub struct DaemonLogs {
    pub stdout: PathBuf,
    pub stderr: PathBuf,
}

impl DaemonLogs {
    /// Both streams into one file.
    pub fn joined(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { stdout: path.clone(), stderr: path }
    }
}

/// A daemon that this process has started. Dropping it leaves the daemon running.
#[derive(Debug)]
pub struct Daemon {
    id: DaemonId,
    child: Child,
}

/// A process for as long as it lives: prints and parses as `<pid>:<start time in clock ticks since boot>`, to be kept in a
/// file for a later process of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DaemonId {
    pid: u32,
    start_ticks: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" does not name a process: expected <pid>:<start time>")]
pub struct DaemonIdError(String);

#[derive(Debug, thiserror::Error)]
pub enum StopError {
    #[error("could not signal process {pid}")]
    Signal {
        pid: u32,
        #[source]
        source: io::Error,
    },
    #[error("process {pid} (or one that it started) is still there {KILL_WAIT:?} after SIGKILL")]
    Immortal { pid: u32 },
}

impl Cmd {
    /// Starts the program in a session of its own, with its output going to files. It is not killed with us, and nothing
    /// of this `Cmd` that is about ending (deadline, output limit, accepted codes) holds for it. Its working directory is
    /// `/` unless one was given. A given stdin is not fed: daemons read none.
    pub fn spawn_daemon(self, logs: &DaemonLogs) -> Result<Daemon, CmdError> {
        let command = self.to_string();
        let log = |path: &Path| open_log(path, &command);
        let argv = self.argv();
        let mut real = Command::new(&argv[0]);
        real.args(&argv[1..])
            .env_clear()
            .envs(self.environment())
            .current_dir(self.current_dir.as_deref().unwrap_or(Path::new("/")))
            .stdin(Stdio::null())
            .stdout(log(&logs.stdout)?)
            .stderr(log(&logs.stderr)?);
        // SAFETY: between fork and exec only `setsid` is called, which is async-signal-safe and allocates nothing.
        unsafe {
            real.pre_exec(|| if libc::setsid() == -1 { Err(io::Error::last_os_error()) } else { Ok(()) });
        }
        let child = real.spawn().map_err(|source| start_error(&self, &command, source))?;
        let pid = child.id();
        // Not reaped yet, so it is in /proc even if it has ended already.
        let stat = Stat::of(pid).ok_or_else(|| CmdError::Start {
            command: command.clone(),
            source: io::Error::new(io::ErrorKind::NotFound, "it is not in /proc"),
        })?;
        tracing::debug!(%command, pid, "started a daemon");
        Ok(Daemon { id: DaemonId { pid, start_ticks: stat.start_ticks }, child })
    }
}

fn open_log(path: &Path, command: &str) -> Result<File, CmdError> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|source| CmdError::Log {
        command: command.to_owned(),
        path: path.to_owned(),
        source,
    })
}

impl Daemon {
    pub fn id(&self) -> DaemonId {
        self.id
    }

    pub fn pid(&self) -> u32 {
        self.id.pid
    }

    /// How it ended, if it has; reaps it.
    pub fn exited(&mut self) -> io::Result<Option<Exit>> {
        Ok(self.child.try_wait()?.map(Exit::from))
    }
}

impl DaemonId {
    /// The process that has this pid now, whoever started it; `None` when there is none.
    pub fn of_running(pid: u32) -> Option<Self> {
        let stat = Stat::of(pid).filter(Stat::is_alive)?;
        Some(Self { pid, start_ticks: stat.start_ticks })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether this very process still runs. One that has ended and only waits to be reaped does not.
    pub fn is_running(&self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.is_alive() && stat.start_ticks == self.start_ticks)
    }

    /// Sends a signal to the process and its group; does nothing when it no longer runs. It must lead its group, as
    /// daemons started here do.
    pub fn signal(&self, signal: i32) -> Result<(), StopError> {
        if self.is_running() { signal_group(self.pid, signal) } else { Ok(()) }
    }

    /// Asks the process and its group to end, and kills what is left after `grace`. Returns when none of them runs.
    pub async fn stop(&self, grace: Duration) -> Result<(), StopError> {
        if !self.is_running() {
            return Ok(());
        }
        for (signal, wait) in [(libc::SIGTERM, grace), (libc::SIGKILL, KILL_WAIT)] {
            signal_group(self.pid, signal)?;
            let until = Instant::now() + wait;
            loop {
                // A group's number is not given to anyone else while a member lives.
                if !group_lives(self.pid) {
                    return Ok(());
                }
                if Instant::now() >= until {
                    break;
                }
                sleep(STOP_POLL).await;
            }
        }
        Err(StopError::Immortal { pid: self.pid })
    }
}

impl fmt::Display for DaemonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pid, self.start_ticks)
    }
}

impl FromStr for DaemonId {
    type Err = DaemonIdError;

    fn from_str(s: &str) -> Result<Self, DaemonIdError> {
        let parsed = s.trim().split_once(':').and_then(|(pid, ticks)| {
            // Pid 1 and below are never daemons of ours, and their "group" would be everything.
            let pid = pid.parse().ok().filter(|pid| (2..=i32::MAX as u32).contains(pid))?;
            Some(Self { pid, start_ticks: ticks.parse().ok()? })
        });
        parsed.ok_or_else(|| DaemonIdError(s.to_owned()))
    }
}

fn signal_group(pid: u32, signal: i32) -> Result<(), StopError> {
    let group = i32::try_from(pid).expect("a pid fits in an i32");
    // SAFETY: `kill` takes two integers and touches no memory of ours.
    if unsafe { libc::kill(-group, signal) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        gone if gone.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        source => Err(StopError::Signal { pid, source }),
    }
}

fn group_lives(group: u32) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else {
        return false;
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Stat::of)
        .any(|stat| stat.group == group && stat.is_alive())
}

/// What `/proc/<pid>/stat` says of a process.
struct Stat {
    state: char,
    group: u32,
    start_ticks: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field is the program's name in brackets, and may itself hold blanks and brackets.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
        Some(Self {
            state: fields.next()?.chars().next()?,
            group: fields.nth(1)?.parse().ok()?,
            start_ticks: fields.nth(16)?.parse().ok()?,
        })
    }

    fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc_stat_with_a_nasty_name() {
        let line = "77 (a) b (c) S 1 70 70 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 9 9";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.group, stat.start_ticks), ('S', 70, 123_456));
        assert!(Stat::parse("").is_none());
        assert!(Stat::parse("77 (x) S").is_none());
    }

    #[test]
    fn ids_survive_paper_and_garbage_is_refused() {
        let id: DaemonId = " 1234:99\n".parse().unwrap();
        assert_eq!(id.to_string(), "1234:99");
        for bad in ["", "12", "1:5", "0:5", "-3:5", "x:y", "4294967295:1", "12:-1"] {
            assert!(bad.parse::<DaemonId>().is_err(), "{bad} was accepted");
        }
    }
}
