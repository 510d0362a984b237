//! What the store takes of its disk, and what is left there. Looks at names and sizes, never into files.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::status::Footprint;

/// Of the store in `dir`. Files may come and go meanwhile.
pub(crate) fn measure(dir: &Path) -> io::Result<Footprint> {
    let mut footprint = Footprint::default();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() == super::LOG {
            footprint.log_bytes += taken(&entry.path())?;
        } else if entry.file_name().to_str().is_some_and(|name| name.starts_with("state-")) {
            footprint.state_bytes += taken(&entry.path())?;
        }
    }
    (footprint.disk_bytes, footprint.free_bytes) = file_system(dir)?;
    Ok(footprint)
}

/// Bytes of disk that a file, or a directory with all in it, takes.
fn taken(path: &Path) -> io::Result<u64> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += taken(&entry?.path())?;
        }
    }
    Ok(bytes)
}

/// Size of the file system, and what of it is free for this process.
fn file_system(dir: &Path) -> io::Result<(u64, u64)> {
    let path = CString::new(dir.as_os_str().as_bytes())?;
    let mut told = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is a C string that outlives the call, and `told` has room for what is written.
    let result = unsafe { libc::statvfs(path.as_ptr(), told.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded, so it has filled `told`.
    let told = unsafe { told.assume_init() };
    // SAFETY: geteuid has no preconditions and can't fail.
    let root = unsafe { libc::geteuid() } == 0;
    // What is reserved for root is free for root.
    let free = if root { told.f_bfree } else { told.f_bavail };
    Ok((told.f_blocks * told.f_frsize, free * told.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("log")).unwrap();
        fs::create_dir_all(dir.path().join("state-3/blobs")).unwrap();
        let before = measure(dir.path()).unwrap();
        assert!(before.disk_bytes >= before.free_bytes && before.disk_bytes > 0, "{before:?}");
        let write = |name: &str| {
            let file = fs::File::create(dir.path().join(name)).unwrap();
            io::Write::write_all(&mut &file, &vec![7; 300_000]).unwrap();
            file.sync_all().unwrap();
        };
        write("log/1.raftlog");
        write("state-3/blobs/1");
        write("IDENTITY");
        let after = measure(dir.path()).unwrap();
        for (old, new) in [(before.log_bytes, after.log_bytes), (before.state_bytes, after.state_bytes)] {
            assert!((300_000..400_000).contains(&(new - old)), "{before:?} {after:?}");
        }
    }
}
