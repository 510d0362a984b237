//! Checkpoints of the state in sled, by the recipe without which sled loses data: after opening, its `conf`
//! and its folders are synced; a checkpoint is one batch, one flush and then our own fdatasync of its
//! file, all from one thread. A database that does not open or does not add up is set aside: everything
//! in it can be had again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use imbl::ordmap::DiffItem;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::engine::{IoFigures, StateEngine};
use crate::form::{ObjectForm, Record, RequestForm, StateHeadForm, decode};
use crate::guard::{guarded, guarded_with_threads};
use crate::key::Key;
use crate::state::{State, object_form, request_form};

use super::durable::{create_dir, sync_dir, sync_tree};

const HEAD: &[u8] = b"m";
const OBJECT: u8 = b'o';
const REQUEST: u8 = b'r';
const CACHE_BYTES: u64 = 8 << 20;
/// Times that a locked database is tried again, 10 ms apart.
const LOCK_TRIES: u32 = 1000;
/// Of the thread that writes checkpoints: nobody waits for them, and a large one takes a second of a CPU.
const NICENESS: libc::c_int = 10;
/// A checkpoint with more changes than this is written anew: sled keeps a batch in memory whole.
const BATCH_BYTES: usize = 16 << 20;

fn object_key(key: &Key) -> Vec<u8> {
    let mut bytes = vec![OBJECT];
    bytes.extend_from_slice(key.collection.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(key.name.as_bytes());
    bytes
}

fn request_key(id: &str) -> Vec<u8> {
    let mut bytes = vec![REQUEST];
    bytes.extend_from_slice(id.as_bytes());
    bytes
}

/// The head, after the number of records that must be there.
fn head_value(state: &State) -> Vec<u8> {
    let mut bytes = ((state.entries.len() + state.requests.len()) as u64).to_be_bytes().to_vec();
    bytes.extend_from_slice(&state.head().encode_to_vec());
    bytes
}

/// An open database and its directory.
pub(super) struct Database {
    db: sled::Db,
    file: File,
    generation: u64,
}

fn path_of(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("state-{generation}"))
}

/// The generations there are, by number.
fn generations(dir: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_prefix("state-")?.parse().ok());
        if let Some(number) = number {
            found.insert(number, path);
        }
    }
    Ok(found)
}

pub(super) fn exists(dir: &Path) -> io::Result<bool> {
    Ok(!generations(dir)?.is_empty())
}

fn open_db(path: &Path) -> io::Result<(sled::Db, File)> {
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let mut tries = 0;
    let db = loop {
        match guarded_with_threads(|| config.open()) {
            Some(Ok(db)) => break db,
            // A database that was closed keeps its lock until the last of sled's own threads lets go.
            Some(Err(error)) if tries < LOCK_TRIES && error.to_string().contains("acquire lock") => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            Some(Err(error)) => return Err(io::Error::other(error)),
            None => return Err(io::Error::other("sled gave up on it")),
        }
    };
    // sled writes these and never syncs them.
    File::open(path.join("conf"))?.sync_all()?;
    let blobs = path.join("blobs");
    if blobs.exists() {
        sync_dir(&blobs)?;
    }
    let file = File::open(path.join("db"))?;
    file.sync_all()?;
    sync_dir(path)?;
    path.parent().map_or(Ok(()), sync_dir)?;
    Ok((db, file))
}

fn load(db: &sled::Db) -> io::Result<State> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let head = db.get(HEAD).map_err(io::Error::other)?.ok_or_else(|| wrong("it has no head"))?;
    let (count, head) = head.split_first_chunk().ok_or_else(|| wrong("its head is cut off"))?;
    let mut state = State::from_head(decode::<StateHeadForm>("state head", head)?)?;
    let mut records = 0;
    for item in db.iter() {
        let (key, value) = item.map_err(io::Error::other)?;
        let record = match key.first() {
            Some(&OBJECT) => Record::Object(decode::<ObjectForm>("object", &value[..])?),
            Some(&REQUEST) => Record::Request(decode::<RequestForm>("request", &value[..])?),
            _ => continue,
        };
        state.insert(record)?;
        records += 1;
    }
    if records != u64::from_be_bytes(*count) {
        return Err(wrong("records are missing from it"));
    }
    Ok(state)
}

