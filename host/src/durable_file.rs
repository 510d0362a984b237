//! Files that are whole or absent: written beside, synced, renamed into place.
//!
//! A step that was interrupted must find either what it had or what it wanted, never half of it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file or directory that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("could not {what} {path}")]
pub struct FileError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl FileError {
    pub fn new(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self { what, path: path.to_owned(), source }
    }

    /// Whether the thing was simply not there.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Replaces `path` by a file with these bytes and this mode, durably. The directory must exist.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let fail = |source| FileError::new("write", path, source);
    let directory = path.parent().ok_or_else(|| fail(io::ErrorKind::InvalidInput.into()))?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".new-{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let done = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
        // the mode given to open is subject to the umask
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(directory)?.sync_all()
    })();
    if done.is_err() {
        let _ = fs::remove_file(&beside);
    }
    done.map_err(fail)
}

/// Removes a file, durably. One that is not there is a success.
pub fn remove(path: &Path) -> Result<(), FileError> {
    let fail = |source| FileError::new("remove", path, source);
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.map_err(fail)?,
    }
    let directory = path.parent().ok_or_else(|| fail(io::ErrorKind::InvalidInput.into()))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(fail)
}

/// Reads a text file whole.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|source| FileError::new("read", path, source))
}

/// Reads a text file; `None` when there is none.
pub fn read_text_if_there(path: &Path) -> Result<Option<String>, FileError> {
    match read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a directory and its parents, with this mode for those that are new.
pub fn make_directory(path: &Path, mode: u32) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| FileError::new("make directory", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, b"long old content", 0o644).unwrap();
        write(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing left beside it");
    }

    #[test]
    fn a_missing_file_is_none_and_a_missing_directory_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("no/such/file");
        assert_eq!(read_text_if_there(&path).unwrap(), None);
        let error = write(&path, b"x", 0o600).unwrap_err();
        assert!(error.to_string().starts_with("could not write"), "{error}");
    }
}
