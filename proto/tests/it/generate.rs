//! Any object that the model can hold, within the ranges that its own comments give.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use pvc_model::bmc::{Bmc, BmcAdapter, Sealed};
use pvc_model::cluster::{Admission, Balance, Cluster, ClusterSpec, ClusterState, Restored};
use pvc_model::fence::{Brake, Disarmed, Fence, FencePhase, OnReturn, Proof, ProofKind};
use pvc_model::guard::{Guard, GuardKind, Isolation};
use pvc_model::leaving::{Leaving, OnShutdown};
use pvc_model::network::{Attachment, HostNetwork, VNI_MAX, Vni};
use pvc_model::node::{NetworkHealth, NodeFacts, NodeRole, NodeSpec, NodeStatus, Reachability};
use pvc_model::primary::{Floating, Primary, PrimaryPhase};
use pvc_model::rule::{Rule, RuleKind, RuleSpec, Strength};
use pvc_model::task::{Subject, TaskKind, TaskState};
use pvc_model::token::{Spent, TokenKind};
use pvc_model::vm::{
    DirectBoot, Disk, DiskBus, Mac, Machine, Migration, MigrationMethod, MigrationPhase, Nic, NicModel,
    Observed, ObservedPhase, Placement, Power, Rate, VmSpec, Waiting,
};
use pvc_model::volume::{CloneSource, VolumePhase, VolumeSnapshot, VolumeSpec, VolumeStatus};
use pvc_model::{Fault, Meta, Name, Node, Object, Role, Task, Timestamp, Token, Uid, Vm, Volume};

use crate::generate_network;

pub fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        node().prop_map(Object::Node),
        vm().prop_map(Object::Vm),
        volume().prop_map(Object::Volume),
        task().prop_map(Object::Task),
        token().prop_map(Object::Token),
        fault().prop_map(Object::Fault),
        cluster().prop_map(Object::Cluster),
        rule().prop_map(Object::Rule),
        generate_network::network().prop_map(Object::Network).boxed(),
        generate_network::lease().prop_map(Object::Lease).boxed(),
    ]
}

pub fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z0-9]{1,20})?".prop_map(|text| text.parse().unwrap())
}

fn names() -> impl Strategy<Value = BTreeSet<Name>> {
    btree_set(name(), 0..4)
}

pub fn text() -> impl Strategy<Value = String> {
    "\\PC{0,20}"
}

pub fn time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}

fn uid() -> impl Strategy<Value = Uid> {
    any::<u128>().prop_map(Uid::from_random)
}

pub fn meta() -> impl Strategy<Value = Meta> {
    (name(), uid(), any::<u64>(), time(), time()).prop_map(|(name, uid, revision, created, updated)| Meta {
        name,
        uid,
        revision,
        created,
        updated,
    })
}

pub fn one_of<T: Clone + std::fmt::Debug + 'static>(values: &'static [T]) -> impl Strategy<Value = T> {
    proptest::sample::select(values)
}

prop_compose! {
    fn facts()(
        texts in [text(), text(), text(), text(), text()],
        cpus in any::<u32>(),
        memory_mib in any::<u64>(),
        level in any::<u32>(),
        networks in proptest::collection::btree_map(name(), any::<std::net::IpAddr>(), 0..3),
        problems in proptest::collection::btree_map(text(), text(), 0..3),
        (repairs, last_repair) in (any::<u64>(), text()),
    ) -> NodeFacts {
        let [version, hypervisor, kernel, problem, system_uuid] = texts;
        let network_health = NetworkHealth { problems, repairs, last_repair };
        NodeFacts {
            version,
            cpus,
            memory_mib,
            hypervisor,
            kernel,
            problem,
            level,
            system_uuid,
            networks,
            network_health,
        }
    }
}

prop_compose! {
    fn bmc()(
        [address, user, identity] in [text(), text(), text()],
        password in vec(any::<u8>(), 0..64),
        adapter in one_of(&[BmcAdapter::Auto, BmcAdapter::Native, BmcAdapter::Ipmitool]),
        trusted in any::<bool>(),
    ) -> Bmc {
        Bmc { address, user, password: Sealed(password), adapter, identity, trusted }
    }
}

