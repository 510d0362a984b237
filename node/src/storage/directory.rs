//! A pool that is a directory which all hosts share: a volume is the sparse raw file `<uid>.raw`, a snapshot
//! of it `<uid>@<name>.raw`.
//!
//! Everything appears at once, whole and on the disk, so a host may die at any moment; and only where there
//! is nothing of that name, so that a host that is late, and whose work another one has done meanwhile,
//! replaces nothing that is in use. What was begun and not finished is named `.<uid>….part`, another name
//! each time, and is thrown away when the same work is done or the volume is deleted. Nothing else in the
//! directory is ever touched.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use pvc_model::{Name, Uid};

use super::{DiskSource, Origin, Space, StorageDriver, StorageError, StoredSnapshot, StoredVolume, Work};

/// Bytes copied at once; all-zero ones are left as holes.
const CHUNK: usize = 1 << 20;

/// A handle on the directory; cheap to clone.
#[derive(Clone, Debug)]
pub struct DirectoryStorage {
    pool: Name,
    directory: Arc<PathBuf>,
}

impl DirectoryStorage {
    /// The directory must exist: one that is missing is a mount that is missing.
    pub fn new(pool: Name, directory: PathBuf) -> Self {
        DirectoryStorage { pool, directory: Arc::new(directory) }
    }

    fn volume_path(&self, volume: Uid) -> PathBuf {
        self.directory.join(format!("{volume}.raw"))
    }

    fn snapshot_path(&self, volume: Uid, snapshot: &Name) -> PathBuf {
        self.directory.join(format!("{volume}@{snapshot}.raw"))
    }

    /// A name that nobody has used: two hosts at the same work must not write to one file.
    fn part_path(&self, finished: &Path) -> PathBuf {
        let name = finished.file_name().unwrap_or_default().to_string_lossy();
        self.directory.join(format!(".{name}.{}.part", uuid::Uuid::new_v4().simple()))
    }

    /// Throws away what was begun and whose name begins like this, as far as it goes.
    fn remove_parts(&self, prefix: &str) {
        let Ok(entries) = std::fs::read_dir(&*self.directory) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(prefix) && name.ends_with(".part") {
                drop(std::fs::remove_file(entry.path()));
            }
        }
    }

    /// Runs blocking work on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let this = self.clone();
        let pool = self.pool.clone();
        let lost =
            move |e: tokio::task::JoinError| StorageError::PoolUnusable { pool, detail: e.to_string() };
        tokio::task::spawn_blocking(move || {
            this.check_usable()?;
            work(&this)
        })
        .await
        .map_err(lost)?
    }

    fn check_usable(&self) -> Result<(), StorageError> {
        match std::fs::metadata(&*self.directory) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(self.unusable(format!("{} is not a directory", self.directory.display()))),
            Err(error) => Err(self.unusable(format!("{}: {error}", self.directory.display()))),
        }
    }

    fn unusable(&self, detail: String) -> StorageError {
        StorageError::PoolUnusable { pool: self.pool.clone(), detail }
    }

    fn failed(
        &self,
        action: impl Into<String>,
        need_bytes: u64,
    ) -> impl FnOnce(io::Error) -> StorageError + '_ {
        let action = action.into();
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                let free_bytes = space_of(&self.directory).map_or(0, |s| s.free_bytes);
                StorageError::Full { pool: self.pool.clone(), need_bytes, free_bytes }
            }
            _ => StorageError::Io { pool: self.pool.clone(), action, source },
        }
    }

    fn size_of(&self, path: &Path) -> Result<Option<u64>, StorageError> {
        match std::fs::metadata(path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(format!("look at {}", path.display()), 0)(error)),
        }
    }

    /// Makes a file whole under another name, then gives it its own, unless another one has that by now.
    /// Returns the size of what has it.
    fn make(
        &self,
        path: &Path,
        need_bytes: u64,
        fill: impl FnOnce(&mut File) -> Result<(), Stop>,
    ) -> Result<u64, StorageError> {
        let part = self.part_path(path);
        let made = (|| {
            let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&part)?;
            fill(&mut file)?;
            file.sync_all()?;
            match std::fs::hard_link(&part, path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                linked => linked?,
            }
            File::open(&*self.directory)?.sync_all()?;
            Ok(std::fs::metadata(path)?.len())
        })();
        // Best effort, as all that follows: what is left is thrown away another time.
        drop(std::fs::remove_file(&part));
        if made.is_ok() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            self.remove_parts(&format!(".{name}."));
        }
        made.map_err(|stop: Stop| match stop {
            Stop::Cancelled => StorageError::Cancelled,
            Stop::Io(error) => self.failed(format!("write {}", path.display()), need_bytes)(error),
        })
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(self.failed(format!("remove {}", path.display()), 0)(error))
            }
            _ => Ok(()),
        }
    }

    fn volumes(&self) -> Result<Vec<StoredVolume>, StorageError> {
        let read = |error| self.failed("list the volumes", 0)(error);
        let mut volumes: Vec<StoredVolume> = Vec::new();
        let mut snapshots = Vec::new();
        for entry in std::fs::read_dir(&*self.directory).map_err(read)? {
            let entry = entry.map_err(read)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(stem) = name.strip_suffix(".raw") else { continue };
            let size_bytes = entry.metadata().map_err(read)?.len();
            match stem.split_once('@') {
                None => {
                    let Ok(uid) = stem.parse() else { continue };
                    volumes.push(StoredVolume { uid, size_bytes, snapshots: Vec::new() });
                }
                Some((uid, snapshot)) => {
                    let (Ok(uid), Ok(name)) = (uid.parse::<Uid>(), snapshot.parse()) else { continue };
                    snapshots.push((uid, StoredSnapshot { name, size_bytes }));
                }
            }
        }
        for (uid, snapshot) in snapshots {
            if let Some(volume) = volumes.iter_mut().find(|v| v.uid == uid) {
                volume.snapshots.push(snapshot);
            }
        }
        volumes.sort_by_key(|v| v.uid);
        volumes.iter_mut().for_each(|v| v.snapshots.sort_by(|a, b| a.name.cmp(&b.name)));
        Ok(volumes)
    }
}

