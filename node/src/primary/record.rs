//! What this host may have of the primary's address, kept before it is added: a daemon that was killed leaves the
//! address behind, and the next one finds it here, whatever the settings say by then.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use pvc_host::durable_file::{self, FileError};
use pvc_model::primary::Floating;

/// By default it is a simulated host's: clones share it.
#[derive(Clone, Debug)]
pub struct Record(Place);

#[derive(Clone, Debug)]
enum Place {
    File(PathBuf),
    Memory(Arc<Mutex<Option<Floating>>>),
}

impl Default for Record {
    fn default() -> Self {
        Record(Place::Memory(Arc::default()))
    }
}

impl Record {
    pub fn at(file: &Path) -> Self {
        Record(Place::File(file.to_owned()))
    }

    /// What an earlier daemon has left. What can't be read was written by nobody who knew this format.
    pub fn read(&self) -> Result<Option<Floating>, FileError> {
        let file = match &self.0 {
            Place::File(file) => file,
            Place::Memory(kept) => return Ok(kept.lock().clone()),
        };
        let text = durable_file::read_text_if_there(file)?.unwrap_or_default();
        let parsed = text.trim().split_once(' ').and_then(|(address, device)| {
            Some(Floating { address: address.parse().ok()?, device: device.parse().ok()? })
        });
        Ok(parsed)
    }

    pub fn write(&self, floating: &Floating) -> Result<(), FileError> {
        let line = format!("{} {}\n", floating.address, floating.device);
        match &self.0 {
            Place::File(file) => durable_file::write(file, line.as_bytes(), 0o644),
            Place::Memory(kept) => {
                *kept.lock() = Some(floating.clone());
                Ok(())
            }
        }
    }

    pub fn clear(&self) -> Result<(), FileError> {
        match &self.0 {
            Place::File(file) => durable_file::remove(file),
            Place::Memory(kept) => {
                *kept.lock() = None;
                Ok(())
            }
        }
    }
}
