//! Objects as the first version stored them. These files are never written anew: what a released version
//! has stored must be read by every later one. A new stored format gets a directory of its own.
//!
//! To add a file for a new kind of object: `PVC_ADD_GOLDENS=1 cargo test -p pvc-proto goldens`.

use std::path::Path;
use std::time::Duration;

use pvc_model::bmc::{Bmc, BmcAdapter, Sealed};
use pvc_model::change::Collection;
use pvc_model::cluster::{Admission, Balance, Cluster, ClusterSpec, ClusterState, Restored};
use pvc_model::event::Event;
use pvc_model::fence::{Brake, Disarmed, Fence, FencePhase, OnReturn, Proof, ProofKind};
use pvc_model::guard::{Guard, GuardKind, Isolation};
use pvc_model::leaving::{Leaving, OnShutdown};
use pvc_model::network::{Attachment, HostNetwork, Vni};
use pvc_model::node::{NetworkHealth, NodeFacts, NodeRole, NodeSpec, NodeStatus, Reachability};
use pvc_model::primary::{Floating, Primary, PrimaryPhase};
use pvc_model::rule::{Rule, RuleKind, RuleSpec, Strength};
use pvc_model::task::{Subject, TaskKind, TaskState};
use pvc_model::token::{Spent, TokenKind};
use pvc_model::vm::{
    DirectBoot, Disk, DiskBus, Machine, Migration, MigrationMethod, MigrationPhase, Nic, NicModel, Observed,
    ObservedPhase, Placement, Power, Rate, VmSpec, Waiting,
};
use pvc_model::volume::{CloneSource, VolumePhase, VolumeSnapshot, VolumeSpec, VolumeStatus};
use pvc_model::{Fault, Meta, Name, Node, Object, Role, Task, Timestamp, Token, Uid, Vm, Volume};
use pvc_proto::convert::{decode_event, decode_object, encode_event, encode_object};
use pvc_proto::v1;

const REVISION: u64 = 4711;

pub fn check(file: &str, object: Object) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/stored-v1").join(file);
    if std::env::var_os("PVC_ADD_GOLDENS").is_some() && !path.exists() {
        std::fs::write(&path, encode_object(&object)).unwrap();
    }
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let read = decode_object(object.key().collection, &bytes, REVISION).unwrap();
    assert_eq!(read, object, "{file}");
}