/// Why the filling of a file ended early.
enum Stop {
    Cancelled,
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Io(error)
    }
}

fn space_of(directory: &Path) -> io::Result<Space> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(directory.as_os_str().as_bytes())?;
    // SAFETY: `statvfs` is plain numbers, for which all zeroes are valid.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends in NUL and the result is written to memory of its own type.
    if unsafe { libc::statvfs(path.as_ptr(), &mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Space { total_bytes: found.f_blocks * found.f_frsize, free_bytes: found.f_bavail * found.f_frsize })
}

/// Copies with the holes kept; what lies behind the origin's end reads as zeroes.
fn copy(from: &mut File, to: &mut File, size_bytes: u64, work: &Work) -> Result<(), Stop> {
    let length = from.metadata()?.len();
    to.set_len(size_bytes.max(length))?;
    from.seek(SeekFrom::Start(0))?;
    let mut chunk = vec![0; CHUNK];
    let mut done = 0;
    while done < length {
        if work.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        let count = from.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        if chunk[..count].iter().any(|byte| *byte != 0) {
            to.write_all_at(&chunk[..count], done)?;
        }
        done += count as u64;
        (work.progress)((done.saturating_mul(100) / length).min(100) as u8);
    }
    Ok(())
}

#[async_trait]
impl StorageDriver for DirectoryStorage {
    async fn list(&self) -> Result<Vec<StoredVolume>, StorageError> {
        self.run(DirectoryStorage::volumes).await
    }

    async fn space(&self) -> Result<Space, StorageError> {
        self.run(|pool| space_of(&pool.directory).map_err(pool.failed("measure the room", 0))).await
    }

    async fn create(&self, volume: Uid, size_bytes: u64) -> Result<u64, StorageError> {
        self.run(move |pool| {
            let path = pool.volume_path(volume);
            if let Some(size) = pool.size_of(&path)? {
                return Ok(size);
            }
            pool.make(&path, size_bytes, |file| Ok(file.set_len(size_bytes)?))
        })
        .await
    }

