//! Power cuts of whole clusters. One process runs all members, so that one trace has the order of everything;
//! clients write while members fail, lag, come and go. The power is then cut for all of them at one moment,
//! or for some earlier than for the rest. What is left must come up by itself with everything that was
//! acknowledged, and no member may differ from another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use raft_store::{Checkpoint, Engine, MemberId, Options, Outcome, Store, Transaction};
use tokio::time::{sleep, timeout};

use super::model::{Chance, Disk};
use super::trace::{Event, parse, watched};
use crate::disk::{collect_and_kill, spawn};
use crate::network::{CLUSTER, Network, key, member};

/// Set in the environment of a child: the directory that its members are to write in.
const CHILD: &str = "RAFT_STORE_CHILD_CLUSTER";
const WRITERS: u64 = 6;
const KEYS: u64 = 20;

fn options(dir: &Path, id: MemberId) -> Options {
    let mut options = Options::new(Engine::Disk { dir: dir.join(id.to_string()) }, member(id), CLUSTER);
    options.timing.heartbeat = Duration::from_millis(50);
    options.timing.election_min = Duration::from_millis(150);
    options.timing.election_max = Duration::from_millis(300);
    // Checkpoints, purges, new log files and snapshots must be met by the cuts.
    options.checkpoint = Checkpoint { entries: 30, keep: 5, bytes: 512 << 10 };
    options.peers = (1..=3).filter(|peer| *peer != id).map(member).collect();
    options
}

/// The running members of the child, and which of them have no power. A line is said with the lock held: a
/// member without power says nothing more.
#[derive(Default)]
struct Members {
    network: Network,
    running: Mutex<BTreeMap<MemberId, Store>>,
    down: Mutex<BTreeSet<MemberId>>,
}

/// One write, one line: a kill leaves whole lines and at most one cut off.
fn say(line: &str) {
    use std::io::Write;
    let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}

impl Members {
    async fn start(&self, dir: &Path, id: MemberId) -> Store {
        let store = Store::open(options(dir, id), self.network.transport(id)).await.unwrap();
        let mut down = self.down.lock();
        if down.remove(&id) {
            say(&format!("up {id}"));
        }
        self.network.heal(id);
        self.network.connect(&store);
        self.running.lock().insert(id, store.clone());
        store
    }

    async fn power_off(&self, id: MemberId) {
        let store = {
            let mut down = self.down.lock();
            down.insert(id);
            self.network.cut(id);
            say(&format!("down {id}"));
            self.running.lock().remove(&id)
        };
        if let Some(store) = store {
            store.kill().await;
        }
    }

    fn leader(&self) -> Option<(MemberId, Store, u64)> {
        let running = self.running.lock();
        running.iter().find_map(|(id, store)| {
            let leadership = *store.leadership().borrow();
            Some((*id, store.clone(), leadership?.term))
        })
    }

