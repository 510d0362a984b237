//! What runs in the hosts of local clusters, read from /proc.
//!
//! A host is alive when its first process is: a `pvc-bootstrap local __init` that is process 1 of a namespace of its own.
//! No pid files: they lie after a kill.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::plan::{ClusterName, HostName};

/// Arguments by which a host's first process is known; its command line is `PROGRAM local __init --name NAME --host HOST …`.
pub const INIT_ARGS: [&str; 2] = ["local", "__init"];

/// A process as /proc shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Number in the machine's own namespace.
    pub pid: i32,
    pub parent: i32,
    /// Name of the program, at most 15 bytes.
    pub name: String,
    /// The state's letter: R, S, D, T (stopped), Z (dead, not yet reaped)…
    pub state: char,
    /// Clock ticks from boot to the process's start: tells it from a later one with the same number.
    started: u64,
}

impl Process {
    /// Reads one process; `None` when it is gone.
    pub fn read(pid: i32) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// `stat` is `PID (NAME) STATE PPID …`; the name may hold blanks and brackets.
    fn parse(pid: i32, stat: &str) -> Option<Self> {
        let (head, tail) = stat.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        Some(Self {
            pid,
            name,
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    /// Whether it still lives: neither gone, nor dead and only unreaped, nor replaced by another of its number.
    pub fn lives(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.started == self.started && !matches!(now.state, 'Z' | 'X'))
    }

    /// Sends a signal; a process that is gone is no error.
    pub fn signal(&self, signal: i32) {
        if self.lives() {
            // SAFETY: kill takes two numbers; the pid is positive, so no group is meant
            unsafe { libc::kill(self.pid, signal) };
        }
    }
}

fn all_pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The host of this cluster whose first process has this command line.
fn init_host(cmdline: &[u8], cluster: &ClusterName) -> Option<HostName> {
    let mut words =
        cmdline.split(|byte| *byte == 0).map(|word| std::str::from_utf8(word).unwrap_or_default());
    words.next()?;
    let expected = [INIT_ARGS[0], INIT_ARGS[1], "--name", cluster.as_str(), "--host"];
    if !expected.iter().all(|word| words.next() == Some(word)) {
        return None;
    }
    words.next()?.parse().ok()
}

/// Whether the process is number 1 of a process namespace below ours.
fn is_first_of_namespace(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| {
        status.lines().find_map(|line| line.strip_prefix("NSpid:")).is_some_and(|numbers| {
            let numbers: Vec<&str> = numbers.split_ascii_whitespace().collect();
            numbers.len() > 1 && numbers.last() == Some(&"1")
        })
    })
}

/// First processes of all hosts of this cluster that are switched on.
pub fn inits(cluster: &ClusterName) -> Vec<(HostName, Process)> {
    let mut found: Vec<(HostName, Process)> = all_pids()
        .into_iter()
        .filter_map(|pid| {
            let cmdline = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let host = init_host(&cmdline, cluster)?;
            let process = Process::read(pid)?;
            is_first_of_namespace(pid).then_some((host, process))
        })
        .collect();
    found.sort_by_key(|(host, _)| *host);
    found
}

/// First process of one host; `None` when the host is off.
pub fn init(cluster: &ClusterName, host: HostName) -> Option<Process> {
    inits(cluster).into_iter().find_map(|(found, process)| (found == host).then_some(process))
}

/// The process of this program that has this argument.
pub fn with_argument(program: &str, argument: &str) -> Option<Process> {
    all_pids().into_iter().find_map(|pid| {
        let cmdline = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let has = cmdline.split(|byte| *byte == 0).any(|word| word == argument.as_bytes());
        let process = if has { Process::read(pid)? } else { return None };
        (process.name == program && process.lives()).then_some(process)
    })
}

/// All processes of the host whose first process is `init`, itself first.
pub fn of_host(init: &Process) -> Vec<Process> {
    let namespace = |pid: i32| -> Option<PathBuf> { fs::read_link(format!("/proc/{pid}/ns/pid")).ok() };
    let Some(mine) = namespace(init.pid) else {
        return Vec::new();
    };
    let mut found: Vec<Process> = all_pids()
        .into_iter()
        .filter(|pid| namespace(*pid).as_ref() == Some(&mine))
        .filter_map(Process::read)
        .collect();
    found.sort_by_key(|process| (process.pid != init.pid, process.pid));
    found
}

/// The host's service of this name: a child of its first process.
pub fn service(init: &Process, name: &str) -> Option<Process> {
    of_host(init)
        .into_iter()
        .find(|process| process.parent == init.pid && process.name == name && process.state != 'Z')
}

/// Waits until none of these processes lives; returns those that still do after `limit`.
pub async fn wait_gone(processes: Vec<Process>, limit: Duration) -> Vec<Process> {
    let deadline = Instant::now() + limit;
    let mut left = processes;
    loop {
        left.retain(Process::lives);
        if left.is_empty() || Instant::now() >= deadline {
            return left;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_even_with_an_odd_name() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 0 0 0 3 4 0 0 20 0 1 0 99887 1000 2 1844";
        assert_eq!(
            Process::parse(42, stat),
            Some(Process { pid: 42, parent: 7, name: "a) b (c".to_owned(), state: 'S', started: 99887 })
        );
        assert_eq!(Process::parse(42, "42 (cut"), None);
    }

    #[test]
    fn an_init_is_known_by_its_command_line() {
        let cluster: ClusterName = "local".parse().unwrap();
        let line = |text: &str| text.replace(' ', "\0").into_bytes();
        let host =
            init_host(&line("/x/pvc-bootstrap local __init --name local --host hv2 --state /s"), &cluster);
        assert_eq!(host, Some("hv2".parse().unwrap()));
        for other in [
            "/x/pvc-bootstrap local __init --name demo --host hv2",
            "/x/pvc-bootstrap local status --name local --host hv2",
            "/x/pvc-bootstrap local __init --name local --host elsewhere",
            "",
        ] {
            assert_eq!(init_host(&line(other), &cluster), None, "{other}");
        }
    }

    #[test]
    fn this_process_lives_and_is_no_first_process() {
        let me = Process::read(std::process::id() as i32).unwrap();
        assert!(me.lives());
        let replaced = Process { started: me.started + 1, ..me.clone() };
        assert!(!replaced.lives());
        assert!(!is_first_of_namespace(me.pid));
    }
}