/// Opens the newest generation. One that is of no use is set aside, with the reason.
pub(super) fn open(
    dir: &Path,
    cluster_id: &str,
) -> io::Result<(Option<Database>, Option<State>, Option<String>)> {
    remove_leftovers(dir)?;
    let mut found = generations(dir)?;
    let Some((generation, path)) = found.pop_last() else { return Ok((None, None, None)) };
    for older in found.values() {
        fs::remove_dir_all(older)?;
    }
    let opened = open_db(&path).and_then(|(db, file)| {
        let state = guarded_with_threads(|| load(&db))
            .unwrap_or_else(|| Err(io::Error::other("sled gave up on it")))?;
        if *state.cluster_id != *cluster_id {
            return Err(io::Error::other(format!("it belongs to cluster {}", state.cluster_id)));
        }
        Ok((db, file, state))
    });
    match opened {
        Ok((db, file, state)) => Ok((Some(Database { db, file, generation }), Some(state), None)),
        Err(error) => {
            let aside = dir.join("state.broken");
            if aside.exists() {
                fs::remove_dir_all(&aside)?;
            }
            fs::rename(&path, &aside)?;
            sync_dir(dir)?;
            let reason = format!("{}: {error}; it now lies in {}", path.display(), aside.display());
            Ok((None, None, Some(reason)))
        }
    }
}