prop_compose! {
    fn proof()(
        kind in one_of(&[ProofKind::Power, ProofKind::Storage, ProofKind::Lease, ProofKind::Operator]),
        by in text(),
        at in time(),
    ) -> Proof {
        Proof { kind, by, at }
    }
}

prop_compose! {
    fn fence()(
        epoch in any::<u64>(),
        phase in one_of(&[FencePhase::Fencing, FencePhase::Fenced, FencePhase::Returned]),
        since in time(),
        reason in text(),
        by_person in any::<bool>(),
        proof in option::of(proof()),
    ) -> Fence {
        Fence { epoch, phase, since, reason, by_person, proof }
    }
}

fn on_shutdown() -> impl Strategy<Value = OnShutdown> {
    one_of(&[OnShutdown::Move, OnShutdown::Stop, OnShutdown::Keep])
}

prop_compose! {
    fn leaving()(
        since in time(),
        policy in on_shutdown(),
        within_seconds in any::<u32>(),
        session in any::<u64>(),
        empty in any::<bool>(),
    ) -> Leaving {
        Leaving { since, policy, session, within_seconds, empty }
    }
}

prop_compose! {
    fn guard()(
        kind in one_of(&[GuardKind::Device, GuardKind::Softdog, GuardKind::Process]),
        device in text(),
        millis in any::<u32>(),
    ) -> Guard {
        Guard { kind, device, strike_after: Duration::from_millis(millis.into()) }
    }
}

prop_compose! {
    fn node()(
        meta in meta(),
        role in one_of(&[NodeRole::Coordinator, NodeRole::Hypervisor]),
        [schedulable, standby] in any::<[bool; 2]>(),
        bmc in option::of(bmc()),
        reachability in one_of(&[Reachability::NeverSeen, Reachability::Reachable, Reachability::Unreachable]),
        since in time(),
        member_id in any::<u64>(),
        session in any::<u64>(),
        address in text(),
        facts in facts(),
        (fence, guard, guard_words) in (option::of(fence()), option::of(guard()), any::<u64>()),
        (maintenance, on_return, isolation) in (
            any::<bool>(),
            one_of(&[OnReturn::Automatic, OnReturn::Home, OnReturn::Manual]),
            one_of(&[Isolation::Keep, Isolation::Stop]),
        ),
        (on_shutdown, leaving) in (on_shutdown(), option::of(leaving())),
    ) -> Node {
        let fences = fence.as_ref().map_or(0, |fence| fence.epoch);
        let status = NodeStatus {
            reachability,
            since,
            member_id,
            session,
            address,
            facts,
            fence,
            fences,
            guard,
            guard_words,
            leaving,
        };
        let spec = NodeSpec { role, schedulable, standby, maintenance, on_return, isolation, on_shutdown, bmc };
        Node { meta, spec, status }
    }
}

prop_compose! {
    fn disk()(
        volume in name(),
        bus in one_of(&[DiskBus::Virtio, DiskBus::Scsi, DiskBus::Sata]),
        read_only in any::<bool>(),
        create_bytes in any::<u64>(),
        pool in name(),
    ) -> Disk {
        Disk { volume, bus, read_only, create_bytes, pool }
    }
}

fn attachment() -> impl Strategy<Value = Attachment> {
    prop_oneof![
        (1..=VNI_MAX).prop_map(|number| Attachment::Network(Vni::new(number).unwrap())),
        one_of(&HostNetwork::ALL).prop_map(Attachment::Host),
        "[a-zA-Z0-9_-]{1,15}".prop_map(Attachment::Bridge),
    ]
}

prop_compose! {
    fn rate()(
        average_kbit in 8..=200_000_000u32,
        more in option::of(0..=200_000_000u32),
        burst_kib in option::of(1..=1_048_576u32),
    ) -> Rate {
        Rate { average_kbit, peak_kbit: more.map(|more| average_kbit + more), burst_kib }
    }
}

fn own_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (1..=0x7eff_ffffu32).prop_map(|bits| IpAddr::V4(bits.into())),
        any::<u64>().prop_map(|bits| IpAddr::V6((0x2001_0db8 << 96 | u128::from(bits)).into())),
    ]
}

