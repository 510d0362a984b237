use crate::command::{Command, MigrationEvent};
use crate::fence::{FencePhase, ProofKind};
use crate::name::Uid;
use crate::testing::{Cluster, name};
use crate::vm::ObservedPhase;

fn cluster() -> Cluster {
    Cluster::of(&["hv1", "hv2", "hv3"])
}

fn vm(cluster: &mut Cluster, vm: &str) -> Vec<String> {
    cluster.events_of(cluster.vm(vm).uid())
}

fn uid_of(cluster: &Cluster, node: &str) -> Uid {
    cluster.world.node(&name(node)).unwrap().meta.uid
}

#[test]
fn the_life_of_a_vm_is_told() {
    let mut c = cluster();
    c.running("a", "hv1");
    assert_eq!(
        vm(&mut c, "a"),
        [
            "settings: created",
            "power: it is to run",
            "placement: it is placed on hv1",
            "state: it runs on hv1"
        ]
    );
    c.ok(Command::StopVm { name: name("a") });
    c.sees("a", ObservedPhase::Stopped);
    assert_eq!(vm(&mut c, "a"), ["power: it is to be off", "state: it is off on hv1"]);
    c.sees("a", ObservedPhase::Stopped);
    assert_eq!(vm(&mut c, "a"), [""; 0], "nothing new");
}

#[test]
fn a_migration_and_one_that_fails() {
    let mut c = cluster();
    c.running("a", "hv1");
    vm(&mut c, "a");
    c.ok(Command::MigrateVm { name: name("a"), node: Some(name("hv2")), method: None });
    c.tells("hv2", "a", MigrationEvent::Ready);
    c.tells("hv1", "a", MigrationEvent::Arrived);
    c.sees("a", ObservedPhase::Running);
    let began = "placement: its live migration from hv1 to hv2 began";
    assert_eq!(vm(&mut c, "a")[..2], [began, "placement: it migrated live from hv1 to hv2"]);
    c.ok(Command::MigrateVm { name: name("a"), node: Some(name("hv3")), method: None });
    c.tells("hv3", "a", MigrationEvent::Failed);
    assert_eq!(vm(&mut c, "a")[1..], ["placement: its live migration from hv2 to hv3 did not come about"]);
}

#[test]
fn a_fence_is_told_of_the_node_and_of_its_vms() {
    let mut c = cluster();
    c.running("a", "hv2");
    vm(&mut c, "a");
    let hv2 = uid_of(&c, "hv2");
    c.events_of(hv2);
    c.unreachable("hv2");
    c.ok(Command::BeginFence { node: name("hv2"), reason: "it is silent".into() });
    c.ok(Command::AcceptProof { node: name("hv2"), epoch: 1, kind: ProofKind::Power });
    let told = c.events_of(hv2);
    assert_eq!(told[..2], ["contact: it fell silent", "fence: its fence began: it is silent"]);
    assert!(told[2].starts_with("fence: it is fenced, proven by power ("), "{told:?}");
    assert_eq!(vm(&mut c, "a")[..1], ["placement: it is placed on hv1, after hv2, which was fenced"]);
    assert_eq!(
        c.world.node(&name("hv2")).unwrap().status.fence.as_ref().map(|f| f.phase),
        Some(FencePhase::Fenced)
    );
}

#[test]
fn a_vm_that_finds_no_place_is_told_so() {
    let mut c = Cluster::of(&["hv1", "hv2"]);
    c.running("a", "hv2");
    vm(&mut c, "a");
    c.unreachable("hv1");
    c.unreachable("hv2");
    c.ok(Command::BeginFence { node: name("hv2"), reason: "it is silent".into() });
    c.ok(Command::AcceptProof { node: name("hv2"), epoch: 1, kind: ProofKind::Power });
    let told = vm(&mut c, "a");
    assert!(told[0].starts_with("placement: no node takes it: "), "{told:?}");
}

#[test]
fn what_is_removed_takes_its_events_along_and_what_is_renamed_keeps_them() {
    let mut c = cluster();
    c.create("a");
    let uid = c.vm("a").uid();
    c.ok(Command::RenameVm { name: name("a"), new_name: name("b"), expected_revision: 0 });
    assert_eq!(c.events_of(uid), ["settings: created", "settings: renamed from a"]);
    c.ok(Command::DeleteVm { name: name("b"), delete_volumes: false, expected_revision: 0 });
    assert_eq!(c.events_of(uid), [""; 0]);
}

#[test]
fn the_cluster_tells_of_its_brake() {
    let mut c = cluster();
    c.ok(Command::SetBrake { nodes: [name("hv2"), name("hv3")].into() });
    let uid = c.world.cluster.as_ref().unwrap().meta.uid;
    assert_eq!(c.events_of(uid), ["fence: the storm brake holds: hv2, hv3 fell silent together"]);
    c.ok(Command::SetBrake { nodes: [].into() });
    assert_eq!(c.events_of(uid), ["fence: the storm brake was let go"]);
}
