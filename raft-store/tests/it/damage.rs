//! Damaged, missing and mixed-up files of one member. Each is refused with a plain message or healed; never does
//! a member come up without what it had acknowledged.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use raft_store::{Checkpoint, OpenError, Store, Transaction};

use crate::disk::{CHILD_DIR, collect_and_kill, open, options, spawn};
use crate::network::{Network, key, put};

const NAMES: usize = 60;
const ROUNDS: usize = 20;

/// Opens with small files of the log, so that there are several.
async fn open_small(dir: &Path) -> Result<(Store, u64), OpenError> {
    let mut options = options(dir);
    options.checkpoint = Checkpoint { entries: 400, keep: 10, bytes: 512 << 10 };
    let store = Store::open(options, Network::default().transport(1)).await?;
    // Refused when it was founded before.
    let _ = store.found().await;
    let mut leadership = store.leadership();
    let term = leadership.wait_for(Option::is_some).await.unwrap().unwrap().term;
    Ok((store, term))
}

fn value(round: usize, name: usize) -> Bytes {
    // The log is compressed: only noise makes it long.
    let mut noise = (round * NAMES + name) as u64 + 1;
    let byte = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 56) as u8
    };
    std::iter::repeat_with(byte).take(600).collect()
}

/// A directory with all kinds of files in it, and with everything in them that is counted on below.
async fn fill(dir: &Path) {
    let (store, term) = open_small(dir).await.unwrap();
    for round in 0..ROUNDS {
        let writes = (0..NAMES).map(|name| {
            let transaction =
                Transaction { puts: vec![(key(&format!("n{name}")), value(round, name))], ..put("x", "1") };
            let request_id = Some(format!("{round}-{name}"));
            store.propose(term, vec![Transaction { request_id, ..transaction }], 1)
        });
        for written in futures::future::join_all(writes).await {
            written.unwrap();
        }
    }
    store.kill().await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all.sort();
    all
}

