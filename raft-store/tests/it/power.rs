//! Simulated power cuts. A child writes through the true engines while everything it asks of the disk is
//! written down (`tests/power/trace.c`). Then the disk is put together as a cut at some moment could
//! have left it: what was synced is there, of the rest an arbitrary part. The store must open on it
//! and know everything that had been acknowledged by that moment.
//!
//! Names and lengths become durable, in order, with the next sync of anything, as with ext4's journal.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use raft_store::Store;

use crate::disk::{collect_and_kill, open, spawn_child};

#[derive(Debug, Clone)]
enum Event {
    Write { path: String, offset: u64, data: Vec<u8> },
    Zeros { path: String, offset: u64, length: u64 },
    SetLength { path: String, length: u64 },
    Create(String),
    Rename(String, String),
    Remove(String),
    MakeDir(String),
    SyncBegin { id: u64, path: String },
    SyncEnd { id: u64 },
    Said(String),
}

fn parse(mut bytes: &[u8]) -> Vec<Event> {
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
            9 => Event::SyncEnd { id: a },
            10 => Event::Said(string()),
            other => panic!("a record of kind {other}"),
        })
    };
    // The kill may have cut the last record off.
    while let Some(event) = next() {
        events.push(event);
    }
    events
}

#[derive(Debug, Clone)]
enum Piece {
    Data(u64, Vec<u8>),
    Zeros(u64, u64),
}

#[derive(Debug, Clone)]
enum Change {
    Name(String, usize),
    Length(usize, u64),
    Rename(String, String),
    Remove(String),
    Dir(String),
}

type Names = BTreeMap<String, usize>;

fn rename(names: &mut Names, dirs: &mut BTreeSet<String>, from: &str, to: &str) {
    let moved = |path: &str| match path.strip_prefix(from) {
        Some("") => Some(to.to_owned()),
        Some(rest) if rest.starts_with('/') => Some(format!("{to}{rest}")),
        _ => None,
    };
    let paths: Vec<String> = names.keys().filter(|path| moved(path).is_some()).cloned().collect();
    for path in paths {
        let file = names.remove(&path).unwrap();
        names.insert(moved(&path).unwrap(), file);
    }
    *dirs = dirs.iter().map(|dir| moved(dir).unwrap_or_else(|| dir.clone())).collect();
}

/// What the disk surely holds, and what it may hold.
#[derive(Debug, Default)]
struct Disk {
    live: Names,
    live_dirs: BTreeSet<String>,
    names: Names,
    dirs: BTreeSet<String>,
    files: Vec<Vec<u8>>,
    unsynced: BTreeMap<usize, Vec<Piece>>,
    changes: Vec<Change>,
    /// Syncs under way: what they will make durable.
    begun: BTreeMap<u64, (Option<usize>, Vec<Piece>, usize)>,
    said: String,
}

impl Disk {
    fn play(&mut self, event: &Event, syncs_work: bool) {
        match event {
            Event::Write { path, offset, data } => self.wrote(path, Piece::Data(*offset, data.clone())),
            Event::Zeros { path, offset, length } => self.wrote(path, Piece::Zeros(*offset, *length)),
            Event::SetLength { path, length } => {
                let Some(file) = self.live.get(path).copied() else { return };
                if let Some(pieces) = self.unsynced.get_mut(&file) {
                    pieces.retain(
                        |piece| matches!(piece, Piece::Data(o, _) | Piece::Zeros(o, _) if o < length),
                    );
                }
                self.changes.push(Change::Length(file, *length));
            }
            Event::Create(path) => {
                self.files.push(Vec::new());
                let file = self.files.len() - 1;
                self.live.insert(path.clone(), file);
                self.changes.push(Change::Name(path.clone(), file));
            }
            Event::Rename(from, to) => {
                rename(&mut self.live, &mut self.live_dirs, from, to);
                self.changes.push(Change::Rename(from.clone(), to.clone()));
            }
            Event::Remove(path) => {
                self.live.remove(path);
                self.live_dirs.remove(path);
                self.changes.push(Change::Remove(path.clone()));
            }
            Event::MakeDir(path) => {
                self.live_dirs.insert(path.clone());
                self.changes.push(Change::Dir(path.clone()));
            }
            Event::SyncBegin { id, path } => {
                let file = self.live.get(path).copied();
                let pieces = file.and_then(|file| self.unsynced.remove(&file)).unwrap_or_default();
                self.begun.insert(*id, (file, pieces, self.changes.len()));
            }
            Event::SyncEnd { id } => {
                let Some((file, pieces, changes)) = self.begun.remove(id) else { return };
                if !syncs_work {
                    if let Some(file) = file {
                        let later = self.unsynced.remove(&file).unwrap_or_default();
                        self.unsynced.insert(file, pieces.into_iter().chain(later).collect());
                    }
                    return;
                }
                let due: Vec<Change> = self.changes.drain(..changes.min(self.changes.len())).collect();
                let drained = due.len();
                for (_, _, rest) in self.begun.values_mut() {
                    *rest = rest.saturating_sub(drained);
                }
                for change in due {
                    self.settle(change);
                }
                if let Some(file) = file {
                    for piece in pieces {
                        store(&mut self.files[file], &piece);
                    }
                }
            }
            Event::Said(text) => self.said.push_str(text),
        }
    }

