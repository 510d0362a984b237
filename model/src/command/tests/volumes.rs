use crate::command::Command::{self, *};
use crate::command::VolumeReport;
use crate::task::TaskState::{Failed, Running, Succeeded};
use crate::testing::{Cluster, disk, name, spec};
use crate::volume::{CloneSource, VolumePhase, VolumeSpec};

const GIB: u64 = 1 << 30;

fn create(n: &str, size_bytes: u64) -> Command {
    let spec = VolumeSpec { pool: name("shared"), size_bytes, clone_of: None };
    CreateVolume { name: name(n), spec }
}

fn clone(n: &str, of: &str, snapshot: Option<&str>) -> Command {
    let source = CloneSource { volume: name(of), snapshot: snapshot.map(name) };
    let spec = VolumeSpec { pool: name("shared"), size_bytes: 0, clone_of: Some(source) };
    CreateVolume { name: name(n), spec }
}

fn delete(n: &str) -> Command {
    DeleteVolume { name: name(n), expected_revision: 0 }
}

fn resize(n: &str, size_bytes: u64) -> Command {
    ResizeVolume { name: name(n), size_bytes, expected_revision: 0 }
}

#[test]
fn made_grown_and_deleted() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    c.ok(create("d", GIB));
    assert_eq!(c.rule(create("d", GIB)), "name-taken");
    assert_eq!(c.rule(resize("d", 2 * GIB)), "volume-ready");
    c.work_volumes();
    assert_eq!(c.last_task().state, Succeeded);
    assert_eq!(c.rule(resize("d", GIB)), "volume-grows");
    c.ok(resize("d", 2 * GIB));
    assert_eq!(c.rule(resize("d", 3 * GIB)), "volume-busy");
    c.work_volumes();
    assert_eq!(c.world.volumes[&name("d")].status.size_bytes, 2 * GIB);
    assert_eq!(c.world.volumes[&name("d")].status.worker, None);
    c.ok(delete("d"));
    assert_eq!(c.rule(delete("d")), "volume-not-deleting");
    c.work_volumes();
    assert!(c.world.volumes.is_empty());
    assert_eq!(c.last_task().state, Succeeded);
}

#[test]
fn a_worker_that_is_heard_keeps_its_work() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    c.ok(create("d", GIB));
    let worker = |c: &Cluster| c.world.volumes[&name("d")].status.worker.clone().expect("it has one");
    let first = worker(&c);
    let mut facts = c.world.nodes[&first].status.facts.clone();
    facts.problem = "the hypervisor does not answer".into();
    let session = c.world.nodes[&first].status.session;
    let report =
        Report { node: first.clone(), session, vms: Vec::new(), volumes: Vec::new(), facts: Some(facts) };
    c.ok(report);
    c.ok(AssignVolumeWorker { name: name("d") });
    assert_eq!(worker(&c), first, "it may be in the midst of it");
    c.unreachable(first.as_str());
    c.ok(AssignVolumeWorker { name: name("d") });
    assert_ne!(worker(&c), first, "a silent node has stopped, as its lease has lapsed");
}

#[test]
fn sizes_that_are_refused() {
    let mut c = Cluster::of(&["hv1"]);
    for size in [0, 511, (1 << 20) - 512, GIB + 1, (64 << 40) + 512, u64::MAX] {
        assert_eq!(c.rule(create("d", size)), "volume-size", "{size}");
    }
}

#[test]
fn cloned_from_a_quiet_volume_or_a_snapshot() {
    let mut c = Cluster::of(&["hv1"]);
    assert_eq!(c.rule(clone("e", "d", None)), "must-exist");
    let mut with_disk = spec();
    with_disk.disks = vec![disk("d", GIB)];
    c.ok(CreateVm { name: name("a"), spec: with_disk });
    c.work_volumes();
    c.ok(CreateVolumeSnapshot { volume: name("d"), snapshot: name("s1") });
    c.work_volumes();
    c.ok(StartVm { name: name("a"), node: None });
    assert_eq!(c.rule(clone("e", "d", None)), "vm-must-be-off");
    assert_eq!(c.rule(clone("e", "d", Some("s2"))), "must-exist");
    c.ok(clone("e", "d", Some("s1")));
    assert_eq!(c.world.volumes[&name("e")].spec.size_bytes, GIB, "at least as large as what it is made from");
    assert_eq!(c.rule(CreateVolumeSnapshot { volume: name("d"), snapshot: name("s2") }), "vm-must-be-off");
    assert_eq!(c.rule(delete("d")), "volume-unused");
}

#[test]
fn a_source_is_kept_while_it_is_copied() {
    let mut c = Cluster::of(&["hv1"]);
    c.ok(create("d", GIB));
    c.work_volumes();
    c.ok(clone("e", "d", None));
    assert_eq!(c.rule(delete("d")), "volume-unused");
    c.work_volumes();
    c.ok(delete("d"));
}

#[test]
fn snapshots_come_and_go() {
    let mut c = Cluster::of(&["hv1"]);
    c.ok(create("d", GIB));
    c.work_volumes();
    let take = CreateVolumeSnapshot { volume: name("d"), snapshot: name("s") };
    let drop_it = DeleteVolumeSnapshot { volume: name("d"), snapshot: name("s") };
    assert_eq!(c.rule(drop_it.clone()), "must-exist");
    c.ok(take.clone());
    c.work_volumes();
    assert_eq!(c.last_task().state, Succeeded);
    assert_eq!(c.rule(take), "name-taken");
    c.ok(drop_it);
    assert_eq!(c.last_task().state, Running);
    c.work_volumes();
    assert!(c.world.volumes[&name("d")].status.snapshots.is_empty());
}

#[test]
fn only_the_worker_reports() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    c.ok(create("d", GIB));
    let volume = c.world.volumes[&name("d")].clone();
    let worker = volume.status.worker.clone().expect("has one");
    let other = if worker == "hv1" { "hv2" } else { "hv1" };
    let mut status = volume.status.clone();
    status.phase = VolumePhase::Failed;
    status.reason = "no space left".into();
    let report = VolumeReport { name: name("d"), uid: volume.meta.uid, status, deleted: false };
    let say = |node: &str| Report {
        node: name(node),
        session: 1,
        vms: vec![],
        volumes: vec![report.clone()],
        facts: None,
    };
    assert_eq!(c.ok(say(other)), 0);
    c.ok(say(&worker.to_string()));
    assert_eq!((c.last_task().state, c.last_task().message), (Failed, "no space left".to_string()));
    c.ok(delete("d"));
}

#[test]
fn work_passes_from_a_dead_worker_to_a_living_one() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    c.ok(create("d", GIB));
    let worker = c.world.volumes[&name("d")].status.worker.clone().expect("has one");
    assert_eq!(c.ok(AssignVolumeWorker { name: name("d") }), 0);
    c.unreachable(&worker.to_string());
    c.ok(AssignVolumeWorker { name: name("d") });
    let next = c.world.volumes[&name("d")].status.worker.clone();
    assert!(next.is_some() && next != Some(worker));
}
