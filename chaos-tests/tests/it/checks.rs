//! The checks, each seen to notice the break of its rule: a check that can't fail proves nothing.

use pvc_chaos_tests::checks::guests::GuestWatch;
use pvc_chaos_tests::checks::history::{End, check};
use pvc_chaos_tests::checks::replicas::{Leases, Replicas};
use pvc_chaos_tests::link::LeaseBook;
use pvc_chaos_tests::net::Place;
use pvc_chaos_tests::people::{Deed, Told, actor, mark};
use pvc_chaos_tests::run::{count_panics, run};
use pvc_chaos_tests::sabotage::{Sabotage, sabotaged};
use pvc_chaos_tests::setting::Setting;
use pvc_chaos_tests::watched::Watched;
use pvc_chaos_tests::witness::{Rule, Witness};
use pvc_chaos_tests::workload::{name, spec};
use pvc_model::task::{Subject, Task, TaskKind, TaskState};
use pvc_model::vm::DiskBus;
use pvc_model::{Command, Meta, Object, Rejection, Timestamp, Uid, World};
use pvc_node::hypervisor::{GuestSpec, Hypervisor, ResolvedDisk, Stamp, VirtType};
use pvc_node::storage::StorageDriver;
use raft_store::{Engine, Member, MemoryDisk, Options, Pause, Store, Transport};

fn rules(witness: &Witness) -> Vec<Rule> {
    witness.accusations().iter().map(|accusation| accusation.rule).collect()
}

/// What is broken on purpose, the whole cluster around it running, is noticed, and nothing else is.
#[test]
fn a_saboteur_is_noticed() {
    count_panics();
    assert_eq!(run(sabotaged(1, None)).accusations, []);
    for how in Sabotage::ALL {
        let outcome = run(sabotaged(1, Some(how)));
        let found: Vec<Rule> = outcome.accusations.iter().map(|accusation| accusation.rule).collect();
        assert!(found.contains(&how.breaks()), "{how:?}: {:?}", outcome.accusations);
    }
}

async fn guest(setting: &Setting, uid: u128, volume: u128) -> GuestSpec {
    setting.pool.create(Uid::from_random(volume), 1 << 20).await.expect("made");
    let source = setting.pool.attach(Uid::from_random(volume)).await.expect("there");
    let disk = ResolvedDisk { volume: name("a-disk"), source, bus: DiskBus::Virtio, read_only: false };
    GuestSpec {
        uid: Uid::from_random(uid),
        name: name("a"),
        stamp: Stamp::default(),
        spec: spec(&name("a")),
        disks: vec![disk],
        nics: vec![],
        console_log: "/console/a.log".into(),
        virt_type: VirtType::Qemu,
    }
}

fn setting() -> (Setting, GuestWatch) {
    let setting = Setting::new(0, 1, false);
    for place in [Place(1), Place(2)] {
        setting.guests.add_host(&place.node(), &place.to_string());
    }
    let watch = GuestWatch::new(setting.guests.clone(), setting.pool.clone(), setting.witness.clone());
    (setting, watch)
}

#[tokio::test(start_paused = true)]
async fn two_guests_on_one_disk_are_noticed() {
    let (setting, mut watch) = setting();
    let [one, other] = [guest(&setting, 1, 7).await, guest(&setting, 2, 7).await];
    setting.guests.hypervisor(&Place(1).node()).start(&one).await.expect("started");
    watch.look();
    assert_eq!(rules(&setting.witness), []);
    setting.guests.hypervisor(&Place(2).node()).start(&other).await.expect("started");
    // However short it was.
    setting.guests.hypervisor(&Place(2).node()).power_off(other.uid).await.expect("ended");
    watch.look();
    assert_eq!(rules(&setting.witness), [Rule::OneWriter]);
}

#[tokio::test(start_paused = true)]
async fn a_guest_on_a_deleted_disk_is_noticed() {
    let (setting, mut watch) = setting();
    let guest = guest(&setting, 1, 7).await;
    setting.guests.hypervisor(&Place(1).node()).start(&guest).await.expect("started");
    setting.pool.delete(Uid::from_random(7)).await.expect("deleted");
    watch.look();
    assert_eq!(rules(&setting.witness), [Rule::OneWriter]);
}

