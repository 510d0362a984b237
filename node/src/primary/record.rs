//! What this host may have of the primary's address, kept on the disk before it is added: a daemon that was killed
//! leaves the address behind, and the next one finds it here, whatever the settings say by then.

use std::path::{Path, PathBuf};

use pvc_host::durable_file::{self, FileError};
use pvc_model::primary::Floating;

#[derive(Clone, Debug, Default)]
pub struct Record {
    /// None: nothing outlives the daemon.
    file: Option<PathBuf>,
}

impl Record {
    pub fn at(file: &Path) -> Self {
        Record { file: Some(file.to_owned()) }
    }

    /// What an earlier daemon has left. What can't be read was written by nobody who knew this format.
    pub fn read(&self) -> Result<Option<Floating>, FileError> {
        let Some(file) = &self.file else { return Ok(None) };
        let text = durable_file::read_text_if_there(file)?.unwrap_or_default();
        let parsed = text.trim().split_once(' ').and_then(|(address, device)| {
            Some(Floating { address: address.parse().ok()?, device: device.parse().ok()? })
        });
        Ok(parsed)
    }

    pub fn write(&self, floating: &Floating) -> Result<(), FileError> {
        let Some(file) = &self.file else { return Ok(()) };
        let line = format!("{} {}\n", floating.address, floating.device);
        durable_file::write(file, line.as_bytes(), 0o644)
    }

    pub fn clear(&self) -> Result<(), FileError> {
        let Some(file) = &self.file else { return Ok(()) };
        durable_file::remove(file)
    }
}