prop_compose! {
    fn nic()(
        attachment in attachment(),
        mac in option::of(any::<[u8; 6]>()),
        model in one_of(&NicModel::ALL),
        (link_up, spoof_check) in any::<(bool, bool)>(),
        (rate_in, rate_out) in (option::of(rate()), option::of(rate())),
        addresses in btree_set(own_address(), 0..4),
    ) -> Nic {
        let unicast = |mut bytes: [u8; 6]| {
            bytes[0] &= 0xfe;
            Mac(bytes)
        };
        let addresses = addresses.into_iter().collect();
        Nic { attachment, mac: mac.map(unicast), model, link_up, rate_in, rate_out, spoof_check, addresses }
    }
}

fn boot() -> impl Strategy<Value = DirectBoot> {
    ("/[a-z/]{0,10}", text(), text()).prop_map(|(kernel, initrd, cmdline)| DirectBoot {
        kernel,
        initrd,
        cmdline,
    })
}

fn notes() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map("\\PC{1,63}", "\\PC{0,100}", 0..4)
}

fn method() -> impl Strategy<Value = MigrationMethod> {
    one_of(&[MigrationMethod::Live, MigrationMethod::Shutdown])
}

prop_compose! {
    fn vm_spec()(
        sizes in (1..=512u32, 16..=16_777_216u64),
        devices in (vec(disk(), 0..3), vec(nic(), 0..3), option::of(boot())),
        labels in (names(), notes()),
        moving in (method(), 1..=60_000u32, names(), option::of(name())),
        max_restarts in 0..=100u32,
        raw_xml in text(),
        cpu_model in "[A-Za-z0-9_.-]{0,20}",
        machine in one_of(&[Machine::Pc, Machine::Q35]),
        shutdown_grace_seconds in 1..=3600u32,
        recovery in (any::<bool>(), 0..=1000u32),
    ) -> VmSpec {
        let (vcpus, memory_mib) = sizes;
        let (disks, nics, boot) = devices;
        let (tags, notes) = labels;
        let (migration_method, migration_max_downtime_ms, node_limit, home) = moving;
        let (recover, priority) = recovery;
        VmSpec {
            vcpus, memory_mib, disks, nics, tags, notes, boot, migration_method, migration_max_downtime_ms,
            node_limit, home, max_restarts, raw_xml, cpu_model, machine, shutdown_grace_seconds,
            recover, priority,
        }
    }
}

const OBSERVED_PHASES: &[ObservedPhase] = &[
    ObservedPhase::Stopped,
    ObservedPhase::Pending,
    ObservedPhase::Starting,
    ObservedPhase::Running,
    ObservedPhase::ShuttingDown,
    ObservedPhase::Backoff,
    ObservedPhase::Failed,
];

prop_compose! {
    fn observed()(
        node in name(),
        numbers in any::<[u64; 4]>(),
        phase in one_of(OBSERVED_PHASES),
        reason in text(),
        restarts in any::<u32>(),
        since in time(),
    ) -> Observed {
        let [epoch, seen_intent, boot_generation, spec_generation] = numbers;
        Observed { node, epoch, phase, reason, seen_intent, boot_generation, spec_generation, restarts, since }
    }
}

prop_compose! {
    fn migration()(
        from in name(),
        to in name(),
        phase in one_of(&[MigrationPhase::Preparing, MigrationPhase::Transferring]),
        flags in any::<[bool; 3]>(),
        task in name(),
        target_address in text(),
    ) -> Migration {
        let [permanent, cancel, source_absent] = flags;
        Migration { from, to, phase, permanent, cancel, task, target_address, source_absent }
    }
}

fn placement() -> impl Strategy<Value = Placement> {
    (name(), any::<u64>()).prop_map(|(node, epoch)| Placement { node, epoch })
}

fn waiting() -> impl Strategy<Value = Waiting> {
    (text(), time()).prop_map(|(reason, since)| Waiting { reason, since })
}

prop_compose! {
    fn vm()(
        meta in meta(),
        spec in vm_spec(),
        desired in one_of(&[Power::Off, Power::On, Power::Disabled]),
        placement in option::of(placement()),
        observed in option::of(observed()),
        migration in option::of(migration()),
        migrated_from in option::of(name()),
        numbers in any::<[u64; 4]>(),
        flags in any::<[bool; 3]>(),
        off_grace_seconds in any::<u32>(),
        task in option::of(name()),
        waits in option::of(waiting()),
    ) -> Vm {
        let [boot_generation, spec_generation, intent, confirmed] = numbers;
        let [release, deleting, delete_volumes] = flags;
        Vm {
            meta, spec, desired, placement, observed, migration, migrated_from, boot_generation,
            spec_generation, intent, release, off_grace_seconds, task, deleting, delete_volumes, confirmed,
            waits,
        }
    }
}