fn remove_leftovers(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        if name.starts_with("state-") && name.ends_with(".tmp") {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

/// Writes `state` as a new generation and drops the old one. A crash at any point leaves one or the other.
pub(super) fn replace(dir: &Path, old: Option<Database>, state: &State) -> io::Result<Database> {
    let generation = match &old {
        Some(old) => old.generation + 1,
        None => generations(dir)?.last_key_value().map_or(1, |(newest, _)| newest + 1),
    };
    let path = path_of(dir, generation);
    let temporary = dir.join(format!("state-{generation}.tmp"));
    if temporary.exists() {
        fs::remove_dir_all(&temporary)?;
    }
    create_dir(&temporary)?;
    let (db, file) = open_db(&temporary)?;
    let mut batch = SizedBatch::default();
    for (key, entry) in &state.entries {
        batch.insert(object_key(key), object_form(key, entry).encode_to_vec());
        batch.apply_if_full(&db)?;
    }
    for (id, recorded) in &state.requests {
        batch.insert(request_key(id), request_form(id, recorded).encode_to_vec());
        batch.apply_if_full(&db)?;
    }
    batch.insert(HEAD.to_vec(), head_value(state));
    batch.apply(&db)?;
    db.flush().map_err(io::Error::other)?;
    drop((db, file));
    // sled is closed now; what it wrote is made durable before it gets its name.
    sync_tree(&temporary)?;
    fs::rename(&temporary, &path)?;
    sync_dir(dir)?;
    if let Some(old) = old {
        let old_path = path_of(dir, old.generation);
        drop(old);
        fs::remove_dir_all(old_path)?;
    }
    let (db, file) = open_db(&path)?;
    Ok(Database { db, file, generation })
}

/// A batch that knows its size.
#[derive(Default)]
struct SizedBatch {
    batch: sled::Batch,
    bytes: usize,
}

impl SizedBatch {
    fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.batch.insert(key, value);
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.bytes += key.len();
        self.batch.remove(key);
    }

    fn apply_if_full(&mut self, db: &sled::Db) -> io::Result<()> {
        if self.bytes < 1 << 20 { Ok(()) } else { self.apply(db) }
    }

    fn apply(&mut self, db: &sled::Db) -> io::Result<()> {
        self.bytes = 0;
        db.apply_batch(std::mem::take(&mut self.batch)).map_err(io::Error::other)
    }
}

/// What leads from one checkpoint to the next.
fn difference(old: &State, new: &State) -> SizedBatch {
    let mut batch = SizedBatch::default();
    for item in old.entries.diff(&new.entries) {
        match item {
            DiffItem::Add(key, entry) | DiffItem::Update { new: (key, entry), .. } => {
                batch.insert(object_key(key), object_form(key, entry).encode_to_vec());
            }
            DiffItem::Remove(key, _) => batch.remove(object_key(key)),
        }
    }
    for item in old.requests.diff(&new.requests) {
        match item {
            DiffItem::Add(id, recorded) | DiffItem::Update { new: (id, recorded), .. } => {
                batch.insert(request_key(id), request_form(id, recorded).encode_to_vec());
            }
            DiffItem::Remove(id, _) => batch.remove(request_key(id)),
        }
    }
    batch.insert(HEAD.to_vec(), head_value(new));
    batch
}

/// Lets all others have the CPU first; the threads that sled starts from this one inherit it.
fn step_back() {
    // SAFETY: a system call that takes numbers, and touches this thread's priority only.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, libc::gettid() as libc::id_t, NICENESS) };
    if result != 0 {
        tracing::debug!(error = %io::Error::last_os_error(), "the state's writer keeps its priority");
    }
}

enum Job {
    Checkpoint { state: Arc<State>, replace: bool, done: oneshot::Sender<io::Result<()>> },
    Close(oneshot::Sender<()>),
}

/// The state database's thread, from outside.
pub(super) struct Writer {
    jobs: Mutex<mpsc::Sender<Job>>,
}

impl Writer {
    pub fn start(
        dir: &Path,
        database: Option<Database>,
        checkpoint: Option<State>,
        figures: Arc<IoFigures>,
    ) -> io::Result<Arc<Writer>> {
        let (jobs, queue) = mpsc::channel();
        let mut thread = Thread { dir: dir.to_owned(), database, checkpoint, figures };
        let run = move || {
            step_back();
            thread.run(&queue);
        };
        std::thread::Builder::new().name("raft-state".into()).spawn(run)?;
        Ok(Arc::new(Writer { jobs: Mutex::new(jobs) }))
    }
}

impl StateEngine for Writer {
    fn checkpoint(&self, state: Arc<State>, replace: bool) -> oneshot::Receiver<io::Result<()>> {
        let (done, receiver) = oneshot::channel();
        // A thread that has ended drops `done`, and the receiver learns of it.
        let _ = self.jobs.lock().send(Job::Checkpoint { state, replace, done });
        receiver
    }

    fn close(&self) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        let _ = self.jobs.lock().send(Job::Close(done));
        receiver
    }
}

struct Thread {
    dir: PathBuf,
    database: Option<Database>,
    checkpoint: Option<State>,
    figures: Arc<IoFigures>,
}

impl Thread {
    fn run(&mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            match job {
                Job::Close(done) => {
                    self.database = None;
                    let _ = done.send(());
                    return;
                }
                Job::Checkpoint { state, replace, done } => {
                    let result = guarded(|| self.write(&state, replace))
                        .unwrap_or_else(|| Err(io::Error::other("sled gave up on the state database")));
                    if let Err(error) = &result {
                        self.figures.failed(format!("checkpointing the state failed: {error}"));
                    }
                    let failed = result.is_err();
                    let _ = done.send(result);
                    if failed {
                        return;
                    }
                }
            }
        }
    }

    fn write(&mut self, state: &Arc<State>, anew: bool) -> io::Result<()> {
        let start = Instant::now();
        let batch = match (&self.database, &self.checkpoint) {
            (Some(_), Some(checkpoint)) if !anew => Some(difference(checkpoint, state)),
            _ => None,
        };
        match (&self.database, batch) {
            (Some(database), Some(mut batch)) if batch.bytes <= BATCH_BYTES => {
                batch.apply(&database.db)?;
                database.db.flush().map_err(io::Error::other)?;
                database.file.sync_data()?;
            }
            _ => self.database = Some(replace(&self.dir, self.database.take(), state)?),
        }
        self.checkpoint = Some((**state).clone());
        self.figures.checkpointed(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
        Ok(())
    }
}
