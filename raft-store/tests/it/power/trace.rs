//! What a process asked of its disk, written down by a library that is preloaded into it
//! (`tests/power/trace.c`), which also plays a bad disk.

use std::path::{Path, PathBuf};
use std::process::Stdio;

#[derive(Debug, Clone)]
pub enum Event {
    Write { path: String, offset: u64, data: Vec<u8> },
    Zeros { path: String, offset: u64, length: u64 },
    SetLength { path: String, length: u64 },
    Create(String),
    Rename(String, String),
    Remove(String),
    MakeDir(String),
    SyncBegin { id: u64, path: String },
    SyncEnd { id: u64, path: String },
    SyncFail { id: u64, path: String },
    Said(String),
}

impl Event {
    /// The file or directory that it is about.
    pub fn path(&self) -> Option<&str> {
        match self {
            Event::Write { path, .. }
            | Event::Zeros { path, .. }
            | Event::SetLength { path, .. }
            | Event::Create(path)
            | Event::Rename(path, _)
            | Event::Remove(path)
            | Event::MakeDir(path)
            | Event::SyncBegin { path, .. }
            | Event::SyncEnd { path, .. }
            | Event::SyncFail { path, .. } => Some(path),
            Event::Said(_) => None,
        }
    }

    /// All paths in it.
    pub fn paths_mut(&mut self) -> Vec<&mut String> {
        match self {
            Event::Rename(from, to) => vec![from, to],
            Event::Write { path, .. }
            | Event::Zeros { path, .. }
            | Event::SetLength { path, .. }
            | Event::Create(path)
            | Event::Remove(path)
            | Event::MakeDir(path)
            | Event::SyncBegin { path, .. }
            | Event::SyncEnd { path, .. }
            | Event::SyncFail { path, .. } => vec![path],
            Event::Said(_) => Vec::new(),
        }
    }
}

pub fn parse(mut bytes: &[u8]) -> Vec<Event> {
    fn number(bytes: &mut &[u8]) -> Option<u64> {
        let (first, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(u64::from_le_bytes(*first))
    }
    fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let length = usize::try_from(number(bytes)?).ok()?;
        let (text, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(text)
    }
    let mut events = Vec::new();
    let mut next = || {
        let (kind, a, b) = (number(&mut bytes)?, number(&mut bytes)?, number(&mut bytes)?);
        let path = String::from_utf8_lossy(text(&mut bytes)?).into_owned();
        let data = text(&mut bytes)?;
        let string = || String::from_utf8_lossy(data).into_owned();
        Some(match kind {
            1 => Event::Write { path, offset: a, data: data.to_vec() },
            2 => Event::Zeros { path, offset: a, length: b },
            3 => Event::SetLength { path, length: a },
            4 => Event::Create(path),
            5 => Event::Rename(path, string()),
            6 => Event::Remove(path),
            7 => Event::MakeDir(path),
            8 => Event::SyncBegin { id: a, path },
            9 => Event::SyncEnd { id: a, path },
            10 => Event::Said(string()),
            11 => Event::SyncFail { id: a, path },
            other => panic!("a record of kind {other}"),
        })
    };
    // The kill may have cut the last record off.
    while let Some(event) = next() {
        events.push(event);
    }
    events
}

#[expect(clippy::disallowed_methods, reason = "the test compiles its own preloaded library")]
pub fn build_shim(dir: &Path) -> PathBuf {
    let library = dir.join("trace.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power/trace.c");
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl")
        .stderr(Stdio::inherit())
        .status()
        .unwrap();
    assert!(built.success());
    library
}

/// The environment of a process whose disk is watched. What it does below `data` is written to `trace`; `faults`
/// names the file that tells how bad the disk is.
pub fn watched(work: &Path, data: &Path, faults: Option<&Path>, trace: bool) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("LD_PRELOAD", build_shim(work).display().to_string()),
        ("TRACE_DIR", data.display().to_string()),
    ];
    if trace {
        environment.push(("TRACE_OUT", work.join("trace").display().to_string()));
    }
    environment.extend(faults.map(|faults| ("TRACE_FAULTS", faults.display().to_string())));
    environment
}
