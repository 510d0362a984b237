//! A disk as a power cut may leave it: what was synced is there, of the rest an arbitrary part. Names and lengths
//! become durable, in order, with the next sync of anything, as with ext4's journal.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use super::trace::Event;

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
pub struct Disk {
    live: Names,
    live_dirs: BTreeSet<String>,
    names: Names,
    dirs: BTreeSet<String>,
    files: Vec<Vec<u8>>,
    unsynced: BTreeMap<usize, Vec<Piece>>,
    changes: Vec<Change>,
    /// Syncs under way: what they will make durable.
    begun: BTreeMap<u64, (Option<usize>, Vec<Piece>, usize)>,
    /// What a failed sync should have made durable: no later one does.
    doubtful: BTreeMap<usize, Vec<Piece>>,
    pub said: String,
}

impl Disk {
    pub fn play(&mut self, event: &Event, syncs_work: bool) {
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
            Event::SyncEnd { id, .. } => {
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
            Event::SyncFail { id, .. } => {
                if let Some((Some(file), pieces, _)) = self.begun.remove(id) {
                    self.doubtful.entry(file).or_default().extend(pieces);
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
    pub fn write_to(&self, dir: &Path, early: u64, chance: &mut Chance) {
        for name in &self.dirs {
            std::fs::create_dir_all(dir.join(name)).unwrap();
        }
        let begun = self.begun.values().filter_map(|(file, pieces, _)| Some(((*file)?, pieces)));
        let mut loose: BTreeMap<usize, Vec<&Piece>> = BTreeMap::new();
        let begun = self.doubtful.iter().map(|(file, pieces)| (*file, pieces)).chain(begun);
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
pub struct Chance(pub u64);

impl Chance {
    pub fn draw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below.max(1)
    }
}