    async fn write_for_ever(&self, writer: u64) {
        for count in 0.. {
            let id = format!("{writer}-{count}");
            let mut value = format!("{count:08}").into_bytes();
            value.resize(700, b'x');
            let transaction = Transaction {
                puts: vec![(key(&format!("w{writer}-k{}", count % KEYS)), Bytes::from(value))],
                request_id: Some(id.clone()),
                ..Transaction::default()
            };
            loop {
                let Some((leader, store, term)) = self.leader() else {
                    sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let answer = store.propose(term, vec![transaction.clone()], 1);
                let answer = timeout(Duration::from_secs(1), answer).await;
                if matches!(answer, Ok(Ok(outcomes)) if matches!(outcomes[..], [Outcome::Applied { .. }])) {
                    let down = self.down.lock();
                    if !down.contains(&leader) {
                        say(&format!("ack {id}"));
                        break;
                    }
                }
                sleep(Duration::from_millis(10)).await;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// One member without power for a while, or cut off from the others, or new and removed again, or asked
    /// to lead.
    async fn disturb(&self, dir: &Path, chance: &mut Chance, next: &mut MemberId) {
        let one = 1 + chance.draw(3);
        let pause = Duration::from_millis(50 + chance.draw(400));
        match chance.draw(8) {
            0..=3 => {
                self.power_off(one).await;
                sleep(pause).await;
                if chance.draw(3) == 0 {
                    let other = one % 3 + 1;
                    self.power_off(other).await;
                    sleep(pause).await;
                    self.start(dir, other).await;
                }
                self.start(dir, one).await;
            }
            4 | 5 => {
                self.network.cut(one);
                sleep(pause * 2).await;
                self.network.heal(one);
            }
            6 => {
                say("changing");
                let new = *next;
                *next += 1;
                self.start(dir, new).await;
                if let Some((_, leader, _)) = self.leader() {
                    if leader.add_learner(member(new)).await.is_ok() {
                        let _ = leader.promote(new).await;
                    }
                    sleep(pause).await;
                }
                // A member that is gone must be no voter: the three that stay have to make a quorum.
                loop {
                    if let Some((_, leader, _)) = self.leader() {
                        let _ = timeout(Duration::from_secs(5), leader.remove(new)).await;
                        if !leader.status().borrow().members.iter().any(|m| m.member.id == new)
                            && timeout(Duration::from_secs(2), leader.linearizable())
                                .await
                                .is_ok_and(|r| r.is_ok())
                        {
                            break;
                        }
                    }
                    sleep(Duration::from_millis(100)).await;
                }
                say("changed");
                self.power_off(new).await;
            }
            _ => {
                if let Some((_, leader, _)) = self.leader() {
                    let _ = leader.transfer_leadership(one).await;
                }
            }
        }
        sleep(pause / 2).await;
    }
}

async fn live(dir: &Path) {
    let members = Arc::new(Members::default());
    let first = members.start(dir, 1).await;
    first.found().await.unwrap();
    for id in 2..=3 {
        members.start(dir, id).await;
        first.add_learner(member(id)).await.unwrap();
        first.promote(id).await.unwrap();
    }
    say("ready");
    for writer in 0..WRITERS {
        let members = members.clone();
        tokio::spawn(async move { members.write_for_ever(writer).await });
    }
    let mut chance = Chance(u64::from(std::process::id()));
    let mut next = 4;
    loop {
        members.disturb(dir, &mut chance, &mut next).await;
    }
}

/// Not a test of its own: what the child runs. Without the variable it has nothing to do.
#[test]
fn child() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(live(Path::new(&dir)));
    }
}

fn record(work: &Path, enough: usize) -> Vec<Event> {
    let data = work.join("data");
    std::fs::create_dir(&data).unwrap();
    let child = spawn("power::cluster::child", CHILD, &data, &watched(work, &data, None, true));
    let acknowledged = collect_and_kill(child, enough);
    assert!(acknowledged.len() >= enough, "the child ended by itself after {}", acknowledged.len());
    parse(&std::fs::read(work.join("trace")).unwrap())
}

/// The disks of all members, each with its own power.
#[derive(Default)]
struct Machines {
    disks: BTreeMap<MemberId, Disk>,
    /// Those without power now: their disks are as they were when it went.
    down: BTreeSet<MemberId>,
    /// What came to them after that, to be played when they are back.
    later: BTreeMap<MemberId, Vec<(Event, bool)>>,
    acknowledged: Vec<(u64, u64)>,
    said: String,
    changing: bool,
}

impl Machines {
    fn play(&mut self, event: &Event, syncs_work: bool) {
        if let Event::Said(text) = event {
            self.said.push_str(text);
            while let Some((line, rest)) = self.said.split_once('\n') {
                let (line, rest) = (line.to_owned(), rest.to_owned());
                self.said = rest;
                self.heard(&line);
            }
            return;
        }
        let Some((id, event)) = own(event) else { return };
        if self.down.contains(&id) {
            self.later.entry(id).or_default().push((event, syncs_work));
        } else {
            self.disks.entry(id).or_default().play(&event, syncs_work);
        }
    }

    fn ids(&self) -> Vec<MemberId> {
        self.disks.keys().copied().collect()
    }

    /// What the power cut leaves. A member of which everything is left was merely killed.
    fn write_to(&self, dir: &Path, chance: &mut Chance) {
        for (id, disk) in &self.disks {
            let left = dir.join(id.to_string());
            std::fs::create_dir(&left).unwrap();
            disk.write_to(&left, [0, 30, 70, 100][usize::try_from(chance.draw(4)).unwrap()], chance);
        }
    }

    fn heard(&mut self, line: &str) {
        // The test's own runner may have said something on the same line before.
        let word = |word: &str| Some(line.rsplit_once(word)?.1.to_owned());
        if let Some((writer, count)) = word("ack ").as_deref().and_then(|id| id.split_once('-')) {
            self.acknowledged.push((writer.parse().unwrap(), count.parse().unwrap()));
        } else if let Some(id) = word("down ") {
            self.down.insert(id.parse().unwrap());
        } else if let Some(id) = word("up ") {
            let id = id.parse().unwrap();
            self.down.remove(&id);
            for (event, syncs_work) in self.later.remove(&id).unwrap_or_default() {
                self.disks.entry(id).or_default().play(&event, syncs_work);
            }
        }
        self.changing = self.changing && !line.ends_with("changed") || line.ends_with("changing");
    }
}

/// Whose disk an event is about, and the event as that disk sees it.
fn own(event: &Event) -> Option<(MemberId, Event)> {
    let mut event = event.clone();
    let mut owner = None;
    for path in event.paths_mut() {
        let (id, rest) = path.split_once('/')?;
        owner = Some(id.parse().unwrap());
        *path = rest.to_owned();
    }
    Some((owner?, event))
}

/// What a cut showed.
#[derive(Default)]
struct Found {
    missing: Vec<String>,
    errors: Vec<String>,
    rebuilt: usize,
}

/// Opens all members on what is left of their disks, lets them elect, and looks for what was acknowledged.
async fn look(dir: &Path, ids: &[MemberId], acknowledged: &[(u64, u64)]) -> Found {
    let network = Network::default();
    // One may need the others to get its state back.
    let opening = ids.iter().map(|id| {
        let network = network.clone();
        async move {
            let store = Store::open(options(dir, *id), network.transport(*id)).await;
            store.inspect(|store| network.connect(store)).map_err(|error| format!("member {id}: {error}"))
        }
    });
    let opened = futures::future::join_all(opening).await;
    let mut found = Found::default();
    let mut stores = Vec::new();
    for one in opened {
        match one {
            Ok(store) => stores.push(store),
            Err(error) => found.errors.push(error),
        }
    }
    if found.errors.is_empty() {
        match timeout(Duration::from_secs(60), agree(&stores)).await {
            Ok(Ok(leader)) => found.missing = missing(&leader, acknowledged),
            Ok(Err(error)) => found.errors.push(error),
            Err(_) => found.errors.push("no agreement in a minute".into()),
        }
    }
    for store in stores {
        found.rebuilt += usize::from(!store.status().borrow().alarms.is_empty());
        store.kill().await;
    }
    found
}

fn missing(leader: &Store, acknowledged: &[(u64, u64)]) -> Vec<String> {
    let view = leader.view();
    let mut missing = Vec::new();
    let mut newest: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for (writer, count) in acknowledged {
        if view.outcome(&format!("{writer}-{count}")).is_none() {
            missing.push(format!("request {writer}-{count}"));
        }
        newest.insert((*writer, count % KEYS), *count);
    }
    for ((writer, name), count) in newest {
        let value = view.get(&key(&format!("w{writer}-k{name}"))).map(|entry| entry.value.clone());
        let stored = value.and_then(|v| std::str::from_utf8(&v[..8]).unwrap().parse::<u64>().ok());
        // A later write may have been on its way.
        if !stored.is_some_and(|stored| stored >= count && stored % KEYS == name) {
            missing.push(format!("value {writer}-{count}: there is {stored:?}"));
        }
    }
    missing
}

/// Waits until there is a leader and all its voters show the same, to the byte, at one revision.
async fn agree(stores: &[Store]) -> Result<Store, String> {
    loop {
        sleep(Duration::from_millis(50)).await;
        let Some(leader) = stores.iter().find(|store| store.leadership().borrow().is_some()) else {
            continue;
        };
        let Ok(view) = leader.linearizable().await else { continue };
        let voters: Vec<_> =
            leader.status().borrow().members.iter().filter(|m| m.voter).map(|m| m.member.id).collect();
        let mut backups = BTreeMap::new();
        for store in stores.iter().filter(|store| voters.contains(&store.options().me.id)) {
            if store.applied(view.revision, Duration::from_secs(20)).await.is_err() {
                break;
            }
            let mut bytes = Vec::new();
            let (revision, _) = store.export(&mut bytes).await.unwrap();
            backups.insert(store.options().me.id, (revision, bytes));
        }
        let (_, (revision, first)) = backups.first_key_value().ok_or("no voter is there")?;
        if backups.len() < voters.len() || backups.values().any(|(r, _)| r != revision) {
            continue;
        }
        if let Some((id, _)) = backups.iter().find(|(_, (_, bytes))| bytes != first) {
            return Err(format!("member {id} differs at revision {revision}"));
        }
        return Ok(leader.clone());
    }
}

/// Moments to cut at: half of them anywhere, a quarter where a checkpoint, a snapshot or a log file is being
/// written, a quarter where members change.
fn moments(events: &[Event], count: usize, chance: &mut Chance) -> Vec<usize> {
    let ready = events.iter().position(|e| matches!(e, Event::Said(s) if s.contains("ready"))).unwrap();
    let (mut files, mut changes) = (Vec::new(), Vec::new());
    let mut changing = false;
    for (at, event) in events.iter().enumerate().skip(ready) {
        if let Event::Said(text) = event {
            changing = changing && !text.contains("changed") || text.contains("changing");
        }
        if changing {
            changes.push(at);
        }
        let state = event.path().is_some_and(|path| path.contains("/state-"));
        if state || matches!(event, Event::Rename(..) | Event::Remove(_) | Event::Create(_)) {
            files.push(at);
        }
    }
    let any: Vec<usize> = (ready..events.len()).collect();
    let mut at = Vec::new();
    for index in 0..count {
        let from = [&any, &files, &any, &changes][index % 4];
        at.extend(from.get(usize::try_from(chance.draw(from.len() as u64)).unwrap()));
    }
    at.sort_unstable();
    at
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// What a number of cuts of one run showed together.
#[derive(Debug, Default)]
struct Seen {
    cuts: usize,
    acknowledged: usize,
    /// Cuts with one of the first three without power since earlier, and in a change of members.
    some_down: usize,
    changing: usize,
    /// In the run: members added and removed, states written anew (snapshots among them), log files begun.
    added: usize,
    renewed: usize,
    log_files: usize,
    /// Members that set their state database aside when they came up.
    rebuilt: usize,
}

fn cut_one_run(runtime: &tokio::runtime::Runtime, cuts: usize, chance: &mut Chance) -> Seen {
    let work = tempfile::tempdir().unwrap();
    let events = record(work.path(), 5000);
    let moments = moments(&events, cuts, chance);
    let mut machines = Machines::default();
    let mut seen = Seen { cuts: moments.len(), ..Seen::default() };
    let mut played = 0;
    // A few at a time: they mostly wait for elections.
    for some in moments.chunks(4) {
        let mut left = Vec::new();
        for at in some {
            for event in &events[played..*at] {
                machines.play(event, true);
            }
            played = *at;
            let dir = tempfile::tempdir().unwrap();
            machines.write_to(dir.path(), chance);
            seen.some_down += usize::from(machines.down.iter().any(|id| *id <= 3));
            seen.changing += usize::from(machines.changing);
            left.push((*at, dir, machines.ids(), machines.acknowledged.clone()));
        }
        let looks = left.iter().map(|(_, dir, ids, acknowledged)| look(dir.path(), ids, acknowledged));
        let found = runtime.block_on(futures::future::join_all(looks));
        for (found, (at, dir, _, acknowledged)) in found.into_iter().zip(left) {
            if !found.errors.is_empty() || !found.missing.is_empty() {
                panic!(
                    "cut after {at} of {} events, {} acknowledged: {:?}; missing: {:?}; see {}",
                    events.len(),
                    acknowledged.len(),
                    found.errors,
                    found.missing,
                    dir.keep().display(),
                );
            }
            seen.rebuilt += found.rebuilt;
            seen.acknowledged = acknowledged.len();
        }
    }
    seen.added = machines.disks.len() - 3;
    let renewed = |event: &&Event| matches!(event, Event::Rename(from, _) if from.ends_with(".tmp") && from.contains("state-"));
    seen.renewed = events.iter().filter(renewed).count();
    let begun = |event: &&Event| matches!(event, Event::Rename(_, to) | Event::Create(to) if to.ends_with(".raftlog"));
    seen.log_files = events.iter().filter(begun).count();
    seen
}

/// `PVC_POWER_CUTS` says how many; each 60 of them have a run of their own.
#[test]
fn power_cuts_of_a_whole_cluster_lose_nothing_acknowledged() {
    let mut left = std::env::var("PVC_POWER_CUTS").map_or(60, |cuts| cuts.parse().unwrap());
    let runtime = runtime();
    let mut chance = Chance(u64::from(std::process::id()));
    while left > 0 {
        let seen = cut_one_run(&runtime, left.min(60), &mut chance);
        left -= seen.cuts;
        println!("{seen:?}");
        assert!(seen.acknowledged > 2000, "the cuts came too early");
        assert!(seen.renewed > 10 && seen.log_files > 20, "too little was going on: {seen:?}");
    }
}

/// The test of the test: were syncs not to work, it would see it.
#[test]
fn without_syncs_power_cuts_of_a_whole_cluster_do_lose_writes() {
    let work = tempfile::tempdir().unwrap();
    let events = record(work.path(), 400);
    let ready = events.iter().position(|e| matches!(e, Event::Said(s) if s.contains("ready"))).unwrap();
    let mut machines = Machines::default();
    for (index, event) in events.iter().enumerate() {
        machines.play(event, index < ready);
    }
    let dir = tempfile::tempdir().unwrap();
    machines.write_to(dir.path(), &mut Chance(1));
    let found = runtime().block_on(look(dir.path(), &machines.ids(), &machines.acknowledged));
    assert!(found.missing.len() > 100 || !found.errors.is_empty(), "{:?}", found.missing);
    println!("{} missing, {:?}", found.missing.len(), found.errors);
}
