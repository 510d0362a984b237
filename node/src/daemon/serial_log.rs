//! A guest's serial log, read from its end: the last lines, then what comes. The file may be rotated away
//! under the reader, or not be there yet.

use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{self, AsyncReadExt, AsyncSeekExt};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Where a log has lines without an end, this much of it is shown.
const LAST_BYTES_MAX: u64 = 4 << 20;
/// A log that is followed is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A log being read.
pub struct SerialLog {
    path: PathBuf,
    file: Option<File>,
    inode: u64,
    at: u64,
}

impl SerialLog {
    /// Opens the log so that its last `lines` lines are read first. A file that is not there is empty.
    pub async fn open(path: PathBuf, lines: usize) -> io::Result<Self> {
        let mut log = SerialLog { path, file: None, inode: 0, at: 0 };
        log.reopen().await?;
        if let Some(file) = &mut log.file {
            log.at = last_lines(file, lines).await?;
            file.seek(SeekFrom::Start(log.at)).await?;
        }
        Ok(log)
    }

    async fn reopen(&mut self) -> io::Result<()> {
        match File::open(&self.path).await {
            Ok(file) => {
                self.inode = file.metadata().await?.ino();
                self.file = Some(file);
                self.at = 0;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What there is to read now; empty: nothing more, at present.
    pub async fn read(&mut self) -> io::Result<Vec<u8>> {
        if self.file.is_none() {
            self.reopen().await?;
        }
        let Some(file) = &mut self.file else { return Ok(Vec::new()) };
        let mut data = vec![0; CHUNK];
        let length = file.read(&mut data).await?;
        data.truncate(length);
        self.at += length as u64;
        if length == 0 {
            self.notice_rotation().await?;
        }
        Ok(data)
    }

    /// Waits for something to read.
    pub async fn follow(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let data = self.read().await?;
            if !data.is_empty() {
                return Ok(data);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// At the end of a file that is no longer the log: goes on with the one that is.
    async fn notice_rotation(&mut self) -> io::Result<()> {
        match tokio::fs::metadata(&self.path).await {
            Ok(now) if now.ino() != self.inode || now.len() < self.at => self.reopen().await,
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Where the last `lines` lines begin.
async fn last_lines(file: &mut File, lines: usize) -> io::Result<u64> {
    let end = file.metadata().await?.len();
    let limit = end.saturating_sub(LAST_BYTES_MAX);
    let mut found = 0;
    let mut at = end;
    let mut data = vec![0; CHUNK];
    while at > limit {
        let from = at.saturating_sub(CHUNK as u64).max(limit);
        let length = (at - from) as usize;
        file.seek(SeekFrom::Start(from)).await?;
        file.read_exact(&mut data[..length]).await?;
        for (index, byte) in data[..length].iter().enumerate().rev() {
            let position = from + index as u64;
            // The last byte ends the last line; it begins none.
            if *byte == b'\n' && position + 1 < end {
                found += 1;
                if found == lines {
                    return Ok(position + 1);
                }
            }
        }
        at = from;
    }
    Ok(if lines == 0 { end } else { limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_lines_and_then_what_comes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.log");
        let mut early = SerialLog::open(path.clone(), 10).await.expect("opened");
        assert!(early.read().await.expect("read").is_empty(), "not there yet");
        std::fs::write(&path, "one\ntwo\nthree\n").expect("written");
        assert_eq!(early.read().await.expect("read"), b"one\ntwo\nthree\n");
        for (lines, shown) in [(1, "three\n"), (2, "two\nthree\n"), (9, "one\ntwo\nthree\n"), (0, "")] {
            let mut log = SerialLog::open(path.clone(), lines).await.expect("opened");
            assert_eq!(log.read().await.expect("read"), shown.as_bytes(), "{lines} lines");
        }
        let mut log = SerialLog::open(path.clone(), 1).await.expect("opened");
        log.read().await.expect("read");
        std::fs::rename(&path, folder.path().join("a.log.0")).expect("rotated");
        std::fs::write(&path, "four\n").expect("written");
        assert_eq!(log.follow().await.expect("read"), b"four\n", "goes on in the new file");
    }

    #[tokio::test]
    async fn a_log_of_one_endless_line_is_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.log");
        std::fs::write(&path, vec![b'x'; LAST_BYTES_MAX as usize + 1000]).expect("written");
        let log = SerialLog::open(path, 5).await.expect("opened");
        assert_eq!(log.at, 1000);
    }
}
