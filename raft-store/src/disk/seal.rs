//! A note beside the log of how much of it has been made durable. The log alone can't tell a last record that a
//! power cut tore from one that was acknowledged and is damaged, nor that its newest file is gone: a member that
//! forgot what it had acknowledged, or its vote, could make others lose it. The note is written after the log's
//! own sync, when the log rests and at least once a second: never ahead of it, and seldom behind.
//!
//! Two slots are written in turn, so that a torn write leaves the other.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::durable::sync_dir;

pub(super) const NAME: &str = "SEAL";
const MAGIC: &[u8; 8] = b"PVCSEAL\0";
/// Each slot has a block of its own.
const SLOT: u64 = 4096;
const LENGTH: usize = 8 + 4 + 8 + 8;
/// The log rests when nothing has come for so long.
const REST: Duration = Duration::from_millis(200);
const LATEST: Duration = Duration::from_secs(1);

/// What a note says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sealed {
    /// Number of the last change of the log that is durable.
    pub change: u64,
    /// Of the member that the log belongs to.
    pub incarnation: u64,
}

impl Sealed {
    fn encode(self) -> Vec<u8> {
        let mut payload = self.change.to_le_bytes().to_vec();
        payload.extend_from_slice(&self.incarnation.to_le_bytes());
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
        bytes.extend_from_slice(&payload);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Sealed> {
        let (sum, payload) = bytes.get(..LENGTH)?.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (change, incarnation) = payload.split_first_chunk()?;
        let sealed = Sealed {
            change: u64::from_le_bytes(*change),
            incarnation: u64::from_le_bytes(*incarnation.first_chunk()?),
        };
        (u32::from_le_bytes(*sum) == crc32c::crc32c(payload)).then_some(sealed)
    }
}

/// Reads the note. `None` = there is none that can be read.
pub(super) fn read(dir: &Path) -> io::Result<Option<Sealed>> {
    let bytes = match std::fs::read(dir.join(NAME)) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let slots = bytes.chunks(usize::try_from(SLOT).unwrap_or(usize::MAX));
    Ok(slots.filter_map(Sealed::decode).max())
}

/// Keeps the note.
pub(super) struct Seal {
    file: File,
    incarnation: u64,
    slot: u64,
    sealed: u64,
    at: Instant,
}

impl Seal {
    /// Opens the note, or makes it, and notes `change`, which is durable.
    pub fn open(dir: &Path, change: u64, incarnation: u64) -> io::Result<Seal> {
        let path: PathBuf = dir.join(NAME);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        // Both blocks are there from now on: later syncs need no change of the file's length.
        if file.metadata()?.len() < 2 * SLOT {
            file.write_all_at(&vec![0; 2 * SLOT as usize], 0)?;
            file.sync_all()?;
            sync_dir(dir)?;
        }
        let mut seal = Seal { file, incarnation, slot: 0, sealed: 0, at: Instant::now() };
        for _ in 0..2 {
            seal.write(change)?;
        }
        Ok(seal)
    }

    fn write(&mut self, change: u64) -> io::Result<()> {
        let note = Sealed { change, incarnation: self.incarnation };
        self.file.write_all_at(&note.encode(), self.slot * SLOT)?;
        self.file.sync_data()?;
        self.slot = 1 - self.slot;
        (self.sealed, self.at) = (change, Instant::now());
        Ok(())
    }

    /// How long to wait for more before the log up to `durable` is noted. `None` = it is.
    pub fn due(&self, durable: u64) -> Option<Duration> {
        (durable > self.sealed).then_some(REST)
    }

    /// Notes what is durable, if it rests or the last note is old.
    pub fn note(&mut self, durable: u64, rests: bool) -> io::Result<()> {
        if durable > self.sealed && (rests || self.at.elapsed() > LATEST) {
            self.write(durable)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_note_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        let mut seal = Seal::open(dir.path(), 5, 9).unwrap();
        seal.note(6, true).unwrap();
        seal.note(7, true).unwrap();
        let good = std::fs::read(dir.path().join(NAME)).unwrap();
        let note = |change| Some(Sealed { change, incarnation: 9 });
        assert_eq!(read(dir.path()).unwrap(), note(7));
        for (slot, left) in [(0, 7), (SLOT as usize, 6)] {
            for byte in 0..LENGTH {
                let mut torn = good.clone();
                torn[slot + byte] ^= 0x10;
                std::fs::write(dir.path().join(NAME), torn).unwrap();
                assert_eq!(read(dir.path()).unwrap(), note(left), "byte {byte} of the slot at {slot}");
            }
        }
    }

    #[test]
    fn a_log_that_never_rests_is_noted_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut seal = Seal::open(dir.path(), 1, 9).unwrap();
        seal.note(2, false).unwrap();
        assert_eq!(read(dir.path()).unwrap().unwrap().change, 1);
        seal.at -= LATEST * 2;
        seal.note(3, false).unwrap();
        assert_eq!(read(dir.path()).unwrap().unwrap().change, 3);
        assert_eq!((seal.due(3), seal.due(4)), (None, Some(REST)));
    }
}
