//! Guests and their disks: at no instant two writers, and nobody writes to a disk that is gone. The fake
//! hypervisors note each instant at which a second writer appears, so that nothing falls between two looks.

use pvc_node::hypervisor::fake::{FakeWorld, Happening};
use pvc_node::storage::DiskSource;
use pvc_node::storage::fake::FakeStorage;

use crate::witness::{Rule, Witness};

pub struct GuestWatch {
    guests: FakeWorld,
    pool: FakeStorage,
    witness: Witness,
    seen: usize,
}

impl GuestWatch {
    pub fn new(guests: FakeWorld, pool: FakeStorage, witness: Witness) -> GuestWatch {
        GuestWatch { guests, pool, witness, seen: 0 }
    }

    /// Happenings looked at so far.
    pub fn seen(&self) -> usize {
        self.seen
    }

    pub fn look(&mut self) {
        self.look_at_happenings();
        self.look_at_disks();
    }

    /// Of guests without disks nothing else is to be seen.
    pub fn look_at_happenings(&mut self) {
        for (at, happening) in self.guests.journal(self.seen) {
            self.seen += 1;
            self.witness.tell(format!("{happening:?} {} ms ago", at.elapsed().as_millis()));
            if let Happening::WrittenTwice { uid, what } = happening {
                self.witness.accuse(Rule::OneWriter, format!("guest {uid}: {what}"));
            }
        }
    }

    fn look_at_disks(&self) {
        let written = self.guests.written_disks();
        if written.is_empty() {
            return;
        }
        let volumes: Vec<String> = self.pool.volumes().iter().map(ToString::to_string).collect();
        for (disk, guest, host) in written {
            let DiskSource::RawFile { path } = &disk;
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if !volumes.iter().any(|volume| volume == stem) {
                let detail = format!("guest {guest} on {host} writes to {disk:?}, which was deleted");
                self.witness.accuse(Rule::OneWriter, detail);
            }
        }
    }
}
