//! A program that is to run beside us, and outlives us: started, recognised after a restart of ours, stopped.
//!
//! Which process it is stands in a file, by pid and start time, with the digest of what it was started with. Where that
//! file is missing (we died between the start and the writing), it is found by an argument that only it has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvc_process::{Cmd, Daemon, DaemonId, DaemonLogs};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process};
use tokio::time::{Instant, sleep};

use crate::Blocked;
use crate::files::write_atomic;

/// One that ends sooner than this could not do what it was asked: its last words are told.
const YOUNG: Duration = Duration::from_secs(5);
/// How long it may take to end when asked to.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How soon one that was started hears signals.
const UP_WITHIN: Duration = Duration::from_secs(5);
const UP_POLL: Duration = Duration::from_millis(10);
/// A log is emptied when it is larger than this: it is in memory.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// Of a log, as much as an error repeats.
const LAST_WORDS: usize = 400;
/// Files that one may have open, where the host lets it: a resolver has two sockets for each address.
const OPEN_FILES: u64 = 65_536;

pub(crate) struct Kept {
    name: &'static str,
    dir: PathBuf,
    /// An argument of it that no other process has.
    marker: String,
    running: Option<Running>,
    looked: bool,
}

struct Running {
    id: DaemonId,
    /// Ours, where this very process of ours has started it: it must be reaped.
    child: Option<Daemon>,
    started: Option<Instant>,
    digest: String,
}

/// What a look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Absent,
    Running {
        /// Of what it was started with.
        digest: String,
        /// It was started by an earlier process of ours, and this is the first look at it.
        adopted: bool,
    },
}

impl Kept {
    /// `dir` is its own; `marker` one of the arguments that it will be started with.
    pub fn new(name: &'static str, dir: &Path, marker: String) -> Kept {
        Kept { name, dir: dir.to_owned(), marker, running: None, looked: false }
    }

    /// Whether it runs. One that has ended right after its start is an error, once: the next look finds it absent.
    pub fn look(&mut self) -> Result<Seen, Blocked> {
        let adopted = !std::mem::replace(&mut self.looked, true) && self.adopt();
        let Some(running) = &mut self.running else { return Ok(Seen::Absent) };
        let exit = running.child.as_mut().and_then(|child| child.exited().ok().flatten());
        if running.id.is_running() {
            let log = self.log();
            if fs::metadata(&log).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
                let _ = fs::OpenOptions::new().write(true).open(&log).and_then(|log| log.set_len(0));
            }
            let Some(running) = &self.running else { return Ok(Seen::Absent) };
            return Ok(Seen::Running { digest: running.digest.clone(), adopted });
        }
        let young = running.started.is_some_and(|started| started.elapsed() < YOUNG);
        self.running = None;
        if !young {
            return Ok(Seen::Absent);
        }
        let how = exit.map_or_else(|| "ended".to_owned(), |exit| exit.to_string());
        Err(Blocked::new(format!("{} does not stay up ({how}): {}", self.name, self.last_words())))
    }

    /// `cmd` holds the marker among its arguments.
    pub fn start(
        &mut self,
        program: &str,
        args: &[String],
        env: &[(&str, &Path)],
        digest: &str,
    ) -> Result<(), Blocked> {
        debug_assert!(args.contains(&self.marker));
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let files = format!("--nofile={}:", most.min(OPEN_FILES));
        let mut cmd = Cmd::new("prlimit").args([&files, "--", program]).args(args);
        for (name, value) in env {
            cmd = cmd.env(*name, *value);
        }
        let blocked = |error: &dyn std::fmt::Display| Blocked::new(format!("{}: {error}", self.name));
        let daemon = cmd.spawn_daemon(&DaemonLogs::joined(self.log())).map_err(|error| blocked(&error))?;
        let id = daemon.id();
        write_atomic(&self.id_file(), format!("{id} {digest}\n").as_bytes())
            .map_err(|error| blocked(&error))?;
        self.running = Some(Running {
            id,
            child: Some(daemon),
            started: Some(Instant::now()),
            digest: digest.to_owned(),
        });
        self.looked = true;
        Ok(())
    }

    /// Ends it; false: it did not run.
    pub async fn stop(&mut self) -> Result<bool, Blocked> {
        if !std::mem::replace(&mut self.looked, true) {
            self.adopt();
        }
        let Some(running) = &mut self.running else { return Ok(false) };
        let ran = running.id.is_running();
        running.id.stop(STOP_GRACE).await.map_err(|error| Blocked::new(format!("{}: {error}", self.name)))?;
        if let Some(child) = &mut running.child {
            let _ = child.exited();
        }
        self.running = None;
        let _ = fs::remove_file(self.id_file());
        Ok(ran)
    }

    /// Has it read its files anew. Only the process itself is told: what it has started at this moment goes on.
    pub async fn hang_up(&self) -> Result<(), Blocked> {
        let Some(running) = self.running.as_ref().filter(|running| running.id.is_running()) else {
            return Ok(());
        };
        let until = Instant::now() + UP_WITHIN;
        // One that is only just starting would be ended by it.
        while !listens_for_hangup(running.id.pid()) && Instant::now() < until {
            sleep(UP_POLL).await;
        }
        let pid = i32::try_from(running.id.pid()).ok().and_then(Pid::from_raw);
        pid.map_or(Ok(()), |pid| kill_process(pid, Signal::HUP)).map_err(|error| {
            Blocked::new(format!("{}: it can't be told to read its files: {error}", self.name))
        })
    }

    /// How long ago this process of ours has started it.
    pub fn age(&self) -> Option<Duration> {
        Some(self.running.as_ref()?.started?.elapsed())
    }

    /// Its process, for tests and for people.
    pub fn id(&self) -> Option<DaemonId> {
        Some(self.running.as_ref()?.id)
    }

    fn id_file(&self) -> PathBuf {
        self.dir.join(format!("{}.process", self.name))
    }

    fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    fn last_words(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(LAST_WORDS)..];
        String::from_utf8_lossy(tail).trim().replace('\n', "; ")
    }

    fn adopt(&mut self) -> bool {
        let written = fs::read_to_string(self.id_file()).ok().and_then(|text| {
            let (id, digest) = text.trim().split_once(' ')?;
            Some((id.parse::<DaemonId>().ok()?, digest.to_owned()))
        });
        let found = written.filter(|(id, _)| id.is_running() && has_argument(id.pid(), &self.marker));
        let found = found.or_else(|| Some((stray(&self.marker)?, String::new())));
        self.running = found.map(|(id, digest)| Running { id, child: None, started: None, digest });
        self.running.is_some()
    }
}

/// Whether it has a handler for SIGHUP, the lowest bit of what /proc says that it catches.
fn listens_for_hangup(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

fn has_argument(pid: u32, marker: &str) -> bool {
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.split(|byte| *byte == 0).any(|argument| argument == marker.as_bytes()))
}

/// One that runs and that no file tells of. Of a program and the processes that it has forked, the one that leads.
fn stray(marker: &str) -> Option<DaemonId> {
    let processes = fs::read_dir("/proc").ok()?;
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let leads = |pid: &u32| {
        let pid = i32::try_from(*pid).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| rustix::process::getsid(Some(pid)).is_ok_and(|session| session == pid))
    };
    pids.filter(|pid| has_argument(*pid, marker)).find(leads).and_then(DaemonId::of_running)
}
