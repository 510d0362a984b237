//! Serials: a zone's grows whenever its content changes, never falls, and stays as long as the content does. How they are
//! chosen, and why coordinators nearly always choose the same, is in docs/dhcp-and-dns.md.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::zones::Content;
use crate::files::{open_dir, write_atomic};

/// The zones' serials, remembered over starts of the daemon and of the host.
pub(super) struct Serials {
    file: PathBuf,
    memory: Option<Memory>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    zones: BTreeMap<String, Known>,
    /// The highest serial of a zone that is no more: should it come back, it goes on from there.
    gone: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    digest: String,
    serial: u64,
}

impl Serials {
    pub fn new(file: PathBuf) -> Serials {
        Serials { file, memory: None }
    }

    /// The zones' serials. `revision` is what the plan was made from.
    pub fn assign(
        &mut self,
        zones: &BTreeMap<String, Content>,
        revision: u64,
    ) -> io::Result<BTreeMap<String, u64>> {
        let before = self.memory.take().or_else(|| self.read()).unwrap_or_default();
        let mut memory = Memory { gone: before.gone, ..Memory::default() };
        for (name, zone) in zones {
            let digest = zone.digest();
            let serial = match before.zones.get(name) {
                Some(known) if known.digest == digest => known.serial,
                // What was seen before a change was seen at a lower revision than the change's own, by whomever; and what is
                // seen after it at no lower one. The rest is for a store that was restored.
                Some(known) => revision.max(known.serial + 1),
                None => revision.max(before.gone + 1),
            };
            memory.zones.insert(name.clone(), Known { digest, serial });
        }
        let gone = before.zones.iter().filter(|(name, _)| !zones.contains_key(*name));
        memory.gone = gone.map(|(_, known)| known.serial).fold(memory.gone, u64::max);
        if before != memory {
            self.write(&memory)?;
        }
        let serials = memory.zones.iter().map(|(name, known)| (name.clone(), known.serial)).collect();
        self.memory = Some(memory);
        Ok(serials)
    }

    fn read(&self) -> Option<Memory> {
        serde_json::from_slice(&fs::read(&self.file).ok()?).ok()
    }

    fn write(&self, memory: &Memory) -> io::Result<()> {
        if let Some(dir) = self.file.parent() {
            open_dir(dir)?;
        }
        write_atomic(&self.file, &serde_json::to_vec(memory)?)
    }
}
