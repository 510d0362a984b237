//! Writing a small file so that after a power cut it is either the old one or the new one, whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What everyone may read: certificates.
pub(crate) const PUBLIC_MODE: u32 = 0o644;
/// What only the owner may read: private keys.
pub(crate) const SECRET_MODE: u32 = 0o600;

/// Writes beside the target, syncs, renames over it, syncs the directory. The mode is in force before the first byte.
pub(crate) fn write(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidFilename)?;
    let staged = path.with_file_name(format!(".{name}.tmp"));
    // A leftover of a crash may have another mode; a fresh file has ours.
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&staged)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    rename(&staged, path)
}

/// Renames and makes the renaming itself durable.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    let dir = match to.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    File::open(dir)?.sync_all()
}
