//! The true engines on files: restarts, kill -9 of real processes, lost and damaged files.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use bytes::Bytes;
use raft_store::{Alarm, Checkpoint, Engine, OpenError, Options, Store, Transaction};

use crate::network::{CLUSTER, Network, key, member, put};

/// Set in the environment of a child: the directory that it is to write in.
pub const CHILD_DIR: &str = "RAFT_STORE_CHILD_DIR";

pub fn options(dir: &Path) -> Options {
    let mut options = Options::new(Engine::Disk { dir: dir.to_owned() }, member(1), CLUSTER);
    options.timing.heartbeat = Duration::from_millis(10);
    options.timing.election_min = Duration::from_millis(30);
    options.timing.election_max = Duration::from_millis(60);
    // Checkpoints and purges must be met by the kills too.
    options.checkpoint = Checkpoint { entries: 40, keep: 10, ..Checkpoint::default() };
    options
}

pub async fn open(dir: &Path) -> Result<(Store, u64), OpenError> {
    let store = Store::open(options(dir), Network::default().transport(1)).await?;
    if store.status().borrow().last_log == 0 {
        // Refused when it was founded before.
        let _ = store.found().await;
    }
    let mut leadership = store.leadership();
    let leads = tokio::time::timeout(Duration::from_secs(20), leadership.wait_for(Option::is_some)).await;
    let term = leads.expect("a sole member leads").unwrap().unwrap().term;
    Ok((store, term))
}

async fn write(store: &Store, term: u64, name: &str, value: &str) {
    store.propose(term, vec![put(name, value)], 1).await.unwrap();
}

/// What a child does: writes numbers from four writers, and prints each once it is acknowledged.
fn write_for_ever(dir: &Path) -> ! {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (store, term) = open(dir).await.unwrap();
        let start = store.view().revision;
        let writers = (0..4).map(|writer| {
            let store = store.clone();
            async move {
                for count in 0.. {
                    let name = format!("k{}", count % 50);
                    let id = format!("{start}-{writer}-{count}");
                    let transaction = Transaction {
                        puts: vec![(key(&format!("w{writer}-{name}")), Bytes::from(vec![b'x'; 700]))],
                        request_id: Some(id.clone()),
                        ..Transaction::default()
                    };
                    if let Err(error) = store.propose(term, vec![transaction], 1).await {
                        eprintln!("child: {error}; {:?}", store.status().borrow().alarms);
                        return;
                    }
                    // One write, one line: a kill leaves whole lines and at most one cut off.
                    use std::io::Write;
                    let _ = std::io::stdout().lock().write_all(format!("ack {id}\n").as_bytes());
                }
            }
        });
        futures::future::join_all(writers).await;
    });
    // The disk refused: wait to be killed.
    std::process::exit(3)
}

/// Runs a test of this binary in a process of its own, with `variable` set to `value`.
#[expect(clippy::disallowed_methods, reason = "the test kills a process of its own, which is this binary")]
pub fn spawn(test: &str, variable: &str, value: &Path, environment: &[(&str, String)]) -> Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads", "1"])
        .env(variable, value)
        .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Not a test of its own: what the children run. Without the variable it has nothing to do.
#[test]
fn child() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        write_for_ever(Path::new(&dir));
    }
}