#[test]
fn event() {
    let event = Event {
        at: Timestamp(1_795_000_000_123),
        topic: "state".into(),
        text: "it runs on hv1".into(),
        actor: "node/hv1".into(),
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/stored-v1/event.bin");
    if std::env::var_os("PVC_ADD_GOLDENS").is_some() && !path.exists() {
        std::fs::write(&path, encode_event(&event)).unwrap();
    }
    let read = decode_event(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(read, v1::Event::from(&event));
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn uid(number: u128) -> Uid {
    Uid::from_random(number)
}

pub fn meta(text: &str) -> Meta {
    Meta {
        name: name(text),
        uid: uid(0x1234_5678_9abc_def0_1234_5678_9abc_def0),
        revision: REVISION,
        created: Timestamp(1_795_000_000_123),
        updated: Timestamp(1_795_000_009_999),
    }
}

#[test]
fn node() {
    let status = NodeStatus {
        reachability: Reachability::Unreachable,
        since: Timestamp(1_795_000_001_000),
        member_id: 3,
        session: 9,
        address: "10.0.0.1:7443".into(),
        facts: NodeFacts {
            version: "0.1.0".into(),
            cpus: 8,
            memory_mib: 16384,
            hypervisor: "QEMU 7.2.9".into(),
            kernel: "6.1.0-28-amd64".into(),
            problem: "libvirtd does not answer".into(),
            level: 0,
            system_uuid: String::new(),
            networks: std::collections::BTreeMap::new(),
            network_health: NetworkHealth::default(),
        },
        fence: None,
        fences: 0,
        guard: None,
        guard_words: 0,
        leaving: None,
    };
    let spec = NodeSpec {
        role: NodeRole::Coordinator,
        schedulable: true,
        standby: false,
        maintenance: false,
        on_return: OnReturn::Automatic,
        isolation: Isolation::Keep,
        on_shutdown: OnShutdown::Move,
        bmc: None,
    };
    let mut node = Node { meta: meta("hv1"), spec, status };
    check("node.bin", Object::Node(node.clone()));
    node.status.facts.level = 2;
    check("node-level.bin", Object::Node(node.clone()));
    node.status.facts.system_uuid = "00112233-4455-6677-8899-aabbccddeeff".into();
    node.spec.bmc = Some(Bmc {
        address: "10.0.0.21:623".into(),
        user: "ADMIN".into(),
        password: Sealed(vec![1, 2, 3]),
        adapter: BmcAdapter::Ipmitool,
        identity: "33221100-5544-7766-8899-aabbccddeeff".into(),
        trusted: true,
    });
    check("node-bmc.bin", Object::Node(node.clone()));
    node.spec.maintenance = true;
    node.spec.on_return = OnReturn::Manual;
    node.status.fences = 3;
    let at = Timestamp(1_795_000_003_000);
    node.status.fence = Some(Fence {
        epoch: 3,
        phase: FencePhase::Fenced,
        since: at,
        reason: "it is silent".into(),
        by_person: false,
        proof: Some(Proof { kind: ProofKind::Power, by: "pvc".into(), at }),
    });
    check("node-fence.bin", Object::Node(node.clone()));
    let mut leaving = node.clone();
    node.spec.isolation = Isolation::Stop;
    node.status.guard_words = 5;
    node.status.guard = Some(Guard {
        kind: GuardKind::Device,
        device: "iTCO_wdt".into(),
        strike_after: Duration::from_secs(10),
    });
    check("node-guard.bin", Object::Node(node));
    leaving.spec.on_shutdown = OnShutdown::Stop;
    leaving.status.leaving =
        Some(Leaving { since: at, policy: OnShutdown::Keep, session: 9, within_seconds: 900, empty: true });
    leaving.status.facts.networks = [(name("storage"), "10.1.0.1".parse().unwrap())].into();
    check("node-leaving.bin", Object::Node(leaving));
}

fn vm_spec() -> VmSpec {
    VmSpec {
        vcpus: 2,
        memory_mib: 1024,
        disks: vec![Disk {
            volume: name("web1-root"),
            bus: DiskBus::Scsi,
            read_only: true,
            create_bytes: 1 << 30,
            pool: name("shared"),
        }],
        nics: vec![Nic {
            mac: Some("52:54:00:12:34:56".parse().unwrap()),
            model: NicModel::E1000e,
            ..Nic::new(Attachment::Bridge("pvcbr0".into()))
        }],
        tags: [name("prod"), name("web")].into(),
        notes: [("owner".to_string(), "Ada".to_string())].into(),
        boot: Some(DirectBoot {
            kernel: "/var/lib/pvc/vmlinuz".into(),
            initrd: "/var/lib/pvc/initrd".into(),
            cmdline: "console=ttyS0".into(),
        }),
        migration_method: MigrationMethod::Shutdown,
        migration_max_downtime_ms: 250,
        node_limit: [name("hv1"), name("hv2")].into(),
        home: Some(name("hv1")),
        max_restarts: 7,
        raw_xml: "<domain/>".into(),
        cpu_model: "EPYC".into(),
        machine: Machine::Q35,
        shutdown_grace_seconds: 60,
        recover: true,
        priority: 100,
    }
}

#[test]
fn vm() {
    let observed = Observed {
        node: name("hv1"),
        epoch: 5,
        phase: ObservedPhase::Running,
        reason: "as asked".into(),
        seen_intent: 11,
        boot_generation: 2,
        spec_generation: 3,
        restarts: 1,
        since: Timestamp(1_795_000_002_000),
    };
    let migration = Migration {
        from: name("hv1"),
        to: name("hv2"),
        phase: MigrationPhase::Transferring,
        permanent: true,
        cancel: true,
        task: name("t-9"),
        target_address: "10.0.0.2".into(),
        source_absent: true,
    };
    let mut vm = Vm {
        meta: meta("web1"),
        spec: vm_spec(),
        desired: Power::On,
        placement: Some(Placement { node: name("hv1"), epoch: 5 }),
        observed: Some(observed),
        migration: Some(migration),
        migrated_from: Some(name("hv3")),
        boot_generation: 2,
        spec_generation: 3,
        intent: 12,
        release: true,
        off_grace_seconds: 30,
        task: Some(name("t-9")),
        deleting: true,
        delete_volumes: true,
        confirmed: 0,
        waits: None,
    };
    check("vm.bin", Object::Vm(vm.clone()));
    vm.spec.recover = false;
    vm.spec.priority = 900;
    check("vm-recovery.bin", Object::Vm(vm.clone()));
    vm.waits = Some(Waiting { reason: "no node takes it".into(), since: Timestamp(1_795_000_004_000) });
    check("vm-waits.bin", Object::Vm(vm.clone()));
    vm.spec.nics = vec![
        Nic {
            mac: Some("52:54:00:12:34:57".parse().unwrap()),
            model: NicModel::Rtl8139,
            link_up: false,
            rate_in: Some(Rate { average_kbit: 8000, peak_kbit: Some(16_000), burst_kib: Some(512) }),
            rate_out: Some(Rate { average_kbit: 4000, peak_kbit: None, burst_kib: None }),
            spoof_check: false,
            addresses: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
            ..Nic::new(Attachment::Network(Vni::new(1001).unwrap()))
        },
        Nic {
            mac: Some("52:54:00:12:34:58".parse().unwrap()),
            ..Nic::new(Attachment::Host(HostNetwork::Storage))
        },
    ];
    check("vm-networks.bin", Object::Vm(vm));
}

#[test]
fn volume() {
    let spec = VolumeSpec {
        pool: name("shared"),
        size_bytes: 1 << 30,
        clone_of: Some(CloneSource { volume: name("golden"), snapshot: Some(name("s1")) }),
    };
    let status = VolumeStatus {
        phase: VolumePhase::Ready,
        reason: "grows".into(),
        size_bytes: 1 << 29,
        snapshots: vec![VolumeSnapshot { name: name("s2"), size_bytes: 4096, ready: true, deleting: true }],
        worker: Some(name("hv2")),
        task: Some(name("t-7")),
    };
    check("volume.bin", Object::Volume(Volume { meta: meta("web1-root"), spec, status }));
}

#[test]
fn task() {
    let task = Task {
        meta: meta("t-9"),
        kind: TaskKind::VmMigrate { to: name("hv2"), method: MigrationMethod::Live },
        subject: Subject::Vm { uid: uid(77), name: name("web1") },
        actor: "admin/root".into(),
        state: TaskState::Cancelled,
        stage: 1,
        stage_since: Timestamp(1_795_000_003_000),
        message: "cancelled by admin/root".into(),
        started: Timestamp(1_795_000_001_000),
        ended: Some(Timestamp(1_795_000_004_000)),
        cancel_requested: true,
    };
    check("task.bin", Object::Task(task.clone()));
    let of = |kind, subject| Object::Task(Task { kind, subject, ..task.clone() });
    let node = Subject::Node { uid: uid(78), name: name("hv1") };
    check("task-flush.bin", of(TaskKind::NodeFlush { vms: 12, stop_unmovable: true }, node.clone()));
    check("task-ready.bin", of(TaskKind::NodeReady { vms: 12 }, node.clone()));
    check("task-shutdown.bin", of(TaskKind::NodeShutdown { vms: 12 }, node));
    check("task-balance.bin", of(TaskKind::ClusterBalance, Subject::Cluster { uid: uid(79) }));
    let kind = TaskKind::VmRebalance { to: name("hv2"), method: MigrationMethod::Live };
    check("task-rebalance.bin", of(kind, task.subject.clone()));
}

fn token_of(kind: TokenKind) -> Object {
    Object::Token(Token {
        meta: meta("ci"),
        kind,
        expires: Timestamp(1_800_000_000_000),
        created_by: "admin/root".into(),
        description: "for the build".into(),
        secret_hash: "ab".repeat(32),
    })
}

#[test]
fn tokens() {
    check("token-api.bin", token_of(TokenKind::Api { role: Role::Operator }));
    let spent = Spent { node: name("hv4"), key_hash: "cd".repeat(32) };
    let kind = TokenKind::Join { node: Some(name("hv4")), spent: Some(spent) };
    check("token-join.bin", token_of(kind));
}

#[test]
fn fault() {
    let fault = Fault {
        meta: meta("node-unreachable.hv2"),
        subject: "node/hv2".into(),
        message: "hv2 has been silent since 12:00:00".into(),
        help: "see `pvc node info hv2`".into(),
        first: Timestamp(1_795_000_001_000),
        last: Timestamp(1_795_000_002_000),
        acknowledged_by: Some("admin/root".into()),
    };
    check("fault.bin", Object::Fault(fault));
}

#[test]
fn damage_is_told_from_refusal() {
    let error = decode_object(Collection::Vms, &[0xff, 0xff], 1).unwrap_err();
    assert_eq!(error.to_string(), "an object in vms is not a protobuf message of its kind");
    let error = decode_object(Collection::Vms, &[], 1).unwrap_err();
    assert_eq!(error.to_string(), "an object in vms is not what this version can hold");
}

#[test]
fn cluster() {
    let status = ClusterState {
        incarnation: 2,
        recoveries: 1,
        awaited: [name("hv2"), name("hv3")].into(),
        restored: Some(Restored {
            backup: "f00d".into(),
            cluster_id: "9f2c".into(),
            revision: 815,
            complete: true,
        }),
        level: 0,
        brake: None,
        disarmed: None,
        primary: None,
    };
    let spec = ClusterSpec { replace_voter_after_seconds: Some(30), ..ClusterSpec::default() };
    let mut cluster = Cluster { meta: meta("cluster"), spec, status };
    check("cluster.bin", Object::Cluster(cluster.clone()));
    cluster.status.level = 2;
    check("cluster-level.bin", Object::Cluster(cluster.clone()));
    cluster.status.primary = Some(Primary {
        node: name("hv2"),
        epoch: 7,
        since: Timestamp(1_795_000_005_000),
        phase: PrimaryPhase::TakingOver { from: name("hv1") },
        reason: "asked by admin/root".into(),
    });
    cluster.spec.floating =
        Some(Floating { address: "10.0.0.9/24".parse().unwrap(), device: "br-cluster".parse().unwrap() });
    check("cluster-primary.bin", Object::Cluster(cluster.clone()));
    let since = Timestamp(1_795_000_005_000);
    cluster.status.brake = Some(Brake {
        since,
        nodes: [name("hv1"), name("hv2")].into(),
        released_by: Some("admin/root".into()),
    });
    cluster.status.disarmed =
        Some(Disarmed { by: "admin/root".into(), since, reason: "new switches".into() });
    check("cluster-recovery.bin", Object::Cluster(cluster.clone()));
    cluster.spec.admission = Admission::Refuse;
    cluster.spec.migrations_per_node = 4;
    cluster.spec.balance = Balance::Automatic;
    check("cluster-placement.bin", Object::Cluster(cluster.clone()));
    cluster.spec.fabric = crate::networks::fabric();
    check("cluster-fabric.bin", Object::Cluster(cluster));
}

#[test]
fn rule() {
    let spec = RuleSpec {
        kind: RuleKind::NotOnNodes,
        strength: Strength::Should,
        vms: [name("db1"), name("db2")].into(),
        tag: Some(name("db")),
        nodes: [name("hv1"), name("hv3")].into(),
    };
    check("rule.bin", Object::Rule(Rule { meta: meta("licence"), spec }));
}
