//! The libvirt adapter against libvirt's built-in `test` driver: the real library, no daemon. What that
//! driver lacks (migration, consoles, jobs) is not seen here. Its state is shared by the whole process,
//! so each test has guests of its own.

use std::time::Duration;

use pvc_model::vm::{Machine, MigrationMethod, VmSpec};
use pvc_model::{Name, Uid};
use pvc_node::hypervisor::libvirt::{Libvirt, LibvirtConfig};
use pvc_node::hypervisor::{
    EndReason, Ending, Guest, GuestSpec, GuestState, Hypervisor, HypervisorError, MigrateError,
    MigrationOrder, Stamp, VirtType, xml,
};

const STAMP: Stamp = Stamp { epoch: 3, boot_generation: 1, spec_generation: 2 };

fn libvirt() -> Libvirt {
    Libvirt::new(LibvirtConfig {
        uri: "test:///default".to_owned(),
        domain_type: Some("test".to_owned()),
        ..LibvirtConfig::default()
    })
}

fn guest(number: u128) -> GuestSpec {
    GuestSpec {
        uid: Uid::from_random(number),
        name: format!("web{number}").parse::<Name>().expect("a good name"),
        stamp: STAMP,
        spec: VmSpec {
            vcpus: 1,
            memory_mib: 64,
            disks: Vec::new(),
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
        disks: Vec::new(),
        nics: Vec::new(),
        console_log: "/dev/null".into(),
        virt_type: VirtType::Qemu,
    }
}

async fn listed(libvirt: &Libvirt, uid: Uid) -> Option<Guest> {
    libvirt.guests().await.expect("listed").into_iter().find(|g| g.uid == uid)
}

/// The guest's ending, told within 20 s.
async fn ending(libvirt: &Libvirt, uid: Uid) -> Ending {
    let mut wakeups = libvirt.wakeups();
    let told = async {
        loop {
            if let Some(ending) = libvirt.endings().into_iter().find(|e| e.uid == uid) {
                return ending;
            }
            wakeups.changed().await.expect("the adapter lives");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told).await.expect("its ending is told")
}

#[tokio::test]
async fn a_guest_lives_and_ends_by_its_plug() {
    let (libvirt, spec) = (libvirt(), guest(101));
    assert_eq!(listed(&libvirt, spec.uid).await, None);
    libvirt.start(&spec).await.expect("started");
    let expected = Guest {
        uid: spec.uid,
        name: spec.name.clone(),
        state: GuestState::Running,
        stamp: STAMP,
        incoming: false,
        outgoing: false,
    };
    assert_eq!(listed(&libvirt, spec.uid).await, Some(expected));
    let again = libvirt.start(&spec).await.expect_err("it is here");
    assert!(matches!(again, HypervisorError::AlreadyHere { uid } if uid == spec.uid), "{again}");

    let newer = Stamp { epoch: 4, ..STAMP };
    for _ in 0..2 {
        libvirt.stamp(spec.uid, newer).await.expect("stamped");
        assert_eq!(listed(&libvirt, spec.uid).await.map(|g| g.stamp), Some(newer));
    }
    let document = libvirt.xml(spec.uid).await.expect("described");
    assert_eq!(xml::read_stamp(&document), Some(newer), "{document}");

    libvirt.power_off(spec.uid).await.expect("off");
    assert_eq!(listed(&libvirt, spec.uid).await, None);
    libvirt.power_off(spec.uid).await.expect("off is off");
    let ended = ending(&libvirt, spec.uid).await;
    assert_eq!(ended, Ending { uid: spec.uid, reason: EndReason::PoweredOff });
}

#[tokio::test]
async fn a_guest_hears_its_power_button() {
    let (libvirt, spec) = (libvirt(), guest(102));
    libvirt.start(&spec).await.expect("started");
    libvirt.power_button(spec.uid).await.expect("pressed");
    let ended = ending(&libvirt, spec.uid).await;
    assert_eq!(ended, Ending { uid: spec.uid, reason: EndReason::ShutDown });
    let gone = libvirt.power_button(spec.uid).await.expect_err("it has gone");
    assert!(matches!(gone, HypervisorError::NoSuchGuest { .. }), "{gone}");
}

#[tokio::test]
async fn what_is_not_pvcs_is_not_listed() {
    let libvirt = libvirt();
    // The driver begins with a running domain of its own, called "test".
    let guests = libvirt.guests().await.expect("listed");
    assert!(guests.iter().all(|g| g.name.as_str() != "test"), "{guests:?}");
}

#[tokio::test]
async fn a_guest_that_is_not_here_is_told_so() {
    let (libvirt, uid) = (libvirt(), Uid::from_random(104));
    let is_no_such = |e: HypervisorError| matches!(e, HypervisorError::NoSuchGuest { uid: u } if u == uid);
    assert!(libvirt.stamp(uid, STAMP).await.is_err_and(is_no_such));
    assert!(libvirt.xml(uid).await.is_err_and(is_no_such));
    assert!(libvirt.console(uid, false).await.err().is_some_and(is_no_such));
    assert_eq!(libvirt.migration_progress(uid).await.expect("none"), None);
    libvirt.cancel_migration(uid).await.expect("nothing to cancel");
    let order = MigrationOrder {
        target_address: "192.0.2.1".to_owned(),
        max_downtime_ms: 300,
        bandwidth_mib: 0,
        auto_converge: false,
        stamp: STAMP,
    };
    for _ in 0..2 {
        let refused = libvirt.migrate(uid, &order).await.expect_err("it is not here");
        assert!(matches!(refused, MigrateError::NoSuchGuest { .. }), "{refused}");
    }
}

#[tokio::test]
async fn the_host_is_described() {
    let facts = libvirt().facts().await.expect("described");
    assert!(facts.cpus > 0 && facts.memory_mib > 0, "{facts:?}");
    assert!(facts.hypervisor.starts_with("libvirt "), "{facts:?}");
    assert!(!facts.emulator.is_empty(), "{facts:?}");
}

#[tokio::test]
async fn what_libvirt_refuses_is_told_in_its_words() {
    let (libvirt, first) = (libvirt(), guest(106));
    libvirt.start(&first).await.expect("started");
    let namesake = GuestSpec { name: first.name.clone(), ..guest(107) };
    let refused = libvirt.start(&namesake).await.expect_err("its name is taken");
    assert!(matches!(&refused, HypervisorError::Refused { detail, .. } if !detail.is_empty()), "{refused}");
    assert!(!refused.outcome_unknown());
    libvirt.power_off(first.uid).await.expect("off");
}