#[tokio::test(start_paused = true)]
async fn a_start_without_a_lease_is_noticed() {
    let (setting, _) = setting();
    let (inner, here) = (setting.guests.hypervisor(&Place(1).node()), Place(1));
    let (lease, witness) = (LeaseBook::default(), setting.witness.clone());
    let watched = Watched { inner, here, lease, witness, pause: Pause::new() };
    watched.start(&guest(&setting, 1, 7).await).await.expect("started");
    assert_eq!(rules(&setting.witness), [Rule::LeaseToStart]);
}

#[tokio::test(start_paused = true)]
async fn two_leaders_and_two_histories_are_noticed() {
    let (setting, _) = setting();
    let replicas = Replicas::new(setting.witness.clone(), Leases::default());
    replicas.leads(Place(1), 4);
    replicas.leads(Place(1), 4);
    replicas.leads(Place(2), 5);
    replicas.shows(Place(1), 9, 77);
    replicas.shows(Place(2), 9, 77);
    assert_eq!(rules(&setting.witness), []);
    replicas.leads(Place(2), 4);
    replicas.shows(Place(2), 9, 78);
    assert_eq!(rules(&setting.witness), [Rule::OneLeader, Rule::SameHistory]);
}

struct Nobody;

#[async_trait::async_trait]
impl Transport for Nobody {
    async fn call(
        &self,
        _: &Member,
        _: raft_store::RpcKind,
        _: bytes::Bytes,
        _: std::time::Duration,
    ) -> Result<bytes::Bytes, raft_store::TransportError> {
        Err(raft_store::TransportError::Timeout)
    }

    async fn send_snapshot(
        &self,
        _: &Member,
        _: bytes::Bytes,
        _: std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send>>,
        _: std::time::Duration,
    ) -> Result<bytes::Bytes, raft_store::TransportError> {
        Err(raft_store::TransportError::Timeout)
    }
}

fn deed(number: usize, told: Told) -> Deed {
    let command = Command::StartVm { name: name("a"), node: None };
    Deed { command, actor: actor(number), request_id: format!("request-{number}"), told }
}

fn task(name_: &str, actor: String) -> Object {
    let meta = Meta {
        name: name(name_),
        uid: Uid::from_random(1),
        revision: 1,
        created: Timestamp(1),
        updated: Timestamp(1),
    };
    Object::Task(Task {
        meta,
        kind: TaskKind::VmStart,
        subject: Subject::Vm { uid: Uid::from_random(2), name: name("a") },
        actor,
        state: TaskState::Succeeded,
        stage: 0,
        stage_since: Timestamp(1),
        message: String::new(),
        started: Timestamp(1),
        ended: None,
        cancel_requested: false,
    })
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_done_twice_or_done_though_refused_is_noticed() {
    let options = Options::new(Engine::Memory(MemoryDisk::new()), Member::new(1, "nowhere"), "empty");
    let store = Store::open(options, std::sync::Arc::new(Nobody)).await.expect("opened");
    let view = store.view();
    let judge = |deeds: &[Deed], world: &World| {
        let (setting, _) = setting();
        check(deeds, &End { world, view: &view }, &setting.witness);
        rules(&setting.witness)
    };
    let mut world = World::default();
    let done = Told::Done { revision: 5, reply: None, vm: None };
    assert_eq!(judge(&[deed(0, done)], &world), [Rule::NothingLost]);
    let refused = || Told::Rejected { rejection: Rejection::invalid("rule", "vm/a", "no"), sure: true };
    let undone = || Told::NotDone("nobody leads".to_owned());
    assert_eq!(judge(&[deed(0, refused()), deed(1, undone())], &world), []);
    world.put(task("t1", actor(0)));
    world.put(task("t2", actor(1)));
    let both = [Rule::RefusedIsUndone, Rule::RefusedIsUndone];
    assert_eq!(judge(&[deed(0, refused()), deed(1, undone())], &world), both);
    // One of several calls may have come late, after the answer to another: that proves nothing.
    let late = Told::Rejected { rejection: Rejection::invalid("rule", "vm/a", "no"), sure: false };
    assert_eq!(judge(&[deed(0, late)], &world), []);
    world.put(task("t3", actor(0)));
    assert_eq!(judge(&[deed(0, Told::Unknown("lost".to_owned()))], &world), [Rule::NothingTwice]);
    assert_eq!(mark(3), "deed-3");
}
