//! Documents pinned in `golden/`: a change of what libvirt is told is seen in review. Where one is
//! meant to change, run the tests with `PVC_WRITE_GOLDENS=1` and look at the difference.

use std::path::Path;

use pvc_model::network::{Attachment, HostNetwork, Vni};
use pvc_model::vm::{DirectBoot, Disk, DiskBus, Machine, MigrationMethod, Nic, NicModel, Rate, VmSpec};
use pvc_model::{Name, Uid, vm::Mac};

use super::{has_file_disk, nic_with_port, nics, read_stamp, render, with_stamp};
use crate::hypervisor::{GuestNic, GuestSpec, LiveNic, NicPort, ResolvedDisk, Stamp, VirtType};
use crate::storage::DiskSource;

const STAMP: Stamp = Stamp { epoch: 3, boot_generation: 1, spec_generation: 2 };

fn name(text: &str) -> Name {
    text.parse().expect("a good name")
}

fn golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/hypervisor/xml/golden").join(file);
    if std::env::var_os("PVC_WRITE_GOLDENS").is_some() {
        std::fs::write(&path, text).expect("write the golden");
    }
    let pinned = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, pinned, "{} differs", path.display());
}

fn guest(disks: &[(&str, DiskBus)]) -> GuestSpec {
    let disk = |&(volume, bus): &(&str, DiskBus)| Disk {
        volume: name(volume),
        bus,
        read_only: volume == "tools",
        create_bytes: 0,
        pool: name("vms"),
    };
    let resolved = |d: &Disk| ResolvedDisk {
        volume: d.volume.clone(),
        source: DiskSource::RawFile { path: format!("/srv/vms/{}.raw", d.volume).into() },
        bus: d.bus,
        read_only: d.read_only,
    };
    let disks: Vec<Disk> = disks.iter().map(disk).collect();
    GuestSpec {
        uid: Uid::from_random(7),
        name: name("web1"),
        stamp: STAMP,
        disks: disks.iter().map(resolved).collect(),
        spec: VmSpec {
            vcpus: 2,
            memory_mib: 128,
            disks,
            nics: Vec::new(),
            tags: Default::default(),
            notes: Default::default(),
            boot: None,
            migration_method: MigrationMethod::Live,
            migration_max_downtime_ms: 300,
            node_limit: Default::default(),
            home: None,
            max_restarts: 3,
            raw_xml: String::new(),
            cpu_model: String::new(),
            machine: Machine::Pc,
            shutdown_grace_seconds: 60,
            recover: true,
            priority: 100,
        },
        nics: Vec::new(),
        console_log: "/var/log/pvc/web1.log".into(),
        virt_type: VirtType::Kvm,
    }
}

fn nic(nic: &Nic, last: u8) -> GuestNic {
    let nic = Nic { mac: Some(Mac([0x52, 0x54, 0, 1, 2, last])), ..nic.clone() };
    GuestNic::of(&nic, None).expect("it has an address")
}

/// One of which all is said, on network 1001.
fn full_nic() -> GuestNic {
    let nic_said = Nic {
        model: NicModel::E1000e,
        link_up: false,
        rate_in: Some(Rate { average_kbit: 8000, peak_kbit: Some(16_001), burst_kib: Some(512) }),
        rate_out: Some(Rate { average_kbit: 9, peak_kbit: None, burst_kib: None }),
        ..Nic::new(Attachment::Network(Vni::new(1001).expect("a number")))
    };
    GuestNic { mtu: Some(1400), ..nic(&nic_said, 4) }
}

#[test]
fn a_nic_alone() {
    golden("nic.xml", &super::nic(&full_nic()).expect("rendered"));
}

#[test]
fn what_is_told_of_a_nic_is_read_back() {
    let mut guest = guest(&[]);
    guest.nics = vec![full_nic(), nic(&Nic::new(Attachment::Host(HostNetwork::Upstream)), 5)];
    let document = render(&guest).expect("rendered");
    let live = |nic: &GuestNic| LiveNic { port: nic.port.clone(), ours: true };
    let expected: Vec<LiveNic> = guest.nics.iter().map(live).collect();
    assert_eq!(nics(&document).expect("read"), expected);

    let other =
        NicPort { bridge: "br0".to_owned(), link_up: true, rate_in: None, ..guest.nics[0].port.clone() };
    let changed = nic_with_port(&document, &other).expect("read").expect("it has it");
    let alone = format!("<domain><devices>{changed}</devices></domain>");
    assert_eq!(nics(&alone).expect("read"), [LiveNic { port: other.clone(), ours: true }]);
    assert!(changed.contains("<mtu size=\"1400\"/>"), "all else is as it was: {changed}");
    let none = NicPort { mac: Mac([2, 0, 0, 0, 0, 1]), ..other };
    assert_eq!(nic_with_port(&document, &none).expect("read"), None);
}