fn clone_source() -> impl Strategy<Value = CloneSource> {
    (name(), option::of(name())).prop_map(|(volume, snapshot)| CloneSource { volume, snapshot })
}

fn snapshot() -> impl Strategy<Value = VolumeSnapshot> {
    (name(), any::<u64>(), any::<bool>(), any::<bool>())
        .prop_map(|(name, size_bytes, ready, deleting)| VolumeSnapshot { name, size_bytes, ready, deleting })
}

const VOLUME_PHASES: &[VolumePhase] =
    &[VolumePhase::Creating, VolumePhase::Ready, VolumePhase::Deleting, VolumePhase::Failed];

prop_compose! {
    fn volume()(
        meta in meta(),
        pool in name(),
        sizes in any::<[u64; 2]>(),
        clone_of in option::of(clone_source()),
        phase in one_of(VOLUME_PHASES),
        reason in text(),
        snapshots in vec(snapshot(), 0..3),
        worker in option::of(name()),
        task in option::of(name()),
    ) -> Volume {
        let spec = VolumeSpec { pool, size_bytes: sizes[0], clone_of };
        let status = VolumeStatus { phase, reason, size_bytes: sizes[1], snapshots, worker, task };
        Volume { meta, spec, status }
    }
}

fn task_kind() -> impl Strategy<Value = TaskKind> {
    const PLAIN: &[TaskKind] = &[
        TaskKind::VmStart,
        TaskKind::VmShutdown,
        TaskKind::VmStop,
        TaskKind::VmRestart,
        TaskKind::VmDisable,
        TaskKind::VmDelete,
        TaskKind::VolumeCreate,
        TaskKind::VolumeResize,
        TaskKind::VolumeDelete,
        TaskKind::ClusterBalance,
    ];
    prop_oneof![
        one_of(PLAIN),
        (name(), method()).prop_map(|(to, method)| TaskKind::VmMigrate { to, method }),
        (name(), method()).prop_map(|(to, method)| TaskKind::VmUnmigrate { to, method }),
        (name(), method()).prop_map(|(to, method)| TaskKind::VmMove { to, method }),
        (name(), method()).prop_map(|(to, method)| TaskKind::VmRebalance { to, method }),
        (any::<u32>(), any::<bool>())
            .prop_map(|(vms, stop_unmovable)| TaskKind::NodeFlush { vms, stop_unmovable }),
        any::<u32>().prop_map(|vms| TaskKind::NodeReady { vms }),
        any::<u32>().prop_map(|vms| TaskKind::NodeShutdown { vms }),
        name().prop_map(|snapshot| TaskKind::VolumeSnapshotCreate { snapshot }),
        name().prop_map(|snapshot| TaskKind::VolumeSnapshotDelete { snapshot }),
    ]
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        (uid(), name()).prop_map(|(uid, name)| Subject::Vm { uid, name }),
        (uid(), name()).prop_map(|(uid, name)| Subject::Volume { uid, name }),
        (uid(), name()).prop_map(|(uid, name)| Subject::Node { uid, name }),
        uid().prop_map(|uid| Subject::Cluster { uid }),
    ]
}

const TASK_STATES: &[TaskState] =
    &[TaskState::Running, TaskState::Succeeded, TaskState::Failed, TaskState::Cancelled];

prop_compose! {
    fn task()(
        meta in meta(),
        kind in task_kind(),
        subject in subject(),
        texts in [text(), text()],
        state in one_of(TASK_STATES),
        stage in any::<u32>(),
        times in [time(), time()],
        ended in option::of(time()),
        cancel_requested in any::<bool>(),
    ) -> Task {
        let [actor, message] = texts;
        let [stage_since, started] = times;
        Task { meta, kind, subject, actor, state, stage, stage_since, message, started, ended, cancel_requested }
    }
}

