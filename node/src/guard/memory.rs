//! What a guard leaves to the next process of it: that it is armed, and until when the lease goes. Kept in memory that ends with
//! the host's power (`/run`), and marked with the boot, for the guests end with that too.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::SinceBoot;

#[derive(Serialize, Deserialize)]
struct Armed {
    boot: String,
    until: SinceBoot,
}

/// The file of one host's guard.
pub(super) struct Memory {
    path: PathBuf,
    boot: String,
}

impl Memory {
    pub fn at(run_dir: &Path) -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Memory { path: run_dir.join("guard.armed"), boot })
    }

    /// None: it is not armed. What can't be read was written by a guard that was armed: it counts as armed, and the lease as
    /// over at `now`.
    pub fn read(&self, now: SinceBoot) -> Option<SinceBoot> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(_) => return Some(now),
        };
        match serde_json::from_slice::<Armed>(&text) {
            Ok(armed) => (armed.boot == self.boot).then_some(armed.until),
            Err(_) => Some(now),
        }
    }

    pub fn write(&self, until: Option<SinceBoot>) -> io::Result<()> {
        let Some(until) = until else {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        };
        let text = serde_json::to_vec(&Armed { boot: self.boot.clone(), until })?;
        let beside = self.path.with_extension("new");
        fs::write(&beside, text)?;
        fs::rename(&beside, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_read_as_it_was_left_and_ends_with_the_boot() {
        let dir = tempfile::tempdir().expect("a directory");
        let memory = Memory::at(dir.path()).expect("there is a boot");
        let (now, until) = (Duration::from_secs(9), Duration::from_secs(7));
        assert_eq!(memory.read(now), None);
        memory.write(Some(until)).expect("written");
        assert_eq!(memory.read(now), Some(until));
        let after = Memory { boot: "another".into(), path: memory.path.clone() };
        assert_eq!(after.read(now), None, "the guests of then ended with that boot");
        fs::write(&memory.path, "{").expect("written");
        assert_eq!(memory.read(now), Some(now), "armed it was");
        memory.write(None).expect("removed");
        assert_eq!(memory.read(now), None);
        memory.write(None).expect("nothing to remove");
    }
}