/// Reads acknowledged ids until `enough` are there, then kills the child and reads the rest.
pub fn collect_and_kill(mut child: Child, enough: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(Ok(line)) = lines.next() {
        acknowledged.extend(line.split_once("ack ").map(|(_, id)| id.to_owned()));
        if acknowledged.len() == enough {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    acknowledged
}

#[test]
fn a_hundred_kills_lose_nothing_acknowledged() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut total = 0;
    for round in 0..100_usize {
        let acknowledged =
            collect_and_kill(spawn("disk::child", CHILD_DIR, dir.path(), &[]), 1 + round * 7 % 150);
        assert!(!acknowledged.is_empty(), "round {round}: the child wrote nothing");
        total += acknowledged.len();
        // Opening takes as long as a child's start: every tenth kill is looked at, by what all
        // children since then were told.
        unchecked_push(&acknowledged);
        if round % 10 == 9 {
            runtime.block_on(async {
                let (store, _) = open(dir.path()).await.unwrap();
                let view = store.linearizable().await.unwrap();
                for id in UNCHECKED.with_borrow_mut(std::mem::take) {
                    assert!(view.outcome(&id).is_some(), "round {round}: {id} was acknowledged and is gone");
                }
                assert!(store.status().borrow().alarms.is_empty());
                store.kill().await;
            });
        }
    }
    assert!(total > 3000, "only {total} writes in 100 rounds");
}

thread_local! {
    static UNCHECKED: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn unchecked_push(acknowledged: &[String]) {
    UNCHECKED.with_borrow_mut(|all| all.extend_from_slice(acknowledged));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_finds_everything() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let (store, term) = open(dir.path()).await.unwrap();
        assert_eq!(store.view().len(), round * 100);
        for i in 0..100 {
            write(&store, term, &format!("r{round}-{i}"), "1").await;
        }
        store.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_is_damaged_or_gone_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.checkpoint.entries = 10_000;
    let open = || Store::open(options.clone(), Network::default().transport(1));
    let store = open().await.unwrap();
    store.found().await.unwrap();
    let term = store.leadership().borrow().unwrap().term;
    for i in 0..100 {
        write(&store, term, &format!("n{i}"), "1").await;
    }
    store.shutdown().await;
    drop(store);
    let state = dir.path().join("state-1");
    let database = state.join("db");
    let mut bytes = std::fs::read(&database).unwrap();
    for at in (0..bytes.len()).step_by(97) {
        bytes[at] ^= 0xff;
    }
    std::fs::write(&database, bytes).unwrap();
    let store = open().await.unwrap();
    let alarms = store.status().borrow().alarms.clone();
    let mut status = store.status();
    let seen = status.wait_for(|s| !s.alarms.is_empty()).await.unwrap().alarms.clone();
    assert!(matches!(&seen[..], [Alarm::StateRebuilt { .. }]), "{alarms:?} {seen:?}");
    store.leadership().wait_for(Option::is_some).await.unwrap();
    assert_eq!(store.linearizable().await.unwrap().len(), 100);
    assert!(dir.path().join("state.broken").exists());
    store.shutdown().await;
    drop(store);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("state") {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    let store = open().await.unwrap();
    store.leadership().wait_for(Option::is_some).await.unwrap();
    assert_eq!(store.linearizable().await.unwrap().len(), 100, "from the log alone");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_not_whole_or_not_ours_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, term) = open(dir.path()).await.unwrap();
    write(&store, term, "a", "1").await;
    let twice = open(dir.path()).await.err().unwrap();
    assert!(matches!(twice, OpenError::InUse { .. }), "{twice}");
    store.shutdown().await;
    drop(store);

    let transport = || Network::default().transport(1);
    let mut foreign = options(dir.path());
    foreign.cluster_id = "another".into();
    let error = Store::open(foreign, transport()).await.err().unwrap();
    assert!(matches!(error, OpenError::ForeignCluster { .. }), "{error}");
    let mut other = options(dir.path());
    other.me.id = 2;
    let error = Store::open(other, transport()).await.err().unwrap();
    assert!(matches!(error, OpenError::ForeignMember { expected: 2, found: 1 }), "{error}");

    let identity = dir.path().join("IDENTITY");
    let good = std::fs::read(&identity).unwrap();
    std::fs::write(&identity, &good[..good.len() - 1]).unwrap();
    let error = open(dir.path()).await.err().unwrap();
    assert!(matches!(error, OpenError::DamagedIdentity { .. }), "{error}");
    std::fs::write(&identity, &good).unwrap();

    std::fs::rename(dir.path().join("log"), dir.path().join("log.away")).unwrap();
    let error = open(dir.path()).await.err().unwrap();
    assert!(matches!(error, OpenError::LogMissing { .. }), "{error}");
    assert!(error.to_string().contains("join as a new member"), "{error}");
    std::fs::remove_file(&identity).unwrap();
    let error = open(dir.path()).await.err().unwrap();
    assert!(matches!(error, OpenError::LogMissing { .. }), "a state without a log: {error}");

    std::fs::rename(dir.path().join("log.away"), dir.path().join("log")).unwrap();
    let (store, _) = open(dir.path()).await.unwrap();
    assert_eq!(store.view().len(), 1);
    assert_eq!(std::fs::read(&identity).unwrap(), good, "the log bears witness");
    store.shutdown().await;
}