fn token_kind() -> impl Strategy<Value = TokenKind> {
    let spent = (name(), text()).prop_map(|(node, key_hash)| Spent { node, key_hash });
    prop_oneof![
        one_of(&[Role::Viewer, Role::Operator, Role::Admin, Role::Node])
            .prop_map(|role| TokenKind::Api { role }),
        (option::of(name()), option::of(spent)).prop_map(|(node, spent)| TokenKind::Join { node, spent }),
    ]
}

prop_compose! {
    fn token()(
        meta in meta(),
        kind in token_kind(),
        expires in time(),
        texts in [text(), text(), text()],
    ) -> Token {
        let [created_by, description, secret_hash] = texts;
        Token { meta, kind, expires, created_by, description, secret_hash }
    }
}

prop_compose! {
    fn fault()(
        meta in meta(),
        texts in [text(), text(), text()],
        first in time(),
        last in time(),
        acknowledged_by in option::of(text()),
    ) -> Fault {
        let [subject, message, help] = texts;
        Fault { meta, subject, message, help, first, last, acknowledged_by }
    }
}

prop_compose! {
    fn restored()(
        texts in [text(), text()],
        revision in any::<u64>(),
        complete in any::<bool>(),
    ) -> Restored {
        let [backup, cluster_id] = texts;
        Restored { backup, cluster_id, revision, complete }
    }
}

prop_compose! {
    fn brake()(since in time(), nodes in names(), by in option::of("\\PC{1,20}")) -> Brake {
        Brake { since, nodes, released_by: by }
    }
}

prop_compose! {
    fn disarmed()(by in text(), since in time(), reason in text()) -> Disarmed {
        Disarmed { by, since, reason }
    }
}

prop_compose! {
    fn primary()(
        nodes in [name(), name()],
        epoch in any::<u64>(),
        since in time(),
        phase in 0..3,
        reason in text(),
    ) -> Primary {
        let [node, other] = nodes;
        let phase = match phase {
            0 => PrimaryPhase::Holding,
            1 => PrimaryPhase::HandingOver { to: other },
            _ => PrimaryPhase::TakingOver { from: other },
        };
        Primary { node, epoch, since, phase, reason }
    }
}

fn floating() -> impl Strategy<Value = Floating> {
    let addresses = vec!["10.0.0.9/24", "192.0.2.1/32", "2001:db8::9/64", "fd00::1/128"];
    let devices = vec!["br-cluster", "eth0", "bond0.100"];
    let pairs = (proptest::sample::select(addresses), proptest::sample::select(devices));
    pairs.prop_map(|(address, device)| Floating {
        address: address.parse().unwrap(),
        device: device.parse().unwrap(),
    })
}

prop_compose! {
    fn cluster()(
        meta in meta(),
        replace_voter_after_seconds in option::of(1..=u32::MAX),
        admission in one_of(&[Admission::Off, Admission::Warn, Admission::Refuse]),
        migrations_per_node in 1..=u32::MAX,
        balance in one_of(&[Balance::Manual, Balance::Automatic]),
        numbers in any::<[u64; 2]>(),
        awaited in vec(name(), 0..3),
        restored in option::of(restored()),
        level in any::<u32>(),
        brake in option::of(brake()),
        disarmed in option::of(disarmed()),
        primary in option::of(primary()),
        (floating, fabric) in (option::of(floating()), generate_network::fabric().boxed()),
    ) -> Cluster {
        let [incarnation, recoveries] = numbers;
        let awaited = awaited.into_iter().collect();
        let status =
            ClusterState { incarnation, recoveries, awaited, restored, level, brake, disarmed, primary };
        let spec =
            ClusterSpec { replace_voter_after_seconds, admission, migrations_per_node, balance, floating, fabric };
        Cluster { meta, spec, status }
    }
}

const RULE_KINDS: &[RuleKind] =
    &[RuleKind::Together, RuleKind::Apart, RuleKind::OnNodes, RuleKind::NotOnNodes];

prop_compose! {
    fn rule()(
        meta in meta(),
        kind in one_of(RULE_KINDS),
        strength in one_of(&[Strength::Must, Strength::Should]),
        vms in names(),
        tag in option::of(name()),
        nodes in names(),
    ) -> Rule {
        Rule { meta, spec: RuleSpec { kind, strength, vms, tag, nodes } }
    }
}
