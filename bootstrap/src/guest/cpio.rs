//! Writes the one archive format that the Linux kernel unpacks as its first file system.
//!
//! ```text
//! "070701" | 13 numbers of 8 hex digits | name NUL | pad to 4 | content | pad to 4     for each entry
//! … and an entry named TRAILER!!! at the end
//! ```
//! Numbers: inode, mode, uid, gid, links, mtime, size, device major/minor, special device major/minor, length of the
//! name with its NUL, checksum (unused). Times and owners are 0: the same input gives the same bytes.

use std::io::Write;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// An archive under construction.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a directory with mode 0755. Parents must be added before what they hold.
    pub fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY | 0o755, b"");
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, REGULAR | mode, content);
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, name: &str, target: &str) {
        self.entry(name, SYMLINK | 0o777, target.as_bytes());
    }

    /// Ends the archive and gives its bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("a guest's file is below 4 GiB");
        let name_len = u32::try_from(name.len() + 1).expect("names are short");
        let links = if mode & DIRECTORY != 0 { 2 } else { 1 };
        let numbers = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_len, 0];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            write!(self.bytes, "{number:08X}").expect("writing to memory cannot fail");
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_the_bytes_that_the_kernel_expects() {
        let mut archive = Archive::default();
        archive.directory("bin");
        archive.file("bin/x", 0o755, b"hello");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with(
            "07070100000001000041ED00000000000000000000000200000000000000000000000000000000\
             00000000000000000000000400000000bin\0"
        ));
        assert!(text.contains(
            "07070100000002000081ED00000000000000000000000100000000000000050000000000000000\
             00000000000000000000000600000000bin/x\0hello\0\0\0"
        ));
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