#[test]
fn a_nic_of_the_users_is_not_taken_for_ours() {
    let document = "<domain><devices><interface type='user'><mac address='52:54:00:01:02:09'/>\
        <target dev='vnet3'/></interface></devices></domain>";
    let live = nics(document).expect("read");
    assert!(matches!(&live[..], [LiveNic { ours: false, port }] if port.link_up), "{live:?}");
}

#[test]
fn raw_gets_the_specs_nics_beside_the_users() {
    let mut guest = guest(&[]);
    guest.nics = vec![nic(&Nic::new(Attachment::Bridge("br7".to_owned())), 3)];
    let interface = |last: &str| {
        format!(
            "<interface type='bridge'><mac address='52:54:00:01:02:{last}'/><source bridge='theirs'/></interface>"
        )
    };
    guest.spec.raw_xml = format!(
        "<domain type='kvm'><name>x</name><memory>1</memory><vcpu>1</vcpu>\
         <os><type>hvm</type></os><devices>{}{}</devices></domain>",
        interface("03"),
        interface("07"),
    );
    let live = nics(&render(&guest).expect("rendered")).expect("read");
    let seen: Vec<_> =
        live.iter().map(|nic| (nic.port.mac.0[5], nic.port.bridge.as_str(), nic.ours)).collect();
    assert_eq!(seen, [(7, "theirs", false), (3, "br7", true)], "one address is on one NIC");
}

#[test]
fn typed_with_disks() {
    let mut guest =
        guest(&[("web1-root", DiskBus::Virtio), ("data", DiskBus::Scsi), ("tools", DiskBus::Sata)]);
    guest.spec.machine = Machine::Q35;
    golden("typed-disks.xml", &render(&guest).expect("rendered"));
}

#[test]
fn typed_with_disk_nic_and_direct_boot() {
    let mut guest = guest(&[("web1-root", DiskBus::Virtio)]);
    guest.virt_type = VirtType::Qemu;
    guest.nics = vec![nic(&Nic::new(Attachment::Bridge("vmbr0".to_owned())), 3)];
    guest.spec.boot = Some(DirectBoot {
        kernel: "/srv/vms/boot/vmlinuz".to_owned(),
        initrd: "/srv/vms/boot/initrd".to_owned(),
        cmdline: "console=ttyS0 a=\"<&>\"".to_owned(),
    });
    golden("typed-boot.xml", &render(&guest).expect("rendered"));
}

#[test]
fn raw_keeps_what_is_the_users() {
    let mut guest = guest(&[("web1-root", DiskBus::Virtio), ("data", DiskBus::Virtio)]);
    guest.spec.raw_xml = "<domain type='qemu'>\n  <name>mine</name>\n  <!-- kept -->\n  \
        <memory unit='KiB'>1</memory>\n  <vcpu placement='static'>1</vcpu>\n  \
        <metadata><theirs:x xmlns:theirs='urn:theirs' a='&lt;'/></metadata>\n  \
        <os><type arch='x86_64' machine='pc'>hvm</type></os>\n  <devices>\n    \
        <disk type='volume' device='disk'><driver name='qemu' type='raw' cache='writeback'/>\
        <source volume='web1-root'/><target dev='vda' bus='virtio'/></disk>\n    \
        <graphics type='vnc'/>\n  </devices>\n</domain>"
        .to_owned();
    golden("raw.xml", &render(&guest).expect("rendered"));
}

#[test]
fn a_new_stamp_changes_nothing_else() {
    let mut guest = guest(&[("web1-root", DiskBus::Virtio)]);
    let text = render(&guest).expect("rendered");
    assert_eq!(read_stamp(&text), Some(STAMP));
    assert!(has_file_disk(&text));
    let newer = Stamp { epoch: 9, ..STAMP };
    let restamped = with_stamp(&text, newer).expect("stamped");
    assert_eq!(read_stamp(&restamped), Some(newer));
    guest.stamp = newer;
    let squeeze = |text: &str| text.split_whitespace().collect::<String>();
    assert_eq!(squeeze(&restamped), squeeze(&render(&guest).expect("rendered")));
}

#[test]
fn a_foreign_domain_has_no_stamp() {
    let foreign =
        "<domain type='kvm'><metadata><x:y xmlns:x='urn:x' epoch='1' boot='1' spec='1'/></metadata></domain>";
    assert_eq!(read_stamp(foreign), None);
    let ours = with_stamp(foreign, STAMP).expect("stamped");
    assert_eq!(read_stamp(&ours), Some(STAMP));
    assert!(ours.contains("urn:x"), "{ours}");
}