    fn wrote(&mut self, path: &str, piece: Piece) {
        let file = *self.live.get(path).unwrap_or_else(|| panic!("{path} was written and never made"));
        self.unsynced.entry(file).or_default().push(piece);
    }

    fn settle(&mut self, change: Change) {
        match change {
            Change::Name(path, file) => drop(self.names.insert(path, file)),
            Change::Length(file, length) => self.files[file].resize(usize::try_from(length).unwrap(), 0),
            Change::Rename(from, to) => rename(&mut self.names, &mut self.dirs, &from, &to),
            Change::Remove(path) => {
                self.names.remove(&path);
                self.dirs.remove(&path);
            }
            Change::Dir(path) => drop(self.dirs.insert(path)),
        }
    }

    /// Puts the disk together as the cut leaves it: each write that was not synced is there with a chance
    /// of `early` percent, some of them in part.
    fn write_to(&self, dir: &Path, early: u64, chance: &mut Chance) {
        for name in &self.dirs {
            std::fs::create_dir_all(dir.join(name)).unwrap();
        }
        let begun = self.begun.values().filter_map(|(file, pieces, _)| Some(((*file)?, pieces)));
        let mut loose: BTreeMap<usize, Vec<&Piece>> = BTreeMap::new();
        for (file, pieces) in begun.chain(self.unsynced.iter().map(|(file, pieces)| (*file, pieces))) {
            loose.entry(file).or_default().extend(pieces);
        }
        for (name, file) in &self.names {
            let mut content = self.files[*file].clone();
            for piece in loose.get(file).into_iter().flatten() {
                if chance.draw(100) >= early {
                    continue;
                }
                match piece {
                    Piece::Data(offset, data) if chance.draw(4) == 0 => {
                        let sectors = data.len() as u64 / 512 + 1;
                        let length = usize::try_from(chance.draw(sectors) * 512).unwrap().min(data.len());
                        store(&mut content, &Piece::Data(*offset, data[..length].to_vec()));
                    }
                    piece => store(&mut content, piece),
                }
            }
            write_sparse(&dir.join(name), &content);
        }
    }
}

fn store(content: &mut Vec<u8>, piece: &Piece) {
    let (offset, length) = match piece {
        Piece::Data(offset, data) => (*offset, data.len() as u64),
        Piece::Zeros(offset, length) => (*offset, *length),
    };
    let (start, end) = (usize::try_from(offset).unwrap(), usize::try_from(offset + length).unwrap());
    if content.len() < end {
        content.resize(end, 0);
    }
    match piece {
        Piece::Data(_, data) => content[start..end].copy_from_slice(data),
        Piece::Zeros(..) => content[start..end].fill(0),
    }
}

fn write_sparse(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::fs::File::create(path).unwrap();
    file.set_len(content.len() as u64).unwrap();
    for (index, block) in content.chunks(1 << 16).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start((index << 16) as u64)).unwrap();
            file.write_all(block).unwrap();
        }
    }
}

/// Repeatable chance.
struct Chance(u64);

impl Chance {
    fn draw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below.max(1)
    }
}

