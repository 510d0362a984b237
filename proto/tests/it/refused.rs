//! What a request may not say, and how the refusal reads; and what is filled in where it says nothing.

use pvc_model::RejectionKind;
use pvc_model::command::SpecPatch;
use pvc_model::network::{Attachment, HostNetwork, Vni};
use pvc_model::vm::{Disk, DiskBus, Machine, MigrationMethod, Nic, NicChange, NicModel, VmSpec};
use pvc_proto::convert::{At, spec_patch, vm_spec, volume_spec};
use pvc_proto::v1;

fn least() -> v1::VmSpec {
    v1::VmSpec { vcpus: 1, memory_mib: 16, ..v1::VmSpec::default() }
}

fn read(wire: &v1::VmSpec) -> Result<VmSpec, pvc_model::Rejection> {
    vm_spec(&At::new("vm/web1").field("spec"), wire)
}

#[test]
fn defaults_are_filled_in() {
    let disk = v1::Disk { volume: "d".into(), ..v1::Disk::default() };
    let nic = v1::Nic { bridge: "br0".into(), ..v1::Nic::default() };
    let spec = read(&v1::VmSpec { disks: vec![disk], nics: vec![nic], ..least() }).unwrap();
    assert_eq!(spec.migration_method, MigrationMethod::Live);
    assert_eq!((spec.migration_max_downtime_ms, spec.shutdown_grace_seconds), (100, 180));
    assert_eq!((spec.max_restarts, spec.machine), (5, Machine::Pc));
    assert_eq!((spec.recover, spec.priority), (true, 100));
    let disk = Disk {
        volume: "d".parse().unwrap(),
        bus: DiskBus::Virtio,
        read_only: false,
        create_bytes: 0,
        pool: "shared".parse().unwrap(),
    };
    assert_eq!(spec.disks, [disk]);
    assert_eq!((spec.nics[0].mac, spec.nics[0].model), (None, NicModel::Virtio));
}

#[test]
fn no_restart_at_all_is_not_the_default() {
    let restart = Some(v1::RestartPolicy { max_restarts: Some(0) });
    assert_eq!(read(&v1::VmSpec { restart, ..least() }).unwrap().max_restarts, 0);
}

#[test]
fn specs_that_are_refused() {
    let check = |change: &dyn Fn(&mut v1::VmSpec), text: &str| {
        let mut spec = least();
        change(&mut spec);
        let rejection = read(&spec).unwrap_err();
        assert_eq!(rejection.kind, RejectionKind::Invalid);
        assert_eq!(rejection.subject, "vm/web1");
        assert_eq!(format!("{} [{}]", rejection.detail, rejection.rule), text);
    };
    check(&|s| s.vcpus = 0, "spec.vcpus: must be 1 to 512, not 0 [out-of-range]");
    check(&|s| s.vcpus = 513, "spec.vcpus: must be 1 to 512, not 513 [out-of-range]");
    check(&|s| s.memory_mib = 15, "spec.memory_mib: must be 16 to 16777216, not 15 [out-of-range]");
    check(
        &|s| s.migration_max_downtime_ms = 60_001,
        "spec.migration_max_downtime_ms: must be 1 to 60000, not 60001 [out-of-range]",
    );
    check(
        &|s| s.shutdown_grace_seconds = 3601,
        "spec.shutdown_grace_seconds: must be 1 to 3600, not 3601 [out-of-range]",
    );
    check(&|s| s.priority = Some(1001), "spec.priority: must be 0 to 1000, not 1001 [out-of-range]");
    check(
        &|s| s.restart = Some(v1::RestartPolicy { max_restarts: Some(101) }),
        "spec.restart.max_restarts: must be 0 to 100, not 101 [out-of-range]",
    );
    check(
        &|s| s.disks = vec![v1::Disk { volume: "ok".into(), ..Default::default() }, v1::Disk::default()],
        "spec.disks[1].volume: a name must not be empty [bad-name]",
    );
    check(
        &|s| s.disks = vec![v1::Disk { volume: "ok".into(), bus: 99, ..Default::default() }],
        "spec.disks[0].bus: no value has the number 99 [unknown-value]",
    );
    check(
        &|s| {
            s.nics =
                vec![v1::Nic { bridge: "br0".into(), mac: "01:00:00:00:00:01".into(), ..Default::default() }]
        },
        "spec.nics[0].mac: 01:00:00:00:00:01 is a group address; a NIC needs a unicast one (an even first byte) [bad-mac]",
    );
    check(
        &|s| s.nics = vec![v1::Nic { bridge: "br0".into(), model: "ne2k".into(), ..Default::default() }],
        "spec.nics[0].model: must be \"virtio\", \"e1000e\" or \"rtl8139\", not \"ne2k\" [unknown-value]",
    );
    check(
        &|s| s.machine = "vax".into(),
        "spec.machine: must be \"pc\" or \"q35\", not \"vax\" [unknown-value]",
    );
    check(&|s| s.tags = vec!["a".into(); 65], "spec.tags: at most 64 tags, not 65 [too-many]");
    check(
        &|s| s.tags = vec!["Web".into()],
        "spec.tags[0]: a name holds only a-z, 0-9, '-' and '.', not 'W' [bad-name]",
    );
    check(
        &|s| drop(s.meta.insert("motto".into(), "x".repeat(1025))),
        "spec.meta.motto: at most 1024 characters, not 1025 [too-many]",
    );
    check(
        &|s| s.boot = Some(v1::DirectBoot::default()),
        "spec.boot.kernel: must be the path of a kernel on the host [must-be-set]",
    );
    check(&|s| s.raw_xml = "x".repeat(200_000), "spec.raw_xml: at most 196608 bytes, not 200000 [too-many]");
    check(
        &|s| s.cpu_model = "host'/>".into(),
        "spec.cpu_model: must be libvirt's name of a CPU model, not \"host'/>\" [bad-name]",
    );
}

