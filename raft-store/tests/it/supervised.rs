//! Members in a child process whose disk can be made bad. The process ends when one of them has stopped for good or
//! does not open, and is started again, as a daemon is by systemd. What happens is said on standard output, a
//! line for each thing:
//!
//! ```text
//! ack ID               a write was acknowledged
//! lead MEMBER TERM     a member leads
//! alarm MEMBER TEXT    a member has stopped
//! refused MEMBER TEXT  a member did not open
//! ```

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use raft_store::{Checkpoint, Engine, MemberId, Options, Store, Transaction};
use tokio::time::{Instant, sleep, timeout};

use crate::disk::spawn;
use crate::network::{CLUSTER, Network, key, member};
use crate::power::trace::watched;

const CHILD: &str = "RAFT_STORE_CHILD_SUPERVISED";
const MEMBERS: &str = "RAFT_STORE_CHILD_MEMBERS";
const WRITERS: u64 = 4;

pub fn options(dir: &Path, id: MemberId) -> Options {
    let mut options = Options::new(Engine::Disk { dir: dir.join(id.to_string()) }, member(id), CLUSTER);
    options.checkpoint = Checkpoint { entries: 200, keep: 50, bytes: 4 << 20 };
    options
}

fn say(line: &str) {
    use std::io::Write;
    let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}

type Running = Arc<Mutex<Vec<Store>>>;

async fn start(dir: &Path, network: &Network, id: MemberId, running: &Running) -> Store {
    match Store::open(options(dir, id), network.transport(id)).await {
        Ok(store) => {
            network.connect(&store);
            running.lock().push(store.clone());
            store
        }
        Err(error) => {
            say(&format!("refused {id} {error}"));
            std::process::exit(1);
        }
    }
}

async fn watch_over(store: Store) {
    let mut status = store.status();
    let status = status.wait_for(|status| status.is_fatal()).await.unwrap().clone();
    let alarms: String = status.alarms.iter().map(ToString::to_string).collect();
    say(&format!("alarm {} {alarms}", status.id));
    store.kill().await;
    std::process::exit(1);
}

