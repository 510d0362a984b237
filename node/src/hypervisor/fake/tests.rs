use super::*;
use crate::hypervisor::{GuestSpec, Hypervisor, MigrateError, MigrationOrder, Stamp, VirtType};

fn name(text: &str) -> Name {
    text.parse().expect("a good name")
}

fn world() -> (FakeWorld, Name, Name) {
    let ms = Duration::from_millis;
    let timing =
        Timing { start: ms(1), shutdown: ms(5), migration: ms(60), keepalive: ms(20), deadline: ms(20) };
    let (world, hv1, hv2) = (FakeWorld::new(timing), name("hv1"), name("hv2"));
    world.add_host(&hv1, "10.0.0.1");
    world.add_host(&hv2, "10.0.0.2");
    (world, hv1, hv2)
}

fn guest(raw_xml: &str) -> GuestSpec {
    use pvc_model::vm::{Machine, MigrationMethod, VmSpec};
    let spec = VmSpec {
        vcpus: 2,
        memory_mib: 128,
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
        raw_xml: raw_xml.to_owned(),
        cpu_model: String::new(),
        machine: Machine::Pc,
        shutdown_grace_seconds: 60,
        recover: true,
        priority: 100,
    };
    let stamp = Stamp { epoch: 3, boot_generation: 1, spec_generation: 2 };
    let (uid, virt_type) = (Uid::from_random(7), VirtType::Qemu);
    GuestSpec {
        uid,
        name: name("web1"),
        stamp,
        spec,
        disks: Vec::new(),
        nics: Vec::new(),
        console_log: "/var/log/pvc/web1.log".into(),
        virt_type,
    }
}

fn order() -> MigrationOrder {
    let stamp = Stamp { epoch: 4, boot_generation: 1, spec_generation: 2 };
    let target_address = "10.0.0.2".to_owned();
    MigrationOrder { target_address, max_downtime_ms: 300, bandwidth_mib: 0, auto_converge: true, stamp }
}

#[tokio::test]
async fn a_migration_moves_the_one_copy() {
    let (world, hv1, hv2) = world();
    let (source, spec) = (world.hypervisor(&hv1), guest(""));
    source.start(&spec).await.expect("starts");
    assert_eq!(world.writers(spec.uid), [hv1]);
    source.migrate(spec.uid, &order()).await.expect("moves");
    assert_eq!(world.writers(spec.uid), std::slice::from_ref(&hv2));
    assert_eq!(world.guests_on(&hv2)[0].stamp.epoch, 4);
    assert_eq!(source.endings()[0].reason, EndReason::MovedAway);
    assert_eq!(world.boots(spec.uid), 1);
}

#[tokio::test]
async fn a_target_that_dies_leaves_the_guest_where_it_was() {
    let (world, hv1, hv2) = world();
    let (source, spec) = (world.hypervisor(&hv1), guest(""));
    source.start(&spec).await.expect("starts");
    let order = order();
    let (end, ()) = tokio::join!(source.migrate(spec.uid, &order), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        world.power_off(&hv2);
    });
    assert!(matches!(end, Err(MigrateError::Failed { .. })), "{end:?}");
    assert_eq!(world.writers(spec.uid), [hv1]);
}

#[tokio::test]
async fn a_host_that_loses_power_comes_back_empty() {
    let (world, hv1, _) = world();
    let (host, spec) = (world.hypervisor(&hv1), guest(""));
    host.start(&spec).await.expect("starts");
    drop(host);
    assert_eq!(
        world.writers(spec.uid),
        std::slice::from_ref(&hv1),
        "a restart of the daemon touches no guest"
    );
    world.power_off(&hv1);
    assert!(world.writers(spec.uid).is_empty());
    world.power_on(&hv1);
    assert!(world.hypervisor(&hv1).guests().await.expect("lists").is_empty());
}

#[test]
fn a_document_carries_its_stamp() {
    use crate::hypervisor::xml;
    let own =
        "<domain type='qemu'><name>x</name><os><type>hvm</type></os><devices><sound/></devices></domain>";
    for raw in ["", own] {
        let spec = guest(raw);
        let text = xml::render(&spec).expect("renders");
        assert_eq!(xml::read_stamp(&text), Some(spec.stamp), "{text}");
        assert!(text.contains("<name>web1</name>"), "{text}");
        assert!(text.contains("<on_crash>destroy</on_crash>"), "{text}");
        assert_eq!(text.contains("<sound/>"), !raw.is_empty(), "{text}");
    }
    assert_eq!(xml::read_stamp(&xml::stamp_element(guest("").stamp)), Some(guest("").stamp));
}