#[test]
fn bridges_that_are_refused() {
    for bridge in ["..", "a b", "a/b", "sixteen-letters-", "br0'"] {
        let nic = v1::Nic { bridge: bridge.into(), ..v1::Nic::default() };
        let rejection = read(&v1::VmSpec { nics: vec![nic], ..least() }).unwrap_err();
        assert_eq!(rejection.rule, "bad-name", "{bridge:?}");
        assert!(rejection.detail.starts_with("spec.nics[0].bridge: "), "{}", rejection.detail);
    }
}

#[test]
fn nics_that_are_refused() {
    let check = |change: &dyn Fn(&mut v1::Nic), text: &str| {
        let mut nic = v1::Nic { network: "1001".into(), ..v1::Nic::default() };
        change(&mut nic);
        let rejection = read(&v1::VmSpec { nics: vec![nic], ..least() }).unwrap_err();
        assert_eq!(format!("{} [{}]", rejection.detail, rejection.rule), text);
    };
    check(
        &|n| n.network.clear(),
        "spec.nics[0]: network or bridge must be set: the number of a network, upstream, …, or a bridge [must-be-set]",
    );
    check(
        &|n| n.bridge = "br0".into(),
        "spec.nics[0]: network and bridge can't both be set [one-attachment]",
    );
    for bad in ["0", "16777215", "web", "Upstream"] {
        check(
            &|n| n.network = bad.into(),
            &format!(
                "spec.nics[0].network: must be a network's number (1 to 16777214) or description, upstream, \
                 cluster or storage, not {bad:?} [bad-network]"
            ),
        );
    }
    let rate = |average_kbit, peak_kbit, burst_kib| Some(v1::NicRate { average_kbit, peak_kbit, burst_kib });
    check(
        &|n| n.rate_in = rate(7, 0, 0),
        "spec.nics[0].rate_in.average_kbit: must be 8 to 400000000, not 7 [out-of-range]",
    );
    check(
        &|n| n.rate_out = rate(100, 99, 0),
        "spec.nics[0].rate_out.peak_kbit: must be 100 to 400000000, not 99 [out-of-range]",
    );
    check(
        &|n| n.rate_out = rate(100, 0, 1_048_577),
        "spec.nics[0].rate_out.burst_kib: must be 1 to 1048576, not 1048577 [out-of-range]",
    );
    check(
        &|n| n.addresses = vec!["192.0.2.1".into(), "192.0.2.0/24".into()],
        "spec.nics[0].addresses[1]: must be an IP address, not \"192.0.2.0/24\" [bad-address]",
    );
    for bad in ["0.0.0.0", "255.255.255.255", "127.0.0.1", "224.0.0.5", "::", "::1", "ff02::1"] {
        check(
            &|n| n.addresses = vec![bad.into()],
            &format!("spec.nics[0].addresses[0]: {bad} can't be a NIC's own address [bad-address]"),
        );
    }
}

#[test]
fn a_nic_is_up_and_checked_unless_said_otherwise() {
    let wire = v1::Nic { network: "upstream".into(), ..v1::Nic::default() };
    let nic = read(&v1::VmSpec { nics: vec![wire], ..least() }).unwrap().nics.remove(0);
    assert_eq!(nic, Nic::new(Attachment::Host(HostNetwork::Upstream)));
    assert!(nic.link_up && nic.spoof_check);
}