/// What became of a directory: refused, or up with everything. Panics where something is missing.
async fn verdict(dir: &Path, what: &str) -> Option<OpenError> {
    match open_small(dir).await {
        Err(error) => {
            let said = error.to_string();
            let helps = ["join as a new member", "restore", "upgrade", "remove the data"];
            assert!(helps.iter().any(|help| said.contains(help)), "{what}: no advice in `{said}`");
            Some(error)
        }
        Ok((store, _)) => {
            let view = store.linearizable().await.unwrap();
            for round in 0..ROUNDS {
                for name in 0..NAMES {
                    let id = format!("{round}-{name}");
                    assert!(view.outcome(&id).is_some(), "{what}: {id} was acknowledged and is gone");
                }
            }
            for name in 0..NAMES {
                let entry = view.get(&key(&format!("n{name}"))).unwrap();
                assert_eq!(entry.value, value(ROUNDS - 1, name), "{what}: n{name} has another value");
            }
            store.kill().await;
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_in_any_file_are_refused_or_healed() {
    let work = tempfile::tempdir().unwrap();
    let good = work.path().join("good");
    fill(&good).await;
    let mut seed = 1_u64;
    let mut draw = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below.max(1)
    };
    let (mut refused, mut healed) = (0, 0);
    for file in files(&good) {
        let bytes = std::fs::read(&file).unwrap();
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        // The ends of files are where damage is most easily taken for a torn write.
        let near_end = (1..6).map(|back| written.saturating_sub(back * 7));
        let anywhere: Vec<usize> = (0..6).map(|_| draw(written)).collect();
        for at in near_end.chain(anywhere).filter(|at| *at < written) {
            let bad = work.path().join("bad");
            copy(&good, &bad);
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << draw(8);
            let name = file.strip_prefix(&good).unwrap();
            std::fs::write(bad.join(name), flipped).unwrap();
            match verdict(&bad, &format!("{} at {at} of {written}", name.display())).await {
                Some(_) => refused += 1,
                None => healed += 1,
            }
            std::fs::remove_dir_all(&bad).unwrap();
        }
    }
    println!("{refused} refused, {healed} healed or harmless");
    assert!(refused > 20, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_file_may_be_missing() {
    let work = tempfile::tempdir().unwrap();
    let good = work.path().join("good");
    fill(&good).await;
    let all = files(&good);
    let newest = all.iter().filter(|file| file.extension().is_some_and(|e| e == "raftlog")).max().unwrap();
    let mut newest_tried = false;
    for file in &all {
        let bad = work.path().join("bad");
        copy(&good, &bad);
        let name = file.strip_prefix(&good).unwrap();
        std::fs::remove_file(bad.join(name)).unwrap();
        let error = verdict(&bad, &format!("without {}", name.display())).await;
        println!("without {}: {}", name.display(), error.as_ref().map_or("well".into(), ToString::to_string));
        if file == newest {
            assert!(matches!(error, Some(OpenError::LogDamaged { .. })), "{error:?}");
            newest_tried = true;
        } else if ["IDENTITY", "SEAL", "log/LOCK"].contains(&name.to_str().unwrap()) {
            assert!(error.is_none(), "{error:?}");
        }
        std::fs::remove_dir_all(&bad).unwrap();
    }
    assert!(newest_tried && all.len() > 10, "{all:?}");
}

/// A flipped bit in the very last record looks like a torn write. Only the seal tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_acknowledged_record_is_not_taken_for_a_torn_one() {
    let dir = tempfile::tempdir().unwrap();
    let (store, term) = open(dir.path()).await.unwrap();
    for i in 0..30 {
        store.propose(term, vec![put(&format!("n{i}"), "1")], 1).await.unwrap();
    }
    // Long enough to be noted: the kill is to change nothing.
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    store.kill().await;
    let newest = newest_log(dir.path());
    let good = std::fs::read(&newest).unwrap();
    let written = good.iter().rposition(|byte| *byte != 0).unwrap();
    for back in [0, 3, 30, 60] {
        let mut bad = good.clone();
        bad[written - back] ^= 0x04;
        std::fs::write(&newest, bad).unwrap();
        let error = open(dir.path()).await.err().expect("what was acknowledged last is gone");
        assert!(matches!(&error, OpenError::LogDamaged { .. }), "{error}");
        assert!(error.to_string().contains("must not vote"), "{error}");
    }
    std::fs::write(&newest, good).unwrap();
    open(dir.path()).await.unwrap().0.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_an_older_time_is_refused() {
    let work = tempfile::tempdir().unwrap();
    let (dir, older) = (work.path().join("dir"), work.path().join("older"));
    let (store, term) = open(&dir).await.unwrap();
    store.propose(term, vec![put("a", "1")], 1).await.unwrap();
    store.shutdown().await;
    copy(&dir.join("log"), &older);
    let (store, term) = open(&dir).await.unwrap();
    store.propose(term, vec![put("b", "1")], 1).await.unwrap();
    store.shutdown().await;
    std::fs::remove_dir_all(dir.join("log")).unwrap();
    copy(&older, &dir.join("log"));
    let error = open(&dir).await.err().expect("it has forgotten b");
    assert!(matches!(&error, OpenError::LogDamaged { .. }), "{error}");
    assert!(error.to_string().contains("changes are gone"), "{error}");
}

fn newest_log(dir: &Path) -> PathBuf {
    let log = files(&dir.join("log"));
    log.into_iter().rfind(|path| path.extension().is_some_and(|e| e == "raftlog")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_told_from_a_torn_one() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path()).await.unwrap();
    store.shutdown().await;
    let early = std::fs::read(dir.path().join("SEAL")).unwrap();
    let child = spawn("disk::child", CHILD_DIR, dir.path(), &[]);
    let acknowledged = tokio::task::spawn_blocking(|| collect_and_kill(child, 30)).await.unwrap();
    let newest = newest_log(dir.path());
    let good = std::fs::read(&newest).unwrap();
    let written = good.iter().rposition(|byte| *byte != 0).unwrap();
    // In the middle: a record's head, where raft-engine would cut the rest off, and anything else.
    for at in (written / 2..written / 2 + 900).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        std::fs::write(&newest, &bad).unwrap();
        let error = open(dir.path()).await.err().expect("what was acknowledged behind the damage is gone");
        assert!(matches!(&error, OpenError::LogDamaged { .. }), "{error}");
        // Not a byte that was written is touched; what was only reserved behind them may go.
        let now = std::fs::read(&newest).unwrap();
        assert!(now[..=written] == bad[..=written], "the flipped bit at {at} made it cut something off");
    }
    // The last record cut in the middle, and not noted yet, is what a power cut leaves.
    std::fs::write(dir.path().join("SEAL"), early).unwrap();
    let mut torn = good;
    torn[written - 3..].fill(0);
    std::fs::write(&newest, torn).unwrap();
    let (store, _) = open(dir.path()).await.unwrap();
    let view = store.view();
    // One batch holds at most one write of each of the child's four writers.
    let missing = acknowledged.iter().filter(|id| view.outcome(id).is_none()).count();
    assert!(missing <= 4, "{missing} of {}", acknowledged.len());
    store.shutdown().await;
}
