//! Disks that are full, read-only, slow, hung, or fail a sync. A member whose disk fails stops and says why; it
//! comes back when the disk is well; nothing acknowledged is lost, and the others go on.

use std::path::Path;
use std::time::Duration;

use crate::supervised::{Supervised, check};

fn finish(child: Supervised, members: u64) {
    let data = child.data.clone();
    let acknowledged = child.kill();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(check(&data, members, &acknowledged));
}

/// A sole member with this fault stops with an alarm that says `why`, and is back when the fault has gone.
fn stops_and_comes_back(rules: &str, why: &str) {
    let work = tempfile::tempdir().unwrap();
    let child = Supervised::start(work.path(), 1, false);
    let from = child.now();
    child.faults(rules);
    let (_, alarm) = child.wait(from, 60, |line| line.starts_with("alarm 1 "));
    assert!(alarm.contains(why), "{alarm}");
    std::thread::sleep(Duration::from_secs(2));
    println!("{rules}: {:?}", child.others(from));
    child.faults("");
    // Well again; it may be about to end once more.
    std::thread::sleep(Duration::from_millis(500));
    child.acknowledged_after(child.now(), 50, 60);
    finish(child, 1);
}

#[test]
fn a_full_disk_stops_its_member_which_returns_when_there_is_space() {
    stops_and_comes_back("full 0 /", "no space left");
}

#[test]
fn a_disk_that_is_full_in_mid_checkpoint_does_no_harm() {
    stops_and_comes_back("full 0 /state-", "checkpointing the state failed");
}

#[test]
fn a_disk_that_turns_read_only_stops_its_member() {
    stops_and_comes_back("readonly 0 /", "read-only");
}

#[test]
fn a_sync_that_fails_stops_its_member() {
    stops_and_comes_back("eio 0 /log/", "the disk refused to make the log durable");
}

/// The kernel forgets what it could not write: a later sync succeeds and has written nothing of it.
#[test]
fn what_a_sync_failed_to_write_is_not_called_durable_later() {
    use crate::power::{Chance, Disk, trace::parse};
    let work = tempfile::tempdir().unwrap();
    let child = Supervised::start(work.path(), 1, true);
    for _ in 0..5 {
        let from = child.now();
        child.faults("eio 0 /log/");
        child.wait(from, 60, |line| line.starts_with("alarm 1 "));
        child.faults("");
        child.acknowledged_after(child.now(), 30, 60);
    }
    child.kill();
    let events = parse(&std::fs::read(work.path().join("trace")).unwrap());
    let mut disk = Disk::default();
    for event in &events {
        disk.play(event, true);
    }
    let left = tempfile::tempdir().unwrap();
    disk.write_to(left.path(), 0, &mut Chance(1));
    let acknowledged: Vec<String> =
        disk.said.lines().filter_map(|line| Some(line.strip_prefix("ack ")?.to_owned())).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(check(left.path(), 1, &acknowledged));
}

#[test]
fn a_follower_with_a_slow_disk_slows_nobody() {
    let work = tempfile::tempdir().unwrap();
    let child = Supervised::start(work.path(), 3, false);
    let (before, _) = child.pace(Duration::from_secs(4));
    let leader = child.leader();
    let from = child.now();
    child.faults(&format!("slow 2000 /{}/", leader % 3 + 1));
    let (with, pause) = child.pace(Duration::from_secs(12));
    println!(
        "a follower whose syncs take 2 s: {before:.0} writes/s before, {with:.0} with it, longest pause {pause:?}"
    );
    println!("{:?}", child.others(from));
    assert!(with > before / 4.0, "{before} writes/s before, {with} with it");
    assert!(pause < Duration::from_secs(1), "{pause:?}");
    assert_eq!(child.leader(), leader);
    child.faults("");
    child.acknowledged_after(child.now(), 50, 60);
    finish(child, 3);
}

#[test]
fn a_leader_with_a_slow_or_hung_disk_loses_nothing() {
    for ms in [2000, 30_000] {
        let work = tempfile::tempdir().unwrap();
        let child = Supervised::start(work.path(), 3, false);
        let (before, _) = child.pace(Duration::from_secs(4));
        let from = child.now();
        child.faults(&format!("slow {ms} /{}/", child.leader()));
        let (with, pause) = child.pace(Duration::from_secs(15));
        println!(
            "a leader whose syncs take {ms} ms: {before:.0} writes/s before, {with:.0} with it, longest pause {pause:?}"
        );
        println!("{:?}", child.others(from));
        child.faults("");
        child.acknowledged_after(child.now(), 50, 90);
        finish(child, 3);
    }
}

const READ_ONLY: &str = "RAFT_STORE_CHILD_READ_ONLY";

/// Not a test of its own: opens a directory that is mounted read-only, in a mount namespace of its own.
#[test]
fn read_only_child() {
    let Some(dir) = std::env::var_os(READ_ONLY) else { return };
    read_only(Path::new(&dir)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let error = runtime.block_on(crate::disk::open(Path::new(&dir))).err().unwrap();
    println!("refused {error}");
}

fn read_only(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes()).unwrap();
    let none = std::ptr::null();
    let done = |result: i32| if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    // SAFETY: plain system calls on strings that live until after them.
    unsafe {
        done(libc::unshare(libc::CLONE_FS | libc::CLONE_NEWNS))?;
        done(libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()))?;
        done(libc::mount(path.as_ptr(), path.as_ptr(), none, libc::MS_BIND, none.cast()))?;
        let flags = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY;
        done(libc::mount(none, path.as_ptr(), none, flags, none.cast()))
    }
}

#[test]
fn a_read_only_mount_is_refused() {
    // SAFETY: it only asks who we are.
    if unsafe { libc::geteuid() } != 0 {
        println!("not tried: mounting needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { crate::disk::open(dir.path()).await.unwrap().0.shutdown().await });
    let child = crate::disk::spawn("bad_disks::read_only_child", READ_ONLY, dir.path(), &[]);
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let refused = said.lines().find_map(|line| line.split_once("refused ")).expect(&said).1;
    assert!(
        refused.contains("Read-only file system") && refused.contains(dir.path().to_str().unwrap()),
        "{refused}"
    );
}