#[test]
fn a_changed_nic_keeps_what_is_not_said() {
    let mac = "52:54:00:00:00:01";
    let read = |wire: v1::NicChange| {
        let wire = v1::UpdateVmRequest { change_nics: vec![wire], ..Default::default() };
        patch(&wire).map(|mut patch| patch.change_nics.remove(0))
    };
    let nothing = v1::NicChange { mac: mac.into(), ..Default::default() };
    assert_eq!(read(nothing.clone()), Ok(NicChange::of(mac.parse().unwrap())));
    let lifted = v1::NicChange { rate_in: Some(v1::NicRate::default()), ..nothing.clone() };
    assert_eq!(read(lifted).unwrap().rate_in, Some(None));
    let moved = v1::NicChange { network: "7".into(), link_down: Some(false), ..nothing.clone() };
    let moved = read(moved).unwrap();
    assert_eq!(moved.attachment, Some(Attachment::Network(Vni::new(7).unwrap())));
    assert_eq!((moved.link_up, moved.spoof_check), (Some(true), None));
    let cleared = v1::NicChange { set_addresses: true, ..nothing.clone() };
    assert_eq!(read(cleared).unwrap().addresses, Some(Vec::new()));
    let unclear = v1::NicChange { addresses: vec!["192.0.2.1".into()], ..nothing };
    assert_eq!(read(unclear), Err("change_nics[0].set_addresses: must be set with addresses".into()));
    assert_eq!(
        read(v1::NicChange::default()),
        Err("change_nics[0].mac: \"\" is not an Ethernet address (six hexadecimal pairs joined by ':')"
            .into())
    );
}

fn patch(wire: &v1::UpdateVmRequest) -> Result<SpecPatch, String> {
    spec_patch(&At::new("vm/web1"), wire).map_err(|rejection| rejection.detail)
}

#[test]
fn changes_are_only_what_is_set() {
    let nothing = v1::UpdateVmRequest { name: "web1".into(), ..Default::default() };
    assert_eq!(patch(&nothing), Ok(SpecPatch::default()));
    let limit_lifted = v1::UpdateVmRequest { set_node_limit: true, ..nothing.clone() };
    assert_eq!(patch(&limit_lifted).unwrap().node_limit, Some([].into()));
    let last = v1::UpdateVmRequest { priority: Some(0), recover: Some(false), ..nothing.clone() };
    let last = patch(&last).unwrap();
    assert_eq!((last.priority, last.recover), (Some(0), Some(false)));
    let whole = v1::UpdateVmRequest { spec: Some(least()), ..nothing };
    assert_eq!(patch(&whole).unwrap().spec, Some(read(&least()).unwrap()));
}

#[test]
fn changes_that_are_refused() {
    let both = v1::UpdateVmRequest { spec: Some(least()), vcpus: Some(2), ..Default::default() };
    let detail = "spec: stands for the whole spec, and can't be given with single changes";
    assert_eq!(patch(&both), Err(detail.into()));
    let none = v1::UpdateVmRequest { vcpus: Some(0), ..Default::default() };
    assert_eq!(patch(&none), Err("vcpus: must be 1 to 512, not 0".into()));
    let unclear = v1::UpdateVmRequest { node_limit: vec!["hv1".into()], ..Default::default() };
    assert_eq!(patch(&unclear), Err("set_node_limit: must be set with node_limit".into()));
    let long =
        v1::UpdateVmRequest { set_meta: [("k".into(), "x".repeat(1025))].into(), ..Default::default() };
    assert_eq!(patch(&long), Err("set_meta.k: at most 1024 characters, not 1025".into()));
}

#[test]
fn a_snapshot_of_no_volume_is_refused() {
    let wire = v1::VolumeSpec { clone_snapshot: "s1".into(), size_bytes: 1 << 20, ..Default::default() };
    let rejection = volume_spec(&At::new("volume/v1").field("spec"), &wire).unwrap_err();
    assert_eq!(rejection.detail, "spec.clone_snapshot: names a snapshot, and clone_of names no volume");
}

#[test]
fn a_node_reports_no_phase_that_only_the_leader_knows() {
    let wire = v1::Observed { node: "hv1".into(), phase: v1::VmPhase::Unknown.into(), ..Default::default() };
    let rejection = pvc_proto::convert::observed(&At::new("vm/web1").field("observed"), &wire).unwrap_err();
    assert_eq!(rejection.detail, "observed.phase: VM_PHASE_UNKNOWN can't stand here");
}
