//! When a host's service is started, and when again after it died: the rules of a very small systemd.
//!
//! Pure bookkeeping over instants given by the caller; the processes themselves are [`super::init`]'s matter.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

/// First wait after a death; doubled with each further one.
pub const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// Longest wait between two starts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A service that ran this long is well: its next death waits [`BACKOFF_MIN`] again.
pub const WELL_AFTER: Duration = Duration::from_secs(20);

/// One service of a host.
#[derive(Debug)]
pub struct Service {
    /// Name of the service, of its log file, and of its process.
    pub name: &'static str,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Files that must all exist before it is started (systemd's `ConditionPathExists`).
    pub needs: Vec<PathBuf>,
    /// While this file exists the service is not started.
    pub hold: PathBuf,
    state: State,
    deaths: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Stopped { not_before: Option<Instant> },
    Running { pid: i32, since: Instant },
}

impl Service {
    /// A service that never ran.
    pub fn new(name: &'static str, argv: Vec<String>, needs: Vec<PathBuf>, hold: PathBuf) -> Self {
        Self { name, argv, needs, hold, state: State::Stopped { not_before: None }, deaths: 0 }
    }

    /// Its process, if it runs.
    pub fn pid(&self) -> Option<i32> {
        match self.state {
            State::Running { pid, .. } => Some(pid),
            State::Stopped { .. } => None,
        }
    }

    /// Whether it should be started now. Looks at the files named in `needs` and `hold`.
    pub fn is_due(&self, now: Instant) -> bool {
        match self.state {
            State::Running { .. } => false,
            State::Stopped { not_before } => {
                not_before.is_none_or(|instant| now >= instant)
                    && !self.hold.exists()
                    && self.needs.iter().all(|path| path.exists())
            }
        }
    }

    /// It was started.
    pub fn started(&mut self, pid: i32, now: Instant) {
        self.state = State::Running { pid, since: now };
    }

    /// It died, or could not be started. Returns how long it stays down at least.
    pub fn died(&mut self, now: Instant) -> Duration {
        if let State::Running { since, .. } = self.state
            && now - since >= WELL_AFTER
        {
            self.deaths = 0;
        }
        let wait = BACKOFF_MIN.saturating_mul(1 << self.deaths.min(16)).min(BACKOFF_MAX);
        self.deaths += 1;
        self.state = State::Stopped { not_before: Some(now + wait) };
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(dir: &std::path::Path) -> Service {
        Service::new("pvcd", vec!["pvcd".to_owned()], vec![dir.join("config")], dir.join("hold"))
    }

    #[test]
    fn it_waits_for_its_files_and_for_the_hold_to_go() {
        let dir = tempfile::tempdir().unwrap();
        let (service, now) = (service(dir.path()), Instant::now());
        assert!(!service.is_due(now));
        std::fs::write(dir.path().join("config"), "").unwrap();
        assert!(service.is_due(now));
        std::fs::write(dir.path().join("hold"), "").unwrap();
        assert!(!service.is_due(now));
    }

    #[test]
    fn deaths_in_a_row_wait_longer_up_to_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config"), "").unwrap();
        let (mut service, mut now) = (service(dir.path()), Instant::now());
        let mut waits = Vec::new();
        for pid in 1..=8 {
            service.started(pid, now);
            assert_eq!(service.pid(), Some(pid));
            let wait = service.died(now);
            assert!(!service.is_due(now + wait - Duration::from_millis(1)));
            assert!(service.is_due(now + wait));
            now += wait;
            waits.push(wait.as_millis());
        }
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }

    #[test]
    fn a_long_life_is_forgiven() {
        let dir = tempfile::tempdir().unwrap();
        let (mut service, now) = (service(dir.path()), Instant::now());
        for pid in 1..=5 {
            service.started(pid, now);
            service.died(now);
        }
        service.started(6, now);
        assert_eq!(service.died(now + WELL_AFTER), BACKOFF_MIN);
    }
}
