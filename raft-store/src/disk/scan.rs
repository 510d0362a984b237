//! Tells a torn tail of the log from a damaged one, before raft-engine opens it. raft-engine cuts the newest file
//! at the first record that it can't read, whatever lies behind. The writer makes each record durable before it
//! writes the next: so a power cut may leave the last record torn, and nothing behind it. A record that is whole
//! behind one that is not means that the disk has lost what was acknowledged.
//!
//! ```text
//! file    magic (53 bytes), version u64, alignment u64
//! record  length << 8 | compression: u64, offset of the footer: u64, entries and their crc32, footer, crc32 ^ file number
//! ```
//! All of it big-endian but for the checksums.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const FILE_HEAD: usize = 53 + 8 + 8;
const RECORD_HEAD: usize = 16;
const CHECKSUM: usize = 4;

/// What was found at the end of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Whole records up to here, and then none.
    Ends { at: usize },
    /// The record here is damaged, and one behind it is whole.
    Damaged { at: usize, behind: usize },
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn sum_fits(bytes: &[u8], signature: u32) -> bool {
    match bytes.split_last_chunk::<CHECKSUM>() {
        Some((content, sum)) if !content.is_empty() => {
            crc32fast::hash(content) == u32::from_le_bytes(*sum) ^ signature
        }
        _ => false,
    }
}

/// The length and the footer's offset of a record that says that it begins here.
fn record_head(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let length = number(bytes, at)?;
    let footer = usize::try_from(number(bytes, at + 8)?).ok()?;
    let (length, compression) = (usize::try_from(length >> 8).ok()?, length as u8);
    let fits = at.checked_add(length)? <= bytes.len();
    (compression <= 1 && footer >= RECORD_HEAD && footer < length && fits).then_some((length, footer))
}

/// The length of the record here, if it is whole.
fn record(bytes: &[u8], at: usize, signature: u32) -> Option<usize> {
    let (length, footer) = record_head(bytes, at)?;
    let whole = sum_fits(&bytes[at + footer..at + length], signature)
        && (footer == RECORD_HEAD || sum_fits(&bytes[at + RECORD_HEAD..at + footer], 0));
    whole.then_some(length)
}

/// Looks over one file of the log. Records that the file held under an earlier number are none.
pub(super) fn tail(bytes: &[u8], signature: u32) -> Tail {
    let mut at = FILE_HEAD;
    while let Some(length) = record(bytes, at, signature) {
        at += length;
    }
    // Its length may be what is damaged: nothing is skipped.
    let mut behind = at + 1;
    while behind + RECORD_HEAD < bytes.len() {
        // Most of what is there are zeros.
        match bytes[behind..].iter().position(|byte| *byte != 0) {
            None => break,
            // A record's length begins with zeros.
            Some(zeros) => behind += zeros.saturating_sub(7),
        }
        if record(bytes, behind, signature).is_some() {
            return Tail::Damaged { at, behind };
        }
        behind += 1;
    }
    Tail::Ends { at }
}

/// The files of one kind, by number.
fn files(dir: &Path, extension: &str) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let (Some(number), true) = (number, path.extension().is_some_and(|e| e == extension)) {
            found.insert(number, path);
        }
    }
    Ok(found)
}

/// What is wrong with the newest file of the log, if anything, that raft-engine would cut off.
pub(super) fn newest(dir: &Path) -> io::Result<Option<String>> {
    let Some((number, path)) = files(dir, "raftlog")?.pop_last() else { return Ok(None) };
    Ok(match tail(&std::fs::read(&path)?, number as u32) {
        Tail::Ends { .. } => None,
        Tail::Damaged { at, behind } => {
            let name = path.display();
            Some(format!(
                "{name}: the record at {at} is damaged, though the one at {behind} was written after it"
            ))
        }
    })
}

/// What is wrong with the other files, which were full and have no tail. raft-engine does not open them then, and
/// may say no more than that it could not cut them off.
pub(super) fn older(dir: &Path) -> io::Result<Option<String>> {
    let mut files = files(dir, "raftlog")?;
    files.pop_last();
    for (number, path) in files {
        let bytes = std::fs::read(&path)?;
        let (Tail::Ends { at } | Tail::Damaged { at, .. }) = tail(&bytes, number as u32);
        if at != bytes.len() {
            return Ok(Some(format!("{}: the record at {at} is damaged", path.display())));
        }
    }
    Ok(None)
}

/// Makes the newest files durable as they are read. A process before this one may have written what it could
/// not sync: that lies in the kernel's cache, reads like the rest, and after an error no sync would write it.
pub(super) fn settle(dir: &Path) -> io::Result<()> {
    for extension in ["raftlog", "rewrite"] {
        let Some((number, path)) = files(dir, extension)?.pop_last() else { continue };
        let bytes = std::fs::read(&path)?;
        let Tail::Ends { at } = tail(&bytes, number as u32) else { continue };
        let file = OpenOptions::new().write(true).open(&path)?;
        file.write_all_at(&bytes[..at.min(bytes.len())], 0)?;
        file.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(records: &[&[u8]], signature: u32) -> Vec<u8> {
        let mut bytes = vec![1; FILE_HEAD];
        for entries in records {
            let footer = RECORD_HEAD + entries.len() + CHECKSUM;
            let length = footer + 3 + CHECKSUM;
            bytes.extend_from_slice(&((length as u64) << 8).to_be_bytes());
            bytes.extend_from_slice(&(footer as u64).to_be_bytes());
            bytes.extend_from_slice(entries);
            bytes.extend_from_slice(&crc32fast::hash(entries).to_le_bytes());
            bytes.extend_from_slice(b"end");
            bytes.extend_from_slice(&(crc32fast::hash(b"end") ^ signature).to_le_bytes());
        }
        bytes.extend_from_slice(&[0; 5000]);
        bytes
    }

    #[test]
    fn every_flipped_bit_before_the_last_record_is_told() {
        let good = file(&[b"first", b"second", b"third"], 7);
        let end = good.len() - 5000;
        assert_eq!(tail(&good, 7), Tail::Ends { at: end });
        let last = end - (RECORD_HEAD + 5 + CHECKSUM + 3 + CHECKSUM);
        // How the entries are packed is no concern of the scan: that comes out when they are read.
        let packing =
            |bit: usize| [FILE_HEAD, FILE_HEAD + 16 + 5 + 4 + 3 + 4].iter().any(|r| bit == (r + 7) * 8);
        for bit in (FILE_HEAD * 8..last * 8).filter(|bit| !packing(*bit)) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(tail(&bad, 7), Tail::Damaged { behind, .. } if behind <= last), "bit {bit}");
        }
        // The last one may be a torn write.
        for bit in (last * 8..end * 8).filter(|bit| *bit != (last + 7) * 8) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(tail(&bad, 7), Tail::Ends { at: last }, "bit {bit}");
        }
    }

    #[test]
    fn records_of_the_files_earlier_life_are_none() {
        let mut reused = file(&[b"a new one"], 8);
        let old = file(&[b"old", b"older", b"oldest"], 7);
        let from = FILE_HEAD + 40;
        reused.truncate(reused.len() - 5000);
        let end = reused.len();
        reused.extend_from_slice(&old[from..]);
        assert_eq!(tail(&reused, 8), Tail::Ends { at: end });
    }
}