#[expect(clippy::disallowed_methods, reason = "the test compiles its own preloaded library")]
fn build_shim(dir: &Path) -> PathBuf {
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

/// Runs a child under the shim until it has acknowledged `enough` writes; what it did to the disk.
fn record(dir: &Path, enough: usize) -> Vec<Event> {
    let library = build_shim(dir);
    let (data, trace) = (dir.join("data"), dir.join("trace"));
    std::fs::create_dir(&data).unwrap();
    let environment = [
        ("LD_PRELOAD", library.display().to_string()),
        ("TRACE_DIR", data.display().to_string()),
        ("TRACE_OUT", trace.display().to_string()),
    ];
    let acknowledged = collect_and_kill(spawn_child(&data, &environment), enough);
    assert!(acknowledged.len() >= enough, "the child ended by itself after {}", acknowledged.len());
    parse(&std::fs::read(trace).unwrap())
}

struct Cut {
    acknowledged: usize,
    missing: usize,
    error: Option<String>,
}

/// Cuts the power after `at` events and looks at what a store finds afterwards.
async fn cut(events: &[Event], at: usize, syncs_work: bool, seed: u64) -> Cut {
    let mut disk = Disk::default();
    for event in &events[..at] {
        disk.play(event, syncs_work);
    }
    let mut chance = Chance(seed);
    let dir = tempfile::tempdir().unwrap();
    disk.write_to(dir.path(), [0, 30, 70, 100][seed as usize % 4], &mut chance);
    let ids: Vec<&str> = disk.said.lines().filter_map(|line| Some(line.split_once("ack ")?.1)).collect();
    let found: Result<Result<(Store, u64), _>, _> =
        tokio::time::timeout(Duration::from_secs(30), open(dir.path())).await;
    match found {
        Ok(Ok((store, _))) => {
            let view = store.view();
            let missing = ids.iter().filter(|id| view.outcome(id).is_none()).count();
            store.kill().await;
            Cut { acknowledged: ids.len(), missing, error: None }
        }
        Ok(Err(error)) => Cut { acknowledged: ids.len(), missing: 0, error: Some(error.to_string()) },
        Err(_) => Cut { acknowledged: ids.len(), missing: 0, error: Some("it does not get to lead".into()) },
    }
}

#[test]
fn sixty_power_cuts_lose_nothing_acknowledged() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let events = record(dir.path(), 600);
    let first_sync = events.iter().position(|e| matches!(e, Event::SyncEnd { .. })).unwrap();
    let mut chance = Chance(42);
    let mut most = 0;
    for seed in 0..60 {
        let at = first_sync + usize::try_from(chance.draw((events.len() - first_sync) as u64)).unwrap();
        let cut = runtime.block_on(cut(&events, at, true, seed));
        assert_eq!(cut.error, None, "cut {seed} after {at} of {} events", events.len());
        assert_eq!(cut.missing, 0, "cut {seed} after {at} events: of {} acknowledged", cut.acknowledged);
        most = most.max(cut.acknowledged);
    }
    assert!(most > 300, "the cuts came too early: {most}");
}

#[test]
fn a_full_disk_stops_its_member_which_returns_when_there_is_space() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let library = build_shim(dir.path());
    let (data, full) = (dir.path().join("data"), dir.path().join("full"));
    std::fs::create_dir(&data).unwrap();
    let environment = [
        ("LD_PRELOAD", library.display().to_string()),
        ("TRACE_DIR", data.display().to_string()),
        ("TRACE_OUT", dir.path().join("trace").display().to_string()),
        ("TRACE_FULL", full.display().to_string()),
    ];
    let child = spawn_child(&data, &environment);
    let filler = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        std::fs::write(full, "").unwrap();
    });
    // The child ends by itself: its proposals fail once the disk is full.
    let acknowledged = collect_and_kill(child, usize::MAX);
    filler.join().unwrap();
    assert!(!acknowledged.is_empty());
    runtime.block_on(async {
        let (store, _) = open(&data).await.unwrap();
        let view = store.view();
        for id in &acknowledged {
            assert!(view.outcome(id).is_some(), "{id} was acknowledged and is gone");
        }
        store.shutdown().await;
    });
}

/// The test of the test: were syncs not to work, it would see it.
#[test]
fn without_syncs_power_cuts_do_lose_writes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let events = record(dir.path(), 100);
    // What was made before the first acknowledgement is kept, so that there is something to open.
    let start = events.iter().position(|e| matches!(e, Event::Said(s) if s.contains("ack "))).unwrap();
    let mut disk = Disk::default();
    for (index, event) in events.iter().enumerate() {
        disk.play(event, index < start);
    }
    let left = tempfile::tempdir().unwrap();
    disk.write_to(left.path(), 0, &mut Chance(1));
    let ids: Vec<&str> = disk.said.lines().filter_map(|line| Some(line.split_once("ack ")?.1)).collect();
    let (store, _) = runtime.block_on(open(left.path())).unwrap();
    let missing = ids.iter().filter(|id| store.view().outcome(id).is_none()).count();
    assert!(missing > 50, "only {missing} of {} are missing", ids.len());
    runtime.block_on(store.kill());
}