async fn tell_leaders(running: Running) {
    let mut last = None;
    loop {
        let leads = |store: &Store| Some((store.options().me.id, (*store.leadership().borrow())?.term));
        let newest = running.lock().iter().filter_map(leads).max_by_key(|(_, term)| *term);
        if let Some((id, term)) = newest
            && newest != last
        {
            last = newest;
            say(&format!("lead {id} {term}"));
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn write(running: Running, writer: u64) {
    for count in 0.. {
        let id = format!("{writer}-{count}");
        let transaction = Transaction {
            puts: vec![(key(&format!("w{writer}-{}", count % 50)), Bytes::from(vec![b'x'; 700]))],
            request_id: Some(id.clone()),
            ..Transaction::default()
        };
        loop {
            let leads = |store: &Store| Some((store.clone(), (*store.leadership().borrow())?.term));
            let leader = running.lock().iter().filter_map(leads).max_by_key(|(_, term)| *term);
            if let Some((store, term)) = leader {
                let answer = store.propose(term, vec![transaction.clone()], 1);
                if matches!(timeout(Duration::from_secs(60), answer).await, Ok(Ok(_))) {
                    say(&format!("ack {id}"));
                    break;
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

async fn live(dir: PathBuf, members: u64) {
    // The test's own runner has begun a line.
    say("");
    let network = Network::default();
    let running = Running::default();
    let first = start(&dir, &network, 1, &running).await;
    // Refused when it was founded before.
    if first.found().await.is_ok() {
        for id in 2..=members {
            start(&dir, &network, id, &running).await;
            first.add_learner(member(id)).await.unwrap();
            first.promote(id).await.unwrap();
        }
    } else {
        for id in 2..=members {
            start(&dir, &network, id, &running).await;
        }
    }
    let stores = running.lock().clone();
    for store in stores {
        tokio::spawn(watch_over(store));
    }
    for writer in 0..WRITERS {
        tokio::spawn(write(running.clone(), writer));
    }
    drop(first);
    tell_leaders(running).await;
}

/// Not a test of its own: what the child runs. Without the variable it has nothing to do.
#[test]
fn child() {
    if let (Some(dir), Ok(members)) = (std::env::var_os(CHILD), std::env::var(MEMBERS)) {
        // What this prints would be lost among the panics of raft-engine that are caught.
        std::panic::set_hook(Box::new(|_| {}));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(live(dir.into(), members.parse().unwrap()));
    }
}

/// The child from outside.
pub struct Supervised {
    pub data: PathBuf,
    faults: PathBuf,
    /// `None` = it is to be started no more.
    child: Arc<Mutex<Option<Child>>>,
    lines: Arc<Mutex<Vec<(Instant, String)>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Supervised {
    pub fn start(work: &Path, members: u64, trace: bool) -> Supervised {
        let (data, faults) = (work.join("data"), work.join("faults"));
        std::fs::create_dir(&data).unwrap();
        let mut environment = watched(work, &data, Some(&faults), trace);
        environment.push((MEMBERS, members.to_string()));
        let spawn = {
            let data = data.clone();
            move || spawn("supervised::child", CHILD, &data, &environment)
        };
        let mut first = spawn();
        let mut output = first.stdout.take().unwrap();
        let child = Arc::new(Mutex::new(Some(first)));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (told, running) = (lines.clone(), child.clone());
        let reader = std::thread::spawn(move || {
            loop {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    told.lock().push((Instant::now(), line));
                }
                std::thread::sleep(Duration::from_millis(300));
                let mut running = running.lock();
                let Some(ended) = running.as_mut() else { return };
                ended.wait().unwrap();
                *ended = spawn();
                output = ended.stdout.take().unwrap();
            }
        });
        let started = Supervised { data, faults, child, lines, reader: Some(reader) };
        started.wait(0, 60, |line| line.starts_with("lead "));
        started.acknowledged_after(started.now(), 50, 60);
        started
    }

    /// How much has been said.
    pub fn now(&self) -> usize {
        self.lines.lock().len()
    }

    /// Makes the disk bad, or good again.
    pub fn faults(&self, rules: &str) {
        let new = self.faults.with_extension("new");
        std::fs::write(&new, format!("{rules}\n")).unwrap();
        std::fs::rename(new, &self.faults).unwrap();
    }

    /// The first line from `from` on that fits.
    pub fn wait(&self, from: usize, seconds: u64, fits: impl Fn(&str) -> bool) -> (Instant, String) {
        let until = Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(found) = self.lines.lock()[from..].iter().find(|(_, line)| fits(line)) {
                return found.clone();
            }
            assert!(Instant::now() < until, "not in {seconds} s; there was {:?}", self.others(from));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for so many acknowledgements after `from`.
    pub fn acknowledged_after(&self, from: usize, count: usize, seconds: u64) {
        let until = Instant::now() + Duration::from_secs(seconds);
        while self.acknowledged(from).len() < count {
            assert!(Instant::now() < until, "no {count} writes in {seconds} s; {:?}", self.others(from));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What else was said than acknowledgements.
    pub fn others(&self, from: usize) -> Vec<String> {
        let lines = self.lines.lock();
        lines[from..]
            .iter()
            .filter(|(_, line)| !line.starts_with("ack "))
            .map(|(_, line)| line.clone())
            .collect()
    }

    pub fn acknowledged(&self, from: usize) -> Vec<(Instant, String)> {
        let ack = |(at, line): &(Instant, String)| Some((*at, line.strip_prefix("ack ")?.to_owned()));
        self.lines.lock()[from..].iter().filter_map(ack).collect()
    }

    pub fn leader(&self) -> MemberId {
        let lines = self.lines.lock();
        let last = lines.iter().rev().find_map(|(_, line)| line.strip_prefix("lead ")).unwrap();
        last.split(' ').next().unwrap().parse().unwrap()
    }

    /// Writes per second and the longest pause between two of them, over some time.
    pub fn pace(&self, time: Duration) -> (f64, Duration) {
        let (from, start) = (self.now(), Instant::now());
        std::thread::sleep(time);
        let mut at: Vec<Instant> = self.acknowledged(from).into_iter().map(|(at, _)| at).collect();
        let count = at.len();
        at.insert(0, start);
        at.push(Instant::now());
        let longest = at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        (count as f64 / time.as_secs_f64(), longest)
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.lock().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }

    /// Kills the child; the ids of all acknowledged writes.
    pub fn kill(mut self) -> Vec<String> {
        self.stop();
        self.acknowledged(0).into_iter().map(|(_, id)| id).collect()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Opens the members on what a child has left, and looks for what it acknowledged.
pub async fn check(dir: &Path, members: u64, acknowledged: &[String]) {
    let network = Network::default();
    let mut stores = Vec::new();
    for id in 1..=members {
        let store = Store::open(options(dir, id), network.transport(id)).await.unwrap();
        network.connect(&store);
        stores.push(store);
    }
    let leader = async {
        loop {
            if let Some(leader) = stores.iter().find(|store| store.leadership().borrow().is_some())
                && let Ok(view) = leader.linearizable().await
            {
                return view;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let view = timeout(Duration::from_secs(60), leader).await.expect("they elect a leader");
    let missing: Vec<_> = acknowledged.iter().filter(|id| view.outcome(id).is_none()).collect();
    assert!(missing.is_empty(), "of {} acknowledged writes are gone: {missing:?}", acknowledged.len());
    for store in stores {
        store.shutdown().await;
    }
}