    async fn clone_volume(
        &self,
        volume: Uid,
        origin: &Origin,
        size_bytes: u64,
        work: &Work,
    ) -> Result<u64, StorageError> {
        let (origin, work) = (origin.clone(), work.clone());
        self.run(move |pool| {
            let path = pool.volume_path(volume);
            if let Some(size) = pool.size_of(&path)? {
                return Ok(size);
            }
            let (source, missing) = match origin.snapshot {
                None => {
                    let missing = StorageError::NoSuchVolume { pool: pool.pool.clone(), uid: origin.volume };
                    (pool.volume_path(origin.volume), missing)
                }
                Some(snapshot) => {
                    let source = pool.snapshot_path(origin.volume, &snapshot);
                    let (pool, uid) = (pool.pool.clone(), origin.volume);
                    (source, StorageError::NoSuchSnapshot { pool, uid, snapshot })
                }
            };
            let Some(length) = pool.size_of(&source)? else { return Err(missing) };
            let mut from =
                File::open(&source).map_err(pool.failed(format!("open {}", source.display()), 0))?;
            let size = size_bytes.max(length);
            pool.make(&path, size, |to| copy(&mut from, to, size, &work))
        })
        .await
    }

    async fn resize(&self, volume: Uid, size_bytes: u64) -> Result<(), StorageError> {
        self.run(move |pool| {
            let path = pool.volume_path(volume);
            let Some(have_bytes) = pool.size_of(&path)? else {
                return Err(StorageError::NoSuchVolume { pool: pool.pool.clone(), uid: volume });
            };
            if have_bytes > size_bytes {
                let (pool, want_bytes) = (pool.pool.clone(), size_bytes);
                return Err(StorageError::Shrink { pool, uid: volume, have_bytes, want_bytes });
            }
            let grown = OpenOptions::new().write(true).open(&path).and_then(|file| {
                file.set_len(size_bytes)?;
                file.sync_all()
            });
            grown.map_err(pool.failed(format!("grow {}", path.display()), size_bytes - have_bytes))
        })
        .await
    }

    async fn snapshot(
        &self,
        volume: Uid,
        snapshot: &Name,
        work: &Work,
    ) -> Result<StoredSnapshot, StorageError> {
        let (name, work) = (snapshot.clone(), work.clone());
        self.run(move |pool| {
            let path = pool.snapshot_path(volume, &name);
            if let Some(size_bytes) = pool.size_of(&path)? {
                return Ok(StoredSnapshot { name, size_bytes });
            }
            let source = pool.volume_path(volume);
            let Some(size_bytes) = pool.size_of(&source)? else {
                return Err(StorageError::NoSuchVolume { pool: pool.pool.clone(), uid: volume });
            };
            let mut from =
                File::open(&source).map_err(pool.failed(format!("open {}", source.display()), 0))?;
            let size_bytes = pool.make(&path, size_bytes, |to| copy(&mut from, to, size_bytes, &work))?;
            Ok(StoredSnapshot { name, size_bytes })
        })
        .await
    }

    async fn delete_snapshot(&self, volume: Uid, snapshot: &Name) -> Result<(), StorageError> {
        let name = snapshot.clone();
        self.run(move |pool| pool.remove(&pool.snapshot_path(volume, &name))).await
    }

    async fn delete(&self, volume: Uid) -> Result<(), StorageError> {
        self.run(move |pool| {
            // Who is still at it finds that its file has gone, and gives up.
            pool.remove_parts(&format!(".{volume}"));
            let found = pool.volumes()?.into_iter().find(|v| v.uid == volume);
            for snapshot in found.map(|v| v.snapshots).unwrap_or_default() {
                pool.remove(&pool.snapshot_path(volume, &snapshot.name))?;
            }
            // The volume last: as long as it is there, its snapshots are found.
            pool.remove(&pool.volume_path(volume))
        })
        .await
    }

    async fn attach(&self, volume: Uid) -> Result<DiskSource, StorageError> {
        self.run(move |pool| {
            let path = pool.volume_path(volume);
            match pool.size_of(&path)? {
                Some(_) => Ok(DiskSource::RawFile { path }),
                None => Err(StorageError::NoSuchVolume { pool: pool.pool.clone(), uid: volume }),
            }
        })
        .await
    }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
