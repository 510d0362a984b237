//! The processes in which this host's guests run, as libvirt keeps them in its state directory; and their end. libvirtd is not
//! asked: it may be dead, hang, or wait for a guest.
//!
//! What may never happen here: a signal to a process that is not a guest of PVC. So each is held by a descriptor first, and
//! its command line is looked at after that.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::Instant;

use crate::hypervisor::xml::METADATA_NAMESPACE;

/// Where libvirt's system daemon keeps the state of each guest that runs.
pub const STATE_DIR: &str = "/run/libvirt/qemu";

/// A guest's process, held: its number can't pass to another.
#[derive(Debug)]
pub struct Emulator {
    pub uuid: String,
    held: OwnedFd,
}

/// What libvirt has written of a guest.
#[derive(Debug, PartialEq, Eq)]
struct Written {
    pid: i32,
    uuid: String,
}

/// The processes of all guests of PVC that there are now.
pub fn emulators(state_dir: &Path) -> io::Result<Vec<Emulator>> {
    let entries = match fs::read_dir(state_dir) {
        Ok(entries) => entries,
        // libvirt makes it when it begins.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "xml") {
            found.extend(emulator(&path)?);
        }
    }
    Ok(found)
}

fn emulator(path: &Path) -> io::Result<Option<Emulator>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(Written { pid, uuid }) = written(&text) else { return Ok(None) };
    let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
    let held = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(held) => held,
        // It has ended, and libvirt has not noticed yet.
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let command = PathBuf::from(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    let command = match fs::read(command) {
        Ok(command) => command,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(is_of(&command, &uuid).then_some(Emulator { uuid, held }))
}

/// What a state file says, if its guest is PVC's.
fn written(text: &str) -> Option<Written> {
    if !text.contains(METADATA_NAMESPACE) {
        return None;
    }
    let (head, domain) = text.split_once("<domain ")?;
    let status = head.split_once("<domstatus ")?.1;
    let pid = status.split_once(" pid='")?.1.split_once('\'')?.0.parse().ok()?;
    let uuid = domain.split_once("<uuid>")?.1.split_once("</uuid>")?.0.trim().to_owned();
    (!uuid.is_empty()).then_some(Written { pid, uuid })
}

/// Whether that is the command line of the guest's emulator.
fn is_of(command: &[u8], uuid: &str) -> bool {
    let mut words = command.split(|byte| *byte == 0);
    words.any(|word| word == b"-uuid") && words.next() == Some(uuid.as_bytes())
}

/// Ends them all, as by pulling their plugs.
pub fn kill(emulators: &[Emulator]) {
    for emulator in emulators {
        match pidfd_send_signal(&emulator.held, Signal::KILL) {
            Ok(()) => {
                tracing::error!(guest = emulator.uuid, "killed: this host has had no lease for too long")
            }
            Err(rustix::io::Errno::SRCH) => {}
            Err(error) => tracing::error!(guest = emulator.uuid, %error, "can't be killed"),
        }
    }
}

/// How many are still there when `within` is over. One that has gone writes nothing any more: the kernel lets nobody go before
/// its writes are done.
pub fn left(emulators: &[Emulator], within: Duration) -> usize {
    let until = Instant::now() + within;
    emulators.iter().filter(|emulator| !emulator.is_gone(until)).count()
}

impl Emulator {
    /// All of it: readable is the descriptor of a process whose last thread has ended.
    fn is_gone(&self, until: Instant) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.held.as_fd(), PollFlags::IN)];
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        poll(&mut fds, Some(&left)).is_ok_and(|ready| ready > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = "<!-- kept by libvirt -->\n\
        <domstatus state='running' reason='booted' pid='4711'>\n  <monitor path='/x' type='unix'/>\n\
        <domain type='qemu' id='1'>\n    <name>web1</name>\n    <uuid>7e0d7a6c-1111-4222-8333-444455556666</uuid>\n\
        <metadata>\n <pvc:vm xmlns:pvc=\"urn:parallelvirtualcluster:vm:1\" epoch=\"1\"/></metadata></domain></domstatus>";

    #[test]
    fn a_guest_is_known_by_the_process_and_the_uuid_that_libvirt_has_written() {
        let uuid = "7e0d7a6c-1111-4222-8333-444455556666".to_owned();
        assert_eq!(written(STATE), Some(Written { pid: 4711, uuid }));
        assert_eq!(written(&STATE.replace("parallelvirtualcluster", "other")), None, "somebody else's");
        assert_eq!(written(&STATE.replace("pid='4711'", "pid='x'")), None);
        assert_eq!(written(""), None);
    }

    #[test]
    fn only_the_emulator_of_that_guest_has_it_on_its_command_line() {
        assert!(is_of(b"/usr/bin/qemu-system-x86_64\0-name\0guest=a\0-uuid\0one\0-smp\x001\0", "one"));
        assert!(!is_of(b"/usr/bin/qemu-system-x86_64\0-uuid\0other\0", "one"));
        assert!(!is_of(b"/usr/bin/tail\0one\0", "one"));
        assert!(!is_of(b"", "one"));
    }
}
