//! Simulated power cuts. A child writes through the true engines while everything it asks of the disk is
//! written down. Then the disk is put together as a cut at some moment could have left it. The store must
//! open on it and know everything that had been acknowledged by that moment.

mod cluster;
mod model;
pub mod trace;

use std::path::Path;
use std::time::Duration;

use raft_store::Store;

use crate::disk::{CHILD_DIR, collect_and_kill, open, spawn};
pub use model::{Chance, Disk};
use trace::{Event, parse, watched};

/// Runs a child under the shim until it has acknowledged `enough` writes; what it did to the disk.
fn record(dir: &Path, enough: usize) -> Vec<Event> {
    let data = dir.join("data");
    std::fs::create_dir(&data).unwrap();
    let child = spawn("disk::child", CHILD_DIR, &data, &watched(dir, &data, None, true));
    let acknowledged = collect_and_kill(child, enough);
    assert!(acknowledged.len() >= enough, "the child ended by itself after {}", acknowledged.len());
    parse(&std::fs::read(dir.join("trace")).unwrap())
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
