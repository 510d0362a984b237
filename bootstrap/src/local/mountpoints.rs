//! The machine's folders over which hosts mount their own: they must exist, and those that we made go again.
//!
//! They are shared by all local clusters of the machine, and removing one would pull the mount from under every host: so
//! they are made and removed under the machine's lock, and removed only when no local cluster is left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::init::PRIVATE_DIRS;
use super::wiring;
use crate::durable_file::{self, FileError};

/// Folders that we made; gone after a reboot, when the worst is a few empty folders.
const RECORD: &str = "/run/pvc-local-mountpoints";

/// Makes what is missing. The caller holds the machine's lock.
pub fn ensure() -> Result<(), FileError> {
    ensure_all(&PRIVATE_DIRS.map(Path::new), Path::new(RECORD))
}

/// Removes what [`ensure`] made, if no local cluster is left. The caller holds the machine's lock.
pub fn release() -> Result<(), FileError> {
    let in_use = wiring::namespaces()
        .iter()
        .any(|namespace| namespace.starts_with("pvc-") && namespace.ends_with("-hub"));
    if in_use {
        return Ok(());
    }
    release_all(Path::new(RECORD))
}

fn ensure_all(folders: &[&Path], record: &Path) -> Result<(), FileError> {
    let mut made = durable_file::read_text_if_there(record)?.unwrap_or_default();
    for folder in folders.iter().filter(|folder| !folder.exists()) {
        // recorded first: a folder that was recorded and not made does no harm
        made.push_str(&format!("{}\n", folder.display()));
        durable_file::write(record, made.as_bytes(), 0o600)?;
        fs::create_dir(folder).map_err(|source| FileError::new("make directory", folder, source))?;
    }
    Ok(())
}

fn release_all(record: &Path) -> Result<(), FileError> {
    let Some(made) = durable_file::read_text_if_there(record)? else {
        return Ok(());
    };
    for folder in made.lines().map(PathBuf::from) {
        match fs::remove_dir(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // somebody has put something there: it is theirs now
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(source) => return Err(FileError::new("remove directory", &folder, source)),
        }
    }
    fs::remove_file(record).map_err(|source| FileError::new("remove", record, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_that_were_made_and_stayed_empty_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join("record");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("theirs")).unwrap();
        let all = [at("theirs"), at("ours"), at("used")];
        let all: Vec<&Path> = all.iter().map(PathBuf::as_path).collect();
        ensure_all(&all, &record).unwrap();
        ensure_all(&all, &record).unwrap();
        fs::write(at("used").join("file"), "").unwrap();
        release_all(&record).unwrap();
        assert!(at("theirs").exists() && !at("ours").exists() && at("used").exists());
        release_all(&record).unwrap();
    }
}
