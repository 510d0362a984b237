//! What this process asks of the kernel so that it is in time on a busy host: memory that is never swapped out, and one
//! thread that runs before all ordinary ones. Where the kernel refuses, the daemon goes on without.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getrlimit};

/// The lowest of the real-time priorities: before every ordinary thread, after the kernel's own.
const PRIORITY: i32 = 1;
/// Of linux/capability.h.
const CAP_IPC_LOCK: u32 = 14;

#[derive(Debug, thiserror::Error)]
pub enum RealtimeError {
    #[error("memory may not be locked without a limit (LimitMEMLOCK=infinity in the unit, or CAP_IPC_LOCK)")]
    Limit,
    #[error("memory can't be locked: {0}")]
    Lock(io::Error),
    #[error("no real-time priority is allowed (LimitRTPRIO in the unit, or CAP_SYS_NICE): {0}")]
    Priority(io::Error),
}

/// Keeps the pages of this process in memory once they were touched. None is touched for it: what a process has but
/// never uses takes no memory.
pub fn lock_memory() -> Result<(), RealtimeError> {
    // With a limit the first allocation beyond it would fail, and end the daemon.
    if !has_capability(CAP_IPC_LOCK) && !is_unlimited() {
        return Err(RealtimeError::Limit);
    }
    let lock = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(lock).map_err(|error| RealtimeError::Lock(error.into()))
}

fn is_unlimited() -> bool {
    getrlimit(Resource::Memlock).current.is_none()
}

/// By proc(5)'s /proc/self/status. Who has CAP_IPC_LOCK has no limit, whatever it says.
fn has_capability(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    effective.is_some_and(|set| set >> number & 1 == 1)
}

/// Makes the calling thread a real-time one. Threads that it starts are ordinary.
pub fn prefer_this_thread() -> Result<(), RealtimeError> {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: 0 is the calling thread; the kernel reads a struct that lives until the call is over.
    let done =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &parameters) };
    if done == 0 { Ok(()) } else { Err(RealtimeError::Priority(io::Error::last_os_error())) }
}
