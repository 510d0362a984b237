//! The directory of a server's reservations, kept as it should be.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::files::{open_dir, write_atomic};

/// What was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Synced {
    /// Files that are new; the server reads them by itself.
    pub added: usize,
    /// Files that are others now, or no more; the server goes on with what it has read until it is told.
    pub changed: usize,
}

pub(super) struct Hosts {
    pub dir: PathBuf,
    /// What is there; None: it has not been looked at yet.
    there: Option<BTreeMap<String, String>>,
}

impl Hosts {
    pub fn new(dir: PathBuf) -> Hosts {
        Hosts { dir, there: None }
    }

    pub fn sync(&mut self, wanted: &BTreeMap<String, String>) -> io::Result<Synced> {
        let mut there = match self.there.take() {
            Some(there) if self.dir.is_dir() => there,
            _ => self.read()?,
        };
        let mut synced = Synced::default();
        // Whatever fails on the way, the next one looks at the files themselves.
        let strange: Vec<String> = there.keys().filter(|file| !wanted.contains_key(*file)).cloned().collect();
        for file in strange {
            fs::remove_file(self.dir.join(&file))?;
            there.remove(&file);
            synced.changed += 1;
        }
        for (file, content) in wanted {
            let known = there.get(file);
            if known == Some(content) {
                continue;
            }
            synced.added += usize::from(known.is_none());
            synced.changed += usize::from(known.is_some());
            write_atomic(&self.dir.join(file), content.as_bytes())?;
            there.insert(file.clone(), content.clone());
        }
        self.there = Some(there);
        Ok(synced)
    }

    fn read(&self) -> io::Result<BTreeMap<String, String>> {
        open_dir(&self.dir)?;
        let mut there = BTreeMap::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            there.insert(name, fs::read_to_string(&path).unwrap_or_default());
        }
        Ok(there)
    }
}
